//! `greyctl record` and `greyctl history`: samples of the machine kept in
//! files, and what they say.
//!
//! [`record`] writes, with the [`black_box`] beside it; [`command`] reads, and
//! [`export`] gives it to other programs; [`past`] makes what was then into what
//! the other commands show, of which [`target`] finds what was named, folded as
//! [`folds`] allows.

mod black_box;
pub(crate) mod command;
pub(crate) mod document;
mod export;
pub(crate) mod folds;
pub(crate) mod options;
pub(crate) mod past;
pub(crate) mod record;
mod report;
pub(crate) mod target;

pub(crate) use command::run;
pub(crate) use record::run as record;
