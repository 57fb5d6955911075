//! Fuzzes the parser of the boot id.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::proc::boot_id::parse_boot_id(text);
});
