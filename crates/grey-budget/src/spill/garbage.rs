//! Collecting segments that are mostly dead: what is needed in them is moved
//! behind the others, a bounded amount at a time, and the file is removed.
//!
//! Never removes a segment while something in it is needed, nor one that is
//! damaged: that is set aside. A tombstone is kept as long as an older segment
//! might hold a value of its key. Never needs space on the disk to remove what is
//! dead altogether.

use std::num::NonZeroU32;
use std::sync::Arc;

use grey_model::Bytes;

use super::choice::{Means, Staying, gone_when_collected, pick};
use super::commit::Commit;
use super::error::SpillError;
use super::files::set_aside;
use super::format::{ALIGNMENT, HEADER, Kind, RecordHeader};
use super::index::{Location, Place};
use super::options::WRITE_BUFFER;
use super::reading::{Segment, WINDOW};
use super::roster;
use super::scan::Scan;
use super::statistics::Collected;
use super::writer::Writer;

/// Headers that are looked at for each byte that may be moved: a step that
/// finds nothing to move ends, too.
const LOOKED_AT: u64 = 16;

/// Until when a segment must stay.
enum Stay {
    None,
    /// What waits to be written is.
    UntilQueued,
    /// What could not be written is.
    UntilHeld,
}

/// What became of one record of a segment that is being emptied.
enum Step {
    /// So many bytes of it were moved.
    Moved(u64),
    /// Nothing can be said of it until what waits for the disk is there.
    Waits,
}

/// What becomes of a tombstone when its segment goes.
enum Tombstone {
    Needed,
    Unneeded,
    /// It and a value of its key are in one segment, and which came first is
    /// not known without reading it.
    Unclear,
}

/// A segment that is being emptied.
#[derive(Debug)]
pub(super) struct Compaction {
    segment: Arc<Segment>,
    at: u64,
    end: u64,
}

impl Writer {
    /// Moves up to `budget`, and removes what became empty. Whoever asks for
    /// it also wants the active segment to be collected, if that is mostly
    /// dead. Where the disk has no room to move anything, what is dead
    /// altogether goes all the same.
    pub(super) fn collect(
        &mut self,
        budget: Bytes,
        is_asked: bool,
    ) -> Result<Collected, SpillError> {
        let mut collected = Collected::default();
        let ended = if is_asked {
            self.leave_dead_segment()
        } else {
            Ok(())
        };
        match ended.and_then(|()| self.collect_by(Means::Moving, budget, &mut collected)) {
            Err(error) if error.is_for_space() => {
                match self.collect_by(Means::Removing, budget, &mut collected) {
                    Err(other) if !other.is_for_space() => return Err(other),
                    _ if collected.segments == 0 => return Err(error),
                    _ => {}
                }
            }
            outcome => outcome?,
        }
        let mut state = self.shared.state();
        let is_empty = state.index.len() == 0;
        collected.is_unfinished = self.compaction.is_some()
            || pick(&state, Means::Moving, &Staying::default()).is_some()
            || (is_asked && is_empty && state.on_disk > 2 * HEADER as u64);
        state.totals.segments_collected += collected.segments;
        Ok(collected)
    }

    fn collect_by(
        &mut self,
        means: Means,
        budget: Bytes,
        collected: &mut Collected,
    ) -> Result<(), SpillError> {
        let outcome = self
            .collect_up_to(means, budget, collected)
            .and_then(|()| self.write_out());
        if outcome.is_err() {
            self.commits.clear();
            self.take_back();
            self.compaction = None;
        }
        outcome
    }

    fn collect_up_to(
        &mut self,
        means: Means,
        budget: Bytes,
        collected: &mut Collected,
    ) -> Result<(), SpillError> {
        let most_looked_at = budget.get().saturating_mul(LOOKED_AT);
        let mut looked_at = 0;
        while collected.moved < budget && looked_at < most_looked_at {
            let mut compaction = match self.compaction.take() {
                Some(compaction) => compaction,
                None => match self.choose(means)? {
                    Some(compaction) => compaction,
                    None => return Ok(()),
                },
            };
            let id = compaction.segment.id;
            if compaction.at >= compaction.end || self.is_free_to_go(id) {
                match self.stay_of(id) {
                    Stay::None => {}
                    Stay::UntilQueued => {
                        self.compaction = Some(compaction);
                        return Ok(());
                    }
                    // Another may go meanwhile.
                    Stay::UntilHeld => continue,
                }
                collected.freed = collected
                    .freed
                    .saturating_add(self.retire(&compaction.segment)?);
                collected.segments += 1;
                continue;
            }
            let before = compaction.at;
            let Step::Moved(moved) = self.step(&mut compaction)? else {
                if !matches!(self.stay_of(id), Stay::UntilHeld) {
                    self.compaction = Some(compaction);
                    return Ok(());
                }
                continue;
            };
            looked_at += compaction.at - before;
            collected.moved = collected.moved.saturating_add(Bytes(moved));
            self.compaction = Some(compaction);
        }
        Ok(())
    }

