//! One open, one read, one close: how a small file of many processes is read
//! at the price of a bare C loop.
//!
//! Never allocates, and never formats a path more than its digits.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::read::READING;

/// Digits of the largest `u32`.
const DIGITS: usize = 10;

/// The longest file name below `/proc/PID`, its slash and NUL included.
const LONGEST_SUFFIX: usize = 22;

/// The path of one file of any process, relative to /proc: `123/statm`.
#[derive(Debug, Clone)]
pub(super) struct ProcessPath {
    /// Room for the digits, then `/statm` and NULs. The digits grow towards
    /// the front, so that the suffix is written once.
    bytes: [u8; DIGITS + LONGEST_SUFFIX],
}

impl ProcessPath {
    /// The path that ends in `suffix`, which begins with a slash or is empty.
    ///
    /// # Panics
    /// When the suffix does not fit: it is a constant of ours.
    pub(super) fn new(suffix: &str) -> Self {
        assert!(suffix.len() < LONGEST_SUFFIX, "`{suffix}` is too long");
        let mut bytes = [0; DIGITS + LONGEST_SUFFIX];
        bytes[DIGITS..DIGITS + suffix.len()].copy_from_slice(suffix.as_bytes());
        Self { bytes }
    }

    /// The path for `pid`.
    pub(super) fn of(&mut self, pid: u32) -> &CStr {
        let mut rest = pid;
        let mut start = DIGITS;
        loop {
            start -= 1;
            self.bytes[start] = b'0' + (rest % 10).to_le_bytes()[0];
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        CStr::from_bytes_until_nul(&self.bytes[start..]).expect("the last byte is always a NUL")
    }
}

/// Opens `path` below `directory` for reading.
pub(super) fn open(directory: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(directory, path, READING, Mode::empty())
}

/// Reads `path` below `directory` with one `read`, which is enough for the
/// files that the kernel writes in one piece (`statm`, `smaps_rollup`,
/// `cmdline`), and cuts what does not fit.
pub(super) fn read_once<'buffer>(
    directory: BorrowedFd<'_>,
    path: &CStr,
    buffer: &'buffer mut [u8],
) -> Result<&'buffer [u8], Errno> {
    let file = open(directory, path)?;
    loop {
        match rustix::io::read(file.as_fd(), &mut *buffer) {
            Ok(count) => return Ok(&buffer[..count]),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Reads a kept descriptor again from its beginning.
pub(super) fn read_again<'buffer>(
    file: BorrowedFd<'_>,
    buffer: &'buffer mut [u8],
) -> Result<&'buffer [u8], Errno> {
    loop {
        match rustix::io::pread(file, &mut *buffer, 0) {
            Ok(count) => return Ok(&buffer[..count]),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Whether a process is gone, or its memory with it.
pub(super) fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::SRCH)
}

/// Whether we are not allowed to look.
pub(super) fn is_denied(errno: Errno) -> bool {
    matches!(errno, Errno::ACCESS | Errno::PERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_the_pids_own_whatever_was_there_before() {
        let mut path = ProcessPath::new("/statm");
        for pid in [u32::MAX, 7, 0, 4_194_304, 10] {
            assert_eq!(path.of(pid).to_str().unwrap(), format!("{pid}/statm"));
        }
        assert_eq!(ProcessPath::new("").of(12), c"12");
    }

    #[test]
    fn a_kept_descriptor_reads_the_present_content() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("file"), "one").unwrap();
        let directory = std::fs::File::open(root.path()).unwrap();
        let file = open(directory.as_fd(), c"file").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(read_again(file.as_fd(), &mut buffer).unwrap(), b"one");
        std::fs::write(root.path().join("file"), "second").unwrap();
        assert_eq!(read_again(file.as_fd(), &mut buffer).unwrap(), b"second");
        let read = read_once(directory.as_fd(), c"file", &mut buffer[..3]).unwrap();
        assert_eq!(read, b"sec");
    }
}
