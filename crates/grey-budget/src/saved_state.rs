//! What a program saves of its caches when it ends, so that the next start is
//! warm: which project had which files and queries, in the layout of the
//! documents, with a checksum.
//!
//! Never overwrites the old file before the new one is whole on disk. Never
//! deletes a file that it cannot read: restoring sets it aside and says so, and
//! of more than a hundred that were set aside the first go.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::disk::{Disk as _, SystemDisk};

mod beside;

/// The most unreadable files that are kept; then the first set aside go.
const MOST_SET_ASIDE: usize = 100;

/// What is in place of the extension of one that was set aside, before a number.
const SET_ASIDE: &str = "corrupt-";

/// How many names are tried when others set files aside at the same time.
const MOST_NAMES: usize = 16;

/// The layout that this version writes and reads.
pub const STATE_VERSION: &str = "1.0";

/// The largest state file that is read, in bytes.
pub const LARGEST_STATE: u64 = 256 << 20;

/// What one project had.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedProject {
    /// Its loaded files, the dearest first.
    pub loaded_files: Vec<String>,
    /// Its cached queries, the dearest first.
    pub cached_queries: Vec<String>,
    /// When it was used last, in seconds since 1970.
    pub last_accessed: f64,
}

/// What all projects had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedState {
    /// [`STATE_VERSION`].
    pub version: String,
    /// When it was saved, in seconds since 1970.
    pub timestamp: f64,
    /// Each project by its name or path.
    pub projects: BTreeMap<String, SavedProject>,
    /// CRC-32 of `projects` as compact JSON; `None` in files of other writers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<u32>,
}

