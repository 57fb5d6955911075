//! Replacing a file as a whole: a new one beside it, which only its writer
//! knows, is written, synced, and given the name.
//!
//! Never writes to a file that another has made, and removes one that another
//! has made only once nobody writes it any more: whoever writes holds a lock.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::directory_of;

/// Between the name of the file and what is by chance.
const MARK: &str = ".new-";

/// Hexadecimal digits that are by chance.
const DIGITS: usize = 16;

/// How many names are tried.
const MOST_NAMES: usize = 16;

/// Puts a file of `text` in the place of `path`, and waits until it is on the
/// disk.
///
/// # Errors
/// The kernel's; what was there is then as it was, unless its directory alone
/// could not be synced.
pub(super) fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let (beside, mut file) = create(path)?;
    let written = file
        .write_all(text)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // It is ours: nobody else takes the name while it is locked.
        let _ = fs::remove_file(&beside);
    }
    written?;
    drop(file);
    File::open(directory_of(path))?.sync_all()
}

/// Removes what was begun beside `path` and whose writer is gone. What cannot
/// be removed stays.
pub(super) fn remove_leftovers(path: &Path) {
    let (Some(name), Ok(entries)) = (path.file_name(), fs::read_dir(directory_of(path))) else {
        return;
    };
    for entry in entries.flatten() {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && is_beside(entry.file_name().as_bytes(), name.as_bytes()) {
            remove_if_left(&entry.path());
        }
    }
}

/// Removes a file that nobody writes.
fn remove_if_left(leftover: &Path) {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(leftover);
    let is_left = opened.as_ref().is_ok_and(|file| file.try_lock().is_ok());
    if is_left {
        // Locked until it is gone: who has just made it tries another name.
        let _ = fs::remove_file(leftover);
    }
}

/// Whether `name` is one that was made for `of`.
fn is_beside(name: &[u8], of: &[u8]) -> bool {
    name.strip_prefix(of)
        .and_then(|rest| rest.strip_prefix(MARK.as_bytes()))
        .is_some_and(|digits| digits.len() == DIGITS && digits.iter().all(u8::is_ascii_hexdigit))
}

/// Who may read and write what replaces `path`: its owner alone, and not even
/// they where they may not now.
fn mode_for(path: &Path) -> u32 {
    const OWNER: u32 = 0o600;
    match fs::symlink_metadata(path) {
        Ok(old) if old.is_file() => old.mode() & OWNER,
        _ => OWNER,
    }
}

/// Makes a file beside `path` that was not there, and locks it.
fn create(path: &Path) -> io::Result<(PathBuf, File)> {
    let mode = mode_for(path);
    let mut tried = 0;
    loop {
        let beside = name_beside(path)?;
        tried += 1;
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&beside)
            .and_then(|file| is_locked(&file).map(|is_locked| (file, is_locked)));
        match made {
            Ok((file, true)) => return Ok((beside, file)),
            // Taken, or taken for a leftover before it was locked.
            Ok((_, false)) if tried < MOST_NAMES => {}
            Ok((_, false)) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists || tried >= MOST_NAMES => {
                return Err(error);
            }
            Err(_) => {}
        }
    }
}

/// Locks a file that was just made; not when it is another's by now. Where
/// nothing can be locked, nothing is taken for a leftover either.
fn is_locked(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(false),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file.metadata()?.nlink() > 0),
    }
}

/// A name beside `path`. Its digits differ by thread, by process, also where
/// two have the same number in containers of their own, and by call.
fn name_beside(path: &Path) -> io::Result<PathBuf> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    // Its keys are the kernel's random bytes, or a copy of them after a fork.
    let digits = RandomState::new().hash_one((std::process::id(), call));
    let mut beside = OsString::from(name);
    beside.push(format!("{MARK}{digits:0width$x}", width = DIGITS));
    Ok(path.with_file_name(beside))
}
