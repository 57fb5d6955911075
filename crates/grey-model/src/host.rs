//! What the machine is: kernel, boot, control groups, its totals.
//!
//! Never derives anything from a kernel version: features are probed.

use serde::{Deserialize, Serialize};

use crate::identity::BootId;
use crate::meminfo::Meminfo;
use crate::units::Bytes;

/// How control groups are mounted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CgroupMode {
    /// One v2 tree with the memory controller.
    V2,
    /// One v2 tree, but without the memory controller at its root.
    V2WithoutMemory,
    /// v1 trees and a v2 tree; the memory controller is on v1.
    Hybrid,
    /// v1 trees only.
    V1,
    /// Nothing is mounted.
    None,
}

impl CgroupMode {
    /// Whether memory is accounted and limited through v2 here.
    #[must_use]
    pub const fn has_v2_memory(self) -> bool {
        matches!(self, Self::V2)
    }
}

/// What does not change while a machine runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostFacts {
    /// `uname -r`; `None`: procfs does not tell.
    pub kernel: Option<String>,
    /// This boot.
    pub boot_id: Option<BootId>,
    /// How control groups are mounted.
    pub cgroup_mode: CgroupMode,
    /// The base page size.
    pub page_size_bytes: u64,
    /// Whether systemd is PID 1 (its runtime directory exists).
    pub systemd: bool,
    /// Whether we look from inside a container.
    pub container: bool,
}

/// The four numbers that people ask for first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SystemTotals {
    /// `MemTotal`.
    #[serde(rename = "total_bytes")]
    pub total: Bytes,
    /// `MemAvailable`; on kernels before 3.14 `None`.
    #[serde(rename = "available_bytes")]
    pub available: Option<Bytes>,
    /// Total less available, as `free` of procps 4 prints it; total less free
    /// where the kernel gives no estimate of what is available.
    #[serde(rename = "used_bytes")]
    pub used: Bytes,
    /// `MemFree`.
    #[serde(rename = "free_bytes")]
    pub free: Bytes,
}

impl SystemTotals {
    /// The totals in a meminfo; `None` when it lacks `MemTotal` or `MemFree`.
    #[must_use]
    pub fn from_meminfo(meminfo: &Meminfo) -> Option<Self> {
        let total = meminfo.mem_total?;
        let free = meminfo.mem_free?;
        let available = meminfo.mem_available;
        let used = total.saturating_sub(available.unwrap_or(free));
        Some(Self {
            total,
            available,
            used,
            free,
        })
    }
}
