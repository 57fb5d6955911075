//! Reads the files and the environment, and builds a configuration of them:
//! whole, or not at all.
//!
//! Only reads ordinary files up to a bound, and logs nothing. Never keeps a
//! file open.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::error::ConfigError;
use super::layers::{Layers, PROJECTS};
use super::origin::{Entry, Origin};
use super::schema::{Config, MOST_PROJECTS};
use super::yaml;
use crate::limits::Machine;

/// The largest file that is read.
const MOST_FILE_BYTES: u64 = 1024 * 1024;

/// What variables begin with, if nobody says otherwise.
pub const DEFAULT_PREFIX: &str = "GREY_";

/// Where a configuration comes from.
///
/// ```text
/// defaults < FILE < FILE's `projects:` < projects/NAME.yaml < environment
/// ```
#[derive(Debug, Clone)]
#[must_use = "a loader loads when it is told to"]
pub struct ConfigLoader {
    file: Option<PathBuf>,
    projects: Option<PathBuf>,
    prefix: String,
    environment: Option<Vec<(OsString, OsString)>>,
    machine: Option<Machine>,
}

impl ConfigLoader {
    /// The defaults and the environment, and no file.
    pub fn without_file() -> Self {
        Self {
            file: None,
            projects: None,
            prefix: DEFAULT_PREFIX.to_owned(),
            environment: None,
            machine: None,
        }
    }

    /// The file at `path`, which must exist, and the files `NAME.yaml` and
    /// `NAME.yml` of the directory `projects` beside it, which need not.
    pub fn from_file(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self {
            projects: path.parent().map(|directory| directory.join(PROJECTS)),
            file: Some(path),
            ..Self::without_file()
        }
    }

    /// Another directory of the projects' files.
    pub fn projects_directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.projects = Some(path.into());
        self
    }

    /// What the variables begin with, `GREY_` if not said.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// These variables instead of the process's.
    pub fn environment<Name, Value>(
        mut self,
        variables: impl IntoIterator<Item = (Name, Value)>,
    ) -> Self
    where
        Name: Into<OsString>,
        Value: Into<OsString>,
    {
        let variables = variables.into_iter();
        self.environment = Some(
            variables
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        );
        self
    }

    /// This machine instead of the one that we run on, to compare the budget
    /// with.
    pub fn machine(mut self, machine: Machine) -> Self {
        self.machine = Some(machine);
        self
    }

    /// Reads and checks everything.
    ///
    /// # Errors
    /// [`ConfigError`], with file, line and key.
    pub fn load(&self) -> Result<Config, ConfigError> {
        self.load_over(None)
    }

    /// The same for a program that runs with `running`: keys that need a
    /// restart stay what they are there, and a file that gave a value is not
    /// taken when it gives none: that is how one looks that is being written.
    pub(super) fn load_over(
        &self,
        running: Option<&BTreeMap<String, Entry>>,
    ) -> Result<Config, ConfigError> {
        let environment = match &self.environment {
            Some(given) => given.clone(),
            None => std::env::vars_os().collect(),
        };
        let home = environment
            .iter()
            .find(|(name, _)| name == "HOME")
            .and_then(|(_, home)| home.to_str())
            .map(str::to_owned);
        let mut layers = Layers::new(&self.prefix, &environment, running);
        if let Some(path) = &self.file {
            let path: Arc<Path> = path.as_path().into();
            layers.add(&path, &[], leaves_of(&path, running)?);
        }
        for (name, path) in self.project_files()? {
            let path: Arc<Path> = path.into();
            let leaves = leaves_of(&path, running)?;
            layers.add(&path, &[PROJECTS, &name], leaves);
        }
        let machine = self.machine.clone().unwrap_or_else(Machine::read);
        Config::build(layers, &machine, home.as_deref())
    }

    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    pub(super) fn projects(&self) -> Option<&Path> {
        self.projects.as_deref()
    }

    /// The projects' files by project. Hidden files are none: editors and
    /// mounts keep their own things under such names.
    pub(super) fn project_files(&self) -> Result<BTreeMap<String, PathBuf>, ConfigError> {
        let mut files = BTreeMap::new();
        let Some(directory) = &self.projects else {
            return Ok(files);
        };
        let failed = |source| ConfigError::Read {
            path: directory.clone(),
            source,
        };
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let Some(name) = project_name(&path) else {
                continue;
            };
            if files.len() == MOST_PROJECTS {
                return Err(ConfigError::TooManyProjects {
                    most: MOST_PROJECTS,
                });
            }
            if let Some(first) = files.insert(name.clone(), path.clone()) {
                let (first, second) = (first.clone().min(path.clone()), first.max(path));
                return Err(ConfigError::ProjectTwice {
                    name,
                    first,
                    second,
                });
            }
        }
        Ok(files)
    }
}

/// What the file at `path` says.
fn leaves_of(
    path: &Arc<Path>,
    running: Option<&BTreeMap<String, Entry>>,
) -> Result<Vec<yaml::Leaf>, ConfigError> {
    let leaves = yaml::parse(path, &read(path)?)?;
    let gave =
        |entry: &Entry| matches!(&entry.origin, Origin::File { path: from, .. } if from == path);
    let says_nothing = leaves.iter().all(|leaf| leaf.text.is_none());
    if says_nothing && running.is_some_and(|running| running.values().any(gave)) {
        return Err(ConfigError::Emptied {
            path: path.to_path_buf(),
        });
    }
    Ok(leaves)
}

fn project_name(path: &Path) -> Option<String> {
    let extension = path.extension()?;
    let name = path.file_stem()?.to_str()?;
    let is_ours = (extension == "yaml" || extension == "yml") && !name.starts_with('.');
    is_ours.then(|| name.to_owned())
}

/// Reads an ordinary file. Does not wait for the other end of a pipe.
fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file =
        rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    let file = std::fs::File::from(file);
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(ConfigError::NotAFile {
            path: path.to_owned(),
        });
    }
    let mut bytes = Vec::new();
    file.take(MOST_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MOST_FILE_BYTES) {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
            most: MOST_FILE_BYTES,
        });
    }
    Ok(bytes)
}
