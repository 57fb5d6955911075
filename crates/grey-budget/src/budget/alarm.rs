//! Who keeps a budget, and how it is called before its time.
//!
//! Never calls anybody: `core` does, outside of its lock.

/// Who keeps the budget.
#[derive(Clone)]
pub(crate) struct Alarm {
    /// Unparked when something does not fit or much was taken.
    pub(crate) thread: std::thread::Thread,
    /// Called by the thread that takes, before it goes on: with more threads
    /// than processors the keeper may come too late. Short; waits for nobody.
    pub(crate) look: std::sync::Arc<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Alarm {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Alarm")
            .field("thread", &self.thread)
            .finish_non_exhaustive()
    }
}
