//! Looks at what we keep: the state directory, the journal, history, the room.
//!
//! Takes no lock, makes nothing, and never fails: what cannot be looked at is
//! unknown, with why.

use std::fs;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use grey_enforcement::{EntryState, Journal, JournalError};
use grey_model::{
    Bytes, DirectoryFacts, DiskFacts, HistoryFacts, JournalFacts, KernelText, Reading, StateFacts,
};
use grey_telemetry::Kernel;
use grey_telemetry::history::{Dump, DumpFault, History, HistoryError, dumps, is_being_recorded};
use grey_telemetry::proc::boot_id::read_boot_id;

use crate::cli::GlobalOptions;
use crate::count::counted;
use crate::failure::{chain, is_denied};
use crate::history::record::FOLDER;
use crate::journal::over_since;
use crate::roots::state_dir;

/// How long samples of history are looked at for damage.
const LONGEST_LOOK: Duration = Duration::from_secs(2);

/// A lease that ended this short a time ago may be being undone right now.
const GRACE: Duration = Duration::from_secs(2);

/// What is kept in the state directory of this run.
pub(super) fn look(global: &GlobalOptions, kernel: &Kernel) -> StateFacts {
    let path = match state_dir(global) {
        Ok(path) => path,
        Err(failure) => return nowhere(&failure.message),
    };
    StateFacts {
        path: KernelText::from(path.as_os_str().as_encoded_bytes()).to_string(),
        directory: directory(&path),
        journal: journal(global, kernel, &path),
        history: history(&path.join(FOLDER)),
        disk: disk(&path),
    }
}

fn nowhere(why: &str) -> StateFacts {
    let why = || why.to_owned();
    StateFacts {
        path: "no directory".to_owned(),
        directory: Reading::Unknown(why()),
        journal: Reading::Unknown(why()),
        history: Reading::Unknown(why()),
        disk: Reading::Unknown(why()),
    }
}

