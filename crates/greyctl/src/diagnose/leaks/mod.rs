//! `memory-diagnose --detect-leaks`: look for a while, then say what grows.
//!
//! [`watch`] reads again and again, or [`recall`] takes what history has, [`follow`] keeps what was read apart by
//! process, group and cgroup, [`shared`] what of shared memory is a process's own
//! doing, [`verdicts`] has it judged, [`report`] shows it.
//! Nothing is decided here: the rule is `grey_policy::leak`.

pub(crate) mod document;
mod follow;
mod progress;
mod recall;
pub(super) mod report;
mod shared;
mod verdicts;
mod watch;

pub(crate) use progress::WindowBar;
pub(crate) use recall::{Recorded, growth, recall};
pub(super) use verdicts::{enough, judge, warn_of_short_window};
pub(crate) use watch::{Watched, watch};
