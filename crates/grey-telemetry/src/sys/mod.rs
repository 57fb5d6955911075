//! The files of sysfs that say what happens to memory.
//!
//! sysfs may be absent, in a container for instance: every reader then says
//! `None`.

pub mod balloon;
pub mod ksm;
pub mod lru_gen;
pub mod transparent_hugepage;
pub mod zram;
pub mod zswap;

/// Why something of sysfs is not known.
pub(crate) const NO_SYSFS: &str = "no sysfs is mounted here";
