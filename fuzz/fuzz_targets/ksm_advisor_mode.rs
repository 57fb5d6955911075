//! Fuzzes the parser of `/sys/kernel/mm/ksm/advisor_mode`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::sys::ksm::parse_advisor_mode(text);
});
