//! Fuzzes the parser of one line of the journal.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_enforcement::journal::fuzz_parse_line(text);
});
