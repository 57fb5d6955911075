//! `greyctl memory-diagnose`: a true account of where the memory is.
//!
//! [`command`] reads, [`document`] is what was read, the rest shows it.

mod cgroups;
pub(crate) mod command;
pub(crate) mod document;
mod groups;
mod leaks;
mod machine;
mod notes;
mod processes;
mod recorded;
mod report;

pub(crate) use command::run;
