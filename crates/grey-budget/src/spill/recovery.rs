//! What is in a directory when a store is opened: the segments are read in the
//! order in which they were written, headers only, and the index is made.
//!
//! A value that is read is the last one of its key, or it is not read. Where a
//! record is damaged that may have replaced or removed others, those others
//! are not to be trusted: if the record after it names it, only its key is
//! dropped; else everything that was written before. What breaks off is the
//! end of a write that was interrupted, and is cut.
//!
//! Removes nothing but files that hold no record.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use grey_model::{Bytes, Priority};

use super::error::SpillError;
use super::format::{ALIGNMENT, BadFileHeader, FileHeader, HEADER, Kind, Link, RecordHeader};
use super::index::{Entry, Index, Location, Place};
use super::key_hash::{KeyHash, Salt};
use super::options::SpillOptions;
use super::reading::{Segment, WINDOW, Window};
use super::state::{Numbers, State, Work};
use super::statistics::{Recovery, SetAside};
use crate::disk::Disk;

/// How many names are tried for a file that is set aside.
const MOST_NAMES: u32 = 1000;

/// What a file is written in one piece with, at least.
const SECTOR: u64 = 512;

/// The end of what was written, from where writing goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tail {
    /// The last segment; 0 when there is none.
    pub(super) segment: u32,
    pub(super) end: u64,
    pub(super) previous: Link,
    pub(super) sequence: u64,
}

/// A directory that was read.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) state: State,
    pub(super) salt: Salt,
    pub(super) recovery: Recovery,
    pub(super) tail: Tail,
    /// The number of the next segment.
    pub(super) next: u32,
}

/// The file of a segment.
pub(super) fn segment_path(directory: &Path, id: NonZeroU32) -> PathBuf {
    directory.join(format!("segment-{id:08x}.spill"))
}

/// The number in a segment's name, whatever follows it.
fn number_in(path: &Path) -> Option<(NonZeroU32, bool)> {
    let name = path.file_name()?.to_str()?;
    let (number, kind) = name.strip_prefix("segment-")?.split_once('.')?;
    if number.len() != 8 {
        return None;
    }
    let id = u32::from_str_radix(number, 16).ok()?;
    Some((NonZeroU32::new(id)?, kind == "spill"))
}

/// Gives a segment another name, so that no store reads it again.
pub(super) fn set_aside(disk: &dyn Disk, path: &Path, why: &str) -> Result<PathBuf, SpillError> {
    for turn in 0..MOST_NAMES {
        let name = if turn == 0 {
            path.with_extension(why)
        } else {
            path.with_extension(format!("{why}-{turn}"))
        };
        match disk.rename(path, &name) {
            Ok(()) => return Ok(name),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(SpillError::of_io("set aside", path, error)),
        }
    }
    Err(SpillError::of_io(
        "set aside",
        path,
        std::io::ErrorKind::AlreadyExists.into(),
    ))
}

/// A file whose header is good.
struct Candidate {
    segment: Arc<Segment>,
    header: FileHeader,
    length: u64,
}

struct Reader<'a> {
    options: &'a SpillOptions,
    state: State,
    recovery: Recovery,
    window: Window,
    /// Keys whose last record is damaged.
    forgotten: Vec<KeyHash>,
}

/// Reads a directory.
pub(super) fn open(options: &SpillOptions) -> Result<Opened, SpillError> {
    let directory = &options.directory;
    let mut files: Vec<(NonZeroU32, PathBuf)> = Vec::new();
    let mut highest = 0;
    let listed = options
        .disk
        .list(directory)
        .map_err(|error| SpillError::of_io("list the spill directory", directory, error))?;
    for path in listed {
        if let Some((id, is_segment)) = number_in(&path) {
            highest = highest.max(id.get());
            if is_segment {
                files.push((id, path));
            }
        }
    }
    files.sort();
    let mut reader = Reader {
        options,
        state: State::new(Index::new(
            options.component.clone(),
            options.expected_entries,
        )),
        recovery: Recovery::default(),
        window: Window::new(),
        forgotten: Vec::new(),
    };
    let (candidates, salt) = reader.candidates(files)?;
    let salt = salt.unwrap_or_else(Salt::random);
    let mut tail = Tail::default();
    for place in 0..candidates.len() {
        match &candidates[place] {
            Ok(candidate) => {
                let next = match candidates.get(place + 1) {
                    None => Next::Nothing,
                    Some(Ok(next)) if next.header.previous_segment == candidate.header.segment => {
                        Next::Known(next.header)
                    }
                    Some(_) => Next::Unknown,
                };
                tail = reader.replay(candidate, salt, next, tail.sequence)?;
            }
            // It may have replaced anything that came before.
            Err(_) => reader.distrust(),
        }
    }
    reader.make_lasting(candidates)?;
    reader.recovery.values = reader.state.index.len() as u64;
    reader.report();
    let next = highest.checked_add(1).ok_or_else(|| {
        SpillError::of_io(
            "number a segment in",
            directory,
            std::io::ErrorKind::Other.into(),
        )
    })?;
    Ok(Opened {
        state: reader.state,
        salt,
        recovery: reader.recovery,
        tail,
        next,
    })
}

