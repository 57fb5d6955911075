//! Fuzzes the search for kills in logs, whole and line by line.

#![no_main]

use grey_telemetry::kill_log::{KillLog, kernel, kmsg, line, service};

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let mut log = KillLog::default();
    // In two pieces: a line may come in parts.
    let (first, second) = text.split_at(text.len() / 2);
    log.push(first);
    log.push(second);
    let _ = log.finish();
    for text in text.split(|&byte| byte == b'\n') {
        let _ = line::parse_line(text);
        let _ = kmsg::parse_record(text);
        let _ = kernel::parse_kernel_line(text);
        let _ = service::parse_service_line(None, text);
    }
});
