//! `greyctl why TARGET`: where a target's memory is, what holds it there, and
//! what would help.
//!
//! [`command`] puts it together, [`gather`] reads, [`findings`] and [`advice`]
//! turn what was read into sentences, [`document`] is what is published,
//! [`report`] shows it.

mod advice;
mod command;
pub(crate) mod document;
mod findings;
mod gather;
mod limits;
mod report;

pub(super) use command::run;
