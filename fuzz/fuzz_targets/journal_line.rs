//! Fuzzes the parser of one line of the journal.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_enforcement::Journal::is_record(text);
});
