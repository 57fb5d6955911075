//! Fuzzes the parser of `/proc/zoneinfo`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::proc::zoneinfo::parse_per_cpu_free_lists(text);
});
