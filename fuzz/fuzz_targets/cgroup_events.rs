//! Fuzzes the parser of `cgroup.events`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::cgroup::events::parse_populated(text);
});
