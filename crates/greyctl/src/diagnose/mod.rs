//! `greyctl memory-diagnose`: a true account of where the memory is.
//!
//! [`command`] reads, [`document`] is what was read, the rest shows it.

pub(crate) mod cgroups;
pub(crate) mod command;
pub(crate) mod document;
pub(crate) mod gone;
pub(crate) mod groups;
pub(crate) mod leaks;
pub(crate) mod machine;
mod notes;
pub(crate) mod processes;
mod recorded;
mod report;
mod smaller;

pub(crate) use command::run;
