//! Other interfaces of the kernel that tell which memory is in use, and why
//! they are not asked.
//!
//! Only whether they are there is looked at; neither is ever used.

use crate::roots::Kernel;

/// What this kernel has beside the generations and the marks of use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OtherSources {
    /// DAMON can be set up through sysfs.
    ///
    /// # Kernel
    /// `/sys/kernel/mm/damon/admin`, since 5.18.
    pub damon: bool,
    /// Physical pages can be marked idle.
    ///
    /// # Kernel
    /// `/sys/kernel/mm/page_idle/bitmap`, since 4.3 with
    /// `CONFIG_IDLE_PAGE_TRACKING`, which distributions mostly leave out.
    pub page_idle: bool,
}

/// Looks which of them there are.
#[must_use]
pub fn probe_other_sources(kernel: &Kernel) -> OtherSources {
    let has = |name: &str| kernel.sys.as_ref().is_some_and(|sys| sys.has(name));
    OtherSources {
        damon: has("kernel/mm/damon/admin/kdamonds/nr_kdamonds"),
        page_idle: has("kernel/mm/page_idle/bitmap"),
    }
}
