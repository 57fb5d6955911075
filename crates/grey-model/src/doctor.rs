//! What `doctor` looks at: how this machine is set up for its memory, gathered
//! once and judged purely.
//!
//! Never takes what could not be read for what is not there: [`Reading`] keeps
//! the two apart.

use crate::facts::Features;
use crate::host::HostFacts;
use crate::ksm::KsmState;
use crate::meminfo::Meminfo;
use crate::pressure::Pressure;
use crate::swap::{SwapDevice, Zram, Zswap};
use crate::units::Bytes;

/// What was found where something was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading<T> {
    /// It says this.
    Known(T),
    /// There is no such thing here.
    Absent,
    /// It cannot be known; why, as a clause.
    Unknown(String),
}

impl<T> Reading<T> {
    /// What it says.
    ///
    /// # Errors
    /// Why it says nothing, as a clause.
    pub fn look(&self) -> Result<&T, String> {
        match self {
            Self::Known(value) => Ok(value),
            Self::Absent => Err("this kernel has no such file".to_owned()),
            Self::Unknown(reason) => Err(reason.clone()),
        }
    }

    /// What it says; `None` where it is absent or not known.
    #[must_use]
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::Unknown(_) => None,
        }
    }
}

/// Numbers of `linux/capability.h` that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Passes over the permissions of files: cgroup files of others.
    DacOverride = 1,
    /// Looks into the memory of others.
    SysPtrace = 19,
    /// Settings of the kernel.
    SysAdmin = 21,
    /// Pages out the memory of others.
    SysNice = 23,
    /// Lowers OOM scores, raises hard limits, arms fast pressure triggers.
    SysResource = 24,
    /// Reads the kernel's log where that is restricted.
    Syslog = 34,
}

impl Capability {
    /// As the kernel's documentation writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DacOverride => "CAP_DAC_OVERRIDE",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysNice => "CAP_SYS_NICE",
            Self::SysResource => "CAP_SYS_RESOURCE",
            Self::Syslog => "CAP_SYSLOG",
        }
    }
}

/// Who we are and what we may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Effective user id 0.
    pub root: bool,
    /// The effective set, a bit for each number.
    pub effective: u64,
}

impl Capabilities {
    /// Whether `capability` is in the effective set.
    #[must_use]
    pub const fn has(self, capability: Capability) -> bool {
        self.effective & (1 << capability as u64) != 0
    }
}

/// A resource limit; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceLimit {
    /// What holds now.
    pub soft: Option<u64>,
    /// Up to what it may be raised.
    pub hard: Option<u64>,
}

/// The limits of our own process, which whatever is started from the same
/// shell has, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResourceLimits {
    /// RLIMIT_NOFILE, a count.
    pub open_files: Option<ResourceLimit>,
    /// RLIMIT_AS, bytes.
    pub address_space: Option<ResourceLimit>,
    /// RLIMIT_DATA, bytes.
    pub data: Option<ResourceLimit>,
}

/// `/proc/sys/vm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmSettings {
    /// `swappiness`, 0 to 200.
    pub swappiness: Reading<u64>,
    /// `page-cluster`: 2 to this power pages are read from swap at once.
    pub page_cluster: Reading<u64>,
    /// `min_free_kbytes`, KiB.
    pub min_free_kib: Reading<u64>,
    /// `watermark_scale_factor`, in 10,000ths of memory.
    pub watermark_scale_factor: Reading<u64>,
    /// `vfs_cache_pressure`, 100 is even.
    pub vfs_cache_pressure: Reading<u64>,
    /// `overcommit_memory`: 0 heuristic, 1 always, 2 never.
    pub overcommit_memory: Reading<u64>,
    /// `overcommit_ratio`, percent of memory.
    pub overcommit_ratio: Reading<u64>,
    /// `overcommit_kbytes`, KiB; 0: the ratio counts.
    pub overcommit_kib: Reading<u64>,
    /// `panic_on_oom`: 0, 1, 2.
    pub panic_on_oom: Reading<u64>,
    /// `oom_kill_allocating_task`: 0 or not.
    pub oom_kill_allocating_task: Reading<u64>,
}

/// `/sys/kernel/mm/transparent_hugepage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HugePageSettings {
    /// `enabled`: `always`, `madvise`, `never`.
    pub enabled: Reading<String>,
    /// `defrag`: `always`, `defer`, `defer+madvise`, `madvise`, `never`.
    pub defrag: Reading<String>,
    /// `khugepaged/max_ptes_none`: how many pages that are not there yet may
    /// be made to complete a huge one.
    pub max_ptes_none: Reading<u64>,
}

/// A program that kills when memory is short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OomDaemon {
    /// `systemd-oomd`, `earlyoom`, `nohang`, `oomd`.
    pub name: &'static str,
    /// Its pid.
    pub pid: u32,
    /// The unit of the system's systemd that it runs in.
    pub unit: Option<String>,
}

