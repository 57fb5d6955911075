//! A disk that fails, tears, fills up, slows down or flips bits when it is
//! told to; the files themselves are real.
//!
//! Never fails by chance: the same plan gives the same failures.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use grey_model::Bytes;

use crate::disk::{Disk, DiskFile, DiskLock, LockFailure, SystemDisk};

/// An operation that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Making a directory.
    CreateDirectory,
    /// Making a file.
    Create,
    /// Opening a file.
    Open,
    /// Writing.
    Write,
    /// Reading.
    Read,
    /// Cutting a file.
    Truncate,
    /// Syncing a file or a directory.
    Sync,
    /// Renaming.
    Rename,
    /// Removing.
    Remove,
}

impl Operation {
    /// Whether it changes what is on the disk.
    #[must_use]
    pub const fn changes(self) -> bool {
        !matches!(self, Self::Open | Self::Read | Self::Sync)
    }
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// With this error, and without doing anything.
    Error(io::ErrorKind),
    /// A write leaves so many of its bytes, and then fails.
    Torn(usize),
    /// A read gives back this bit the wrong way round, and succeeds.
    FlippedBit(usize),
}

#[derive(Debug, Clone, Copy)]
struct Planned {
    operation: Operation,
    /// How many of its kind succeed before.
    after: u64,
    /// Whether those that follow fail as well.
    is_lasting: bool,
    fault: Fault,
}

#[derive(Debug, Default)]
struct Plan {
    faults: Vec<Planned>,
    /// Every change after so many fails.
    changes_left: Option<u64>,
    room: Option<u64>,
    is_read_only: bool,
    delay: Duration,
    changes: u64,
}

/// A disk that fails when it is told to. Clones share their plan.
#[derive(Debug, Clone, Default)]
pub struct FaultyDisk {
    plan: Arc<Mutex<Plan>>,
}

impl FaultyDisk {
    /// One that does not fail yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The operation fails once, after `after` more of its kind.
    pub fn fail(&self, operation: Operation, after: u64, fault: Fault) {
        self.plan().faults.push(Planned {
            operation,
            after,
            is_lasting: false,
            fault,
        });
    }

    /// The operation fails from now on, after `after` more of its kind.
    pub fn keep_failing(&self, operation: Operation, after: u64, fault: Fault) {
        self.plan().faults.push(Planned {
            operation,
            after,
            is_lasting: true,
            fault,
        });
    }

    /// Nothing changes any more after `changes` more changes, as if the process
    /// had been killed there: the next write leaves half of its bytes.
    pub fn stop_after(&self, changes: u64) {
        self.plan().changes_left = Some(changes);
    }

    /// Files can grow by only so many more bytes; `None` for as many as there are.
    /// What is written over needs no room.
    pub fn set_room(&self, room: Option<Bytes>) {
        self.plan().room = room.map(Bytes::get);
    }

    /// Nothing can be changed.
    pub fn set_read_only(&self, is_read_only: bool) {
        self.plan().is_read_only = is_read_only;
    }

    /// Every operation takes so much longer.
    pub fn set_delay(&self, delay: Duration) {
        self.plan().delay = delay;
    }

    /// Forgets all faults.
    pub fn heal(&self) {
        let mut plan = self.plan();
        let changes = plan.changes;
        *plan = Plan {
            changes,
            ..Plan::default()
        };
    }

    /// How many changes there were so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.plan().changes
    }

    /// What happens to this operation; for a write, how much of it is done
    /// before it fails.
    fn meet(&self, operation: Operation, length: usize) -> Result<(), Failure> {
        self.meet_write(operation, length, length)
    }

    /// The same; a write makes its file longer by `growth`.
    fn meet_write(
        &self,
        operation: Operation,
        length: usize,
        growth: usize,
    ) -> Result<(), Failure> {
        let mut plan = self.plan();
        let delay = plan.delay;
        let outcome = plan.meet(operation, length, growth);
        drop(plan);
        if !delay.is_zero() {
            std::thread::sleep(delay);
        }
        outcome
    }

    fn meet_plainly(&self, operation: Operation) -> io::Result<()> {
        match self.meet(operation, 0) {
            Ok(()) => Ok(()),
            Err(failure) => Err(failure.error()),
        }
    }
}

/// What becomes of an operation that fails.
enum Failure {
    Error(io::Error),
    Torn(usize, io::Error),
    FlippedBit(usize),
}

impl Failure {
    fn error(self) -> io::Error {
        match self {
            Self::Error(error) | Self::Torn(_, error) => error,
            Self::FlippedBit(_) => io::Error::other("a bit cannot be flipped here"),
        }
    }
}

