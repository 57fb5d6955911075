//! Cases that run as root inside booted guests, on real kernels: a fake tree
//! accepts any string, only a kernel proves a write.
//!
//! `cargo xtask test` boots one guest per kernel and runs `kernel-cases` in it;
//! this crate is that program. It never boots anything itself, and it is never
//! run on the machine of the person who develops: it would change its memory
//! settings.
//!
//! How to write a case is told in `README.md` beside this crate.

pub mod case;
pub mod cases;
pub mod cgroup;
pub mod cleanup;
pub mod guest;
pub mod harness;
pub mod hog;
pub mod hog_process;
pub mod processes;
pub mod program;
pub mod state;
pub mod syscalls;
pub mod systemd;
pub mod tracer;
pub mod verdict;
pub mod zram;
