//! What the tests of this command share: a sampler of a fake kernel, and shots
//! of it with a constant time.
//!
//! Never reads the machine that it runs on.

use std::time::Duration;

use grey_fake_kernel::FakeKernel;
use grey_model::GroupBy;
use grey_telemetry::{Kernel, Roots};

use super::sampler::{Sampler, Wish};
use super::shot::Shot;

/// 2026-11-21 12:00:00 UTC.
pub(super) const NOON: u64 = 1_795_262_400_000;

/// The kernel's directories, opened.
pub(super) fn open(kernel: &FakeKernel) -> Kernel {
    let roots = Roots {
        procfs: kernel.procfs(),
        sysfs: kernel.sysfs(),
        cgroupfs: kernel.cgroupfs(),
        systemd: kernel.systemd(),
    };
    let page_size = grey_model::PageSize::new(4096).unwrap();
    Kernel::open_with_page_size(&roots, page_size).unwrap()
}

/// A sampler of `kernel` whose budget for PSS is large.
pub(super) fn sampler(kernel: &FakeKernel) -> Sampler {
    Sampler::new(open(kernel), Duration::from_secs(600))
}

/// A wish for everything.
pub(super) fn everything() -> Wish {
    Wish {
        by: Some(GroupBy::Program),
        cgroups: true,
        visible: Vec::new(),
        detail: None,
    }
}

/// A look at `kernel`, at noon.
pub(super) fn shot(kernel: &FakeKernel) -> Shot {
    at_noon(sampler(kernel).look(&everything()).unwrap())
}

/// The shot with what depends on the time of the test made constant.
pub(super) fn at_noon(mut shot: Shot) -> Shot {
    shot.at_unix_ms = NOON;
    for row in &mut shot.processes {
        row.pss_age = row.pss_age.map(|_| Duration::ZERO);
    }
    for row in shot.groups.iter_mut().flat_map(|(_, groups)| groups) {
        row.group.oldest_seconds = row.group.oldest_seconds.map(|_| 7200);
    }
    shot
}
