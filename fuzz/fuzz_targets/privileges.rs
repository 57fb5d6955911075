//! Fuzzes the parser of `/proc/self/status, its capabilities`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::privileges::parse_privileges(text);
    let _ = grey_telemetry::privileges::parse_capabilities(text);
});
