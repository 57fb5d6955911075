//! Cold memory: what was not used for a while, how that was told, and how far
//! it can be believed.
//!
//! Only the words. Nothing is estimated here: the rules are in `grey-policy`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::identity::CgroupPath;
use crate::units::Bytes;

/// A way to tell cold memory, in the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ColdMethod {
    /// The ages of the kernel's generations of pages, as they are: nothing is
    /// written, and use since the kernel's last aging is not seen.
    GenerationAges,
    /// The same generations, aged by us at both ends of a window.
    GenerationAging,
    /// Marks of use cleared with `clear_refs`, and read again after a window.
    ClearedReferences,
}

impl ColdMethod {
    /// The word that people read, the same as in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::GenerationAges => "generation-ages",
            Self::GenerationAging => "generation-aging",
            Self::ClearedReferences => "cleared-references",
        }
    }
}

impl fmt::Display for ColdMethod {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.word())
    }
}

/// Pages that were last seen in use at about the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// Its number; a younger one has a higher number.
    pub number: u64,
    /// How long ago it began.
    pub age: Duration,
    /// Anonymous memory and tmpfs in it.
    pub anonymous: Bytes,
    /// Page cache in it.
    pub file: Bytes,
}

impl Generation {
    /// All of it.
    #[must_use]
    pub const fn bytes(&self) -> Bytes {
        self.anonymous.saturating_add(self.file)
    }
}

/// The generations of one cgroup (without those below it) on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationList {
    /// Which cgroup.
    pub cgroup: CgroupPath,
    /// The kernel's number for it, which aging is asked by.
    pub memcg: u64,
    /// The memory node.
    pub node: u32,
    /// Oldest first.
    pub generations: Vec<Generation>,
}

/// What was cold over one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ColdWindow {
    /// Not used for this long.
    pub window_seconds: u64,
    /// How much that is; `null` when the method saw nothing of this window.
    #[serde(rename = "cold_bytes")]
    pub cold: Option<Bytes>,
    /// How far it can be believed.
    pub uncertainty: ColdUncertainty,
}

/// Between what the true amount lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ColdUncertainty {
    /// At least so much is cold.
    #[serde(rename = "at_least_bytes")]
    pub at_least: Bytes,
    /// At most so much is.
    #[serde(rename = "at_most_bytes")]
    pub at_most: Bytes,
}

/// What telling it took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ColdCost {
    /// Pages that the kernel looked at for us; 0 when it only printed what it
    /// knew.
    pub pages_walked: u64,
    /// Time on a CPU, ours and the kernel's for us; `null` when it was not
    /// measured.
    pub cpu_seconds: Option<f64>,
    /// Files that were written.
    pub writes: u64,
}

/// Why a method was used or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ColdCandidate {
    /// Which: a [`ColdMethod`]'s word, or the name of one that never serves.
    pub method: String,
    /// Whether it was used.
    pub used: bool,
    /// Why not, or what it rests on; one sentence without a full stop.
    pub reason: String,
}

/// How much of a target was not used for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ColdMemory {
    /// The target as it was typed.
    pub target: String,
    /// How it was told; `null` when nothing serves here.
    pub method: Option<ColdMethod>,
    /// How much was looked at; `null` without a method.
    #[serde(rename = "counted_bytes")]
    pub counted: Option<Bytes>,
    /// How long ago the kernel last looked which pages are in use: what was
    /// used since then counts as cold all the same. `null` where nothing is
    /// missed.
    pub blind_seconds: Option<f64>,
    /// What is cold, the shortest window first.
    pub windows: Vec<ColdWindow>,
    /// What telling it took.
    pub cost: ColdCost,
    /// What it changed for the kernel and the target; `null` when nothing was
    /// written.
    pub disturbs: Option<String>,
    /// What to keep in mind, each a sentence without a full stop.
    pub remarks: Vec<String>,
    /// Every method in the order of preference, and why it was used or not.
    pub candidates: Vec<ColdCandidate>,
}

impl ColdMemory {
    /// The window of `seconds`, where something is known of it.
    #[must_use]
    pub fn window(&self, seconds: u64) -> Option<&ColdWindow> {
        self.windows
            .iter()
            .find(|window| window.window_seconds == seconds && window.cold.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_reads_as_it_is_written_in_json() {
        for method in [
            ColdMethod::GenerationAges,
            ColdMethod::GenerationAging,
            ColdMethod::ClearedReferences,
        ] {
            let json = serde_json::to_string(&method).unwrap();
            assert_eq!(json, format!("\"{method}\""));
        }
    }
}
