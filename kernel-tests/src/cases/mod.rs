//! Every case, in the order in which they run.
//!
//! A file of cases is added with one `mod` line and one line in [`FILES`].

use crate::case::Case;

mod bad_surroundings;
mod blocked_writes;
mod budget_examples;
mod cold_memory;
mod compressed_swap;
mod documents;
mod examined_machine;
mod explained_kills;
mod explained_service_kills;
mod growth;
mod guest_itself;
mod hidden_processes;
mod killed_midway;
mod leases;
mod limits;
mod merging;
mod reused_names;
mod systemd_budget_scopes;
mod systemd_killed_midway;
mod systemd_leases;
mod systemd_refusals;
mod systemd_scopes;
mod systemd_units;
mod taking_back;
mod undo;
mod whole_machine;

// One line for each file, so that two people can add theirs at once.
#[rustfmt::skip]
const FILES: &[&[Case]] = &[
    guest_itself::CASES,
    undo::CASES,
    reused_names::CASES,
    bad_surroundings::CASES,
    blocked_writes::CASES,
    leases::CASES,
    killed_midway::CASES,
    systemd_units::CASES,
    systemd_refusals::CASES,
    systemd_scopes::CASES,
    systemd_leases::CASES,
    systemd_killed_midway::CASES,
    merging::CASES,
    taking_back::CASES,
    compressed_swap::CASES,
    limits::CASES,
    whole_machine::CASES,
    hidden_processes::CASES,
    budget_examples::CASES,
    systemd_budget_scopes::CASES,
    explained_kills::CASES,
    explained_service_kills::CASES,
    growth::CASES,
    examined_machine::CASES,
    cold_memory::CASES,
];

/// Every case of every guest.
pub fn all() -> impl Iterator<Item = &'static Case> {
    FILES.iter().copied().flatten()
}