/// What is known about the segment after one.
#[derive(Clone, Copy)]
enum Next {
    /// There is none: this one may end in a write that was interrupted.
    Nothing,
    /// It says how this one ends.
    Known(FileHeader),
    Unknown,
}

/// Of no use, and to be set aside.
struct Useless {
    id: NonZeroU32,
    path: PathBuf,
    why: &'static str,
    reason: String,
}

impl Reader<'_> {
    /// Opens all files, and sets aside those whose header is not ours.
    #[expect(clippy::type_complexity, reason = "named by what is around it, once")]
    fn candidates(
        &mut self,
        files: Vec<(NonZeroU32, PathBuf)>,
    ) -> Result<(Vec<Result<Candidate, Useless>>, Option<Salt>), SpillError> {
        let mut candidates = Vec::with_capacity(files.len());
        let mut salt = None;
        let last = files.len().saturating_sub(1);
        for (place, (id, path)) in files.into_iter().enumerate() {
            let failed = |error| SpillError::of_io("open the spill segment", &path, error);
            let file = self.options.disk.open(&path).map_err(failed)?;
            let length = file.length().map_err(failed)?;
            let segment = Arc::new(Segment {
                id,
                path: path.clone(),
                file,
            });
            let bytes = self.window.get(&segment, 0, HEADER, 0).map_err(failed)?;
            let is_blank = bytes.iter().all(|byte| *byte == 0);
            if place == last && (length < HEADER as u64 || is_blank && length == HEADER as u64) {
                // Its header was being written: no record is in it.
                self.options.disk.remove(&path).map_err(failed)?;
                self.recovery.torn = self.recovery.torn.saturating_add(Bytes(length));
                continue;
            }
            let header = bytes
                .first_chunk::<HEADER>()
                .map_or(Err(BadFileHeader::Damaged), FileHeader::decode);
            let useless = match header {
                Ok(header) if header.segment != id.get() => Some((
                    "misnamed",
                    format!("it is segment {} by its header", header.segment),
                )),
                Ok(header) if salt.is_some_and(|salt| salt != header.salt) => {
                    Some(("foreign", "it belongs to another store".to_owned()))
                }
                Ok(header) => {
                    salt = Some(header.salt);
                    candidates.push(Ok(Candidate {
                        segment,
                        header,
                        length,
                    }));
                    None
                }
                Err(BadFileHeader::Version(version)) => Some((
                    "version",
                    format!("it is of version {version}, not {}", super::format::VERSION),
                )),
                Err(BadFileHeader::Damaged) => Some(("damaged", "its head is damaged".to_owned())),
            };
            if let Some((why, reason)) = useless {
                candidates.push(Err(Useless {
                    id,
                    path,
                    why,
                    reason,
                }));
            }
        }
        Ok((candidates, salt))
    }

    /// What is not believed now must not be believed the next time either,
    /// when the damage is set aside: what came before a file that is of no use
    /// goes before that file does, and a key whose last record is damaged gets
    /// a tombstone.
    fn make_lasting(
        &mut self,
        candidates: Vec<Result<Candidate, Useless>>,
    ) -> Result<(), SpillError> {
        for useless in candidates.into_iter().filter_map(Result::err) {
            while let Some(oldest) = self.state.segments.first_entry() {
                if *oldest.key() > useless.id {
                    break;
                }
                let numbers = oldest.remove();
                let path = &numbers.segment.path;
                if numbers.is_damaged {
                    set_aside(&*self.options.disk, path, "damaged")?;
                } else {
                    self.options
                        .disk
                        .remove(path)
                        .map_err(|error| SpillError::of_io("remove", path, error))?;
                }
                self.state.on_disk = self.state.on_disk.saturating_sub(numbers.length);
            }
            let path = set_aside(&*self.options.disk, &useless.path, useless.why)?;
            self.recovery.set_aside.push(SetAside {
                path,
                reason: useless.reason,
            });
        }
        for hash in std::mem::take(&mut self.forgotten) {
            if self.state.index.get(hash).is_none() {
                self.state.queue.push_back(Work::Remove(hash));
            }
        }
        Ok(())
    }

    /// Nothing that was read so far may be believed.
    fn distrust(&mut self) {
        self.recovery.distrusted += self.state.index.len() as u64;
        self.state.index.clear();
        for numbers in self.state.segments.values_mut() {
            numbers.dead = numbers.length;
        }
    }

    /// Puts a segment's records into the index; where it ends.
    fn replay(
        &mut self,
        candidate: &Candidate,
        salt: Salt,
        next: Next,
        sequence: u64,
    ) -> Result<Tail, SpillError> {
        let id = candidate.segment.id;
        self.state.segments.insert(
            id,
            Numbers {
                segment: Arc::clone(&candidate.segment),
                length: candidate.length,
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
        let mut is_damaged = false;
        while tail.end < end {
            let mut at = tail.end;
            let mut header = scan.record(&mut self.window, at)?;
            if header.is_none() {
                let Some((found, after)) = scan.next_record(&mut self.window, at)? else {
                    break;
                };
                is_damaged = true;
                self.gap(at, found, after.previous);
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
        if !is_whole {
            is_damaged |= self.end(candidate, next, &mut tail)?;
        }
        if is_damaged {
            self.recovery.damaged.push(candidate.segment.path.clone());
            // Whoever reads this again must come to the damage again.
            (tail.end, tail.previous) = (candidate.length, Link::default());
        }
        let is_last = matches!(next, Next::Nothing);
        self.state.on_disk += if is_last && !is_damaged {
            tail.end
        } else {
            candidate.length
        };
        if let Some(numbers) = self.state.segments.get_mut(&id) {
            numbers.is_damaged = is_damaged;
            if is_last && !is_damaged {
                numbers.length = tail.end;
                self.state.active = Some(id);
            }
        }
        Ok(tail)
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
                } else {
                    self.distrust();
                }
                Ok(true)
            }
            Next::Nothing if self.is_torn(candidate, tail.end)? => {
                let segment = &candidate.segment;
                segment.file.truncate(tail.end).map_err(|error| {
                    SpillError::of_io("cut the torn end off", &segment.path, error)
                })?;
                let torn = Bytes(candidate.length - tail.end);
                self.recovery.torn = self.recovery.torn.saturating_add(torn);
                self.window.clear();
                Ok(false)
            }
            Next::Nothing | Next::Unknown => {
                self.distrust();
                Ok(true)
            }
        }
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
    fn gap(&mut self, at: u64, found: u64, previous: Link) {
        if previous.length > 0 && at + u64::from(previous.length) == found {
            self.forget(previous.hash);
        } else {
            self.distrust();
        }
    }

    /// A key whose last record is damaged has no value.
    fn forget(&mut self, hash: [u64; 2]) {
        let hash = KeyHash(hash);
        let old = self.state.index.remove(hash);
        self.forgotten.push(hash);
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

    fn report(&self) {
        for file in &self.recovery.set_aside {
            tracing::warn!(path = %file.path.display(), reason = %file.reason, "a spill segment was set aside");
        }
        for path in &self.recovery.damaged {
            tracing::warn!(path = %path.display(), "a spill segment is damaged");
        }
        if self.recovery.distrusted > 0 {
            tracing::warn!(
                values = self.recovery.distrusted,
                "spilled values may have been replaced by what is damaged, and are dropped"
            );
        }
    }
}

/// The link that a record after this one holds.
pub(super) fn link_to(header: &RecordHeader) -> Link {
    Link {
        hash: header.hash.0,
        length: u32::try_from(header.length()).unwrap_or(u32::MAX),
    }
}

/// Reads headers of one segment.
pub(super) struct Scan<'a> {
    pub(super) segment: &'a Segment,
    pub(super) salt: Salt,
    /// Where its records end.
    pub(super) end: u64,
}

impl Scan<'_> {
    fn bytes<'w>(
        &self,
        window: &'w mut Window,
        at: u64,
        length: usize,
    ) -> Result<&'w [u8], SpillError> {
        window
            .get(self.segment, at, length, WINDOW)
            .map_err(|error| SpillError::of_io("read the spill segment", &self.segment.path, error))
    }

    /// The record at `at`, if a whole one is there.
    pub(super) fn record(
        &self,
        window: &mut Window,
        at: u64,
    ) -> Result<Option<RecordHeader>, SpillError> {
        let bytes = self.bytes(window, at, HEADER)?;
        Ok(bytes
            .first_chunk::<HEADER>()
            .and_then(|bytes| RecordHeader::decode(bytes, self.salt, self.segment.id.get(), at))
            .filter(|header| at + header.length() <= self.end))
    }

    /// The first record behind `at`.
    pub(super) fn next_record(
        &self,
        window: &mut Window,
        at: u64,
    ) -> Result<Option<(u64, RecordHeader)>, SpillError> {
        let mut at = at + ALIGNMENT;
        while at + HEADER as u64 <= self.end {
            if let Some(header) = self.record(window, at)? {
                return Ok(Some((at, header)));
            }
            at += ALIGNMENT;
        }
        Ok(None)
    }
}
