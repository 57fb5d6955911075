//! `greyctl record` and `greyctl history`: samples of the machine kept in
//! files, and what they say.
//!
//! [`record`] writes, [`command`] reads; [`past`] makes what was then into what
//! the other commands show.

pub(crate) mod command;
pub(crate) mod document;
pub(crate) mod past;
pub(crate) mod record;
mod report;

pub(crate) use command::run;
pub(crate) use record::run as record;
