//! Fuzzes the parsers of settings that are a word or a mask: transparent huge
//! pages, the multi-generational LRU, the kernel's command line.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let _ = grey_telemetry::sys::transparent_hugepage::parse_choice(text);
    let _ = grey_telemetry::sys::lru_gen::parse_mask(text);
    let _ = grey_telemetry::proc::command_line::parse_psi_parameter(text);
});
