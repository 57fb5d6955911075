//! The state directory: made private, opened without following links, refused
//! when others could have put something into it.
//!
//! Never changes the mode or the owner of what is there already.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::JournalError;

const PRIVATE: u32 = 0o700;
const NAME: &str = "journal";

/// Opens `<state>/journal` for a writer and makes what is missing.
pub(super) fn open_or_make(state: &Path) -> Result<OwnedFd, JournalError> {
    let state = &without_tail(state);
    make_all(state)?;
    let outer = open(CWD.as_fd(), state, state)?;
    check(&outer, state)?;
    let path = state.join(NAME);
    match rustix::fs::mkdirat(&outer, NAME, Mode::from_raw_mode(PRIVATE)) {
        Ok(()) => rustix::fs::fsync(&outer).map_err(|errno| write_error(&path, errno))?,
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(open_error(&path, errno)),
    }
    let inner = open(outer.as_fd(), Path::new(NAME), &path)?;
    check(&inner, &path)?;
    Ok(inner)
}

/// Opens `<state>/journal` for a reader; `None` when there is none.
pub(super) fn open_existing(state: &Path) -> Result<Option<OwnedFd>, JournalError> {
    let state = &without_tail(state);
    let path = state.join(NAME);
    let outer = match open(CWD.as_fd(), state, state) {
        Err(JournalError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        other => other?,
    };
    match open(outer.as_fd(), Path::new(NAME), &path) {
        Err(JournalError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// The same as [`open_or_make`], without making anything: `None` where it would
/// make the directory and is let to.
pub(super) fn look_for_writing(state: &Path) -> Result<Option<OwnedFd>, JournalError> {
    let state = &without_tail(state);
    let path = state.join(NAME);
    let is_missing = |path: &Path| {
        std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    if is_missing(state) {
        let nearest = state.ancestors().skip(1).find(|path| !is_missing(path));
        let nearest = match nearest {
            Some(path) if !path.as_os_str().is_empty() => path,
            _ => Path::new("."),
        };
        return may_make_in(CWD.as_fd(), nearest, state).map(|()| None);
    }
    let outer = open(CWD.as_fd(), state, state)?;
    check(&outer, state)?;
    if is_missing(&path) {
        return may_make_in(outer.as_fd(), Path::new("."), &path).map(|()| None);
    }
    let inner = open(outer.as_fd(), Path::new(NAME), &path)?;
    check(&inner, &path)?;
    Ok(Some(inner))
}

/// Looks at a file as [`open_file`] would open it for writing, without making
/// it; `None` where it would make it and is let to.
pub(super) fn look_at_file(
    directory: &OwnedFd,
    directory_path: &Path,
    name: &str,
) -> Result<Option<OwnedFd>, JournalError> {
    match open_file(directory, directory_path, name, OFlags::RDWR) {
        Err(JournalError::Open { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let path = directory_path.join(name);
            may_make_in(directory.as_fd(), Path::new("."), &path).map(|()| None)
        }
        other => other.map(Some),
    }
}

/// Whether we may make something in the directory `name`, which is below
/// `parent`; the kernel says no on a read-only file system, to root as well.
fn may_make_in(
    parent: rustix::fd::BorrowedFd<'_>,
    name: &Path,
    wanted: &Path,
) -> Result<(), JournalError> {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::statat(parent, name, AtFlags::empty())
        .and_then(|status| {
            if FileType::from_raw_mode(status.st_mode).is_dir() {
                rustix::fs::accessat(parent, name, access, AtFlags::EACCESS)
            } else {
                Err(Errno::NOTDIR)
            }
        })
        .map_err(|errno| open_error(wanted, errno))
}

/// Opens a regular file of ours. Nothing but a regular file with one name is
/// accepted: not a link, not a device, not a hard link to somebody's file.
pub(super) fn open_file(
    directory: &OwnedFd,
    directory_path: &Path,
    name: &str,
    flags: OFlags,
) -> Result<OwnedFd, JournalError> {
    let path = directory_path.join(name);
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600)).map_err(
        |errno| match errno {
            Errno::LOOP => unsafe_error(&path, "it is a symbolic link"),
            _ => open_error(&path, errno),
        },
    )?;
    let status = rustix::fs::fstat(&file).map_err(|errno| open_error(&path, errno))?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(unsafe_error(&path, "it is no regular file"));
    }
    if status.st_nlink > 1 {
        return Err(unsafe_error(&path, "it has more than one name"));
    }
    if flags.contains(OFlags::RDWR) || flags.contains(OFlags::WRONLY) {
        check_status(&status, &path)?;
    }
    Ok(file)
}

/// The path without `/` and `/.` at its end: through those, a link would be
/// followed that is to be refused.
fn without_tail(state: &Path) -> PathBuf {
    state.components().collect()
}

fn make_all(state: &Path) -> Result<(), JournalError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE)
        .create(state)
        .map_err(|source| JournalError::Open {
            path: state.to_owned(),
            source,
        })
}

fn open(
    parent: rustix::fd::BorrowedFd<'_>,
    name: &Path,
    path: &Path,
) -> Result<OwnedFd, JournalError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(|errno| {
        let is_link = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|status| FileType::from_raw_mode(status.st_mode).is_symlink());
        if is_link {
            unsafe_error(path, "it is a symbolic link")
        } else {
            open_error(path, errno)
        }
    })
}

fn check(directory: &OwnedFd, path: &Path) -> Result<(), JournalError> {
    let status = rustix::fs::fstat(directory).map_err(|errno| open_error(path, errno))?;
    check_status(&status, path)
}

fn check_status(status: &Stat, path: &Path) -> Result<(), JournalError> {
    let us = rustix::process::geteuid().as_raw();
    if status.st_uid != us {
        let problem = format!("it belongs to user {} and we are user {us}", status.st_uid);
        return Err(unsafe_error(path, &problem));
    }
    if status.st_mode & 0o022 != 0 {
        return Err(unsafe_error(path, "others may write to it"));
    }
    Ok(())
}

fn unsafe_error(path: &Path, problem: &str) -> JournalError {
    JournalError::Unsafe {
        path: PathBuf::from(path),
        problem: problem.to_owned(),
    }
}

fn open_error(path: &Path, errno: Errno) -> JournalError {
    JournalError::Open {
        path: PathBuf::from(path),
        source: errno.into(),
    }
}

fn write_error(path: &Path, errno: Errno) -> JournalError {
    JournalError::Write {
        path: PathBuf::from(path),
        source: errno.into(),
    }
}
