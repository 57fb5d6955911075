//! Where the writer's bytes go: when a segment is full and the next begins,
//! what must stay free on the disk, and when all is durable.
//!
//! Never puts anything behind what could not be synced.

use std::num::NonZeroU32;
use std::sync::Arc;

use grey_model::Bytes;

use super::error::SpillError;
use super::files::segment_path;
use super::format::{FileHeader, HEADER, Link};
use super::reading::Segment;
use super::recovery::Tail;
use super::roster::{self, Roster};
use super::state::Numbers;
use super::store::LOCK_FILE;
use super::writer::{Active, Unsynced, Writer};

impl Writer {
    /// Makes sure that `length` more bytes belong into the active segment.
    pub(super) fn make_room(&mut self, length: u64) -> Result<(), SpillError> {
        let most = self.segment_length();
        let fits = self.active.as_ref().is_some_and(|active| {
            let end = active.end + self.filled as u64;
            end + length <= most || end == HEADER as u64
        });
        if fits {
            return Ok(());
        }
        self.write_out()?;
        self.begin_segment()
    }

    /// Several segments must fit into the quota, or none could be collected.
    fn segment_length(&self) -> u64 {
        let options = &self.shared.options;
        options
            .segment
            .get()
            .min((options.quota.get() / 8).max(64 << 10))
    }

    /// Ends the active segment, if there is one, and begins the next.
    pub(super) fn begin_segment(&mut self) -> Result<(), SpillError> {
        debug_assert_eq!(self.filled, 0, "the buffer belongs to the old segment");
        if self.is_durable {
            self.sync()?;
        }
        self.check_directory("begin a segment in")?;
        let directory = &self.shared.options.directory;
        let id = NonZeroU32::new(self.next).unwrap_or(NonZeroU32::MAX);
        let path = segment_path(directory, id);
        let failed = |error| SpillError::of_io("begin the spill segment", &path, error);
        let disk = &self.shared.options.disk;
        // A number whose files could not be made is not tried again: one of
        // them may be there.
        self.next = self.next.saturating_add(1);
        let header = FileHeader {
            salt: self.shared.salt,
            segment: id.get(),
            previous_segment: self.written.segment,
            previous_end: self.written.end,
            previous: self.written.previous,
        };
        let roster = Roster::create(&**disk, &path, &header)?;
        let file = match disk.create(&path) {
            Ok(file) => file,
            Err(error) => {
                roster::remove(&**disk, &path);
                return Err(failed(error));
            }
        };
        if let Err(error) = file.write_at(&header.encode(), 0) {
            roster::remove(&**disk, &path);
            // No record is in it; if it cannot be removed, it is at the next
            // opening.
            if let Err(error) = disk.remove(&path) {
                tracing::warn!(%error, path = %path.display(), "failed to remove an empty spill segment");
            }
            return Err(failed(error));
        }
        let segment = Arc::new(Segment { id, path, file });
        self.has_new_names = true;
        self.unsynced.push(Unsynced {
            segment: Arc::clone(&segment),
            roster: Arc::clone(&roster),
        });
        self.written = Tail {
            segment: id.get(),
            end: HEADER as u64,
            previous: Link::default(),
            sequence: self.written.sequence,
        };
        self.tail = self.written;
        let mut state = self.shared.state();
        state.on_disk += 2 * HEADER as u64;
        state.active = Some(id);
        state.segments.insert(
            id,
            Numbers {
                segment: Arc::clone(&segment),
                length: HEADER as u64,
                roster: HEADER as u64,
                dead: 0,
                tombstones: 0,
                is_damaged: false,
            },
        );
        drop(state);
        self.active = Some(Active {
            segment,
            end: HEADER as u64,
            roster,
            roster_end: HEADER as u64,
            marked: HEADER as u64,
        });
        Ok(())
    }

    /// Refuses when the directory is not the one that was locked.
    pub(super) fn check_directory(&self, action: &'static str) -> Result<(), SpillError> {
        let directory = &self.shared.options.directory;
        match self.shared.lock.is_in_place(&directory.join(LOCK_FILE)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(SpillError::Displaced {
                action,
                directory: directory.clone(),
            }),
            Err(error) => Err(SpillError::of_io("look at the lock in", directory, error)),
        }
    }

    /// Refuses when the disk would have too little left.
    pub(super) fn check_floor(&self, more: u64) -> Result<(), SpillError> {
        let options = &self.shared.options;
        let floor = options.free_floor;
        if floor == Bytes::ZERO {
            return Ok(());
        }
        let free = options
            .disk
            .free_space(&options.directory)
            .map_err(|error| {
                SpillError::of_io("ask for the free space of", &options.directory, error)
            })?;
        if free.saturating_sub(Bytes(more)) < floor {
            return Err(SpillError::TooLittleFree {
                directory: options.directory.clone(),
                free,
                floor,
            });
        }
        Ok(())
    }

    /// The next record goes into a new segment.
    pub(super) fn leave_segment(&mut self) {
        self.active = None;
        self.shared.state().active = None;
    }

    /// Waits until everything that was written is on the disk.
    pub(super) fn sync(&mut self) -> Result<(), SpillError> {
        self.is_durable = true;
        while let Some(Unsynced { segment, roster }) = self.unsynced.first() {
            let synced = roster.sync().and_then(|()| {
                let synced = segment.file.sync();
                synced.map_err(|error| SpillError::of_io("sync", &segment.path, error))
            });
            if let Err(error) = synced {
                // The kernel may have dropped what it could not write: nothing
                // is put behind it.
                self.unsynced.remove(0);
                self.leave_segment();
                self.shared.state().totals.write_failures += 1;
                return Err(error);
            }
            self.unsynced.remove(0);
        }
        if self.has_new_names {
            let options = &self.shared.options;
            options
                .disk
                .sync_directory(&options.directory)
                .map_err(|error| SpillError::of_io("sync", &options.directory, error))?;
            self.has_new_names = false;
        }
        self.mark();
        Ok(())
    }
}
