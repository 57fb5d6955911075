//! What bounds a limit: the machine's memory, the control group's limit, and
//! what architecture and system this is.
//!
//! Never assumes a size: what could not be read is `None`.

use std::fmt;

use grey_model::{Bytes, CgroupPath, MemoryLimit};
use grey_telemetry::cgroup::{open_process_hierarchy, read_cgroup, v2_memory};
use grey_telemetry::proc::meminfo::read_meminfo;
use grey_telemetry::process::cgroup::parse_memory_cgroup;
use grey_telemetry::{Kernel, KernelDirectory, Roots, ascii};

use super::error::LimitError;
use super::rlimit::{LimitCalls as _, LimitKind, LinuxCalls};

/// One GB as the messages count it: 2^30 bytes.
const GIGABYTE: f64 = 1_073_741_824.0;

/// From here on version 1 means "no limit": 2^63 rounded down to whole pages,
/// the largest of which are 64 KiB.
const V1_UNLIMITED: u64 = (1 << 63) - (1 << 16);

/// The machine as far as limits are concerned. Read once, or made up by tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    total: Option<Bytes>,
    cgroup_limit: Option<MemoryLimit>,
    rlimit: Option<(LimitKind, Bytes)>,
    architecture: String,
    operating_system: String,
}

impl Machine {
    /// A machine of `total` memory without a control group limit, of this
    /// program's architecture. `None` is a machine that does not tell.
    #[must_use]
    pub fn new(total: Option<Bytes>) -> Self {
        Self {
            total,
            cgroup_limit: None,
            rlimit: None,
            architecture: std::env::consts::ARCH.to_owned(),
            operating_system: "Linux".to_owned(),
        }
    }

    /// This machine, now.
    #[must_use]
    pub fn read() -> Self {
        Self::read_at(&Roots::default())
    }

    /// The machine whose kernel files are at `roots`.
    #[must_use]
    pub fn read_at(roots: &Roots) -> Self {
        let name = rustix::system::uname();
        let mut machine = Self::new(None);
        machine.architecture = name.machine().to_string_lossy().into_owned();
        machine.operating_system = name.sysname().to_string_lossy().into_owned();
        machine.rlimit = [LimitKind::AddressSpace, LimitKind::Data]
            .into_iter()
            .filter_map(|kind| Some((kind, LinuxCalls.get(kind).soft?)))
            .min_by_key(|(_, limit)| *limit);
        let Ok(kernel) = Kernel::open(roots) else {
            return machine;
        };
        let mut buffer = Vec::new();
        machine.total = read_meminfo(&kernel, &mut buffer)
            .ok()
            .and_then(|meminfo| meminfo.mem_total);
        machine.cgroup_limit = read_own_limit(&kernel, &mut buffer);
        machine
    }

    /// The same in a control group with this limit.
    #[must_use]
    pub const fn with_cgroup_limit(mut self, limit: MemoryLimit) -> Self {
        self.cgroup_limit = Some(limit);
        self
    }

    /// The same with an rlimit on this process.
    #[must_use]
    pub const fn with_rlimit(mut self, kind: LimitKind, limit: Bytes) -> Self {
        self.rlimit = Some((kind, limit));
        self
    }

    /// The same of another architecture, as `uname -m` says it.
    #[must_use]
    pub fn with_architecture(mut self, architecture: &str) -> Self {
        architecture.clone_into(&mut self.architecture);
        self
    }

    /// The same with another system, as `uname -s` says it.
    #[must_use]
    pub fn with_operating_system(mut self, system: &str) -> Self {
        system.clone_into(&mut self.operating_system);
        self
    }

    /// `MemTotal`: all memory that the kernel manages.
    #[must_use]
    pub const fn total(&self) -> Option<Bytes> {
        self.total
    }

    /// The strictest `memory.high` or `memory.max` of our control group and of
    /// all above it that can be seen. `None` when it is not known.
    ///
    /// # Kernel
    /// Version 2: the files themselves. Version 1: `hierarchical_memory_limit`
    /// of `memory.stat`, which the kernel computes over the ancestors.
    /// Ancestors outside our cgroup namespace cannot be seen.
    #[must_use]
    pub const fn cgroup_limit(&self) -> Option<MemoryLimit> {
        self.cgroup_limit
    }

