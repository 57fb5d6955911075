//! Kills in logs: kernel logs of every format since Linux 5.4, systemd's and
//! systemd-oomd's lines, those of earlyoom and nohang.
//!
//! [`KillLog`] takes bytes as they come and gives the records. [`line`] takes
//! the wrapping off a line, [`kernel`] and [`service`] understand what was said,
//! [`assembly`] puts the lines of one report together, which [`apart`] tells from
//! those of another day; `runs` follows how long each unit runs. Nothing here opens a
//! file but [`kmsg`], and nothing panics or grows with what a log holds.

mod apart;
pub mod assembly;
pub mod find;
pub mod kernel;
pub mod kmsg;
pub mod line;
pub mod log;
mod runs;
pub mod service;
pub mod stamp;

pub use log::{KillLog, LogFindings};
