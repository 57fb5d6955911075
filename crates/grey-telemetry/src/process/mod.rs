//! Processes: one file of this module for each kernel file below `/proc/PID`,
//! then readers of one process, of all, and of all again and again.
//!
//! Never fails a run because of one process: those that vanish, that may not
//! be read or that have no memory are counted, and never shown as 0.

pub mod anonymous;
pub mod cgroup;
pub mod cmdline;
#[cfg(test)]
mod imitation;
mod kib;
pub mod ksm_stat;
pub mod largest;
mod largest_groups;
pub mod list;
pub mod maps;
pub mod oom_score;
pub mod program;
mod pss_budget;
pub mod pss_tracker;
pub mod reading;
pub mod rss_tracker;
pub mod scan;
pub mod share;
pub mod sharers;
mod single_read;
pub mod smaps;
pub mod smaps_rollup;
pub mod snapshot;
pub mod stat;
pub mod statm;
pub mod status;
pub mod tracked_pss;

pub use anonymous::{AnonymousMemory, read_anonymous};
pub use largest::{LargestOptions, LargestProcesses};
pub use list::{ProcessList, hides_processes, process_listing};
pub use program::{Program, ProgramLayout};
pub use pss_tracker::{PssTick, PssTracker};
pub use reading::{Detail, ProcessReading, Scratch, read_process};
pub use rss_tracker::{RssTick, RssTracker, TrackedRss};
pub use scan::{MemoryPass, Passed, ProcessScan, RssPass};
pub use share::useful_threads;
pub use sharers::{SharedFile, SharedFiles, Sharer, read_sharers};
pub use smaps::{ProcessMappings, read_mappings};
pub use smaps_rollup::SmapsRollup;
pub use snapshot::{ProcessSnapshot, full_snapshot};
pub use statm::Statm;
pub use tracked_pss::TrackedPss;
