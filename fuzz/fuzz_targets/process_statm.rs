//! Fuzzes the parser of `/proc/PID/statm`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::process::statm::parse_statm(text);
});
