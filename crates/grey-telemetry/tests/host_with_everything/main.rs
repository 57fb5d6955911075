//! Readers against a fake host that has everything, of which each test
//! removes one thing.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod cgroups;
mod facts;
mod host;
mod setup;
mod system;
mod targets;

use grey_fake_kernel::FakeKernel;
use grey_model::{CgroupPath, PageSize};
use grey_telemetry::{Kernel, Roots};

/// Opens the fake as the product opens the real one, with pages of 4 KiB.
fn open(fake: &FakeKernel) -> Kernel {
    let roots = Roots {
        procfs: fake.procfs(),
        sysfs: fake.sysfs(),
        cgroupfs: fake.cgroupfs(),
        systemd: fake.systemd(),
    };
    Kernel::open_with_page_size(&roots, PageSize::new(4096).unwrap()).unwrap()
}

fn path(text: &str) -> CgroupPath {
    CgroupPath::new(text.as_bytes()).unwrap()
}
