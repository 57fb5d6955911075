//! Fuzzes the parser of module parameters that are flags.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::sys::zswap::parse_flag(text);
});