/// The strictest `memory.max` above our own process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnMemoryLimit {
    /// The cgroup that has it.
    pub cgroup: String,
    /// The limit.
    pub limit: Bytes,
}

/// The state directory itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryFacts {
    /// Whether it is one.
    pub is_directory: bool,
    /// To whom it belongs.
    pub owner: u32,
    /// As whom we run.
    pub us: u32,
    /// Its permissions.
    pub mode: u32,
}

/// The journal of changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalFacts {
    /// Changes that hold.
    pub holding: u64,
    /// Of these, with a lease that is over.
    pub overdue: u64,
    /// Changes that wait for a decision: somebody else has set another value.
    pub conflicts: u64,
    /// What of it is lost, each a sentence.
    pub lost: Vec<String>,
    /// Why nothing can be recorded in it now.
    pub refused: Option<String>,
}

/// Samples that were recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryFacts {
    /// Its files together.
    pub size: Bytes,
    /// How many samples can be read; `None` where it could not be opened.
    pub samples: Option<u64>,
    /// How long ago the one was taken that was taken last, whatever the clock said of
    /// others; negative: in the future.
    pub last_age_seconds: Option<i64>,
    /// Whether a recorder is at work now; `None` where that could not be asked.
    pub is_being_recorded: Option<bool>,
    /// Which parts are damaged, each a sentence.
    pub lost: Vec<String>,
    /// What is in its files twice, each a sentence: nothing is missing.
    pub repeated: Vec<String>,
    /// Which files could not be read, each a sentence: what is in them is not
    /// known to be damaged.
    pub unreadable: Vec<String>,
    /// The names of the files that a newer version has written: they are not
    /// read, and left as they are.
    pub newer: Vec<String>,
    /// Whether all samples were looked at, or the time was up before.
    pub looked_at_all: bool,
    /// The folder and its permission bits, where others may write to it: then
    /// nothing is recorded there.
    pub open_to_others: Option<(String, u32)>,
}

/// The file system of the state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskFacts {
    /// What we can still write.
    pub available: Bytes,
    /// How many files can still be made; `None` where it does not count them.
    pub available_files: Option<u64>,
}

/// What is kept below the state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFacts {
    /// Where it is.
    pub path: String,
    /// The directory.
    pub directory: Reading<DirectoryFacts>,
    /// The journal.
    pub journal: Reading<JournalFacts>,
    /// History.
    pub history: Reading<HistoryFacts>,
    /// The room there.
    pub disk: Reading<DiskFacts>,
}

/// Which processes procfs shows us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessListing {
    /// All that there are.
    Whole,
    /// Not those of others.
    HidesOthers,
    /// Not even ourselves: it is no procfs of a running kernel.
    Empty,
}

/// How the kernel of this machine is set up, without the state directory.
#[derive(Debug, Clone, PartialEq)]
pub struct SetupFacts {
    /// The machine.
    pub host: HostFacts,
    /// What the kernel can do.
    pub features: Features,
    /// `/proc/meminfo`.
    pub meminfo: Reading<Meminfo>,
    /// `psi=` on the kernel's command line.
    pub psi_parameter: Option<bool>,
    /// Memory pressure; `Known(None)`: built in, and off.
    pub pressure: Reading<Option<Pressure>>,
    /// Swap devices.
    pub swap: Reading<Vec<SwapDevice>>,
    /// Initialised zram devices.
    pub zram: Reading<Vec<Zram>>,
    /// Devices behind zram: which zram, which device.
    pub zram_backing: Vec<(String, String)>,
    /// zswap.
    pub zswap: Reading<Zswap>,
    /// KSM.
    pub ksm: Reading<KsmState>,
    /// Transparent huge pages.
    pub huge_pages: HugePageSettings,
    /// `/sys/kernel/mm/lru_gen/enabled`, a mask.
    pub mglru: Reading<u64>,
    /// DAMON's directory.
    pub damon: Reading<()>,
    /// The ioctl PAGEMAP_SCAN.
    pub pagemap_scan: Reading<()>,
    /// `/proc/sys/vm`.
    pub vm: VmSettings,
    /// What we may do.
    pub capabilities: Reading<Capabilities>,
    /// Our own resource limits.
    pub limits: Reading<ResourceLimits>,
    /// Which processes procfs shows.
    pub processes: ProcessListing,
    /// Programs that kill when memory is short; unknown where processes hide.
    pub daemons: Reading<Vec<OomDaemon>>,
    /// Servers that run here and that huge pages are known to hurt, by name.
    pub sparse_servers: Vec<String>,
    /// The strictest limit on ourselves; absent: there is none.
    pub own_limit: Reading<OwnMemoryLimit>,
}

/// Everything that `doctor` looks at.
#[derive(Debug, Clone, PartialEq)]
pub struct DoctorFacts {
    /// The machine and its kernel.
    pub setup: SetupFacts,
    /// What is kept below the state directory.
    pub state: StateFacts,
}
