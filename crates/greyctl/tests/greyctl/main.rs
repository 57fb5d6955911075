//! `greyctl` as people and scripts meet it: the real binary, its output and its
//! exit codes, on a fake kernel and where that proves nothing, on this one.

#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test, which is what it is for"
)]

mod cold;
mod command_line;
mod comparison;
mod diagnosis;
mod doctor;
mod documents;
mod enforcement;
mod harness;
mod hints;
mod history;
mod history_damage;
mod history_leaks;
mod history_moments;
mod history_targets;
mod interruption;
mod kills;
mod leaks;
mod recovery;
mod simulation;
mod watch;
mod watch_terminal;
mod why;
