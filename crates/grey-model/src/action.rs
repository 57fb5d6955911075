//! What a person asks for.
//!
//! A request says nothing about how: policy turns it into a plan.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limit::MemoryLimit;
use crate::target::Target;
use crate::units::Bytes;

/// The lowest `memory.max` that is ever set: 64 MB.
pub const LIMIT_FLOOR: Bytes = Bytes::from_mib(64);

/// What `drop_caches` is told to drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DropCaches {
    /// 1: clean page cache.
    PageCache,
    /// 2: reclaimable slab.
    Slab,
    /// 3: both.
    Both,
}

impl DropCaches {
    /// The digit that the kernel reads.
    #[must_use]
    pub const fn digit(self) -> &'static str {
        match self {
            Self::PageCache => "1",
            Self::Slab => "2",
            Self::Both => "3",
        }
    }
}

/// How fast KSM scans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum KsmSpeed {
    /// As it is set.
    AsIs,
    /// 1,000 pages every 20 ms, about 37 MiB/s of identical data.
    Aggressive,
}

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Take this much back from the target's cgroup.
    Reclaim {
        /// How much.
        amount: Bytes,
    },
    /// Set `memory.high`.
    High {
        /// To what.
        limit: MemoryLimit,
    },
    /// Set `memory.max`.
    Limit {
        /// To what.
        limit: MemoryLimit,
    },
    /// Page out the target's processes from outside.
    PageOut,
    /// Drop the machine's clean caches.
    DropCaches {
        /// Which.
        what: DropCaches,
    },
    /// Start KSM.
    EnableKsm {
        /// How fast.
        speed: KsmSpeed,
    },
    /// Set the target's OOM score correction.
    OomScoreAdj {
        /// -1000 to 1000.
        value: i16,
    },
    /// Limit the target's data segment and private writable mappings.
    RlimitData {
        /// The soft limit.
        limit: Bytes,
    },
}

impl Action {
    /// Its name in plans, journals and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reclaim { .. } => "reclaim",
            Self::High { .. } => "high",
            Self::Limit { .. } => "limit",
            Self::PageOut => "page_out",
            Self::DropCaches { .. } => "drop_caches",
            Self::EnableKsm { .. } => "enable_ksm",
            Self::OomScoreAdj { .. } => "oom_score_adj",
            Self::RlimitData { .. } => "rlimit_data",
        }
    }

    /// Whether it needs a target.
    #[must_use]
    pub const fn needs_target(self) -> bool {
        !matches!(self, Self::DropCaches { .. } | Self::EnableKsm { .. })
    }
}

/// Everything that one run was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnforcementRequest {
    /// What to act on; `None` when every action is about the whole machine.
    pub target: Option<Target>,
    /// What to do, in the order to do it.
    pub actions: Vec<Action>,
    /// Undo everything after this time.
    pub lease: Option<Duration>,
    /// Why, for the journal.
    pub reason: String,
}
