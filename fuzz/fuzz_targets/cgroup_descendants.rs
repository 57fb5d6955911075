//! Fuzzes the parser of `cgroup.stat`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::cgroup::descendants::parse_dying_descendants(text);
});
