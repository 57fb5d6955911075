//! Carries plans out: checks them, journals each change before it is made,
//! applies, verifies by reading back and by effect, and puts everything back.
//!
//! The only crate that writes to the kernel, and inside it only
//! `kernel_file` opens kernel files for writing. Never decides what to do:
//! plans come from policy, and this crate obeys or refuses.

pub mod disposable;
mod executor;
pub mod journal;
mod kernel_file;
mod knob;
mod lease;
pub mod look_anew;
mod measure;
mod process_madvise;
pub mod systemd;
#[cfg(test)]
mod tests;

pub use disposable::DisposableProgram;
pub use executor::{
    Actor, Applied, ApplyContext, ApplyError, Deadlines, Enforcer, EnforcerOptions,
    OpenEnforcerError, Outcome, Progress, RollbackError, RollbackItem, RollbackOutcome,
    RollbackReport, RollbackSelection,
};
pub use journal::{EntryState, Journal, JournalEntry, JournalError, Loss};
pub use knob::KnobError;
pub use lease::{KeeperError, keeper_main, spawn_keeper};
pub use look_anew::{AnewLooker, LookAnewError, LookedAnew};
