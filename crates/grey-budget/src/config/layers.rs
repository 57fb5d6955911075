//! The layers of a configuration: defaults, the global file, the projects'
//! files, the environment; the later wins.
//!
//! Gives out one key after the other and remembers which were asked for, so
//! that what nobody asked for is unknown. Knows no key itself and opens
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

use super::error::{ConfigError, ValueError};
use super::origin::{Entry, Origin};
use super::yaml::Leaf;

/// Variables that begin so, behind the prefix, can only be meant for us.
const OUR_VARIABLES: &[&str] = &["MEMORY_", "PROJECTS_"];

/// The section that the projects' files stand for.
pub(super) const PROJECTS: &str = "projects";

/// A key: its names, and whether a change needs a restart.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// From the top.
    pub(super) path: Vec<String>,
    /// Another name of the last part.
    pub(super) alias: Option<&'static str>,
    /// The variable, without the prefix.
    pub(super) variable: String,
    /// A running program cannot change it.
    pub(super) needs_restart: bool,
}

impl Key {
    /// `path` is dotted.
    pub(super) fn new(path: &str, variable: &str) -> Self {
        Self {
            path: path.split('.').map(str::to_owned).collect(),
            alias: None,
            variable: variable.to_owned(),
            needs_restart: false,
        }
    }

    /// A key of a project.
    pub(super) fn of_project(name: &str, last: &str) -> Self {
        let parts = [PROJECTS, name, "memory", last];
        Self {
            path: parts.map(str::to_owned).to_vec(),
            alias: None,
            variable: format!(
                "PROJECTS_{}_MEMORY_{}",
                variable_part(name),
                variable_part(last)
            ),
            needs_restart: false,
        }
    }

    pub(super) const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    pub(super) const fn needs_restart(mut self) -> Self {
        self.needs_restart = true;
        self
    }

    pub(super) fn dotted(&self) -> String {
        self.path.join(".")
    }
}

/// As it stands in the name of a variable: capitals, digits and `_`.
fn variable_part(name: &str) -> String {
    let part = |letter: char| match letter.is_ascii_alphanumeric() {
        true => letter.to_ascii_uppercase(),
        false => '_',
    };
    name.chars().map(part).collect()
}

/// A variable must mean one project.
pub(super) fn refuse_shared_variables(
    projects: &BTreeMap<String, Origin>,
) -> Result<(), ConfigError> {
    let mut parts: BTreeMap<String, &str> = BTreeMap::new();
    for (name, origin) in projects {
        if let Some(first) = parts.insert(variable_part(name), name) {
            return Err(ConfigError::ProjectVariable {
                first: first.to_owned(),
                second: name.clone(),
                variable: format!("PROJECTS_{}_MEMORY_...", variable_part(name)),
                origin: origin.clone(),
            });
        }
    }
    Ok(())
}

#[derive(Debug, Clone)]
struct Found {
    text: Option<String>,
    origin: Origin,
}

/// The layers, while a configuration is built of them.
#[derive(Debug)]
pub(super) struct Layers<'a> {
    files: BTreeMap<Vec<String>, Found>,
    environment: &'a [(OsString, OsString)],
    prefix: &'a str,
    /// Values of a running program, for keys that need a restart.
    running: Option<&'a BTreeMap<String, Entry>>,
    sections: BTreeSet<Vec<String>>,
    known: Vec<String>,
    variables: BTreeSet<String>,
    /// What was given out.
    pub(super) entries: BTreeMap<String, Entry>,
    /// Keys that wait for a restart.
    pub(super) waiting: Vec<String>,
    /// All keys that need one.
    pub(super) restart_keys: BTreeSet<String>,
}

impl<'a> Layers<'a> {
    pub(super) fn new(
        prefix: &'a str,
        environment: &'a [(OsString, OsString)],
        running: Option<&'a BTreeMap<String, Entry>>,
    ) -> Self {
        Self {
            files: BTreeMap::new(),
            environment,
            prefix,
            running,
            sections: BTreeSet::new(),
            known: Vec::new(),
            variables: BTreeSet::new(),
            entries: BTreeMap::new(),
            waiting: Vec::new(),
            restart_keys: BTreeSet::new(),
        }
    }

    /// Adds a file over those before, below `above`.
    pub(super) fn add(&mut self, file: &Arc<Path>, above: &[&str], leaves: Vec<Leaf>) {
        for leaf in leaves {
            let mut path: Vec<String> = above.iter().map(|&part| part.to_owned()).collect();
            path.extend(leaf.path);
            let found = Found {
                text: leaf.text,
                origin: Origin::File {
                    path: Arc::clone(file),
                    line: leaf.line,
                },
            };
            // Saying nothing does not hide what the layer below says.
            if found.text.is_some() || !self.files.contains_key(&path) {
                self.files.insert(path, found);
            }
        }
    }

    /// The names of the projects in all files, each with one place where it
    /// stands.
    pub(super) fn projects(&self) -> BTreeMap<String, Origin> {
        let mut projects = BTreeMap::new();
        for (path, found) in &self.files {
            if let [section, name, ..] = path.as_slice()
                && section == PROJECTS
            {
                projects
                    .entry(name.clone())
                    .or_insert_with(|| found.origin.clone());
            }
        }
        projects
    }

