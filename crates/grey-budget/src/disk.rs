//! The few file operations that a spill needs, as something that a test can
//! replace by a disk that fails.
//!
//! Never retries, and never hides an error.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};

use grey_model::Bytes;
use rustix::fs::Advice;

/// File systems that live in memory: what is written there frees nothing.
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// A file that is open for reading and writing.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// The kernel's; part of it may have been written then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Fills `buffer` from `offset` on, and tells how much was there: less
    /// than asked for at the end of the file only.
    ///
    /// # Errors
    /// The kernel's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// How long it is.
    ///
    /// # Errors
    /// The kernel's.
    fn length(&self) -> io::Result<u64>;

    /// Cuts it to `length`.
    ///
    /// # Errors
    /// The kernel's.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Waits until all that was written is on the disk.
    ///
    /// # Errors
    /// The kernel's; what was written since the last success may be lost.
    fn sync(&self) -> io::Result<()>;

    /// Asks the kernel to begin reading this part. It may do nothing.
    fn will_need(&self, offset: u64, length: u64);
}

/// Keeps other processes out for as long as it lives.
pub trait DiskLock: Send + Sync + fmt::Debug {
    /// Whether the file that is locked is still the one at `path`: not once it,
    /// or a directory above it, was removed or replaced. By default it always is.
    ///
    /// # Errors
    /// The kernel's, when it does not tell.
    fn is_in_place(&self, _path: &Path) -> io::Result<bool> {
        Ok(true)
    }
}

/// A lock could not be had.
#[derive(Debug)]
#[non_exhaustive]
pub enum LockFailure {
    /// Another one holds it: the process that the lock file names, if it does.
    Held(Option<u32>),
    /// The kernel refused.
    Io(io::Error),
}

/// Where files live.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a directory with all those above it; one that exists is fine.
    ///
    /// # Errors
    /// The kernel's.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// The files in a directory, in no order.
    ///
    /// # Errors
    /// The kernel's.
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;

    /// Makes a file that must not exist, readable by its owner alone.
    ///
    /// # Errors
    /// The kernel's.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that exists.
    ///
    /// # Errors
    /// The kernel's.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name in its directory; replaces nothing.
    ///
    /// # Errors
    /// The kernel's; [`io::ErrorKind::AlreadyExists`] when the name is taken.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The kernel's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Waits until the names in a directory are on the disk.
    ///
    /// # Errors
    /// The kernel's.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;

    /// How much this process may still write in a directory.
    ///
    /// # Errors
    /// The kernel's.
    fn free_space(&self, directory: &Path) -> io::Result<Bytes>;

    /// Whether the directory lives in memory (tmpfs, ramfs).
    ///
    /// # Errors
    /// The kernel's.
    fn is_in_memory(&self, directory: &Path) -> io::Result<bool>;

    /// Takes a lock for this process, at once or not at all, and leaves the
    /// process's number in the file.
    ///
    /// # Errors
    /// [`LockFailure`], which says who holds it.
    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>, LockFailure>;
}

/// The machine's disks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

#[derive(Debug)]
struct SystemFile(File);

impl DiskFile for SystemFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        let mut at = offset;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], at) {
                Ok(0) => break,
                Ok(read) => {
                    filled += read;
                    at += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn will_need(&self, offset: u64, length: u64) {
        let length = std::num::NonZeroU64::new(length);
        // Advice that is not taken changes nothing but the time it takes.
        let _ = rustix::fs::fadvise(&self.0, offset, length, Advice::WillNeed);
    }
}

#[derive(Debug)]
struct SystemLock {
    // The lock ends when the last copy of the descriptor is closed.
    file: File,
}

impl DiskLock for SystemLock {
    fn is_in_place(&self, path: &Path) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        match std::fs::metadata(path) {
            Ok(found) => Ok((found.dev(), found.ino()) == (ours.dev(), ours.ino())),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(false),
                _ => Err(error),
            },
        }
    }
}

fn open_to_write() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

impl Disk for SystemDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(directory)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect()
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = open_to_write().create_new(true).open(path)?;
        Ok(Box::new(SystemFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(SystemFile(open_to_write().open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        // A second name first: a link never replaces, a rename would.
        match std::fs::hard_link(from, to) {
            Ok(()) => std::fs::remove_file(from),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // Some file systems know no links.
            Err(_) if to.symlink_metadata().is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => std::fs::rename(from, to),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }

    fn free_space(&self, directory: &Path) -> io::Result<Bytes> {
        let numbers = rustix::fs::statvfs(directory)?;
        Ok(Bytes(numbers.f_bavail.saturating_mul(numbers.f_frsize)))
    }

    fn is_in_memory(&self, directory: &Path) -> io::Result<bool> {
        let kind = rustix::fs::statfs(directory)?.f_type;
        let kind = u64::try_from(kind).unwrap_or(0);
        Ok(MEMORY_FILE_SYSTEMS.contains(&kind))
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn DiskLock>, LockFailure> {
        let file = open_to_write()
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(LockFailure::Io)?;
        match file.try_lock() {
            Ok(()) => {
                let owner = format!("{}\n", std::process::id());
                file.set_len(0).map_err(LockFailure::Io)?;
                file.write_all_at(owner.as_bytes(), 0)
                    .map_err(LockFailure::Io)?;
                Ok(Box::new(SystemLock { file }))
            }
            Err(TryLockError::WouldBlock) => Err(LockFailure::Held(owner_named_in(&file))),
            Err(TryLockError::Error(error)) => Err(LockFailure::Io(error)),
        }
    }
}

fn owner_named_in(file: &File) -> Option<u32> {
    let mut text = [0_u8; 16];
    let read = file.read_at(&mut text, 0).ok()?;
    std::str::from_utf8(&text[..read]).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rename_replaces_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("a"), directory.path().join("b"));
        std::fs::write(&from, "a").unwrap();
        std::fs::write(&to, "b").unwrap();
        let error = SystemDisk.rename(&from, &to).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&to).unwrap(), b"b");
        std::fs::remove_file(&to).unwrap();
        SystemDisk.rename(&from, &to).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"a");
        assert!(!from.exists());
    }

    #[test]
    fn a_lock_that_is_held_names_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = SystemDisk.lock(&path);
        assert!(held.is_ok());
        match SystemDisk.lock(&path) {
            Err(LockFailure::Held(owner)) => assert_eq!(owner, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        drop(held);
        assert!(SystemDisk.lock(&path).is_ok());
    }

    #[test]
    fn a_read_at_the_end_tells_how_much_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let file = SystemDisk.create(&directory.path().join("a")).unwrap();
        file.write_at(b"12345", 0).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(file.read_at(&mut buffer, 2).unwrap(), 3);
        assert_eq!(&buffer[..3], b"345");
    }

    #[test]
    fn shared_memory_is_told_from_a_disk() {
        if Path::new("/dev/shm").is_dir() {
            assert!(SystemDisk.is_in_memory(Path::new("/dev/shm")).unwrap());
        }
        assert!(!SystemDisk.is_in_memory(Path::new("/proc")).unwrap());
    }
}
