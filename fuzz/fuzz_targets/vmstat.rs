//! Fuzzes the parser of `/proc/vmstat`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::proc::vmstat::parse_vmstat(text);
});
