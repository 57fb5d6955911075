//! The drop-in file that systemd writes when a property is set at run time,
//! as it was before us, and how it becomes so again.
//!
//! Setting `MemoryMax` of `web.service` at run time makes systemd write
//! `/run/systemd/system.control/web.service.d/50-MemoryMax.conf`, so that the
//! value survives a `daemon-reload` and a restart of the unit; for a transient
//! unit the directory is `/run/systemd/transient/web.service.d`. Setting the
//! earlier value again leaves that file in place, and it would hide what the
//! administrator writes into the unit file later. So the file has to go, or to
//! be again what it was.
//!
//! Never touches a file that is not of the kind that systemd writes for the
//! property, and no other file of the directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use grey_model::UnitMemoryProperty;
use serde::{Deserialize, Serialize};

use super::error::SystemdError;

/// Where systemd keeps run-time drop-ins of ordinary units.
pub const RUNTIME_CONTROL: &str = "/run/systemd/system.control";
/// Where it keeps those of transient units.
pub const TRANSIENT: &str = "/run/systemd/transient";

/// Nobody's drop-in for one property is longer, in bytes.
const LONGEST: u64 = 64 * 1024;
/// How systemd begins every drop-in that it writes.
const FIRST_LINE: &str = "# This is a drop-in unit file extension";

/// A drop-in file and what surrounds it, at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropInBefore {
    /// The file that systemd writes for the property.
    pub path: PathBuf,
    /// Its content; `None`: there is no such file.
    pub content: Option<DropInContent>,
    /// Whether its directory exists.
    pub directory_exists: bool,
    /// Whether the unit waited for a `daemon-reload` then. If it did, somebody
    /// has changed its files, and loading them is not for us.
    pub needs_reload: bool,
}

/// What a drop-in file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropInContent {
    /// Its text.
    pub text: String,
    /// Its permission bits.
    pub mode: u32,
    /// When it was last changed. It is put back, too: systemd compares it with
    /// the time when it read the file, to see whether it must read it again.
    pub modified: SystemTime,
}

/// What became of a drop-in file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DropInOutcome {
    /// It is as it was, or gone if there was none.
    AsBefore,
    /// It is not what systemd writes for the property, so it was not touched.
    LeftAlone {
        /// The file.
        path: PathBuf,
    },
}

impl DropInBefore {
    /// Reads what is at the place where systemd writes the drop-in for
    /// `property` of the unit whose id is `unit`. `directory` is
    /// [`RUNTIME_CONTROL`] or [`TRANSIENT`].
    ///
    /// # Errors
    /// When the file exists and cannot be read, or cannot be systemd's: not
    /// UTF-8, or longer than 64 KiB.
    pub fn read(
        directory: &Path,
        unit: &str,
        property: UnitMemoryProperty,
        needs_reload: bool,
    ) -> Result<Self, SystemdError> {
        let own = directory.join(format!("{unit}.d"));
        let path = own.join(format!("50-{}.conf", property.name()));
        Ok(Self {
            content: read_content(&path)?,
            directory_exists: own.is_dir(),
            path,
            needs_reload,
        })
    }

    /// Makes the file what it was. To be called after systemd has been given
    /// the earlier value, since that makes systemd write the file.
    ///
    /// # Errors
    /// When the file cannot be read, removed or written.
    pub fn put_back(&self, property: UnitMemoryProperty) -> Result<DropInOutcome, SystemdError> {
        let now = read_content(&self.path)?;
        let is_systemds = now
            .as_ref()
            .is_none_or(|now| is_written_by_systemd(&now.text, property));
        let same_text = match (&now, &self.content) {
            (Some(now), Some(before)) => now.text == before.text,
            _ => false,
        };
        if !is_systemds && !same_text {
            return Ok(DropInOutcome::LeftAlone {
                path: self.path.clone(),
            });
        }
        match &self.content {
            None => self.remove(now.is_some())?,
            Some(before) if now.as_ref() == Some(before) => {}
            Some(before) => self.write(before)?,
        }
        Ok(DropInOutcome::AsBefore)
    }

    fn remove(&self, exists: bool) -> Result<(), SystemdError> {
        if exists {
            fs::remove_file(&self.path).map_err(|source| self.failed("remove", source))?;
        }
        let Some(directory) = self.path.parent().filter(|_| !self.directory_exists) else {
            return Ok(());
        };
        match fs::remove_dir(directory) {
            Ok(()) => Ok(()),
            // Somebody has put another file there, or it is gone already.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound
                ) =>
            {
                Ok(())
            }
            Err(source) => Err(SystemdError::DropIn {
                doing: "remove",
                path: directory.to_owned(),
                source,
            }),
        }
    }

    /// In one rename: systemd never sees half a file. The file that is being
    /// written has no name that systemd would read.
    fn write(&self, before: &DropInContent) -> Result<(), SystemdError> {
        let failed = |source| self.failed("write", source);
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let unfinished = self.path.with_extension("conf.grey-optimizer");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)
            .map_err(failed)?;
        file.write_all(before.text.as_bytes())
            .and_then(|()| file.set_permissions(fs::Permissions::from_mode(before.mode)))
            .and_then(|()| file.set_modified(before.modified))
            .and_then(|()| fs::rename(&unfinished, &self.path))
            .map_err(failed)
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> SystemdError {
        SystemdError::DropIn {
            doing,
            path: self.path.clone(),
            source,
        }
    }
}

