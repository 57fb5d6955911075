//! Opens kernel files below a kept directory and reads them whole.
//!
//! Never opens for writing, never follows a path from the root again, and
//! reuses the caller's buffer.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// The most that is read of one kernel file; larger ones are cut.
pub const LARGEST_FILE: usize = 16 << 20;

/// A kernel file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It could not be opened.
    #[error("failed to open `{}`", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was opened, and reading failed.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was read, and what must be in it is not.
    #[error("`{}` has no {missing}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is missing.
        missing: &'static str,
    },
}

impl ReadError {
    /// Whether the thing is gone: the file, the process or the cgroup.
    #[must_use]
    pub fn is_vanished(&self) -> bool {
        matches!(
            self.errno(),
            Some(Errno::NOENT | Errno::SRCH | Errno::NODEV)
        )
    }

    /// Whether we lack the permission.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.errno(), Some(Errno::ACCESS | Errno::PERM))
    }

    /// The system's error number, where there is one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Open { source, .. } | Self::Read { source, .. } => Errno::from_io_error(source),
            Self::Malformed { .. } => None,
        }
    }
}

/// A directory of kernel files, kept open.
#[derive(Debug)]
pub struct KernelDirectory {
    descriptor: OwnedFd,
    path: PathBuf,
}

impl KernelDirectory {
    /// Opens the directory at `path`.
    ///
    /// # Errors
    /// [`ReadError::Open`] when it is missing or may not be entered.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| ReadError::Open {
                path: path.to_owned(),
                source: errno.into(),
            })?;
        Ok(Self {
            descriptor,
            path: path.to_owned(),
        })
    }

    /// Opens a directory below this one.
    ///
    /// # Errors
    /// [`ReadError::Open`] when it is missing or may not be entered.
    pub fn open_directory(&self, name: &Path) -> Result<Self, ReadError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = self.path.join(name);
        match rustix::fs::openat(&self.descriptor, name, flags, Mode::empty()) {
            Ok(descriptor) => Ok(Self { descriptor, path }),
            Err(errno) => Err(ReadError::Open {
                path,
                source: errno.into(),
            }),
        }
    }

    /// Where it is, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the whole file `name` into `buffer`, replacing what is there.
    ///
    /// # Errors
    /// [`ReadError`] with the file's full path.
    pub fn read<'buffer>(
        &self,
        name: impl AsRef<Path>,
        buffer: &'buffer mut Vec<u8>,
    ) -> Result<&'buffer [u8], ReadError> {
        let name = name.as_ref();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file =
            rustix::fs::openat(&self.descriptor, name, flags, Mode::empty()).map_err(|errno| {
                ReadError::Open {
                    path: self.path.join(name),
                    source: errno.into(),
                }
            })?;
        read_to_end(file.as_fd(), buffer).map_err(|errno| ReadError::Read {
            path: self.path.join(name),
            source: errno.into(),
        })
    }

    /// Like [`KernelDirectory::read`], for hot paths: the name is a C string
    /// already, and an error carries no path.
    ///
    /// # Errors
    /// The system's error number.
    pub fn read_raw<'buffer>(
        &self,
        name: &CStr,
        buffer: &'buffer mut Vec<u8>,
    ) -> Result<&'buffer [u8], Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = rustix::fs::openat(&self.descriptor, name, flags, Mode::empty())?;
        read_to_end(file.as_fd(), buffer)
    }

    /// Whether `name` exists here.
    #[must_use]
    pub fn has(&self, name: impl AsRef<Path>) -> bool {
        rustix::fs::accessat(
            &self.descriptor,
            name.as_ref(),
            rustix::fs::Access::EXISTS,
            rustix::fs::AtFlags::empty(),
        )
        .is_ok()
    }
}

impl AsFd for KernelDirectory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Reads from the current position to the end. Kernel files are generated a
/// piece at a time, so a short read does not mean the end: only 0 does.
fn read_to_end<'buffer>(
    file: BorrowedFd<'_>,
    buffer: &'buffer mut Vec<u8>,
) -> Result<&'buffer [u8], Errno> {
    const FIRST: usize = 4096;
    if buffer.len() < FIRST {
        buffer.resize(FIRST, 0);
    }
    let mut filled = 0;
    loop {
        match rustix::io::read(file, &mut buffer[filled..]) {
            Ok(0) => return Ok(&buffer[..filled]),
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        if filled == buffer.len() {
            if filled >= LARGEST_FILE {
                return Ok(&buffer[..filled]);
            }
            buffer.resize(filled * 2, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_larger_than_the_buffer_is_read_whole() {
        let root = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(root.path().join("big"), &content).unwrap();
        let directory = KernelDirectory::open(root.path()).unwrap();
        let mut buffer = Vec::new();
        assert_eq!(directory.read("big", &mut buffer).unwrap(), content);
        assert_eq!(directory.read_raw(c"big", &mut buffer).unwrap(), content);
    }

    #[test]
    fn a_missing_file_is_vanished_and_named() {
        let root = tempfile::tempdir().unwrap();
        let directory = KernelDirectory::open(root.path()).unwrap();
        let error = directory.read("gone", &mut Vec::new()).unwrap_err();
        assert!(error.is_vanished());
        assert!(error.to_string().contains("/gone"), "{error}");
    }
}
