//! The files of procfs that describe the whole machine.
//!
//! One module for one kernel file. Nothing about a single process is read here.

pub mod boot_id;
pub mod command_line;
pub mod meminfo;
pub mod osrelease;
pub mod pressure;
pub mod swaps;
pub mod vm_settings;
pub mod vmstat;
pub mod zoneinfo;
