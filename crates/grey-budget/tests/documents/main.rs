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
