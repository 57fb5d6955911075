//! Fuzzes the parser of memory.max and its like.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::cgroup::limit::parse_limit(text);
});
