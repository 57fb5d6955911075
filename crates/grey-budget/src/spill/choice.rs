//! Which segment is collected next, and which must stay for now.
//!
//! Never touches a file, and never chooses the segment that is written.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU32;

use super::format::HEADER;
use super::state::{Numbers, State, Work};

/// Tombstones that take less than this are never a reason to move values.
const FEW_TOMBSTONES: u64 = 64 << 10;

/// What collecting may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// Moves values out of segments that are mostly dead.
    Moving,
    /// Removes segments in which all is dead: that needs no space on the disk.
    Removing,
}

/// The segments that must stay on account of what is not on the disk yet. What
/// was replaced is the last that the disk has of its key: if the process is
/// killed, it is read again, and without it an older one would be. What was
/// removed may be in any segment, and older values of its key in older ones:
/// only the oldest of all may go.
#[derive(Debug, Default)]
pub(super) struct Staying {
    segments: BTreeSet<NonZeroU32>,
    all_but_oldest: bool,
}

impl Staying {
    /// On account of what `waits` in a store of this state.
    pub(super) fn for_sake_of(waits: &VecDeque<Work>, state: &State) -> Self {
        let mut staying = Self::default();
        for work in waits {
            match work {
                Work::Value(staged) if state.is_current(staged) => {
                    staying.segments.extend(staged.replaces());
                }
                // It was replaced or removed itself, and what did so waits, too.
                Work::Value(_) => {}
                Work::Remove(_) => staying.all_but_oldest = true,
            }
        }
        staying
    }

    pub(super) fn has(&self, id: NonZeroU32, is_oldest: bool) -> bool {
        self.segments.contains(&id) || (self.all_but_oldest && !is_oldest)
    }
}

/// The segment that is best collected next, of those that need not stay.
pub(super) fn pick(state: &State, means: Means, staying: &Staying) -> Option<NonZeroU32> {
    match means {
        Means::Moving => pick_any(state, staying),
        Means::Removing => pick_dead(state, staying),
    }
}

/// One that is damaged, one in which all is dead, or the one of which most goes
/// away, of those of which half does. When tombstones take a quarter of the
/// store, the oldest segment goes, on whose account they are kept.
fn pick_any(state: &State, staying: &Staying) -> Option<NonZeroU32> {
    let mut best: Option<(u64, NonZeroU32)> = None;
    let mut tombstones = 0_u64;
    let oldest = *state.segments.keys().next()?;
    for (id, numbers) in &state.segments {
        tombstones += numbers.tombstones * HEADER as u64;
        if state.active == Some(*id) || staying.has(*id, *id == oldest) {
            continue;
        }
        let goes = gone_when_collected(numbers, *id == oldest);
        if numbers.is_damaged || goes + HEADER as u64 >= numbers.length {
            return Some(*id);
        }
        if goes.saturating_mul(2) <= numbers.length {
            continue;
        }
        let part = goes.saturating_mul(1 << 16) / numbers.length.max(1);
        if best.is_none_or(|(most, _)| part > most) {
            best = Some((part, *id));
        }
    }
    let too_many = tombstones > FEW_TOMBSTONES && tombstones.saturating_mul(4) > state.on_disk;
    let oldest_may_go = state.active != Some(oldest) && !staying.has(oldest, true);
    match best {
        Some((_, id)) => Some(id),
        None if too_many && oldest_may_go => Some(oldest),
        None => None,
    }
}

/// The oldest in which all is dead. Few tombstones may have to be kept of it.
fn pick_dead(state: &State, staying: &Staying) -> Option<NonZeroU32> {
    let oldest = *state.segments.keys().next()?;
    let dead = state.segments.iter().find(|(id, numbers)| {
        let is_oldest = **id == oldest;
        let kept = if is_oldest {
            0
        } else {
            numbers.tombstones * HEADER as u64
        };
        numbers.is_all_dead()
            && kept.saturating_mul(2) <= numbers.length
            && state.active != Some(**id)
            && !staying.has(**id, is_oldest)
    });
    dead.map(|(id, _)| *id)
}

/// What need not be moved. Tombstones must be, while there is an older segment:
/// else a segment full of them would be moved for ever.
pub(super) const fn gone_when_collected(numbers: &Numbers, is_oldest: bool) -> u64 {
    if is_oldest {
        return numbers.dead;
    }
    numbers
        .dead
        .saturating_sub(numbers.tombstones * HEADER as u64)
}
