//! A cgroup that a case makes and that goes away with it.
//!
//! Never touches a cgroup that it has not made.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::case::Failure;
use crate::guest::{read_text, say, wait_until, write_text};
use crate::processes;

/// Time for killed processes to leave a cgroup.
const EMPTY_BOUND: Duration = Duration::from_secs(20);

/// A cgroup v2 of this case. Dropping it kills what runs in it, and in the
/// cgroups below it, and removes them.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        say(&format!("+ mkdir {}", path.display()));
        fs::create_dir(path).map_err(|error| {
            Failure::while_doing(format!("make cgroup `{}`", path.display()), &error)
        })?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new cgroup below this one. The memory controller is handed down first.
    ///
    /// # Errors
    /// When it exists already or cannot be made.
    pub fn child(&self, name: &str) -> Result<Self, Failure> {
        self.write("cgroup.subtree_control", "+memory")?;
        Self::create(&self.path.join(name))
    }

    /// The text of one of its files, without the line break at its end.
    ///
    /// # Errors
    /// When this kernel does not have the file.
    pub fn read(&self, file: &str) -> Result<String, Failure> {
        read_text(&self.path.join(file))
    }

    /// A file that holds one number: `memory.current`.
    ///
    /// # Errors
    /// When it is missing, or holds no number (`max`).
    pub fn read_number(&self, file: &str) -> Result<u64, Failure> {
        let text = self.read(file)?;
        text.parse()
            .map_err(|_| Failure::new(format!("`{}/{file}` holds `{text}`", self.path.display())))
    }

    /// One number of a keyed file: `read_key("memory.events", "oom_kill")`.
    ///
    /// # Errors
    /// When the file or the key is missing.
    pub fn read_key(&self, file: &str, key: &str) -> Result<u64, Failure> {
        self.read(file)?
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(name, _)| *name == key)
            .and_then(|(_, value)| value.parse().ok())
            .ok_or_else(|| Failure::new(format!("`{}/{file}` has no `{key}`", self.path.display())))
    }

    /// Writes a text to one of its files.
    ///
    /// # Errors
    /// When the file is missing or the kernel refuses the text.
    pub fn write(&self, file: &str, text: &str) -> Result<(), Failure> {
        write_text(&self.path.join(file), text)
    }

    /// Moves a process here. What it has used so far stays charged where it was.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn add(&self, pid: i32) -> Result<(), Failure> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// The processes in it, not counting the cgroups below.
    ///
    /// # Errors
    /// When it is gone.
    pub fn processes(&self) -> Result<Vec<i32>, Failure> {
        Ok(pids(&self.path))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if !remove_tree(&self.path) {
            say(&format!(
                "could not remove cgroup `{}`",
                self.path.display()
            ));
        }
    }
}

/// Kills what runs in a cgroup and below, and removes all of it, deepest first.
/// True when nothing of it is left.
#[must_use]
pub fn remove_tree(root: &Path) -> bool {
    let all = tree(root);
    wait_until(EMPTY_BOUND, || {
        for cgroup in all.iter().rev() {
            for pid in pids(cgroup) {
                // A frozen or stopped process dies of this signal, too.
                processes::kill_hard(pid);
                let _ = processes::reap(pid);
            }
            // Fails while somebody is in it: the loop comes back.
            let _ = fs::remove_dir(cgroup);
        }
        !root.exists()
    })
}

/// Every cgroup below `root`, itself first, parents before children.
#[must_use]
pub fn tree(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        next += 1;
        let mut below: Vec<PathBuf> = fs::read_dir(&path)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
            .collect();
        below.sort();
        found.extend(below);
    }
    found
}

/// What `cgroup.procs` lists; nothing when the cgroup is gone.
#[must_use]
pub fn pids(cgroup: &Path) -> Vec<i32> {
    fs::read_to_string(cgroup.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect()
}
