//! Fuzzes the parser of `/proc/PID/status`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::process::status::parse_status(text);
});
