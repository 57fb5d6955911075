//! What becomes true when a buffer is written, and making it so.
//!
//! Never makes it so before the bytes are in the file.

use std::num::NonZeroU32;
use std::sync::Arc;

use grey_model::Bytes;

use super::format::Link;
use super::index::{Entry, Location, Place, Staged};
use super::key_hash::KeyHash;
use super::state::State;

/// What becomes true when the buffer is written.
#[derive(Debug)]
pub(super) enum Commit {
    Value {
        staged: Arc<Staged>,
        location: Location,
        stored: u32,
        is_raw: bool,
    },
    Moved {
        hash: KeyHash,
        from: Location,
        to: Location,
    },
    Removed {
        hash: KeyHash,
        length: u64,
        /// Asked for by somebody, and not only kept from an older segment.
        is_asked: bool,
    },
}

impl Commit {
    /// Whether it only says that a key has no value.
    pub(super) const fn is_tombstone(&self) -> bool {
        matches!(self, Self::Removed { .. })
    }

    /// The record that it is about.
    pub(super) fn link(&self) -> Link {
        let (hash, length) = match self {
            Self::Value {
                staged, location, ..
            } => (staged.hash, location.length),
            Self::Moved { hash, to, .. } => (*hash, to.length),
            Self::Removed { hash, length, .. } => {
                (*hash, u32::try_from(*length).unwrap_or(u32::MAX))
            }
        };
        Link {
            hash: hash.0,
            length,
        }
    }
}

pub(super) fn apply(state: &mut State, segment: NonZeroU32, commit: &Commit) {
    match commit {
        Commit::Value {
            staged,
            location,
            stored,
            is_raw,
        } => {
            state.pending = state.pending.saturating_sub(staged.cost());
            state.totals.written += 1;
            let raw = Bytes(u64::from(location.value_length));
            state.totals.written_raw = state.totals.written_raw.saturating_add(raw);
            let stored = Bytes(u64::from(*stored));
            state.totals.written_stored = state.totals.written_stored.saturating_add(stored);
            state.totals.written_uncompressed += u64::from(*is_raw);
            settle(
                state,
                staged.hash,
                *location,
                |place| matches!(place, Place::Staged(now) if Arc::ptr_eq(now, staged)),
            );
        }
        Commit::Moved { hash, from, to } => {
            state.bury(from.segment, u64::from(from.length));
            let moved = Bytes(u64::from(to.length));
            state.totals.moved = state.totals.moved.saturating_add(moved);
            let was_there = settle(
                state,
                *hash,
                *to,
                |place| matches!(place, Place::Disk(now) if now == from),
            );
            if !was_there {
                // Whoever replaced it has buried the old record already.
                if let Some(numbers) = state.segments.get_mut(&from.segment) {
                    numbers.dead = numbers.dead.saturating_sub(u64::from(from.length));
                }
            }
        }
        Commit::Removed { length, .. } => {
            state.bury(segment, *length);
            if let Some(numbers) = state.segments.get_mut(&segment) {
                numbers.tombstones += 1;
            }
        }
    }
}

/// The record at `location` is the value of its key, if what the key had is
/// still what it was; else it is dead.
fn settle(
    state: &mut State,
    hash: KeyHash,
    location: Location,
    is_expected: impl FnOnce(&Place) -> bool,
) -> bool {
    let is_settled = state.index.settle(hash, location, is_expected);
    if !is_settled {
        state.bury(location.segment, u64::from(location.length));
        if let Some(Entry {
            place: Place::Staged(newer),
            ..
        }) = state.index.get(hash)
        {
            newer.note_replaced(Some(location.segment));
        }
    }
    is_settled
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32};

    use grey_model::Priority;

    use super::*;
    use crate::budget::Budget;
    use crate::spill::index::Index;

    fn staged(value: u8) -> Arc<Staged> {
        Arc::new(Staged {
            hash: KeyHash([7, 7]),
            key: [].into(),
            project: 0,
            project_name: None,
            priority: Priority::Low,
            value: [value].into(),
            is_held: AtomicBool::new(false),
            replaced: AtomicU32::new(0),
            _beyond: None,
        })
    }

    #[test]
    fn a_value_knows_of_an_older_one_that_reaches_the_disk_after_it_was_accepted() {
        let budget = Budget::new(Bytes::from_mib(64)).unwrap();
        let component = budget.component("spill").register().unwrap();
        let mut state = State::new(Index::new(component, 1));
        let (older, newer) = (staged(1), staged(2));
        let entry = Entry {
            place: Place::Staged(Arc::clone(&newer)),
            priority: Priority::Low,
            stamp: 0,
        };
        state.index.insert(newer.hash, entry);
        let segment = NonZeroU32::new(5).unwrap();
        let location = Location {
            segment,
            slot: 8,
            length: 72,
            value_length: 1,
        };
        let commit = Commit::Value {
            staged: older,
            location,
            stored: 1,
            is_raw: true,
        };
        apply(&mut state, segment, &commit);
        assert_eq!(newer.replaces(), Some(segment));
    }
}
