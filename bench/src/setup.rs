//! Finds the peers, and installs those that are missing where it may.
//!
//! Never drops a missing peer: it becomes a row that says why.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::say;

/// What was found.
#[derive(Debug)]
pub(crate) struct Peers {
    /// An interpreter that has psutil.
    pub(crate) python: Result<String, String>,
    /// `ps` of procps.
    pub(crate) ps: Result<(), String>,
    /// `/usr/bin/smem`.
    pub(crate) smem: Result<(), String>,
}

const SMEM: &str = "/usr/bin/smem";

/// Looks for the peers; installs the missing ones with apt-get when `install`
/// and root.
pub(crate) fn prepare(install: bool) -> Peers {
    let mut missing = Vec::new();
    if find_python().is_none() {
        missing.push("python3-psutil");
    }
    if !Path::new(SMEM).exists() {
        missing.push("smem");
    }
    if !succeeds(Command::new("ps").arg("--version")) {
        missing.push("procps");
    }
    if install && !missing.is_empty() && rustix::process::geteuid().is_root() {
        say(&format!("installing {}", missing.join(" ")));
        // An outdated list of packages is the usual reason for a failure.
        let _ = succeeds(Command::new("apt-get").args(["update", "-q"]));
        let mut command = Command::new("apt-get");
        command.args(["install", "-q", "-y", "--no-install-recommends"]);
        let _ = succeeds(
            command
                .args(&missing)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        );
    }
    let absent = |package: &str| format!("not installed (apt-get install {package})");
    let present = |is: bool, package: &str| if is { Ok(()) } else { Err(absent(package)) };
    Peers {
        python: find_python().ok_or_else(|| absent("python3-psutil")),
        ps: present(succeeds(Command::new("ps").arg("--version")), "procps"),
        smem: present(Path::new(SMEM).exists(), "smem"),
    }
}

fn find_python() -> Option<String> {
    // The distribution's psutil belongs to the distribution's interpreter.
    ["python3", "/usr/bin/python3"]
        .into_iter()
        .find(|python| succeeds(Command::new(python).args(["-c", "import psutil"])))
        .map(str::to_owned)
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
