//! Every way to tell cold memory, in the order of preference, and why it was
//! used or not.
//!
//! Pure: reasons become a list.

use grey_model::{ColdCandidate, ColdMethod};
use grey_telemetry::cold::OtherSources;

/// What is known of the three methods: `Ok` of one that was used, else why not.
pub(super) struct Reasons {
    /// Ages as they are.
    pub(super) ages: Result<(), String>,
    /// Ages, aged by us.
    pub(super) aging: Result<(), String>,
    /// Marks of use, cleared by us.
    pub(super) marks: Result<(), String>,
}

/// The whole list.
pub(super) fn candidates(reasons: Reasons, others: OtherSources) -> Vec<ColdCandidate> {
    let ours = [
        (
            ColdMethod::GenerationAges,
            reasons.ages,
            "the kernel keeps the age of every page of a cgroup by itself",
        ),
        (
            ColdMethod::GenerationAging,
            reasons.aging,
            "the kernel looked at every page of the cgroup at both ends of the window",
        ),
        (
            ColdMethod::ClearedReferences,
            reasons.marks,
            "the marks of use of every mapped page were taken away and looked at again",
        ),
    ];
    let mut all: Vec<ColdCandidate> = ours
        .into_iter()
        .map(|(method, outcome, merit)| ColdCandidate {
            method: method.word().to_owned(),
            used: outcome.is_ok(),
            reason: outcome.err().unwrap_or_else(|| merit.to_owned()),
        })
        .collect();
    let never = |method: &str, reason: &str| ColdCandidate {
        method: method.to_owned(),
        used: false,
        reason: reason.to_owned(),
    };
    all.push(never(
        "damon",
        if others.damon {
            "it guesses from samples, and its settings are the whole machine's: what is above \
             looks at every page and changes no setting"
        } else {
            "this kernel has none to be set up (Linux 5.18, CONFIG_DAMON_SYSFS)"
        },
    ));
    all.push(never(
        "pagemap-scan",
        "it tells what was written alone, and needs what cleared-references needs, which tells \
         what was read, too",
    ));
    all.push(never(
        "idle-pages",
        if others.page_idle {
            "it works on the machine's physical pages, one by one: cleared-references tells the \
             same of a process"
        } else {
            "this kernel has no idle page tracking (CONFIG_IDLE_PAGE_TRACKING)"
        },
    ));
    all
}
