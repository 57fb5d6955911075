//! What must hold for every setting: it is put back from every point at which
//! a plan can stop.
//!
//! The machine is made of files; what a real kernel does with them is tested
//! on real kernels.

mod cgroups;
mod conflicts;
mod every_setting;
mod faults;
mod in_process;
mod journal_files;
mod leases;
mod rig;
mod steps;
mod unit_limits;
mod units;