/// State could not be saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveStateError {
    /// It could not be put into JSON.
    #[error("failed to encode the cache state for `{}`", path.display())]
    Encode {
        /// Where it was to go.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It is larger than what is read again.
    #[error("failed to save a cache state of {size} bytes to `{}`: {largest} are the most", path.display())]
    TooLarge {
        /// Where it was to go.
        path: PathBuf,
        /// How large it is, in bytes.
        size: u64,
        /// How large it may be, in bytes.
        largest: u64,
    },
    /// It could not be written.
    #[error("failed to write the cache state to `{}`", path.display())]
    Write {
        /// Where it was to go.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// How restoring went.
#[derive(Debug)]
#[non_exhaustive]
pub enum Restored {
    /// There is nothing from before.
    Nothing,
    /// This was saved.
    State(SavedState),
    /// A file was there and is of no use: it was moved to `aside`, or left where
    /// it is when even that failed.
    SetAside {
        /// What is wrong with it.
        why: String,
        /// Where it is now.
        aside: Option<PathBuf>,
    },
}

impl SavedProject {
    /// Adds what another part of the program says of the same project: what is
    /// new behind what is there, and the later use.
    pub(crate) fn merge(&mut self, other: Self) {
        merge_names(&mut self.loaded_files, other.loaded_files);
        merge_names(&mut self.cached_queries, other.cached_queries);
        self.last_accessed = finite(self.last_accessed).max(finite(other.last_accessed));
    }
}

fn merge_names(names: &mut Vec<String>, others: Vec<String>) {
    let known: HashSet<String> = names.iter().cloned().collect();
    names.extend(others.into_iter().filter(|name| !known.contains(name)));
}

impl SavedState {
    /// A state of these projects, saved `at` this time.
    #[must_use]
    pub fn new(at: SystemTime, projects: BTreeMap<String, SavedProject>) -> Self {
        Self {
            version: STATE_VERSION.to_owned(),
            timestamp: seconds(at),
            projects,
            checksum: None,
        }
    }

    /// Writes it to `path`: to a file beside it that is nobody else's, to disk,
    /// and over the old one. Of several that save at once, in any process, one
    /// is last, and its state is there whole. It is readable and writable by its
    /// owner alone, or less where the old one was. What a run that was killed
    /// left beside it is removed. A time that is no number or infinite is saved as 0.
    ///
    /// # Errors
    /// [`SaveStateError`]; the old file is then as it was.
    pub fn save(&self, path: &Path) -> Result<(), SaveStateError> {
        self.save_up_to(LARGEST_STATE, path)
    }

    fn save_up_to(&self, largest: u64, path: &Path) -> Result<(), SaveStateError> {
        let encode = |source| SaveStateError::Encode {
            path: path.to_owned(),
            source,
        };
        let write = |source| SaveStateError::Write {
            path: path.to_owned(),
            source,
        };
        let mut whole = self.readable();
        whole.checksum = Some(checksum(&whole.projects).map_err(encode)?);
        let text = serde_json::to_vec_pretty(&whole).map_err(encode)?;
        if text.len() as u64 > largest {
            return Err(SaveStateError::TooLarge {
                path: path.to_owned(),
                size: text.len() as u64,
                largest,
            });
        }
        beside::remove_leftovers(path);
        beside::replace(path, &text).map_err(write)
    }

    /// The same in the layout of this version, without what JSON cannot say.
    fn readable(&self) -> Self {
        let mut whole = self.clone();
        STATE_VERSION.clone_into(&mut whole.version);
        whole.timestamp = finite(whole.timestamp);
        for project in whole.projects.values_mut() {
            project.last_accessed = finite(project.last_accessed);
        }
        whole
    }

    /// Reads what was saved to `path`. Never fails a start: what is of no use is
    /// set aside and told.
    #[must_use]
    pub fn restore(path: &Path) -> Restored {
        let size = match fs::symlink_metadata(path) {
            Ok(found) if found.is_file() => found.len(),
            Ok(_) => return set_aside(path, "it is not a file".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Restored::Nothing,
            Err(error) => return left(path, &error.to_string()),
        };
        if size > LARGEST_STATE {
            return set_aside(
                path,
                format!("it has {size} bytes, more than {LARGEST_STATE}"),
            );
        }
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Restored::Nothing,
            // The next save would replace it.
            Err(error) => return set_aside(path, format!("it cannot be read: {error}")),
        };
        let state: Self = match serde_json::from_slice(&text) {
            Ok(state) => state,
            Err(error) => return set_aside(path, format!("it cannot be read: {error}")),
        };
        if state.version != STATE_VERSION {
            return set_aside(
                path,
                format!("it is of version `{}`, not {STATE_VERSION}", state.version),
            );
        }
        match (state.checksum, checksum(&state.projects)) {
            (None, _) => Restored::State(state),
            (Some(told), Ok(found)) if told == found => Restored::State(state),
            (Some(_), _) => set_aside(path, "its checksum is wrong".to_owned()),
        }
    }
}

fn checksum(projects: &BTreeMap<String, SavedProject>) -> Result<u32, serde_json::Error> {
    Ok(crc32fast::hash(&serde_json::to_vec(projects)?))
}

/// JSON has no other numbers.
const fn finite(seconds: f64) -> f64 {
    if seconds.is_finite() { seconds } else { 0.0 }
}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

fn left(path: &Path, why: &str) -> Restored {
    tracing::warn!(path = %path.display(), why, "the saved cache state is not used");
    Restored::SetAside {
        why: why.to_owned(),
        aside: None,
    }
}

/// Moves the file to the first name behind those of the files that were set
/// aside before; of too many the first go, when it is safe.
fn set_aside(path: &Path, why: String) -> Restored {
    let name = |number: u32| path.with_extension(format!("{SET_ASIDE}{number}"));
    let there = numbers_aside(path);
    let mut number = there.last().map_or(0, |last| last.saturating_add(1));
    let mut aside = None;
    for _ in 0..MOST_NAMES {
        // Replaces nothing that another has just set aside.
        match SystemDisk.rename(path, &name(number)) {
            Ok(()) => aside = Some(name(number)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                number = number.saturating_add(1);
                continue;
            }
            Err(_) => {}
        }
        break;
    }
    tracing::warn!(path = %path.display(), why, ?aside, "the saved cache state is set aside");
    if aside.is_some() {
        let too_many = (there.len() + 1).saturating_sub(MOST_SET_ASIDE);
        for &number in there.iter().take(too_many) {
            remove_aside(&name(number));
        }
    }
    Restored::SetAside { why, aside }
}

/// The numbers of the files of `path` that were set aside, the first one first.
fn numbers_aside(path: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(directory_of(path)) else {
        return Vec::new();
    };
    let begins = path.with_extension(SET_ASIDE);
    let begins = begins.file_name().map_or(&[][..], OsStr::as_encoded_bytes);
    let mut numbers: Vec<u32> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let digits = name.as_encoded_bytes().strip_prefix(begins)?;
            let number: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
            // One way to write it: another file is not ours.
            (number.to_string().as_bytes() == digits).then_some(number)
        })
        .collect();
    numbers.sort_unstable();
    numbers
}

/// A directory that was set aside stays: it was never ours.
fn remove_aside(old: &Path) {
    let path = old.display();
    match fs::remove_file(old) {
        Ok(()) => tracing::warn!(
            %path,
            "the cache state that was set aside first is removed: {MOST_SET_ASIDE} are kept"
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(
            %path,
            %error,
            "failed to remove the cache state that was set aside first"
        ),
    }
}

/// Where a file is.
fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}

#[cfg(test)]
mod tests;
