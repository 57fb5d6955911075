//! `greyctl why`: why a target is as large as it is ([`target`]), or, with
//! `--killed`, who was killed, by whom, and what to do about it.
//!
//! [`options`] is the command line, [`command`] puts it together, [`sources`]
//! and [`journal`] read the logs, [`grown`] asks history,
//! [`last_minute`] its dumps, [`victims`] where those were whom a program killed, [`clock`] makes their times comparable,
//! [`document`] is what is published, [`report`] shows it, [`growth`] who grew, and
//! [`nobody_killed`] where the kernel killed none.

mod clock;
pub(crate) mod command;
pub(crate) mod document;
mod grown;
mod growth;
mod journal;
mod last_minute;
mod nobody_killed;
pub(crate) mod options;
mod report;
mod sources;
pub(crate) mod target;
mod victims;

pub(crate) use command::run;
