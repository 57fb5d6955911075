//! Processes folded into groups, and what a group holds together.

use serde::{Deserialize, Serialize};

use crate::identity::ProcessId;
use crate::text::KernelText;
use crate::units::Bytes;

/// By what processes are folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    /// The kernel's name for the process.
    Program,
    /// The systemd unit that its cgroup names.
    Unit,
    /// The container that its cgroup names.
    Container,
    /// Whose it is.
    User,
    /// Its cgroup.
    Cgroup,
    /// The process below init, or below a container's first, that it stems from.
    Tree,
}

/// Processes that belong together.
///
/// Sums are over the members of which the amount is known; how many those are
/// stands beside each. PSS of processes that share memory adds up, RSS counts
/// shared pages for each.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessGroup {
    /// What the members have in common: a program's name, a unit, …; `null`
    /// for those that have none, as outside of any container. Its bytes tell
    /// groups apart, however it is printed.
    pub name: Option<KernelText>,
    /// How many processes it has.
    pub count: u64,
    /// The sum of RSS.
    #[serde(rename = "rss_bytes")]
    pub rss: Bytes,
    /// Members whose RSS is unknown.
    pub rss_unknown: u64,
    /// The sum of PSS.
    #[serde(rename = "pss_bytes")]
    pub pss: Bytes,
    /// Members whose PSS is unknown.
    pub pss_unknown: u64,
    /// What would be free if all of them ended, at least: the sum of USS.
    #[serde(rename = "uss_bytes")]
    pub uss: Bytes,
    /// Members whose USS is unknown.
    pub uss_unknown: u64,
    /// The sum of swap.
    #[serde(rename = "swap_bytes")]
    pub swap: Bytes,
    /// How long ago the oldest member started; `null` where the time since
    /// boot is unknown.
    pub oldest_seconds: Option<u64>,
    /// For how long, at least, no member has been on a CPU, as far as history
    /// tells; `null` where it does not.
    pub idle_seconds: Option<u64>,
    /// The members.
    pub members: Vec<ProcessId>,
}
