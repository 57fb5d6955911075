//! Fuzzes the parsers of `/proc/PID/oom_score` and `oom_score_adj`.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::process::oom_score::parse_oom_score(text);
    let _ = grey_telemetry::process::oom_score::parse_oom_score_adj(text);
});
