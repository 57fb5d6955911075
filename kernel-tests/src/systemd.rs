//! Units of the guest with systemd, as a case sees them: made for the case,
//! read completely, and gone without a trace when dropped.
//!
//! Uses `systemctl` and the file system only: a judge must not borrow the
//! product's way to systemd.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::case::Failure;
use crate::guest::{Guest, Run, read_text, say, wait_until};

/// Time for systemd to do one thing, in an emulated guest.
pub const BOUND: Duration = Duration::from_secs(60);

/// Where unit files live that are gone after a boot.
const UNIT_FILES: &str = "/run/systemd/system";
/// Where `systemctl set-property` may write.
const DROP_INS: &[&str] = &[
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
];

/// A unit that belongs to a case.
#[derive(Debug)]
pub struct Unit<'guest> {
    guest: &'guest Guest,
    name: String,
}

impl<'guest> Unit<'guest> {
    /// Writes a unit file with this text and starts the unit. Its name should
    /// begin with `grey-case-`.
    ///
    /// # Errors
    /// When it does not become active.
    pub fn start(guest: &'guest Guest, name: &str, text: &str) -> Result<Self, Failure> {
        let unit = Self {
            guest,
            name: name.to_owned(),
        };
        fs::create_dir_all(UNIT_FILES)?;
        fs::write(unit.file(), text)?;
        // A unit that systemd does not know yet needs no daemon-reload, which
        // takes seconds in an emulated guest.
        systemctl(guest, &["start", name])?;
        Ok(unit)
    }

    /// A service that sleeps: it is there and uses next to no memory.
    ///
    /// # Errors
    /// When it does not become active.
    pub fn sleeper(guest: &'guest Guest, name: &str) -> Result<Self, Failure> {
        Self::start(
            guest,
            name,
            "[Service]\nType=exec\nExecStart=sleep infinity\n",
        )
    }

    /// A unit that is there already, such as a transient one.
    #[must_use]
    pub fn adopt(guest: &'guest Guest, name: &str) -> Self {
        Self {
            guest,
            name: name.to_owned(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its unit file, which may be edited.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        Path::new(UNIT_FILES).join(&self.name)
    }

    /// One property as systemd shows it.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub fn property(&self, name: &str) -> Result<String, Failure> {
        let property = format!("--property={name}");
        let run = systemctl(self.guest, &["show", "--value", &property, &self.name])?;
        Ok(run.stdout.trim_end().to_owned())
    }

    /// Its cgroup's directory.
    ///
    /// # Errors
    /// When it has none.
    pub fn cgroup(&self) -> Result<PathBuf, Failure> {
        let path = self.property("ControlGroup")?;
        if path.is_empty() {
            return Err(Failure::new(format!("{} has no cgroup", self.name)));
        }
        Ok(self.guest.cgroup_root().join(path.trim_start_matches('/')))
    }

    /// A file of its cgroup.
    ///
    /// # Errors
    /// When it has no cgroup or there is no such file.
    pub fn cgroup_file(&self, file: &str) -> Result<String, Failure> {
        read_text(&self.cgroup()?.join(file))
    }

    /// Its processes.
    ///
    /// # Errors
    /// When it has no cgroup.
    pub fn processes(&self) -> Result<Vec<i32>, Failure> {
        Ok(crate::cgroup::pids(&self.cgroup()?))
    }

    fn is_forgotten(&self) -> bool {
        self.property("LoadState")
            .is_ok_and(|state| state == "not-found")
    }

    /// Everything that a change of its memory settings can touch: systemd's
    /// properties, the kernel's files, and every drop-in with its bytes, mode
    /// and time of change.
    ///
    /// # Errors
    /// When systemd does not answer.
    pub fn state(&self) -> Result<UnitState, Failure> {
        let mut values = BTreeMap::new();
        let shown = systemctl(
            self.guest,
            &[
                "show",
                "--property=MemoryMax,MemoryHigh,DropInPaths,NeedDaemonReload,ControlGroup",
                &self.name,
            ],
        )?;
        let mut cgroup = String::new();
        for (key, value) in shown.stdout.lines().filter_map(|line| line.split_once('=')) {
            if key == "ControlGroup" {
                cgroup = value.trim_start_matches('/').to_owned();
            }
            values.insert(key.to_owned(), value.to_owned());
        }
        for file in ["memory.max", "memory.high"] {
            let path = self.guest.cgroup_root().join(&cgroup).join(file);
            if !cgroup.is_empty() {
                values.insert(file.to_owned(), read_text(&path)?);
            }
        }
        for place in DROP_INS {
            note_drop_ins(
                &Path::new(place).join(format!("{}.d", self.name)),
                &mut values,
            );
        }
        Ok(UnitState { values })
    }
}

impl Drop for Unit<'_> {
    /// Every drop-in and the unit file go first: then systemd forgets the unit
    /// when it has stopped.
    fn drop(&mut self) {
        for place in DROP_INS {
            let _ = fs::remove_dir_all(Path::new(place).join(format!("{}.d", self.name)));
        }
        let _ = fs::remove_file(self.file());
        // A transient unit, or one that did not fail, is gone already.
        let _ = self.guest.run("systemctl", &["stop", &self.name]);
        if self.is_forgotten() {
            return;
        }
        let _ = self.guest.run("systemctl", &["reset-failed", &self.name]);
        if !self.is_forgotten()
            && let Err(failure) = systemctl(self.guest, &["daemon-reload"])
        {
            say(&failure.to_string());
        }
    }
}

