//! Fuzzes the parser of numbers in kernel files.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::ascii::parse_u64(text);
    let _ = grey_telemetry::ascii::parse_i64(text);
    let _ = grey_telemetry::ascii::parse_decimal(text);
    let _ = grey_telemetry::ascii::chosen_word(text);
});