    /// Whether a segment must stay until what replaced or removed its values is
    /// on the disk, too.
    fn stay_of(&self, id: NonZeroU32) -> Stay {
        let state = self.shared.state();
        let is_oldest = state.segments.keys().next() == Some(&id);
        if Staying::for_sake_of(&state.held, &state).has(id, is_oldest) {
            Stay::UntilHeld
        } else if Staying::for_sake_of(&state.queue, &state).has(id, is_oldest) {
            Stay::UntilQueued
        } else {
            Stay::None
        }
    }

    /// What is collected next. An error where all that could be must stay on
    /// account of what could not be written.
    fn choose(&self, means: Means) -> Result<Option<Compaction>, SpillError> {
        let state = self.shared.state();
        let Some(id) = pick(&state, means, &Staying::for_sake_of(&state.held, &state)) else {
            return match &state.failure {
                Some((failure, _)) if pick(&state, means, &Staying::default()).is_some() => {
                    Err(failure.clone())
                }
                _ => Ok(None),
            };
        };
        Ok(state.segments.get(&id).map(|numbers| Compaction {
            segment: Arc::clone(&numbers.segment),
            at: HEADER as u64,
            end: numbers.length,
        }))
    }

    /// An active segment that is mostly dead is ended, so that it can go.
    fn leave_dead_segment(&mut self) -> Result<(), SpillError> {
        let is_mostly_dead = {
            let state = self.shared.state();
            state
                .active
                .and_then(|id| state.segments.get(&id))
                .is_some_and(|numbers| {
                    let is_oldest = state.segments.len() == 1;
                    let goes = gone_when_collected(numbers, is_oldest);
                    let is_empty = state.index.len() == 0 && numbers.length > HEADER as u64;
                    is_empty || goes.saturating_mul(2) > numbers.length
                })
        };
        if is_mostly_dead {
            self.write_out()?;
            self.begin_segment()?;
        }
        Ok(())
    }

    /// Whether nothing in it needs to be moved.
    fn is_free_to_go(&self, id: NonZeroU32) -> bool {
        let state = self.shared.state();
        let is_oldest = state.segments.keys().next() == Some(&id);
        state
            .segments
            .get(&id)
            .is_some_and(|numbers| numbers.is_all_dead() && (is_oldest || numbers.tombstones == 0))
    }

    /// Looks at one record.
    fn step(&mut self, compaction: &mut Compaction) -> Result<Step, SpillError> {
        let segment = Arc::clone(&compaction.segment);
        let scan = Scan {
            segment: &segment,
            salt: self.shared.salt,
            end: compaction.end,
        };
        let at = compaction.at;
        let Some(header) = scan.record(&mut self.scratch.window, at)? else {
            // Damage: found when the store was opened, or new.
            self.mark_damaged(segment.id);
            compaction.at = match scan.next_record(&mut self.scratch.window, at)? {
                Some((next, _)) => next,
                None => compaction.end,
            };
            return Ok(Step::Moved(0));
        };
        compaction.at = at + header.length();
        if header.kind == Kind::Tombstone {
            return Ok(match self.judge_tombstone(segment.id, &header) {
                Tombstone::Unneeded => Step::Moved(0),
                Tombstone::Needed => {
                    self.append_tombstone(header.hash, false)?;
                    Step::Moved(HEADER as u64)
                }
                Tombstone::Unclear => {
                    compaction.at = at;
                    Step::Waits
                }
            });
        }
        let from = Location {
            segment: segment.id,
            slot: u32::try_from(at / ALIGNMENT).unwrap_or(u32::MAX),
            length: u32::try_from(header.length()).unwrap_or(u32::MAX),
            value_length: header.value_length,
        };
        if !self.shared.state().is_at(header.hash, from) {
            return Ok(Step::Moved(0));
        }
        self.check_floor(header.length())?;
        let is_moved = if header.length() + HEADER as u64 <= WINDOW as u64 {
            self.move_small(&segment, at, from, &header)?
        } else {
            self.move_large(&segment, at, from, &header)?
        };
        if !is_moved {
            self.drop_damaged(segment.id, from, &header)?;
            return Ok(Step::Moved(0));
        }
        Ok(Step::Moved(header.length()))
    }

    /// Whether a tombstone must be kept behind the others. Behind a value that
    /// came after it, it would hide that one: a value that waits for the disk
    /// does not count, since if the process is killed it was never there.
    fn judge_tombstone(&self, id: NonZeroU32, header: &RecordHeader) -> Tombstone {
        let state = self.shared.state();
        if state.segments.keys().next() == Some(&id) {
            return Tombstone::Unneeded;
        }
        match state.index.get(header.hash).map(|entry| &entry.place) {
            Some(Place::Disk(_)) => Tombstone::Unneeded,
            Some(Place::Staged(staged)) => match staged.replaces() {
                Some(of_value) if of_value > id => Tombstone::Unneeded,
                Some(of_value) if of_value == id => Tombstone::Unclear,
                Some(_) | None => Tombstone::Needed,
            },
            None => Tombstone::Needed,
        }
    }

