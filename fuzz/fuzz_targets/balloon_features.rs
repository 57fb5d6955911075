//! Fuzzes the parser of the features of a virtio device.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::sys::balloon::parse_deflate_on_oom(text);
});
