//! Fuzzes the parser of passwd files.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::user::UserNames::parse(text);
});
