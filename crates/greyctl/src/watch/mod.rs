//! `greyctl memory-watch`: a live view of where the memory goes.
//!
//! [`sampler`] and [`past`] read; what they read is a [`shot`]. [`state`] is
//! what a person has chosen to see of it, [`keys`] changes that, [`rows`]
//! filters and sorts, [`views`] draw. [`terminal`] is the one place that talks
//! to a terminal, [`plain`] is for where there is none.
//!
//! Nothing of it changes the machine; an undo is the `rollback` command's.

mod command;
mod commands;
mod fold;
mod follow;
mod gone;
mod group_target;
mod keyboard;
mod keys;
mod known;
mod look;
mod model;
pub(crate) mod options;
mod past;
mod plain;
mod rows;
mod sampler;
mod series;
mod shot;
mod signals;
mod source;
mod state;
mod terminal;
#[cfg(test)]
mod testkit;
mod views;

pub(crate) use command::run;
