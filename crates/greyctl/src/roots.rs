//! Which kernel and which state directory a run works on: the options, then
//! the environment, then the defaults.
//!
//! Never creates anything.

use std::error::Error;
use std::path::PathBuf;

use grey_telemetry::{Kernel, Roots};

use crate::cli::GlobalOptions;
use crate::environment;
use crate::exit_code::Exit;
use crate::failure::Failure;

/// What to do where procfs is not what it should be.
pub(crate) const NAME_PROCFS: &str = "name the place where procfs is mounted with --procfs";

/// Where the kernel's file systems are.
pub(crate) fn kernel_roots(options: &GlobalOptions) -> Roots {
    let defaults = Roots::default();
    let sysfs = options.sysfs.clone().unwrap_or(defaults.sysfs);
    Roots {
        procfs: options.procfs.clone().unwrap_or(defaults.procfs),
        // The control groups lie below sysfs unless somebody says otherwise.
        cgroupfs: options
            .cgroupfs
            .clone()
            .unwrap_or_else(|| sysfs.join("fs/cgroup")),
        sysfs,
        systemd: options.systemd_dir.clone().unwrap_or(defaults.systemd),
    }
}

/// Opens the kernel's file systems.
///
/// # Errors
/// A [`Failure`] when procfs cannot be opened.
pub(crate) fn open_kernel(options: &GlobalOptions) -> Result<Kernel, Failure> {
    Kernel::open(&kernel_roots(options))
        .map_err(|error| Failure::from_error(Exit::Failed, &error).hint(NAME_PROCFS))
}

/// Our own pid as `kernel`'s procfs has it; `None` where it does not say, as
/// that of another pid namespace.
pub(crate) fn own_pid(kernel: &Kernel) -> Option<u32> {
    let us = std::fs::read_link(kernel.proc.path().join("self")).ok()?;
    us.to_str()?.parse().ok()
}

/// Says how to name procfs where `error` is that something is not in it that is
/// in every one: what was named is another directory.
pub(crate) fn hint_at_procfs(failure: Failure, error: &(dyn Error + 'static)) -> Failure {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::NotFound) {
            return failure.hint(NAME_PROCFS);
        }
        next = error.source();
    }
    failure
}

/// The directory that holds the journal.
///
/// # Errors
/// A [`Failure`] when there is neither an option nor a home.
pub(crate) fn state_dir(options: &GlobalOptions) -> Result<PathBuf, Failure> {
    if let Some(given) = &options.state_dir {
        return Ok(given.clone());
    }
    let root = rustix::process::geteuid().is_root();
    environment::default_state_dir(root, |name| std::env::var_os(name)).ok_or_else(|| {
        Failure::new(Exit::Usage, "there is no directory to keep the journal in")
            .hint("name one with --state-dir, or set HOME")
    })
}
