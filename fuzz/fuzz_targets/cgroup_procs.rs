//! Fuzzes the parser of `cgroup.procs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::cgroup::processes::parse_pids(text);
});
