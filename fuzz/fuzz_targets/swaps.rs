//! Fuzzes the parser of `/proc/swaps`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::proc::swaps::parse_swaps(text);
});
