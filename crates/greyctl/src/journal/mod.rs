//! `greyctl journal`: what memory-enforce changed, by whom, and why.

mod command;
pub(crate) mod document;
mod report;

pub(crate) use command::run;
