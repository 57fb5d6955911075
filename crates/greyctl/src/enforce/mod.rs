//! `greyctl memory-enforce`: take memory back, and prove what that did.
//!
//! [`command`] runs it, [`planning`] gathers and plans, [`progress`] shows
//! what is under way, [`document`] is what is published, [`report`] what
//! people read.

mod command;
pub(crate) mod document;
mod planning;
mod progress;
pub(crate) mod report;

pub(crate) use command::run;
