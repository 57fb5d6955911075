//! `greyctl why TARGET`: where a target's memory is, what holds it there, and
//! what would help.
//!
//! [`command`] puts it together, [`gather`] (with [`sharers`]) reads, [`findings`] (with [`parts`],
//! [`shared_memory`] and [`left_behind`]) and [`advice`] turn what was read into sentences, [`document`] is what is published,
//! [`report`] shows it.

mod advice;
mod command;
pub(crate) mod document;
mod findings;
mod gather;
mod kernel_memory;
mod left_behind;
mod limits;
mod parts;
mod report;
mod shared_memory;
mod sharers;

pub(super) use command::run;
