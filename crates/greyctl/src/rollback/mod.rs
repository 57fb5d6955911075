//! `greyctl rollback`: put back what memory-enforce changed.

mod command;
pub(crate) mod document;
pub(crate) mod expired;
mod report;

pub(crate) use command::run;
pub(crate) use report::changes;
