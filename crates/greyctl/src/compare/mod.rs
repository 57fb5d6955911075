//! `greyctl diff`: what changed between two diagnoses.
//!
//! [`command`] takes or reads them, [`file`] keeps them, [`document`] is the
//! comparison, [`report`] shows it.

pub(crate) mod command;
pub(crate) mod document;
pub(crate) mod file;
mod report;

pub(crate) use command::run;
