//! Turns what was read into decisions: what may be done, in which order, what
//! it should bring, and what is refused and why.
//!
//! Pure: no file is opened and no clock is read here. The same facts always
//! give the same plan.

mod cgroup_limits;
pub mod cold;
pub mod comparable;
mod comparison;
mod compressed;
pub mod doctor;
mod drop_caches;
pub mod groups;
mod kills;
mod ksm;
pub mod leak;
mod left_over;
mod page_out;
mod plan;
mod process_settings;
mod reclaim;
pub mod reclaimable;
mod refusals;
mod route;
mod theirs;

pub use comparison::{CompareError, compare};
pub use kills::{
    KillFacts, TimedRecord, explain_exit_code, explain_kills, explain_nobody_killed, named_targets,
    unlogged_kills,
};
pub use plan::plan;
