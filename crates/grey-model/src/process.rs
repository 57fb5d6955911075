//! A process and its memory.
//!
//! Never shows what could not be read as 0: it is `None`.

use serde::{Deserialize, Serialize};

use crate::identity::{CgroupPath, ProcessId};
use crate::ksm::ProcessKsm;
use crate::text::KernelText;
use crate::units::Bytes;

/// What a process is doing, from the state letter of `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// `R`
    Running,
    /// `S`
    Sleeping,
    /// `D`: cannot be killed while it waits.
    Uninterruptible,
    /// `T`
    Stopped,
    /// `t`
    Traced,
    /// `Z`: dead, waiting to be collected; it has no memory left.
    Zombie,
    /// `X`
    Dead,
    /// `I`: an idle kernel thread.
    Idle,
    /// Another letter.
    Unknown,
}

/// A process and where its memory is.
///
/// # Kernel
/// `/proc/PID/{stat,status,smaps_rollup,cgroup,cmdline,oom_score,oom_score_adj}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessMemory {
    /// Which process.
    #[serde(flatten)]
    pub id: ProcessId,
    /// The parent's pid; 0 for the first processes.
    pub parent_pid: u32,
    /// The kernel's name for it, at most 15 bytes, chosen by the program.
    pub name: KernelText,
    /// What it is doing.
    pub state: ProcessState,
    /// Whether it is a kernel thread: no memory of its own.
    pub kernel_thread: bool,
    /// Real user id.
    pub user_id: Option<u32>,
    /// The user's name, where the user database has it.
    pub user: Option<String>,
    /// Its command line, arguments separated by spaces; empty for kernel threads.
    pub command_line: Option<KernelText>,
    /// Time on a CPU since it started, user and kernel mode, all threads, in
    /// clock ticks. `None` in what an earlier version wrote.
    pub cpu_time_ticks: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Resident memory. Read together with PSS where that may be read, so that
    /// it is never below it; else the sum of the three parts.
    #[serde(rename = "rss_bytes")]
    pub rss: Option<Bytes>,
    /// Resident anonymous memory. Since 4.5. This and the next two are counters
    /// that are read an instant before: they need not add up to RSS.
    #[serde(rename = "rss_anon_bytes")]
    pub rss_anon: Option<Bytes>,
    /// Resident file pages. Since 4.5.
    #[serde(rename = "rss_file_bytes")]
    pub rss_file: Option<Bytes>,
    /// Resident shared memory and tmpfs. Since 4.5.
    #[serde(rename = "rss_shmem_bytes")]
    pub rss_shmem: Option<Bytes>,
    /// Resident memory, each shared page divided by its users. Since 4.14.
    #[serde(rename = "pss_bytes")]
    pub pss: Option<Bytes>,
    /// The anonymous part of PSS. Since 5.3.
    #[serde(rename = "pss_anon_bytes")]
    pub pss_anon: Option<Bytes>,
    /// The file part of PSS. Since 5.3.
    #[serde(rename = "pss_file_bytes")]
    pub pss_file: Option<Bytes>,
    /// The shared memory part of PSS. Since 5.3.
    #[serde(rename = "pss_shmem_bytes")]
    pub pss_shmem: Option<Bytes>,
    /// Memory that nobody else maps: what would be free if it ended; private
    /// huge pages included.
    #[serde(rename = "uss_bytes")]
    pub uss: Option<Bytes>,
    /// Its pages in swap.
    #[serde(rename = "swap_bytes")]
    pub swap: Option<Bytes>,
    /// Its pages in swap, shared ones divided by their users.
    #[serde(rename = "swap_pss_bytes")]
    pub swap_pss: Option<Bytes>,
    /// Locked in memory.
    #[serde(rename = "locked_bytes")]
    pub locked: Option<Bytes>,
    /// The OOM killer's judgement, 0 to 2000.
    pub oom_score: Option<i32>,
    /// The correction set by somebody, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Its cgroup: v2, or the v1 memory controller's on other machines.
    pub cgroup: Option<CgroupPath>,
    /// The systemd unit that the path names.
    pub unit: Option<String>,
    /// The container that the path names: engine and id.
    pub container: Option<String>,
    /// Its part in KSM.
    pub ksm: Option<ProcessKsm>,
}
