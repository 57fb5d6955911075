//! Fuzzes the reader of pids among the names in `/proc`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::process::list::parse_pid(text);
});