    /// Gives out the value of `key`: the highest layer's, else the default.
    pub(super) fn take<T>(
        &mut self,
        key: &Key,
        default: Entry,
        parse: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Result<T, ConfigError> {
        let name = key.dotted();
        for end in 1..key.path.len() {
            self.sections.insert(key.path[..end].to_vec());
        }
        self.known.push(name.clone());
        let in_files = self.take_from_files(key)?;
        let entry = match self.take_from_environment(key, &name)? {
            Some(entry) => entry,
            None => in_files.unwrap_or(default),
        };
        let checked = |entry: &Entry| {
            parse(&entry.text).map_err(|source| ConfigError::Value {
                key: name.clone(),
                text: entry.text.clone(),
                origin: entry.origin.clone(),
                source,
            })
        };
        // What the file says must be right even if it has to wait.
        let mut value = checked(&entry)?;
        let mut entry = entry;
        if key.needs_restart {
            self.restart_keys.insert(name.clone());
        }
        if key.needs_restart
            && let Some(running) = self.running.and_then(|running| running.get(&name))
            && running.text != entry.text
        {
            value = checked(running)?;
            entry = running.clone();
            self.waiting.push(name.clone());
        }
        self.entries.insert(name, entry);
        Ok(value)
    }

    fn take_from_files(&mut self, key: &Key) -> Result<Option<Entry>, ConfigError> {
        let given = self.files.remove(&key.path);
        let Some(alias) = key.alias else {
            return Ok(entry_of(given));
        };
        let mut other = key.path.clone();
        if let Some(last) = other.last_mut() {
            alias.clone_into(last);
        }
        match (given, self.files.remove(&other)) {
            (Some(given), Some(second)) if given.text.is_some() && second.text.is_some() => {
                Err(ConfigError::GivenTwice {
                    key: key.dotted(),
                    other: other.join("."),
                    origin: second.origin,
                })
            }
            (given, second) => Ok(entry_of(given).or_else(|| entry_of(second))),
        }
    }

    /// An empty variable is one that is not set.
    fn take_from_environment(
        &mut self,
        key: &Key,
        name: &str,
    ) -> Result<Option<Entry>, ConfigError> {
        let variable = format!("{}{}", self.prefix, key.variable);
        let value = self
            .environment
            .iter()
            .find(|(name, value)| name == OsStr::new(&variable) && !value.is_empty());
        self.variables.insert(variable.clone());
        let Some((_, value)) = value else {
            return Ok(None);
        };
        let origin = Origin::Environment { variable };
        match value.to_str() {
            Some(text) => Ok(Some(Entry {
                text: text.to_owned(),
                origin,
            })),
            None => Err(ConfigError::Value {
                key: name.to_owned(),
                text: value.to_string_lossy().into_owned(),
                origin,
                source: ValueError::NotUtf8,
            }),
        }
    }

    /// A section of which nothing has to be said.
    pub(super) fn allow_section(&mut self, path: &[&str]) {
        for end in 1..=path.len() {
            let section = path[..end].iter().map(|&part| part.to_owned()).collect();
            self.sections.insert(section);
        }
    }

    /// What nobody asked for.
    pub(super) fn refuse_the_rest(&self) -> Result<(), ConfigError> {
        for (path, found) in &self.files {
            let is_section = self.sections.contains(path);
            if is_section && found.text.is_none() {
                continue;
            }
            let key = path.join(".");
            let origin = found.origin.clone();
            return Err(if is_section {
                ConfigError::NotASection { key, origin }
            } else {
                let nearest = self.nearest(&key);
                ConfigError::UnknownKey {
                    key,
                    origin,
                    nearest,
                }
            });
        }
        Ok(())
    }

    /// Variables that look like ours and that nobody asked for.
    pub(super) fn unknown_variables(&self) -> Vec<String> {
        let is_ours = |name: &str| {
            name.strip_prefix(self.prefix)
                .is_some_and(|rest| OUR_VARIABLES.iter().any(|begin| rest.starts_with(begin)))
        };
        self.environment
            .iter()
            .filter_map(|(name, _)| name.to_str())
            .filter(|name| is_ours(name) && !self.variables.contains(*name))
            .map(str::to_owned)
            .collect()
    }

    fn nearest(&self, key: &str) -> Option<String> {
        self.known
            .iter()
            .map(|known| (distance(key, known), known))
            .min()
            .filter(|(distance, known)| *distance * 3 <= known.len())
            .map(|(_, known)| known.clone())
    }
}

fn entry_of(found: Option<Found>) -> Option<Entry> {
    let found = found?;
    Some(Entry {
        text: found.text?,
        origin: found.origin,
    })
}

/// How many letters differ (Levenshtein), of the first 100.
fn distance(left: &str, right: &str) -> usize {
    const MOST: usize = 100;
    let left: Vec<char> = left.chars().take(MOST).collect();
    let right: Vec<char> = right.chars().take(MOST).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, one) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = above + 1;
        for (place, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(one != other);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row[right.len()]
}
