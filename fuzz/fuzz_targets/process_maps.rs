//! Fuzzes the parser of `/proc/PID/maps`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::process::maps::parse_maps(text).count();
});
