//! `greyctl diff`: what changed between two diagnoses.
//!
//! [`command`] takes or reads them, [`between`] runs a command between two,
//! [`file`] keeps them, [`only`] narrows them to
//! targets, [`document`] is the comparison, [`report`] shows it.

mod between;
pub(crate) mod command;
pub(crate) mod document;
pub(crate) mod file;
mod only;
mod report;

pub(crate) use command::run;
