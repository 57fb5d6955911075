//! Fuzzes the parser of `/proc/PID/cgroup`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::process::cgroup::parse_memory_cgroup(text);
});
