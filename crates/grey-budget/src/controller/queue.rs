//! Actions that wait to be done: the highest priority first, then the oldest.
//!
//! Never longer than its bound, and never two of the controller's own of a kind.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::action::{Action, ActionId};

/// The most actions that wait.
pub(super) const MOST_ACTIONS: usize = 1024;

/// No more actions are taken before some are done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to enqueue `{action}`: {most} actions wait already")]
pub struct QueueFull {
    /// What was to be done.
    pub action: String,
    /// The most that may wait.
    pub most: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    actions: Vec<(ActionId, Action)>,
    next: u64,
}

/// The actions that wait.
#[derive(Debug, Default)]
pub(super) struct ActionQueue(Mutex<Waiting>);

impl ActionQueue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, action: Action) -> Result<ActionId, QueueFull> {
        let mut waiting = self.waiting();
        if waiting.actions.len() >= MOST_ACTIONS {
            return Err(QueueFull {
                action: action.kind.name().to_owned(),
                most: MOST_ACTIONS,
            });
        }
        let id = ActionId(waiting.next);
        waiting.next += 1;
        waiting.actions.push((id, action));
        Ok(id)
    }

    /// The one to be done next.
    pub(super) fn pop(&self) -> Option<(ActionId, Action)> {
        let mut waiting = self.waiting();
        let next = waiting
            .actions
            .iter()
            .enumerate()
            .max_by_key(|(_, (id, action))| (action.priority, std::cmp::Reverse(*id)))
            .map(|(place, _)| place)?;
        Some(waiting.actions.swap_remove(next))
    }

    pub(super) fn len(&self) -> usize {
        self.waiting().actions.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::action::ActionKind;
    use super::*;

    #[test]
    fn the_highest_goes_first_and_among_equals_the_oldest() {
        let queue = ActionQueue::default();
        for (name, priority) in [("a", 5), ("b", 7), ("c", 5), ("d", 10), ("e", 7)] {
            queue
                .push(Action::new(ActionKind::Cleanup, name, priority))
                .unwrap();
        }
        let order: Vec<String> =
            std::iter::from_fn(|| queue.pop().map(|(_, action)| action.description)).collect();
        assert_eq!(order, ["d", "b", "e", "a", "c"]);
    }

    #[test]
    fn a_full_queue_says_so() {
        let queue = ActionQueue::default();
        let action = Action::new(ActionKind::Evict, "", 1);
        for _ in 0..MOST_ACTIONS {
            queue.push(action.clone()).unwrap();
        }
        assert_eq!(
            queue.push(action).unwrap_err().to_string(),
            "failed to enqueue `evict`: 1024 actions wait already"
        );
    }
}
