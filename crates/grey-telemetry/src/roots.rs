//! Where the kernel's file systems are mounted, opened once.
//!
//! Every prefix can be given, so that a container's view or a test tree is
//! read in the same way as the real machine.

use std::path::{Path, PathBuf};

use grey_model::PageSize;

use crate::read::{KernelDirectory, ReadError};

/// The mount points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// procfs, `/proc`.
    pub procfs: PathBuf,
    /// sysfs, `/sys`.
    pub sysfs: PathBuf,
    /// The control groups, `/sys/fs/cgroup`.
    pub cgroupfs: PathBuf,
    /// systemd's runtime directory, `/run/systemd/system`: it exists when
    /// systemd is PID 1.
    pub systemd: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            procfs: PathBuf::from("/proc"),
            sysfs: PathBuf::from("/sys"),
            cgroupfs: PathBuf::from("/sys/fs/cgroup"),
            systemd: PathBuf::from("/run/systemd/system"),
        }
    }
}

/// The kernel's file systems could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenKernelError {
    /// procfs is needed by everything.
    #[error("failed to open procfs at `{}`", path.display())]
    Procfs {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// The page size that the system reports is not a page size.
    #[error("the system reports a page size of {bytes} bytes")]
    PageSize {
        /// What it reports.
        bytes: u64,
    },
}

/// The kernel, as seen through its file systems.
#[derive(Debug)]
pub struct Kernel {
    /// procfs.
    pub proc: KernelDirectory,
    /// sysfs; absent in some containers.
    pub sys: Option<KernelDirectory>,
    /// The control groups' mount point; absent where none is mounted.
    pub cgroup: Option<KernelDirectory>,
    /// The base page size.
    pub page_size: PageSize,
    roots: Roots,
}

impl Kernel {
    /// Opens the file systems below `roots`.
    ///
    /// # Errors
    /// [`OpenKernelError`] when procfs is missing.
    pub fn open(roots: &Roots) -> Result<Self, OpenKernelError> {
        let bytes = rustix::param::page_size() as u64;
        let page_size = PageSize::new(bytes).ok_or(OpenKernelError::PageSize { bytes })?;
        Self::open_with_page_size(roots, page_size)
    }

    /// The same with a page size that is not this machine's, for captured trees.
    ///
    /// # Errors
    /// [`OpenKernelError`] when procfs is missing.
    pub fn open_with_page_size(
        roots: &Roots,
        page_size: PageSize,
    ) -> Result<Self, OpenKernelError> {
        let proc =
            KernelDirectory::open(&roots.procfs).map_err(|source| OpenKernelError::Procfs {
                path: roots.procfs.clone(),
                source,
            })?;
        Ok(Self {
            proc,
            sys: KernelDirectory::open(&roots.sysfs).ok(),
            cgroup: KernelDirectory::open(&roots.cgroupfs).ok(),
            page_size,
            roots: roots.clone(),
        })
    }

    /// The mount points.
    #[must_use]
    pub const fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Whether systemd is PID 1 here.
    #[must_use]
    pub fn has_systemd(&self) -> bool {
        Path::is_dir(&self.roots.systemd)
    }
}
