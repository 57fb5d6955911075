//! Opens kernel files for writing, makes and removes cgroups: the only place
//! in the whole project that does.
//!
//! Never creates or truncates a file, never follows a symbolic link, and never
//! decides what to write: callers hold a descriptor of the directory, have
//! checked that it is the thing they mean, and write relative to it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How often an interrupted write is begun again.
const INTERRUPTED_AT_MOST: u32 = 16;

/// Writes `value` and a newline to the file `name` below `directory`, in one
/// `write(2)`: the kernel takes a setting as a whole or not at all.
///
/// # Errors
/// What the system said; a short write is [`io::ErrorKind::WriteZero`], for
/// then the kernel has seen something else than the value.
pub(crate) fn write_kernel_file(
    directory: BorrowedFd<'_>,
    name: &Path,
    value: &[u8],
) -> io::Result<()> {
    let file = open_for_writing(directory, name)?;
    let mut line = Vec::with_capacity(value.len() + 1);
    line.extend_from_slice(value);
    line.push(b'\n');
    for _ in 0..INTERRUPTED_AT_MOST {
        match rustix::io::write(&file, &line) {
            Ok(count) if count == line.len() => return Ok(()),
            Ok(count) => {
                return Err(io::Error::new(
                    io::ErrorKind::WriteZero,
                    format!("only {count} of {} bytes were taken", line.len()),
                ));
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::INTR.into())
}

/// Makes the cgroup `name` in the cgroup behind `parent`.
///
/// # Errors
/// What the system said, `AlreadyExists` among it.
pub(crate) fn make_cgroup(parent: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)).map_err(io::Error::from)
}

/// Removes the empty cgroup `name` from the cgroup behind `parent`.
///
/// # Errors
/// What the system said; `ResourceBusy` while it has processes or children.
pub(crate) fn remove_cgroup(parent: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(io::Error::from)
}

/// Kernels before 5.6 and some sandboxes have no `openat2`; there, only the
/// last component is kept from being a link.
///
/// Opening does not wait for a pipe's other end. The writes are ordinary ones:
/// since 6.16 one with `O_NONBLOCK` sets a cgroup's limit without reclaiming.
fn open_for_writing(directory: BorrowedFd<'_>, name: &Path) -> io::Result<OwnedFd> {
    let file = open_without_waiting(directory, name)?;
    rustix::fs::fcntl_setfl(&file, OFlags::empty())?;
    Ok(file)
}

fn open_without_waiting(directory: BorrowedFd<'_>, name: &Path) -> io::Result<OwnedFd> {
    let flags =
        OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(directory.as_fd(), name, flags, Mode::empty(), beneath) {
        Err(Errno::NOSYS | Errno::PERM) => {
            rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(io::Error::from)
        }
        other => other.map_err(io::Error::from),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn a_missing_file_is_not_created() {
        let root = tempfile::tempdir().unwrap();
        let directory = File::open(root.path()).unwrap();
        let error = write_kernel_file(directory.as_fd(), Path::new("run"), b"1").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_pipe_without_a_reader_is_an_error_and_a_file_is_written_as_usual() {
        let root = tempfile::tempdir().unwrap();
        let (kind, mode) = (rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600));
        rustix::fs::mknodat(rustix::fs::CWD, root.path().join("pipe"), kind, mode, 0).unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        let directory = File::open(root.path()).unwrap();
        assert!(write_kernel_file(directory.as_fd(), Path::new("pipe"), b"1").is_err());
        let file = open_for_writing(directory.as_fd(), Path::new("file")).unwrap();
        let flags = rustix::fs::fcntl_getfl(&file).unwrap();
        assert!(!flags.contains(OFlags::NONBLOCK));
    }

    #[test]
    fn a_link_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("real"), "keep").unwrap();
        std::os::unix::fs::symlink("real", root.path().join("link")).unwrap();
        fs::create_dir(root.path().join("below")).unwrap();
        std::os::unix::fs::symlink("..", root.path().join("below/up")).unwrap();
        let directory = File::open(root.path()).unwrap();
        for name in ["link", "below/up/real", "../x"] {
            assert!(write_kernel_file(directory.as_fd(), Path::new(name), b"1").is_err());
        }
        assert_eq!(
            fs::read_to_string(root.path().join("real")).unwrap(),
            "keep"
        );
    }

    #[test]
    fn the_value_arrives_in_one_write() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("mm/ksm")).unwrap();
        let pipe = root.path().join("mm/ksm/run");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let reader = rustix::fs::open(&pipe, OFlags::RDWR, Mode::empty()).unwrap();
        let directory = File::open(root.path()).unwrap();
        write_kernel_file(directory.as_fd(), Path::new("mm/ksm/run"), b"max").unwrap();
        let mut buffer = [0; 16];
        let count = rustix::io::read(&reader, &mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"max\n");
    }

    #[test]
    fn a_cgroup_is_made_once_and_removed_when_empty() {
        let root = tempfile::tempdir().unwrap();
        let directory = File::open(root.path()).unwrap();
        make_cgroup(directory.as_fd(), Path::new("web")).unwrap();
        let again = make_cgroup(directory.as_fd(), Path::new("web")).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        remove_cgroup(directory.as_fd(), Path::new("web")).unwrap();
        assert!(!root.path().join("web").exists());
    }
}
