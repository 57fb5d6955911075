//! `greyctl journal`: what memory-enforce changed, by whom, and why.

mod command;
pub(crate) mod document;
mod overdue;
pub(crate) mod report;

pub(crate) use command::{listed, run};
pub(crate) use overdue::{over_since, overdue};
