//! Fuzzes the parser of `/proc/PID/stat`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::process::stat::parse_stat(text);
});
