//! Fuzzes the parser of `/proc/PID/limits`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::data_limit::parse_data_limit(text);
    let _ = grey_telemetry::data_limit::parse_resource_limits(text);
});
