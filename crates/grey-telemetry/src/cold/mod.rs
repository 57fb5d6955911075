//! What the kernel knows of memory that is not used.
//!
//! Reads alone: ages that are there are printed, and nothing is aged, cleared
//! or marked here. Who wants that asks the enforcement crate for it.

pub mod generations;
pub mod lru_gen;
pub mod lru_gen_enabled;
pub mod sources;

pub use generations::{NoGenerations, count_others, read_generations};
pub use lru_gen_enabled::Aging;
pub use sources::{OtherSources, probe_other_sources};
