//! Values that could not be written, and taking them back.
//!
//! Never lets an older value of such a key come back.

use std::sync::Arc;

use grey_model::Priority;

use super::error::SpillError;
use super::state::Work;
use super::store::SpillStore;

/// A value that could not be written and was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwritten {
    /// Its key.
    pub key: Vec<u8>,
    /// Its priority.
    pub priority: Priority,
    /// Whose it is.
    pub project: Option<Arc<str>>,
    /// Itself.
    pub value: Arc<[u8]>,
}

impl SpillStore {
    /// Takes back the values that could not be written: the store does not
    /// hold them any more.
    ///
    /// # Errors
    /// [`SpillError::Forked`].
    pub fn take_unwritten(&self) -> Result<Vec<Unwritten>, SpillError> {
        self.shared.check_process()?;
        let mut state = self.shared.state();
        let mut taken = Vec::new();
        let mut removes = std::collections::VecDeque::new();
        while let Some(work) = state.held.pop_front() {
            let Work::Value(staged) = work else {
                removes.push_back(work);
                continue;
            };
            state.pending = state.pending.saturating_sub(staged.cost());
            if !state.is_current(&staged) {
                continue;
            }
            state.index.remove(staged.hash);
            // An older value of the key on the disk must not come back.
            removes.push_back(Work::Remove(staged.hash));
            taken.push(Unwritten {
                key: staged.key.to_vec(),
                priority: staged.priority,
                project: staged.project_name.clone(),
                value: Arc::clone(&staged.value),
            });
        }
        state.held = removes;
        drop(state);
        self.shared.done.notify_all();
        Ok(taken)
    }
}
