//! How readily the kernel kills this process when memory runs out.
//!
//! Never touches another process: the only file is `/proc/self/oom_score_adj`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use grey_telemetry::process::oom_score::parse_oom_score_adj;

const PATH: &str = "/proc/self/oom_score_adj";

/// The kernel never kills a process with this.
pub const NEVER: i32 = -1000;

/// The kernel kills a process with this before all others.
pub const FIRST: i32 = 1000;

/// The correction could not be read or set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OomScoreError {
    /// Outside of what the kernel takes.
    #[error("an oom score adjustment of {wanted} is not between -1000 and 1000")]
    OutOfRange {
        /// What was asked for.
        wanted: i32,
    },
    /// It could not be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Lowering it needs a capability that we lack.
    #[error("not permitted to lower the oom score adjustment from {present} to {wanted}")]
    NotPermitted {
        /// What it is.
        present: i32,
        /// What was asked for.
        wanted: i32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It could not be written.
    #[error("failed to write `{wanted}` to `{}`", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What was to be written.
        wanted: i32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was written, and the kernel says something else.
    #[error("`{}` is {found} although {wanted} was written", path.display())]
    NotTaken {
        /// Which file.
        path: PathBuf,
        /// What was written.
        wanted: i32,
        /// What is there.
        found: i32,
    },
}

impl OomScoreError {
    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotPermitted { .. } => Some(
                "lowering it needs CAP_SYS_RESOURCE: run as root, add the capability \
                 (in a pod: securityContext.capabilities.add: [\"SYS_RESOURCE\"]), \
                 or let systemd set OOMScoreAdjust= for the unit",
            ),
            Self::OutOfRange { .. } => {
                Some("0 is neutral, -1000 is never killed, 1000 is killed first")
            }
            _ => None,
        }
    }
}

/// What is set for this process now.
///
/// # Errors
/// [`OomScoreError::Read`].
pub fn oom_score_adj() -> Result<i32, OomScoreError> {
    read(Path::new(PATH))
}

/// Sets it for this process, and for what it starts from now on.
///
/// # Kernel
/// `/proc/PID/oom_score_adj`, proc_pid_oom_score_adj(5). Whoever lacks
/// CAP_SYS_RESOURCE may raise it, and lower it again down to the lowest value
/// that a privileged process has set.
///
/// # Undo
/// Dropping the guard, or [`OomScoreGuard::restore`].
///
/// # Errors
/// [`OomScoreError`], with a hint where a capability is missing.
pub fn set_oom_score_adj(wanted: i32) -> Result<OomScoreGuard, OomScoreError> {
    set(Path::new(PATH), wanted)
}

fn set(path: &Path, wanted: i32) -> Result<OomScoreGuard, OomScoreError> {
    if !(NEVER..=FIRST).contains(&wanted) {
        return Err(OomScoreError::OutOfRange { wanted });
    }
    let before = read(path)?;
    write(path, before, wanted)?;
    let guard = OomScoreGuard {
        path: path.to_owned(),
        before,
        set: wanted,
        process: std::process::id(),
        armed: true,
    };
    let found = read(path)?;
    if found != wanted {
        // The guard puts back what was there.
        return Err(OomScoreError::NotTaken {
            path: path.to_owned(),
            wanted,
            found,
        });
    }
    Ok(guard)
}

fn read(path: &Path) -> Result<i32, OomScoreError> {
    let failed = |source| OomScoreError::Read {
        path: path.to_owned(),
        source,
    };
    let text = fs::read(path).map_err(failed)?;
    parse_oom_score_adj(&text).ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))
}

fn write(path: &Path, present: i32, wanted: i32) -> Result<(), OomScoreError> {
    let written = OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(wanted.to_string().as_bytes()));
    written.map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied if wanted < present => OomScoreError::NotPermitted {
            present,
            wanted,
            source,
        },
        _ => OomScoreError::Write {
            path: path.to_owned(),
            wanted,
            source,
        },
    })
}

/// Puts back what was set before, when it is dropped in the process that made
/// it, and only if nobody has set something else since.
#[derive(Debug)]
#[must_use = "dropping it at once undoes what was set"]
pub struct OomScoreGuard {
    path: PathBuf,
    before: i32,
    set: i32,
    process: u32,
    armed: bool,
}

impl OomScoreGuard {
    /// What was set before.
    #[must_use]
    pub const fn before(&self) -> i32 {
        self.before
    }

    /// Leaves it as it is, for as long as the process lives.
    pub fn keep(mut self) {
        self.armed = false;
    }

    /// Puts it back now. Whether something was to be put back: not after a
    /// fork, and not when somebody has set something else.
    ///
    /// # Errors
    /// [`OomScoreError`], when it cannot be written.
    pub fn restore(mut self) -> Result<bool, OomScoreError> {
        self.armed = false;
        self.put_back()
    }

    fn put_back(&self) -> Result<bool, OomScoreError> {
        if self.process != std::process::id() || read(&self.path)? != self.set {
            return Ok(false);
        }
        write(&self.path, self.set, self.before)?;
        Ok(true)
    }
}

impl Drop for OomScoreGuard {
    fn drop(&mut self) {
        if self.armed
            && let Err(error) = self.put_back()
        {
            tracing::warn!("failed to restore the oom score adjustment: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// The file is the process's: one test at a time.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    #[test]
    fn it_is_set_for_real_and_put_back() {
        let _turn = ONE_AT_A_TIME.lock();
        let before = oom_score_adj().unwrap();
        let wanted = before.saturating_add(7).min(FIRST);
        let guard = set_oom_score_adj(wanted).unwrap();
        assert_eq!(fs::read_to_string(PATH).unwrap().trim(), wanted.to_string());
        drop(guard);
        assert_eq!(oom_score_adj().unwrap(), before);
    }

    #[test]
    fn what_somebody_else_has_set_since_stays() {
        let _turn = ONE_AT_A_TIME.lock();
        let before = oom_score_adj().unwrap();
        let outer = set_oom_score_adj(before.saturating_add(3).min(FIRST)).unwrap();
        let inner = set_oom_score_adj(before.saturating_add(5).min(FIRST)).unwrap();
        assert!(!outer.restore().unwrap());
        assert_eq!(oom_score_adj().unwrap(), inner.set);
        write(Path::new(PATH), inner.set, before).unwrap();
        inner.keep();
    }

    #[test]
    fn what_is_kept_is_not_put_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "0\n").unwrap();
        set(file.path(), 900).unwrap().keep();
        assert!(fs::read_to_string(file.path()).unwrap().starts_with("900"));
    }

    #[test]
    fn what_the_kernel_would_not_take_is_refused_before_it_is_tried() {
        for wanted in [-1001, 1001, i32::MIN] {
            let error = set_oom_score_adj(wanted).unwrap_err();
            assert!(matches!(error, OomScoreError::OutOfRange { .. }));
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = set(Path::new("/nonexistent/oom_score_adj"), 5).unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to read `/nonexistent/oom_score_adj`"
        );
    }
}