    fn move_small(
        &mut self,
        segment: &Segment,
        at: u64,
        from: Location,
        header: &RecordHeader,
    ) -> Result<bool, SpillError> {
        let length = from.length as usize;
        if self.filled + length > WRITE_BUFFER {
            self.write_out()?;
        }
        self.make_room(u64::from(from.length))?;
        let bytes = self
            .scratch
            .window
            .get(segment, at, length, WINDOW)
            .map_err(|error| SpillError::of_io("read", &segment.path, error))?;
        let body_end = HEADER + usize::try_from(header.body_length()).unwrap_or(usize::MAX);
        let Some(body) = bytes.get(HEADER..body_end) else {
            return Ok(false);
        };
        if crc32fast::hash(body) != header.body_checksum {
            return Ok(false);
        }
        let start = self.filled + HEADER;
        self.buffer[start..start + body.len()].copy_from_slice(body);
        let header = self.moved(header);
        self.commit_small(&header, |to| Commit::Moved {
            hash: header.hash,
            from,
            to,
        });
        Ok(true)
    }

    fn move_large(
        &mut self,
        segment: &Segment,
        at: u64,
        from: Location,
        header: &RecordHeader,
    ) -> Result<bool, SpillError> {
        self.write_out()?;
        self.make_room(u64::from(from.length))?;
        let failed = |error| SpillError::of_io("read", &segment.path, error);
        let mut checksum = crc32fast::Hasher::new();
        let mut done = HEADER as u64;
        let end = HEADER as u64 + header.body_length();
        while done < end {
            let wanted = usize::try_from(end - done).unwrap_or(WRITE_BUFFER);
            let piece = &mut self.buffer[..wanted.min(WRITE_BUFFER)];
            let read = segment.file.read_at(piece, at + done).map_err(failed)?;
            if read < piece.len() {
                return Ok(false);
            }
            checksum.update(&self.buffer[..read]);
            done += self.put(done, &self.buffer[..read])?;
        }
        if checksum.finalize() != header.body_checksum {
            self.take_back();
            return Ok(false);
        }
        let header = self.moved(header);
        self.finish_large(&header, end, |to| Commit::Moved {
            hash: header.hash,
            from,
            to,
        })?;
        Ok(true)
    }

    /// The same record behind the last one.
    fn moved(&self, header: &RecordHeader) -> RecordHeader {
        RecordHeader {
            sequence: self.tail.sequence + 1,
            previous: self.tail.previous,
            ..*header
        }
    }

    /// A value whose checksum does not hold is lost, and no older one of its
    /// key may come back.
    fn drop_damaged(
        &mut self,
        id: NonZeroU32,
        from: Location,
        header: &RecordHeader,
    ) -> Result<(), SpillError> {
        tracing::warn!(
            segment = id,
            offset = from.offset(),
            "a spilled value is damaged"
        );
        self.mark_damaged(id);
        {
            let mut state = self.shared.state();
            state.totals.damaged += 1;
            if state.is_at(header.hash, from) {
                let old = state.index.remove(header.hash);
                state.bury_entry(old);
            }
        }
        self.append_tombstone(header.hash, false)
    }

    fn mark_damaged(&self, id: NonZeroU32) {
        if let Some(numbers) = self.shared.state().segments.get_mut(&id) {
            numbers.is_damaged = true;
        }
    }

    /// Removes a segment from which everything was moved, or sets it aside.
    fn retire(&mut self, segment: &Segment) -> Result<Bytes, SpillError> {
        self.write_out()?;
        if self.is_durable {
            self.sync()?;
        }
        let options = &self.shared.options;
        let is_damaged = {
            let state = self.shared.state();
            let Some(numbers) = state.segments.get(&segment.id) else {
                return Ok(Bytes::ZERO);
            };
            numbers.is_damaged
        };
        if is_damaged {
            let path = set_aside(&*options.disk, &segment.path, "damaged")?;
            tracing::warn!(path = %path.display(), "a damaged spill segment was set aside");
        } else {
            options
                .disk
                .remove(&segment.path)
                .map_err(|error| SpillError::of_io("remove", &segment.path, error))?;
        }
        roster::remove(&*options.disk, &segment.path);
        let mut state = self.shared.state();
        let freed = state
            .segments
            .remove(&segment.id)
            .map_or(0, |numbers| numbers.length + numbers.roster);
        state.on_disk = state.on_disk.saturating_sub(freed);
        if state.index.len() == 0 {
            state.index.shrink();
        }
        drop(state);
        self.shared.done.notify_all();
        Ok(Bytes(freed))
    }
}
