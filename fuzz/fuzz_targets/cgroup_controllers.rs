//! Fuzzes the parser of `cgroup.controllers`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::cgroup::mount::lists_memory(text);
});
