//! Fuzzes the parser of `/proc/PID/ksm_stat`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::process::ksm_stat::parse_ksm_stat(text);
});
