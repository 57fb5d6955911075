//! Fuzzes the parser of `/sys/block/zramN/mm_stat`, and of `backing_dev`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::sys::zram::parse_mm_stat(text);
    let _ = grey_telemetry::sys::zram::parse_backing_device(text);
});
