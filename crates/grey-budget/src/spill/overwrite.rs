//! Takes values that were removed, or replaced by what cannot be written, off a
//! disk that has no room for one byte more: in the place of each of their records
//! it is said that the key has no value.
//!
//! Never touches a record that is the value of its key, nor one's length: what
//! follows it is found as before.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::error::SpillError;
use super::format::{HEADER, Kind, RecordHeader};
use super::key_hash::KeyHash;
use super::reading::Segment;
use super::scan::Scan;
use super::writer::Writer;

impl Writer {
    /// Overwrites the header of every record of these keys, in all segments, and
    /// waits until that is on the disk. One that is torn is a damaged record of
    /// such a key: that has no value either.
    pub(super) fn overwrite_removed(&mut self, removed: &[KeyHash]) -> Result<(), SpillError> {
        let removed: HashSet<[u64; 2]> = removed.iter().map(|hash| hash.0).collect();
        let segments: Vec<(Arc<Segment>, u64)> = {
            let state = self.shared.state();
            let of =
                |numbers: &super::state::Numbers| (Arc::clone(&numbers.segment), numbers.length);
            state.segments.values().map(of).collect()
        };
        for (segment, end) in segments {
            self.overwrite_in(&segment, end, &removed)?;
        }
        Ok(())
    }

    fn overwrite_in(
        &mut self,
        segment: &Segment,
        end: u64,
        removed: &HashSet<[u64; 2]>,
    ) -> Result<(), SpillError> {
        let salt = self.shared.salt;
        let scan = Scan { segment, salt, end };
        let mut overwritten = 0;
        let mut at = HEADER as u64;
        let mut outcome = Ok(());
        while at < end {
            let header = match scan.record(&mut self.scratch.window, at)? {
                Some(header) => header,
                None => match scan.next_record(&mut self.scratch.window, at)? {
                    Some((next, header)) => {
                        at = next;
                        header
                    }
                    None => break,
                },
            };
            if removed.contains(&header.hash.0) && self.is_dead(segment.id, at, &header) {
                let gone = RecordHeader {
                    kind: Kind::Tombstone,
                    ..header
                };
                let bytes = gone.encode(salt, segment.id.get(), at);
                outcome = segment
                    .file
                    .write_at(&bytes, at)
                    .map_err(|error| SpillError::of_io("overwrite", &segment.path, error));
                overwritten += u64::from(outcome.is_ok());
                if outcome.is_err() {
                    break;
                }
            }
            at += header.length();
        }
        if overwritten > 0 {
            self.scratch.window.clear();
            if let Some(numbers) = self.shared.state().segments.get_mut(&segment.id) {
                numbers.tombstones += overwritten;
            }
            let synced = segment.file.sync();
            outcome = outcome.and_then(|()| {
                synced.map_err(|error| SpillError::of_io("sync", &segment.path, error))
            });
        }
        outcome
    }

    /// Whether it is a value that nobody can reach.
    fn is_dead(&self, id: NonZeroU32, at: u64, header: &RecordHeader) -> bool {
        let location = super::append::location_of(id, at, header);
        header.kind == Kind::Value && !self.shared.state().is_at(header.hash, location)
    }
}
