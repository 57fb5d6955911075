//! Fuzzes the parser of `/proc/1/environ`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::host::names_a_container(text);
});
