//! Fuzzes the parser of `memory.stat`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::cgroup::stat::parse_memory_stat(text);
});
