//! One handle to all of it: tracker, budget, controller, spill store, saved
//! state and shutdown, with the operations of the documents.
//!
//! - `builder`: how it is put together.
//! - `configured`: what a configuration decides, and its reloads.
//! - `status`: what it answers.
//! - `callbacks`: cleaning and spilling that the program registers as functions.
//! - `operations`: what it does.
//! - `monitoring`: what runs while it watches.
//! - `pressure`: what is told from outside, by systemd's protocol.
//! - `ending`: saving and shutting down; `providers`: who tells what is saved.
//!
//! Never does anything that its parts cannot be asked for one by one.

mod builder;
mod callbacks;
mod configured;
mod ending;
mod monitoring;
mod operations;
mod pressure;
mod providers;
mod status;

pub use builder::{ManagerError, MemoryLimits, MemoryManagerBuilder};
pub use callbacks::CallbackRegistration;
pub use configured::ConfigApplied;
pub use operations::MemoryManager;
pub use status::{Cleanup, LimitCheck, LimitsChanged, MemoryStatus};

#[cfg(test)]
mod configured_tests;
#[cfg(test)]
mod load_back_tests;
#[cfg(test)]
mod pressure_tests;
#[cfg(test)]
mod stopping_tests;
#[cfg(test)]
mod tests;
