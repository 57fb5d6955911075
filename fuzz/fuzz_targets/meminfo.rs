//! Fuzzes the parser of `/proc/meminfo`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::proc::meminfo::parse_meminfo(text);
    let _ = grey_telemetry::proc::meminfo::parse_mem_available(text);
});
