//! `greyctl doctor`: how this machine is set up for its memory, what of it
//! matters, and the command that mends it.
//!
//! [`command`] puts it together, [`state`] looks at what we keep, [`mend`] makes
//! commands of remedies, [`document`] is what is published, [`report`] shows it.

mod command;
pub(crate) mod document;
mod mend;
mod report;
mod state;

pub(crate) use command::run;
