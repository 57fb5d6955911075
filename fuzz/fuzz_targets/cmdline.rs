//! Fuzzes the reader of command lines, and what a terminal is shown of them.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let shown = grey_telemetry::process::cmdline::parse_cmdline(text).to_string();
    assert!(!shown.chars().any(char::is_control));
    let _ = grey_telemetry::oom_daemons::script(text);
});