fn read_content(path: &Path) -> Result<Option<DropInContent>, SystemdError> {
    let failed = |source| SystemdError::DropIn {
        doing: "read",
        path: path.to_owned(),
        source,
    };
    let strange = |problem| SystemdError::StrangeDropIn {
        path: path.to_owned(),
        problem,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(strange("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LONGEST) {
        return Err(strange("it is longer than 64 KiB"));
    }
    Ok(Some(DropInContent {
        text: String::from_utf8(bytes).map_err(|_| strange("it is not UTF-8"))?,
        mode: about.permissions().mode() & 0o7777,
        modified: about.modified().map_err(failed)?,
    }))
}

/// Whether a drop-in is of the kind that systemd writes for this property:
/// its comment, one section, and one assignment, of this property.
fn is_written_by_systemd(text: &str, property: UnitMemoryProperty) -> bool {
    if !text.starts_with(FIRST_LINE) {
        return false;
    }
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let [section, assignment] = lines.as_slice() else {
        return false;
    };
    section.starts_with('[')
        && section.ends_with(']')
        && assignment
            .split_once('=')
            .is_some_and(|(key, _)| key == property.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const PROPERTY: UnitMemoryProperty = UnitMemoryProperty::MemoryMax;

    fn systemds(value: &str) -> String {
        format!(
            "# This is a drop-in unit file extension, created via \"systemctl set-property\"\n\
             # or an equivalent operation. Do not edit.\n[Service]\nMemoryMax={value}\n"
        )
    }

    struct Place {
        root: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self {
                root: tempfile::tempdir().unwrap(),
            }
        }

        fn directory(&self) -> PathBuf {
            self.root.path().join("web.service.d")
        }

        fn file(&self) -> PathBuf {
            self.directory().join("50-MemoryMax.conf")
        }

        fn before(&self) -> DropInBefore {
            DropInBefore::read(self.root.path(), "web.service", PROPERTY, false).unwrap()
        }

        /// What systemd does when a property is set.
        fn systemd_writes(&self, value: &str) {
            fs::create_dir_all(self.directory()).unwrap();
            fs::write(self.file(), systemds(value)).unwrap();
        }
    }

    #[test]
    fn a_file_that_did_not_exist_goes_with_its_directory() {
        let place = Place::new();
        let before = place.before();
        place.systemd_writes("200");
        assert_eq!(before.put_back(PROPERTY).unwrap(), DropInOutcome::AsBefore);
        assert!(!place.directory().exists());
        assert!(place.root.path().exists());
        // Once more, after an interruption, is no error.
        assert_eq!(before.put_back(PROPERTY).unwrap(), DropInOutcome::AsBefore);
    }

    #[test]
    fn a_directory_with_files_of_others_stays() {
        let place = Place::new();
        let before = place.before();
        place.systemd_writes("200");
        let other = place.directory().join("50-CPUWeight.conf");
        fs::write(&other, "x").unwrap();
        before.put_back(PROPERTY).unwrap();
        assert!(other.exists() && !place.file().exists());
    }

    #[test]
    fn a_directory_that_existed_stays_even_when_it_is_empty() {
        let place = Place::new();
        fs::create_dir_all(place.directory()).unwrap();
        let before = place.before();
        place.systemd_writes("200");
        before.put_back(PROPERTY).unwrap();
        assert!(place.directory().exists() && !place.file().exists());
    }

    #[test]
    fn an_earlier_file_has_its_bytes_mode_and_time_again() {
        let place = Place::new();
        place.systemd_writes("300");
        let text = format!("{}# by hand\n", systemds("300M"));
        fs::write(place.file(), &text).unwrap();
        fs::set_permissions(place.file(), fs::Permissions::from_mode(0o640)).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::options()
            .write(true)
            .open(place.file())
            .unwrap()
            .set_modified(time)
            .unwrap();
        let before = place.before();
        // systemd replaces the file.
        fs::remove_file(place.file()).unwrap();
        place.systemd_writes("200");
        assert_eq!(before.put_back(PROPERTY).unwrap(), DropInOutcome::AsBefore);
        assert_eq!(place.before(), before);
        assert_eq!(fs::read_to_string(place.file()).unwrap(), text);
        assert_eq!(fs::read_dir(place.directory()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_not_systemds_is_left_alone() {
        for text in [
            "[Service]\nMemoryMax=1\n".to_owned(),
            systemds("1") + "CPUWeight=5\n",
            systemds("1").replace("MemoryMax", "MemoryHigh"),
        ] {
            let place = Place::new();
            let before = place.before();
            place.systemd_writes("200");
            fs::write(place.file(), &text).unwrap();
            assert_eq!(
                before.put_back(PROPERTY).unwrap(),
                DropInOutcome::LeftAlone { path: place.file() }
            );
            assert_eq!(fs::read_to_string(place.file()).unwrap(), text);
        }
    }

    #[test]
    fn a_journaled_state_reads_back_the_same() {
        let place = Place::new();
        place.systemd_writes("300");
        let before = place.before();
        let json = serde_json::to_string(&before).unwrap();
        assert_eq!(serde_json::from_str::<DropInBefore>(&json).unwrap(), before);
    }

    #[test]
    fn a_file_that_cannot_be_kept_is_refused_before_anything_is_set() {
        let place = Place::new();
        place.systemd_writes("300");
        fs::write(place.file(), [0xff, 0xfe]).unwrap();
        let read = DropInBefore::read(place.root.path(), "web.service", PROPERTY, false);
        assert!(matches!(read, Err(SystemdError::StrangeDropIn { .. })));
    }
}
