//! Fuzzes the parser of pressure files.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::proc::pressure::parse_pressure(text);
});
