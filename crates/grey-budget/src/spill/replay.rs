//! Puts the records of a segment into the index, and judges what is damaged.
//!
//! Never believes a value that something damaged may have replaced or removed,
//! and never cuts more off than a write that was interrupted.

use std::num::NonZeroU32;
use std::sync::Arc;

use grey_model::{Bytes, Priority};

use super::error::SpillError;
use super::files::Candidate;
use super::format::{ALIGNMENT, FileHeader, HEADER, Kind, Link, RecordHeader};
use super::index::{Entry, Location, Place};
use super::key_hash::{KeyHash, Salt};
use super::reading::WINDOW;
use super::recovery::{Reader, Tail};
use super::roster::{List, roster_path};
use super::scan::{Scan, link_to};
use super::state::Numbers;

/// What a file is written in one piece with, at least.
const SECTOR: u64 = 512;

/// What is known about the segment after one.
#[derive(Clone, Copy)]
pub(super) enum Next {
    /// There is none: this one may end in a write that was interrupted.
    Nothing,
    /// It says how this one ends.
    Known(FileHeader),
    Unknown,
}

impl Reader<'_> {
    /// Nothing that was read so far may be believed.
    pub(super) fn distrust(&mut self) {
        self.recovery.distrusted += self.state.index.len() as u64;
        self.state.index.clear();
        for numbers in self.state.segments.values_mut() {
            numbers.dead = numbers.length;
        }
    }

    /// Puts a segment's records into the index; where it ends.
    pub(super) fn replay(
        &mut self,
        candidate: &Candidate,
        salt: Salt,
        next: Next,
        sequence: u64,
    ) -> Result<Tail, SpillError> {
        let id = candidate.segment.id;
        self.roster = None;
        let roster = roster_path(&candidate.segment.path);
        // One that cannot be read helps nobody, and hinders nothing.
        let roster = self.options.disk.open(&roster);
        self.state.segments.insert(
            id,
            Numbers {
                segment: Arc::clone(&candidate.segment),
                length: candidate.length,
                roster: roster.and_then(|file| file.length()).unwrap_or(0),
                dead: 0,
                tombstones: 0,
                is_damaged: false,
            },
        );
        let end = match next {
            Next::Known(header) => header.previous_end.min(candidate.length),
            Next::Nothing | Next::Unknown => candidate.length,
        };
        let scan = Scan {
            segment: &candidate.segment,
            salt,
            end,
        };
        let mut tail = Tail {
            segment: id.get(),
            end: HEADER as u64,
            previous: Link::default(),
            sequence,
        };
        let mut is_damaged = candidate.has_bad_head;
        while tail.end < end {
            let mut at = tail.end;
            let mut header = scan.record(&mut self.window, at)?;
            if header.is_none() {
                let Some((found, after)) = scan.next_record(&mut self.window, at)? else {
                    break;
                };
                is_damaged = true;
                self.gap(candidate, at, found, after.previous);
                (at, header) = (found, Some(after));
            }
            let Some(header) = header else { break };
            self.apply(id, at, &header);
            tail.end = at + header.length();
            tail.sequence = tail.sequence.max(header.sequence);
            tail.previous = link_to(&header);
        }
        let is_whole = match next {
            Next::Known(header) => tail.end == header.previous_end,
            Next::Nothing | Next::Unknown => tail.end == candidate.length,
        };
        if is_whole {
            is_damaged |= matches!(next, Next::Nothing) && self.is_cut(candidate, tail.end);
        } else {
            is_damaged |= self.end(candidate, next, &mut tail)?;
        }
        if is_damaged {
            self.recovery.damaged.push(candidate.segment.path.clone());
            // Whoever reads this again must come to the damage again.
            (tail.end, tail.previous) = (candidate.length, Link::default());
        }
        self.settle(
            candidate,
            is_damaged,
            matches!(next, Next::Nothing),
            tail.end,
        );
        Ok(tail)
    }

    /// Counts a segment that was read up to `end`. The last one is written on,
    /// unless it is damaged.
    fn settle(&mut self, candidate: &Candidate, is_damaged: bool, is_last: bool, end: u64) {
        self.state.on_disk += if is_last && !is_damaged {
            end
        } else {
            candidate.length
        };
        if let Some(numbers) = self.state.segments.get_mut(&candidate.segment.id) {
            self.state.on_disk += numbers.roster;
            numbers.is_damaged = is_damaged;
            if is_last && !is_damaged {
                numbers.length = end;
                self.state.active = Some(candidate.segment.id);
            }
        }
    }

    /// What does not belong to a record, from the tail on. Whether it is damage.
    fn end(
        &mut self,
        candidate: &Candidate,
        next: Next,
        tail: &mut Tail,
    ) -> Result<bool, SpillError> {
        match next {
            Next::Known(header) => {
                let length = u64::from(header.previous.length);
                if length > 0 && tail.end.checked_add(length) == Some(header.previous_end) {
                    self.forget(header.previous.hash);
                } else if length > 0 {
                    self.lose(candidate, tail.end, Some(header.previous_end));
                } else {
                    // It was damaged already when the next one was begun.
                    self.lose(candidate, tail.end, None);
                }
                Ok(true)
            }
            Next::Nothing if self.is_torn(candidate, tail.end)? => {
                if self.is_cut(candidate, tail.end) {
                    return Ok(true);
                }
                let torn = self.cut(candidate, tail.end)?;
                self.recovery.torn = self.recovery.torn.saturating_add(torn);
                Ok(false)
            }
            Next::Nothing => {
                if self.lose(candidate, tail.end, None) != Some(0) {
                    return Ok(true);
                }
                // No record of ours was ever there.
                let foreign = self.cut(candidate, tail.end)?;
                self.recovery.foreign = self.recovery.foreign.saturating_add(foreign);
                Ok(false)
            }
            Next::Unknown => {
                self.lose(candidate, tail.end, None);
                Ok(true)
            }
        }
    }

    /// Cuts a segment off at `end`; by how much.
    fn cut(&mut self, candidate: &Candidate, end: u64) -> Result<Bytes, SpillError> {
        let segment = &candidate.segment;
        segment
            .file
            .truncate(end)
            .map_err(|error| SpillError::of_io("cut the torn end off", &segment.path, error))?;
        self.window.clear();
        Ok(Bytes(candidate.length - end))
    }

    /// Whether records are missing behind `end` that were there for good. They
    /// are lost, since they may have replaced or removed what came before; what
    /// was still being written is not.
    fn is_cut(&mut self, candidate: &Candidate, end: u64) -> bool {
        let marked = self.roster(candidate).map_or(0, List::marked);
        if marked <= end {
            return false;
        }
        self.lose(candidate, end, Some(marked));
        true
    }

    /// The roster of the segment that is read.
    fn roster(&mut self, candidate: &Candidate) -> Option<&List> {
        let (disk, segment) = (&*self.options.disk, &candidate.segment);
        let salt = candidate.header.salt;
        self.roster
            .get_or_insert_with(|| List::read(disk, &segment.path, segment.id, salt))
            .as_ref()
    }

    /// Records of a segment between two places are damaged, or all from the
    /// first place on. How many, when the roster knows; else nothing that was
    /// read so far is believed.
    fn lose(&mut self, candidate: &Candidate, from: u64, to: Option<u64>) -> Option<usize> {
        let (segment, length) = (candidate.segment.id, candidate.length);
        let named: Option<Vec<_>> = self
            .roster(candidate)
            .and_then(|roster| roster.between(from, to))
            .map(|named| {
                named
                    .iter()
                    .filter(|named| named.length > 0)
                    .copied()
                    .collect()
            });
        let Some(named) = named else {
            self.distrust();
            // What follows in this segment is not dead.
            if let Some(numbers) = self.state.segments.get_mut(&segment) {
                numbers.dead = to.unwrap_or(length);
            }
            return None;
        };
        for named in &named {
            self.forget(named.hash);
        }
        Some(named.len())
    }

    /// Whether what is at the end can only be a write that was interrupted:
    /// too short, or not yet there from some sector on.
    fn is_torn(&mut self, candidate: &Candidate, at: u64) -> Result<bool, SpillError> {
        let segment = &candidate.segment;
        let failed = |error| SpillError::of_io("read the spill segment", &segment.path, error);
        let bytes = self.window.get(segment, at, HEADER, 0).map_err(failed)?;
        let Some(bytes) = bytes.first_chunk::<HEADER>() else {
            return Ok(true);
        };
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(true);
        }
        let salt = candidate.header.salt;
        if RecordHeader::decode(bytes, salt, segment.id.get(), at).is_some() {
            // The header is whole, and says that more should follow.
            return Ok(true);
        }
        let mut zeros_from = at.next_multiple_of(SECTOR);
        if zeros_from >= at + HEADER as u64 {
            return Ok(false);
        }
        while zeros_from < candidate.length {
            let bytes = self
                .window
                .get(segment, zeros_from, WINDOW, WINDOW)
                .map_err(failed)?;
            if bytes.is_empty() {
                break;
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            zeros_from += bytes.len() as u64;
        }
        Ok(true)
    }

    /// Records from `at` to `found` are damaged.
    fn gap(&mut self, candidate: &Candidate, at: u64, found: u64, previous: Link) {
        if previous.length > 0 && at + u64::from(previous.length) == found {
            self.forget(previous.hash);
        } else {
            self.lose(candidate, at, Some(found));
        }
    }

    /// A key whose last record is damaged has no value.
    fn forget(&mut self, hash: [u64; 2]) {
        let hash = KeyHash(hash);
        let old = self.state.index.remove(hash);
        self.forgotten.push(hash);
        self.recovery.lost += 1;
        self.recovery.distrusted += u64::from(old.is_some());
        self.state.bury_entry(old);
    }

    fn apply(&mut self, id: NonZeroU32, at: u64, header: &RecordHeader) {
        let old = match header.kind {
            Kind::Tombstone => {
                self.state.bury(id, header.length());
                if let Some(numbers) = self.state.segments.get_mut(&id) {
                    numbers.tombstones += 1;
                }
                self.state.index.remove(header.hash)
            }
            Kind::Value => {
                let priority = Priority::ALL[usize::from(header.priority).min(3)];
                let location = Location {
                    segment: id,
                    slot: u32::try_from(at / ALIGNMENT).unwrap_or(u32::MAX),
                    length: u32::try_from(header.length()).unwrap_or(u32::MAX),
                    value_length: header.value_length,
                };
                self.state.index.insert(
                    header.hash,
                    Entry {
                        place: Place::Disk(location),
                        priority,
                        stamp: 0,
                    },
                )
            }
        };
        self.state.bury_entry(old);
    }
}