impl Plan {
    fn meet(&mut self, operation: Operation, length: usize, growth: usize) -> Result<(), Failure> {
        if operation.changes() {
            self.meet_change(operation, length, growth)?;
        }
        let mut met = None;
        for fault in &mut self.faults {
            if fault.operation != operation {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
            } else if met.is_none() {
                met = Some(*fault);
            }
        }
        let Some(met) = met else {
            if operation.changes() {
                self.changes += 1;
            }
            return Ok(());
        };
        if !met.is_lasting {
            let place = self.faults.iter().position(|fault| {
                fault.operation == operation && fault.after == 0 && !fault.is_lasting
            });
            if let Some(place) = place {
                self.faults.remove(place);
            }
        }
        Err(match met.fault {
            Fault::Error(kind) => Failure::Error(kind.into()),
            Fault::Torn(bytes) => {
                Failure::Torn(bytes.min(length), io::ErrorKind::StorageFull.into())
            }
            Fault::FlippedBit(bit) => Failure::FlippedBit(bit),
        })
    }

    fn meet_change(
        &mut self,
        operation: Operation,
        length: usize,
        growth: usize,
    ) -> Result<(), Failure> {
        if self.is_read_only {
            return Err(Failure::Error(io::ErrorKind::ReadOnlyFilesystem.into()));
        }
        if let Some(left) = self.changes_left {
            let Some(left) = left.checked_sub(1) else {
                return Err(Failure::Error(io::ErrorKind::BrokenPipe.into()));
            };
            self.changes_left = Some(left);
            if left == 0 && operation == Operation::Write {
                return Err(Failure::Torn(length / 2, io::ErrorKind::BrokenPipe.into()));
            }
        }
        if operation == Operation::Write
            && let Some(room) = self.room
        {
            let more = growth as u64;
            self.room = Some(room.saturating_sub(more));
            if more > room {
                let left = usize::try_from(room).unwrap_or(0);
                let left = length - growth + left;
                return Err(Failure::Torn(left, io::ErrorKind::StorageFull.into()));
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    file: Box<dyn DiskFile>,
}

impl DiskFile for FaultyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        let more = end.saturating_sub(self.file.length()?);
        let growth = usize::try_from(more).map_or(bytes.len(), |more| more.min(bytes.len()));
        match self.disk.meet_write(Operation::Write, bytes.len(), growth) {
            Ok(()) => self.file.write_at(bytes, offset),
            Err(Failure::Torn(left, error)) => {
                self.file.write_at(&bytes[..left], offset)?;
                Err(error)
            }
            Err(failure) => Err(failure.error()),
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.disk.meet(Operation::Read, buffer.len()) {
            Ok(()) => self.file.read_at(buffer, offset),
            Err(Failure::FlippedBit(bit)) => {
                let read = self.file.read_at(buffer, offset)?;
                if read > 0 {
                    buffer[bit / 8 % read] ^= 1 << (bit % 8);
                }
                Ok(read)
            }
            Err(failure) => Err(failure.error()),
        }
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.disk.meet_plainly(Operation::Truncate)?;
        self.file.truncate(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.meet_plainly(Operation::Sync)?;
        self.file.sync()
    }

    fn will_need(&self, offset: u64, length: u64) {
        self.file.will_need(offset, length);
    }
}

impl FaultyDisk {
    fn wrap(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(FaultyFile {
            disk: self.clone(),
            file,
        })
    }
}

impl Disk for FaultyDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        self.meet_plainly(Operation::CreateDirectory)?;
        SystemDisk.create_directory(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        SystemDisk.list(directory)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.meet_plainly(Operation::Create)?;
        Ok(self.wrap(SystemDisk.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.meet_plainly(Operation::Open)?;
        Ok(self.wrap(SystemDisk.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.meet_plainly(Operation::Rename)?;
        SystemDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.meet_plainly(Operation::Remove)?;
        SystemDisk.remove(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.meet_plainly(Operation::Sync)?;
        SystemDisk.sync_directory(directory)
    }

    fn free_space(&self, directory: &Path) -> io::Result<Bytes> {
        let room = self.plan().room;
        match room {
            Some(room) => Ok(Bytes(room)),
            None => SystemDisk.free_space(directory),
        }
    }

    fn is_in_memory(&self, directory: &Path) -> io::Result<bool> {
        SystemDisk.is_in_memory(directory)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>, LockFailure> {
        if self.plan().is_read_only {
            return Err(LockFailure::Io(io::ErrorKind::ReadOnlyFilesystem.into()));
        }
        SystemDisk.lock(path)
    }
}
