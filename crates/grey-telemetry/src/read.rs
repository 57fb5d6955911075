//! Opens kernel files below a kept directory and reads them whole.
//!
//! Never opens for writing, never follows a path from the root again, and
//! reuses the caller's buffer.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use grey_model::Reading;
use rustix::fs::{AtFlags, Dir, DirEntry, FileType, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;

/// The most that is read of one kernel file; larger ones are cut.
pub const LARGEST_FILE: usize = 16 << 20;

/// The most names that are taken from one directory.
pub const MOST_NAMES: usize = 1 << 20;

/// How every file is opened. Not to wait for a pipe's other end: kernel files
/// never make a reader wait, and a tree that was given may have anything in it.
pub(crate) const READING: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOCTTY)
    .union(OFlags::NONBLOCK);

/// Which names of a directory are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All.
    Everything,
    /// Directories, not links to them.
    Directories,
    /// Names that are decimal numbers: pids.
    Numbers,
}

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
    /// It is a pipe, a device or something else that is no file.
    #[error("`{}` is no regular file", path.display())]
    NoFile {
        /// What it is not.
        path: PathBuf,
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

    /// Whether the kernel knows the file and has the thing turned off: PSI
    /// with `psi=0`, `cgroup.procs` of a threaded cgroup.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(self.errno(), Some(Errno::OPNOTSUPP))
    }

    /// The system's error number, where there is one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Open { source, .. } | Self::Read { source, .. } => Errno::from_io_error(source),
            Self::NoFile { .. } | Self::Malformed { .. } => None,
        }
    }
}

/// What is gone is absent; of the rest, why it is not known.
impl<T> From<ReadError> for Reading<T> {
    fn from(error: ReadError) -> Self {
        if error.is_vanished() {
            return Self::Absent;
        }
        let why = match &error {
            _ if error.is_denied() => ": no permission".to_owned(),
            ReadError::Open { source, .. } | ReadError::Read { source, .. } => {
                format!(": {source}")
            }
            ReadError::NoFile { .. } | ReadError::Malformed { .. } => String::new(),
        };
        Self::Unknown(format!("{error}{why}"))
    }
}

