//! Facts about the work queue, by subject.
//!
//! Never sleeps to wait, and never asserts on time.

mod batches;
mod bounds;
mod charging;
mod delivery;
mod kit;
mod model;
mod waiting;
mod wakers;
