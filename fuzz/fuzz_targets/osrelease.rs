//! Fuzzes the parser of the kernel release.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::proc::osrelease::parse_osrelease(text);
});
