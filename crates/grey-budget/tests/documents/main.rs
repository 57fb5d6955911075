//! The code examples of the three documents that this crate answers, through
//! the public interface alone, with their numbers and messages.
//!
//! | Document | Here | Beside it |
//! |---|---|---|
//! | memory management guide | `tracking_and_eviction` | `tests/document_001_tracker.rs` (tracker, breakdown, diagnostics, leaks, ratio), `tests/document_001_config.rs` (every file, variable, reload, observer), `tests/config_reload.rs` (SIGHUP) |
//! | resource limits and management | `component_limits` | `tests/document_002_tracker.rs` (tracker, table of levels, gauges), `tests/document_001_config.rs` (section `resources`, its variables) |
//! | memory limit enforcement | `process_limits` | `tests/document_003.rs` (every call and log line, limits really set) |
//!
//! Shell commands of the documents (`ulimit`, `docker run`, `kubectl`, `dmesg`)
//! are no code of ours and have no test.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its functions too"
)]

#[path = "../captured_log/mod.rs"]
mod captured_log;
mod component_limits;
mod process_limits;
mod program;
mod tracking_and_eviction;

/// The lines between the first fence that is `begin` and the next one.
fn fenced(text: &str, begin: &str) -> Vec<String> {
    text.lines()
        .skip_while(|line| *line != begin)
        .skip(1)
        .take_while(|line| !line.contains("```"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_example_in_the_readme_is_the_one_of_the_library() {
    let crate_root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(crate_root.join(path)).unwrap();
    let readme = fenced(&read("../../README.md"), "```rust");
    let library: String = (read("src/lib.rs").lines())
        .filter_map(|line| line.strip_prefix("//!"))
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)))
        .collect();
    assert!(readme.len() > 15);
    assert_eq!(readme, fenced(&library, "```rust"));
}
