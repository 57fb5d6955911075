//! Fuzzes the parser of `/proc/PID/smaps_rollup`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::process::smaps_rollup::parse_smaps_rollup(text);
});
