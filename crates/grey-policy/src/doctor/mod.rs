//! Facts about a machine to findings: what is well, what is worth knowing, what
//! is in the way, and what mends it.
//!
//! Every rule is a small function of the facts that names its source: a kernel
//! document, a manual page, or "this project's advice" where a number is advice
//! and no fact of the kernel. Nothing is judged by a kernel's version, and what
//! could not be read is [`CheckState::Unknown`], never well.

mod commitment;
mod finding;
mod here;
mod killers;
mod merging;
mod observing;
mod state;
mod swap;
mod sysctl;
#[cfg(test)]
mod tests;

use grey_model::DoctorFacts;

pub use finding::{CheckState, Finding, NoCommand, Remedy};

/// One rule.
type Rule = fn(&DoctorFacts) -> Finding;

/// Every rule, in the order in which findings of one state are shown.
const RULES: &[Rule] = &[
    here::kernel,
    here::container,
    here::control_groups,
    here::own_limit,
    here::memory_reclaim,
    here::process_madvise,
    swap::landing_zone,
    swap::order,
    swap::zram_size,
    swap::zram_backing,
    swap::zswap,
    sysctl::swappiness,
    sysctl::page_cluster,
    sysctl::min_free,
    sysctl::watermarks,
    sysctl::vfs_cache_pressure,
    commitment::overcommit,
    killers::panic_on_oom,
    killers::kill_allocating_task,
    killers::daemons,
    merging::huge_pages,
    merging::huge_page_stalls,
    merging::same_pages,
    observing::pressure,
    observing::generations,
    observing::access_monitor,
    observing::page_scan,
    observing::hidden_processes,
    here::capabilities,
    here::open_files,
    here::address_limits,
    state::directory,
    state::journal,
    state::changes,
    state::disk,
    state::history,
];

/// Judges `facts` by every rule: what is worst comes first.
#[must_use]
pub fn examine(facts: &DoctorFacts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = RULES.iter().map(|rule| rule(facts)).collect();
    if facts.setup.host.container {
        for finding in &mut findings {
            finding.belongs_to_the_machine();
        }
    }
    findings.sort_by_key(|finding| finding.state);
    findings
}
