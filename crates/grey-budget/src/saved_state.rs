//! What a program saves of its caches when it ends, so that the next start is
//! warm: which project had which files and queries, in the layout of the
//! documents, with a checksum.
//!
//! Never overwrites the old file before the new one is whole on disk, and never
//! deletes a file that it cannot read: it sets it aside and says so.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

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

    /// Writes it to `path`: to a file beside it, to disk, and over the old one.
    ///
    /// # Errors
    /// [`SaveStateError`]; the old file is then as it was.
    pub fn save(&self, path: &Path) -> Result<(), SaveStateError> {
        let encode = |source| SaveStateError::Encode {
            path: path.to_owned(),
            source,
        };
        let write = |source| SaveStateError::Write {
            path: path.to_owned(),
            source,
        };
        let mut whole = self.clone();
        whole.checksum = Some(checksum(&self.projects).map_err(encode)?);
        let text = serde_json::to_vec_pretty(&whole).map_err(encode)?;
        let beside = path.with_extension(format!("new-{}", std::process::id()));
        let written = write_whole(&beside, &text).and_then(|()| fs::rename(&beside, path));
        if written.is_err() {
            // Only our own half-written file is removed.
            let _ = fs::remove_file(&beside);
        }
        written.map_err(write)?;
        if let Some(directory) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            File::open(directory)
                .and_then(|directory| directory.sync_all())
                .map_err(write)?;
        }
        Ok(())
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
            Err(error) => return left(path, &error.to_string()),
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

fn write_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text)?;
    file.sync_all()
}

fn checksum(projects: &BTreeMap<String, SavedProject>) -> Result<u32, serde_json::Error> {
    Ok(crc32fast::hash(&serde_json::to_vec(projects)?))
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

/// Moves the file to the first free name beside it.
fn set_aside(path: &Path, why: String) -> Restored {
    const MOST_SET_ASIDE: u32 = 100;
    let free = (0..MOST_SET_ASIDE)
        .map(|number| path.with_extension(format!("corrupt-{number}")))
        .find(|name| fs::symlink_metadata(name).is_err());
    let aside = free.filter(|name| fs::rename(path, name).is_ok());
    tracing::warn!(path = %path.display(), why, ?aside, "the saved cache state is set aside");
    Restored::SetAside { why, aside }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> SavedState {
        let project = SavedProject {
            loaded_files: vec!["file1.py".to_owned(), "file2.py".to_owned()],
            cached_queries: vec!["query1".to_owned(), "query2".to_owned()],
            last_accessed: 1_234_567_880.0,
        };
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_234_567_890);
        SavedState::new(
            at,
            BTreeMap::from([("/path/to/project".to_owned(), project)]),
        )
    }

    fn why(restored: Restored) -> (String, Option<PathBuf>) {
        match restored {
            Restored::SetAside { why, aside } => (why, aside),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_saved_comes_back_and_looks_as_documented() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache_state.json");
        assert!(matches!(SavedState::restore(&path), Restored::Nothing));
        state().save(&path).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(json["version"], "1.0");
        assert_eq!(json["timestamp"], 1_234_567_890.0);
        assert_eq!(
            json["projects"]["/path/to/project"]["loaded_files"][1],
            "file2.py"
        );
        let Restored::State(found) = SavedState::restore(&path) else {
            panic!()
        };
        assert_eq!(found.projects, state().projects);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_state_of_any_time_is_not_taken_for_a_damaged_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache_state.json");
        let project = |number: u32| SavedProject {
            last_accessed: 1_795_274_500.0 + f64::from(number) * 0.012_345_678_9,
            ..SavedProject::default()
        };
        let projects: BTreeMap<_, _> = (0..10_000)
            .map(|number| (number.to_string(), project(number)))
            .collect();
        let saved = SavedState::new(SystemTime::now(), projects);
        saved.save(&path).unwrap();
        let Restored::State(found) = SavedState::restore(&path) else {
            panic!("a whole file was set aside");
        };
        assert_eq!(found.projects, saved.projects);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found_or_harmless() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache_state.json");
        state().save(&path).unwrap();
        let good = fs::read(&path).unwrap();
        for place in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[place / 8] ^= 1 << (place % 8);
            fs::write(&path, &bad).unwrap();
            if let Restored::State(found) = SavedState::restore(&path) {
                assert_eq!(found.projects, state().projects, "bit {place}");
            }
            for entry in fs::read_dir(directory.path()).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_set_aside_and_not_lost() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache_state.json");
        for (number, text) in ["{", r#"{"version":"9.0","timestamp":1,"projects":{}}"#]
            .iter()
            .enumerate()
        {
            fs::write(&path, text).unwrap();
            let (told, aside) = why(SavedState::restore(&path));
            assert_eq!(fs::read_to_string(aside.unwrap()).unwrap(), *text);
            assert_eq!(told.contains("9.0"), number == 1, "{told}");
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_directory_or_a_link_in_its_place_fails_no_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache_state.json");
        fs::create_dir(&path).unwrap();
        assert_eq!(why(SavedState::restore(&path)).0, "it is not a file");
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert_eq!(why(SavedState::restore(&path)).0, "it is not a file");
    }

    #[test]
    fn a_disk_that_is_not_there_leaves_the_old_state() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("gone").join("cache_state.json");
        let error = state().save(&missing).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("failed to write the cache state to")
        );
    }
}