fn directory(path: &Path) -> Reading<DirectoryFacts> {
    match fs::symlink_metadata(path) {
        Ok(facts) => Reading::Known(DirectoryFacts {
            is_directory: facts.is_dir(),
            owner: facts.uid(),
            us: rustix::process::geteuid().as_raw(),
            mode: facts.mode(),
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Reading::Absent,
        Err(error) => Reading::Unknown(format!("failed to look at `{}`: {error}", path.display())),
    }
}

/// What is wrong with the journal is told as it; what we may not see is unknown.
fn journal(global: &GlobalOptions, kernel: &Kernel, state: &Path) -> Reading<JournalFacts> {
    if !state.join("journal").exists() && !denied(state) {
        return match Journal::check(state) {
            Ok(()) => Reading::Absent,
            Err(error) if is_none_of_ours(&error, state) => Reading::Unknown(chain(&error)),
            Err(error) => Reading::Known(JournalFacts {
                refused: Some(chain(&error)),
                ..JournalFacts::default()
            }),
        };
    }
    let boot = read_boot_id(kernel, &mut Vec::new()).ok().flatten();
    let (entries, losses) = match Journal::list(state, boot.as_ref(), None) {
        Ok(listed) => listed,
        Err(error) if error.is_denied() || is_none_of_ours(&error, state) => {
            return Reading::Unknown(chain(&error));
        }
        Err(error) => {
            return Reading::Known(JournalFacts {
                refused: Some(chain(&error)),
                ..JournalFacts::default()
            });
        }
    };
    let count = |state: EntryState| {
        let wanted = entries.iter().filter(|entry| entry.state == state);
        wanted.count() as u64
    };
    let overdue = over_since(global, kernel, GRACE);
    let overdue = overdue
        .iter()
        .filter(|entry| entry.state == EntryState::Active);
    let refused = match Journal::check(state) {
        Err(error) if !is_none_of_ours(&error, state) => Some(chain(&error)),
        _ => None,
    };
    Reading::Known(JournalFacts {
        holding: count(EntryState::Active),
        overdue: overdue.count() as u64,
        conflicts: count(EntryState::Conflict),
        lost: losses.into_iter().map(|loss| loss.what).collect(),
        refused,
    })
}

/// Whether we are not root and only lack a permission, or look at what another
/// user keeps: that is no fault of the journal.
fn is_none_of_ours(error: &JournalError, state: &Path) -> bool {
    let us = rustix::process::geteuid();
    let is_theirs = || fs::symlink_metadata(state).is_ok_and(|facts| facts.uid() != us.as_raw());
    !us.is_root() && (error.is_denied() || is_theirs())
}

/// Whether it is there and may not be entered.
fn denied(directory: &Path) -> bool {
    fs::read_dir(directory).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

fn history(folder: &Path) -> Reading<HistoryFacts> {
    let mut history = match History::open(folder) {
        Ok(history) => history,
        Err(HistoryError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Reading::Absent;
        }
        Err(error) if is_denied(&error) => return Reading::Unknown(chain(&error)),
        Err(error) => {
            return Reading::Known(HistoryFacts {
                size: size(folder),
                unreadable: vec![chain(&error)],
                ..HistoryFacts::default()
            });
        }
    };
    let span = history.span();
    // By the order of taking: the clock may have been ahead, and set back since.
    let last = history.last();
    let started = Instant::now();
    let mut looked_at_all = true;
    let read = history.samples(0, u64::MAX, |_| {
        if started.elapsed() < LONGEST_LOOK {
            return ControlFlow::Continue(());
        }
        looked_at_all = false;
        ControlFlow::Break(())
    });
    let told = |loss: &grey_telemetry::history::Loss| {
        let missing = loss.samples.filter(|&samples| samples > 0);
        let samples = missing.map_or_else(String::new, |count| {
            format!(" ({})", counted(count, "sample", "samples"))
        });
        format!("{}: {}{samples}", name_of(&loss.path), loss.reason)
    };
    let (closed, damaged): (Vec<_>, Vec<_>) = history
        .losses()
        .iter()
        .partition(|loss| loss.is_of_whole_file());
    let mut unreadable: Vec<String> = closed.into_iter().map(told).collect();
    let (repeated, damaged): (Vec<_>, Vec<_>) =
        damaged.into_iter().partition(|loss| loss.is_repeated());
    let repeated = repeated.into_iter().map(told).collect();
    let mut lost: Vec<String> = damaged.into_iter().map(told).collect();
    if let Err(error) = read {
        looked_at_all = false;
        unreadable.push(chain(&error));
    }
    let there = history.newer().iter();
    let mut newer: Vec<String> = there.map(|newer| name_of(&newer.path)).collect();
    match dumps(folder) {
        Ok(dumps) => judge_dumps(dumps, &mut lost, &mut unreadable, &mut newer),
        Err(error) => unreadable.push(chain(&error)),
    }
    Reading::Known(HistoryFacts {
        open_to_others: open_to_others(folder),
        size: size(folder),
        samples: Some(span.map_or(0, |span| span.samples)),
        last_age_seconds: last.ok().flatten().and_then(|last| age(last.at_unix_ms)),
        is_being_recorded: is_being_recorded(folder).ok(),
        lost,
        repeated,
        unreadable,
        newer,
        looked_at_all,
    })
}

fn open_to_others(folder: &Path) -> Option<(String, u32)> {
    let mode = fs::symlink_metadata(folder).ok()?.mode();
    let path = KernelText::from(folder.as_os_str().as_encoded_bytes()).to_string();
    (mode & 0o022 != 0).then_some((path, mode))
}

fn judge_dumps(
    dumps: Vec<Dump>,
    lost: &mut Vec<String>,
    unreadable: &mut Vec<String>,
    newer: &mut Vec<String>,
) {
    for Dump { name, holds, .. } in dumps {
        match holds {
            Ok(_) => {}
            Err(DumpFault::Newer(_)) => newer.push(name),
            Err(DumpFault::Damaged) => lost.push(format!("{name}: the dump")),
            Err(DumpFault::Unreadable(why)) => unreadable.push(format!("{name}: {why}")),
        }
    }
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    KernelText::from(name.as_encoded_bytes()).to_string()
}

/// The files right below `folder` together; one that goes meanwhile is none.
fn size(folder: &Path) -> Bytes {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .filter(fs::Metadata::is_file)
        .map(|facts| Bytes(facts.len()))
        .sum()
}

fn age(unix_ms: u64) -> Option<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let now = i64::try_from(now.as_millis()).ok()?;
    Some((now - i64::try_from(unix_ms).ok()?) / 1000)
}

/// The file system that the state directory is on, or will be.
fn disk(state: &Path) -> Reading<DiskFacts> {
    let there: Option<PathBuf> = std::path::absolute(state).ok().and_then(|path| {
        let mut above = path.ancestors();
        above.find(|path| path.exists()).map(Path::to_owned)
    });
    let Some(there) = there else {
        return Reading::Unknown("no directory above it can be seen".to_owned());
    };
    let facts = match rustix::fs::statvfs(&there) {
        Ok(facts) => facts,
        Err(errno) => {
            let why = std::io::Error::from(errno);
            return Reading::Unknown(format!("failed to look at `{}`: {why}", there.display()));
        }
    };
    let root = rustix::process::geteuid().is_root();
    let blocks = if root { facts.f_bfree } else { facts.f_bavail };
    Reading::Known(DiskFacts {
        available: Bytes(blocks.saturating_mul(facts.f_frsize)),
        // btrfs and its like count none.
        available_files: (facts.f_files > 0).then_some(facts.f_favail),
    })
}
