//! What keeps the budget: one thread, one state machine, a queue of actions.
//!
//! - `action`, `queue`: what is to be done, and in which order.
//! - `registry`: who can give memory back.
//! - `call`, `busy`: calling them: a deadline for each, panics survived; who has
//!   not come back.
//! - `reclaim`: how much is asked of whom, and what the kernel got back.
//! - `load_back`: when what was spilled comes back, and how much of it.
//! - `history`: what was evicted, when, and from whom.
//! - `subscribe`: who wants to know of a level.
//! - `rlimit`: what an rlimit leaves.
//! - `judge`: from a reading to a level, and what is to be done at it.
//! - `execute`: doing it.
//! - `state`: what is remembered between ticks.
//! - `run`: what the program calls, one tick, and the thread that ticks.
//!
//! Never calls anybody under a lock, and never infers from a fall of the
//! resident set alone that something was freed.

mod action;
mod busy;
mod call;
mod execute;
mod history;
mod judge;
mod load_back;
mod queue;
mod reclaim;
mod registry;
mod rlimit;
mod run;
mod settings;
mod state;
mod subscribe;

pub use action::{Action, ActionId, ActionKind, ActionResult, ActionStatus};
pub use busy::LateCall;
pub use history::{Eviction, EvictionResult};
pub(crate) use load_back::Hold;
pub use load_back::LOAD_BACK_HEADROOM;
pub use queue::QueueFull;
pub use reclaim::{Outcome, Reclamation};
pub use registry::{ReclaimerId, Registration};
pub use run::{Controller, ControllerStatistics, Running, Tick};
pub use settings::{ControllerSettings, EvictionRequest};
pub use subscribe::{LevelEvent, Subscription};

#[cfg(test)]
mod tests;
