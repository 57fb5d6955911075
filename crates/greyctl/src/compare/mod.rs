//! `greyctl diff`: what changed between two diagnoses.
//!
//! [`command`] takes or reads them, [`file`] keeps them, [`only`] narrows them to
//! targets, [`document`] is the comparison, [`report`] shows it.

pub(crate) mod command;
pub(crate) mod document;
pub(crate) mod file;
mod only;
mod report;

pub(crate) use command::run;