/// A directory of kernel files, kept open.
#[derive(Debug)]
pub struct KernelDirectory {
    descriptor: OwnedFd,
    path: PathBuf,
    /// Whether the kernel itself makes what is in it. Elsewhere every file is
    /// looked at before it is read: it might be a pipe.
    of_kernel: bool,
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
            of_kernel: is_of_kernel(descriptor.as_fd()),
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
            Ok(descriptor) => Ok(Self {
                of_kernel: self.of_kernel || is_of_kernel(descriptor.as_fd()),
                descriptor,
                path,
            }),
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
        let file = rustix::fs::openat(&self.descriptor, name, READING, Mode::empty()).map_err(
            |errno| ReadError::Open {
                path: self.path.join(name),
                source: errno.into(),
            },
        )?;
        if self.is_trap(file.as_fd()) {
            return Err(ReadError::NoFile {
                path: self.path.join(name),
            });
        }
        read_to_end(file.as_fd(), buffer).map_err(|errno| ReadError::Read {
            path: self.path.join(name),
            source: errno.into(),
        })
    }

    /// Reads the file `name` when it exists and the kernel supports it;
    /// `None` otherwise.
    ///
    /// # Errors
    /// [`ReadError`] when it exists and cannot be read.
    pub fn read_optional<'buffer>(
        &self,
        name: impl AsRef<Path>,
        buffer: &'buffer mut Vec<u8>,
    ) -> Result<Option<&'buffer [u8]>, ReadError> {
        match self.read(name, buffer) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.is_vanished() || error.is_unsupported() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What `parse` makes of the file `name`: absent where there is none,
    /// unknown where it may not be read or is not understood.
    pub fn look<T>(
        &self,
        name: impl AsRef<Path>,
        buffer: &mut Vec<u8>,
        parse: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Reading<T> {
        let name = name.as_ref();
        match self.read(name, buffer) {
            Ok(text) => parse(text).map_or_else(
                || {
                    let path = self.path.join(name);
                    Reading::Unknown(format!("`{}` is not understood", path.display()))
                },
                Reading::Known,
            ),
            Err(error) => error.into(),
        }
    }

    /// Like [`KernelDirectory::read`], for hot paths: the name is a C string
    /// already, and an error carries no path.
    ///
    /// # Errors
    /// The system's error number; EINVAL for what is no regular file.
    pub fn read_raw<'buffer>(
        &self,
        name: &CStr,
        buffer: &'buffer mut Vec<u8>,
    ) -> Result<&'buffer [u8], Errno> {
        let file = rustix::fs::openat(&self.descriptor, name, READING, Mode::empty())?;
        if self.is_trap(file.as_fd()) {
            return Err(Errno::INVAL);
        }
        read_to_end(file.as_fd(), buffer)
    }

    /// The names in this directory, without `.` and `..`, sorted; at most
    /// [`MOST_NAMES`].
    ///
    /// # Errors
    /// [`ReadError::Read`] when the directory cannot be listed.
    pub fn names(&self, wanted: Wanted) -> Result<Vec<Vec<u8>>, ReadError> {
        let failed = |errno: Errno| ReadError::Read {
            path: self.path.clone(),
            source: errno.into(),
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.descriptor).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if names.len() >= MOST_NAMES {
                break;
            }
            if matches!(name, b"." | b"..") {
                continue;
            }
            let is_wanted = match wanted {
                Wanted::Everything => true,
                Wanted::Numbers => name.iter().all(u8::is_ascii_digit),
                Wanted::Directories => self.is_directory(&entry),
            };
            if is_wanted {
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The inode number of this directory; for a cgroup, its id.
    ///
    /// # Errors
    /// [`ReadError::Read`] when the system does not tell.
    pub fn inode(&self) -> Result<u64, ReadError> {
        match rustix::fs::fstat(&self.descriptor) {
            Ok(stat) => Ok(stat.st_ino),
            Err(errno) => Err(ReadError::Read {
                path: self.path.clone(),
                source: errno.into(),
            }),
        }
    }

    /// Where the symbolic link `name` points; `None` when there is no such
    /// link or it may not be looked at.
    #[must_use]
    pub fn link(&self, name: impl AsRef<Path>) -> Option<Vec<u8>> {
        rustix::fs::readlinkat(&self.descriptor, name.as_ref(), Vec::new())
            .ok()
            .map(std::ffi::CString::into_bytes)
    }

    /// Whether the file system may be written: not mounted read-only.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        rustix::fs::fstatvfs(&self.descriptor)
            .is_ok_and(|facts| !facts.f_flag.contains(StatVfsMountFlags::RDONLY))
    }

    /// Whether it is a pipe or a device in a tree that the kernel did not make.
    /// A directory is none: reading it is an error that says so.
    fn is_trap(&self, file: BorrowedFd<'_>) -> bool {
        !self.of_kernel
            && !rustix::fs::fstat(file).is_ok_and(|status| {
                matches!(
                    FileType::from_raw_mode(status.st_mode),
                    FileType::RegularFile | FileType::Directory
                )
            })
    }

    fn is_directory(&self, entry: &DirEntry) -> bool {
        match entry.file_type() {
            FileType::Unknown => {
                rustix::fs::statat(&self.descriptor, entry.file_name(), AtFlags::empty())
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
            }
            kind => kind == FileType::Directory,
        }
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

/// Whether a directory is of procfs, sysfs or a cgroup file system.
fn is_of_kernel(directory: BorrowedFd<'_>) -> bool {
    /// `include/uapi/linux/magic.h`: PROC, SYSFS, CGROUP, CGROUP2.
    const MAGIC: [u64; 4] = [0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270];
    rustix::fs::fstatfs(directory)
        .ok()
        .and_then(|facts| u64::try_from(facts.f_type).ok())
        .is_some_and(|kind| MAGIC.contains(&kind))
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

    #[test]
    fn what_the_kernel_has_turned_off_is_absent_and_what_fails_is_an_error() {
        let failed = |errno: Errno| ReadError::Read {
            path: PathBuf::from("pressure/memory"),
            source: errno.into(),
        };
        assert!(failed(Errno::OPNOTSUPP).is_unsupported());
        assert!(!failed(Errno::ACCESS).is_unsupported());
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("directory")).unwrap();
        let directory = KernelDirectory::open(root.path()).unwrap();
        let mut buffer = Vec::new();
        assert!(
            directory
                .read_optional("gone", &mut buffer)
                .unwrap()
                .is_none()
        );
        assert!(directory.read_optional("directory", &mut buffer).is_err());
    }

    #[test]
    fn what_is_not_there_is_kept_apart_from_what_is_not_understood() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("good"), "7\n").unwrap();
        std::fs::write(root.path().join("garbled"), b"\xff\n").unwrap();
        std::fs::create_dir(root.path().join("directory")).unwrap();
        let directory = KernelDirectory::open(root.path()).unwrap();
        let look = |name| directory.look(name, &mut Vec::new(), crate::ascii::single_u64);
        assert_eq!(look("good"), Reading::Known(7));
        assert_eq!(look("gone"), Reading::Absent);
        for name in ["garbled", "directory"] {
            let Reading::Unknown(reason) = look(name) else {
                panic!("{name}")
            };
            assert!(reason.contains(name), "{reason}");
        }
    }

    #[test]
    fn a_pipe_or_a_device_is_refused_and_nobody_waits_for_it() {
        let root = tempfile::tempdir().unwrap();
        for name in ["pipe", "held"] {
            let mode = Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(
                rustix::fs::CWD,
                root.path().join(name),
                FileType::Fifo,
                mode,
                0,
            )
            .unwrap();
        }
        // Somebody has it open and writes nothing.
        let _held = rustix::fs::open(root.path().join("held"), OFlags::RDWR, Mode::empty());
        std::os::unix::fs::symlink("/dev/zero", root.path().join("zero")).unwrap();
        std::fs::create_dir(root.path().join("below")).unwrap();
        std::fs::write(root.path().join("below/file"), "1").unwrap();
        let directory = KernelDirectory::open(root.path()).unwrap();
        let mut buffer = Vec::new();
        for name in ["pipe", "held", "zero"] {
            let error = directory.read(name, &mut buffer).unwrap_err();
            assert!(matches!(error, ReadError::NoFile { .. }), "{error:?}");
            assert!(directory.read_optional(name, &mut buffer).is_err());
            let raw = std::ffi::CString::new(name).unwrap();
            assert_eq!(directory.read_raw(&raw, &mut buffer), Err(Errno::INVAL));
        }
        let below = directory.open_directory(Path::new("below")).unwrap();
        assert_eq!(below.read("file", &mut buffer).unwrap(), b"1");
        assert!(!below.of_kernel);
    }

    #[test]
    fn the_kernels_own_file_systems_are_known() {
        let proc = KernelDirectory::open(Path::new("/proc")).unwrap();
        assert!(proc.of_kernel);
        assert!(proc.open_directory(Path::new("self")).unwrap().of_kernel);
    }

    #[test]
    fn names_are_sorted_and_of_the_wanted_kind() {
        let root = tempfile::tempdir().unwrap();
        for name in ["10", "9", "b", "a"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        std::fs::write(root.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("a", root.path().join("link")).unwrap();
        let directory = KernelDirectory::open(root.path()).unwrap();
        let names = |wanted| -> Vec<String> {
            let names = directory.names(wanted).unwrap().into_iter();
            names.map(|name| String::from_utf8(name).unwrap()).collect()
        };
        assert_eq!(names(Wanted::Directories), ["10", "9", "a", "b"]);
        assert_eq!(names(Wanted::Numbers), ["10", "9"]);
        assert_eq!(
            names(Wanted::Everything),
            ["10", "9", "a", "b", "file", "link"]
        );
    }

    #[test]
    fn a_link_is_read_and_a_missing_one_is_nothing() {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("pid:[4026531836]", root.path().join("pid")).unwrap();
        let directory = KernelDirectory::open(root.path()).unwrap();
        assert_eq!(directory.link("pid").unwrap(), b"pid:[4026531836]");
        assert_eq!(directory.link("gone"), None);
    }
}