/// What [`Unit::state`] read, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitState {
    values: BTreeMap<String, String>,
}

impl UnitState {
    /// One line for each entry that is not the same in both.
    #[must_use]
    pub fn differences(&self, after: &Self) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> =
            self.values.keys().chain(after.values.keys()).collect();
        names
            .into_iter()
            .filter(|name| self.values.get(*name) != after.values.get(*name))
            .map(|name| {
                let (before, after) = (self.values.get(name), after.values.get(name));
                format!("{name}: was {before:?}, is {after:?}")
            })
            .collect()
    }
}

/// Runs `systemctl` and expects it to succeed.
///
/// # Errors
/// When it does not.
pub fn systemctl(guest: &Guest, arguments: &[&str]) -> Result<Run, Failure> {
    guest.run("systemctl", arguments)?.expect_code(0)
}

/// Waits until no unit matches this pattern; `what` names it.
///
/// # Errors
/// When there still is one after the bound.
pub fn wait_until_gone(guest: &Guest, pattern: &str, bound: Duration) -> Result<(), Failure> {
    let gone = wait_until(bound, || {
        systemctl(
            guest,
            &["list-units", "--all", "--plain", "--no-legend", pattern],
        )
        .is_ok_and(|run| run.stdout.trim().is_empty())
    });
    if gone {
        return Ok(());
    }
    Err(Failure::new(format!(
        "units `{pattern}` are still there after {bound:?}"
    )))
}

fn note_drop_ins(directory: &Path, values: &mut BTreeMap<String, String>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    values.insert(directory.display().to_string(), "a directory".to_owned());
    for path in entries.flatten().map(|entry| entry.path()) {
        let text = fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let about =
            fs::metadata(&path).map(|about| (about.mode(), about.mtime(), about.mtime_nsec()));
        values.insert(path.display().to_string(), format!("{text:?} {about:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_a_lost_and_a_new_entry_are_each_told() {
        let state = |pairs: &[(&str, &str)]| UnitState {
            values: pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        let before = state(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let after = state(&[("a", "2"), ("c", "1"), ("d", "1")]);
        assert_eq!(before.differences(&after).len(), 3);
        assert!(before.differences(&before).is_empty());
    }

    #[test]
    fn a_drop_in_is_noted_with_its_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let mut values = BTreeMap::new();
        note_drop_ins(&directory.path().join("missing"), &mut values);
        assert!(values.is_empty());
        fs::write(directory.path().join("50-x.conf"), "MemoryMax=5").unwrap();
        note_drop_ins(directory.path(), &mut values);
        assert_eq!(values.len(), 2);
        assert!(values.values().any(|value| value.contains("MemoryMax=5")));
    }
}