    /// The stricter of the process's own `RLIMIT_AS` and `RLIMIT_DATA`, when it
    /// has one. It bounds what the program can allocate, but not another limit:
    /// that may replace it.
    #[must_use]
    pub const fn rlimit(&self) -> Option<(LimitKind, Bytes)> {
        self.rlimit
    }

    /// The lower of the machine's memory and the control group's limit.
    #[must_use]
    pub fn bound(&self) -> Option<Bytes> {
        let limit = self.cgroup_limit.and_then(MemoryLimit::bytes);
        match (self.total, limit) {
            (Some(total), Some(limit)) => Some(total.min(limit)),
            (total, limit) => total.or(limit),
        }
    }

    /// As `uname -m` says it.
    #[must_use]
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// As `uname -s` says it.
    #[must_use]
    pub fn operating_system(&self) -> &str {
        &self.operating_system
    }

    /// Whether it is a 64-bit ARM.
    #[must_use]
    pub fn is_arm64(&self) -> bool {
        matches!(self.architecture.as_str(), "aarch64" | "arm64")
    }
}

/// How much memory the machine has; `None`, and a warning in the log, when it
/// does not say.
#[must_use]
pub fn get_system_memory() -> Option<Bytes> {
    let total = Machine::read().total();
    if total.is_none() {
        tracing::warn!("Could not determine total system memory: /proc/meminfo has no MemTotal");
    }
    total
}

/// An amount given in GB of 2^30 bytes, as people type it: `2.0`.
///
/// # Errors
/// [`LimitError::NotPositive`] for 0, negative numbers and what is no number;
/// [`LimitError::TooLarge`] for more than can be addressed.
pub fn gigabytes(count: f64) -> Result<Bytes, LimitError> {
    let text = || format!("{count:.2}");
    if count.is_nan() || count <= 0.0 {
        return Err(LimitError::NotPositive { gigabytes: text() });
    }
    let bytes = (count * GIGABYTE).floor();
    // 2^64; the largest number below it that a float can hold fits into 64 bits.
    if bytes >= 18_446_744_073_709_551_616.0 {
        return Err(LimitError::TooLarge { gigabytes: text() });
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, above 0 and below 2^64: both were just checked"
    )]
    let bytes = bytes as u64;
    if bytes == 0 {
        return Err(LimitError::NotPositive { gigabytes: text() });
    }
    Ok(Bytes(bytes))
}

/// An amount as the messages about limits print it: `2.00 GB`, of 2^30 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gigabytes(pub Bytes);

impl fmt::Display for Gigabytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "two decimals for people")]
        let count = self.0.get() as f64 / GIGABYTE;
        write!(formatter, "{count:.2} GB")
    }
}

/// The strictest limit that our own control group is under.
fn read_own_limit(kernel: &Kernel, buffer: &mut Vec<u8>) -> Option<MemoryLimit> {
    let own = parse_memory_cgroup(kernel.proc.read("self/cgroup", buffer).ok()?)?.path;
    if v2_memory(kernel, buffer).is_ok() {
        return read_cgroup(kernel, &own, buffer).ok()?.effective_limit;
    }
    let root = open_process_hierarchy(kernel, buffer)?;
    read_v1_limit(&root, &own, buffer)
}

/// Version 1 tells the minimum over the ancestors itself. Inside of a
/// container the group's path is the host's, and the group is at the root.
fn read_v1_limit(
    root: &KernelDirectory,
    own: &CgroupPath,
    buffer: &mut Vec<u8>,
) -> Option<MemoryLimit> {
    use std::os::unix::ffi::OsStrExt as _;
    let relative = std::path::Path::new(std::ffi::OsStr::from_bytes(own.relative()));
    let nested = (!relative.as_os_str().is_empty())
        .then(|| root.open_directory(relative).ok())
        .flatten();
    let text = nested
        .as_ref()
        .unwrap_or(root)
        .read("memory.stat", buffer)
        .ok()?;
    parse_v1_limit(text)
}

fn parse_v1_limit(text: &[u8]) -> Option<MemoryLimit> {
    let (_, bytes) =
        ascii::key_values(text).find(|(key, _)| *key == b"hierarchical_memory_limit")?;
    Some(if bytes >= V1_UNLIMITED {
        MemoryLimit::Max
    } else {
        MemoryLimit::Bytes(Bytes(bytes))
    })
}
