//! The files of sysfs that say what happens to memory.
//!
//! sysfs may be absent, in a container for instance: every reader then says
//! `None`.

pub mod balloon;
pub mod ksm;
pub mod zram;
pub mod zswap;
