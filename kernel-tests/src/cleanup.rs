//! Between two cases: finds what a case has left behind, says so, and takes it
//! away, so that no case can poison the next.
//!
//! Never forgives: what is left behind turns a pass into a failure, because
//! either the case is wrong or the product is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::case::GuestName;
use crate::cgroup;
use crate::guest::{say, wait_until};
use crate::processes;
use crate::program::run;
use crate::state::KernelState;
use crate::zram;

/// Time for the descendants of a case to end by themselves.
const LEAVE_BOUND: Duration = Duration::from_secs(5);
/// Time for a killed process to be gone.
const DEATH_BOUND: Duration = Duration::from_secs(20);

const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// What there was before a case.
#[derive(Debug)]
pub struct Before {
    guest: GuestName,
    cgroups: BTreeSet<PathBuf>,
    settings: KernelState,
}

impl Before {
    /// Notes what there is now.
    #[must_use]
    pub fn note(guest: GuestName) -> Self {
        Self {
            guest,
            cgroups: cgroups(guest),
            settings: KernelState::read_settings(),
        }
    }

    /// Finds what is left behind and takes it away. One line each; empty when
    /// nothing is left.
    #[must_use]
    pub fn take_away_leftovers(&self) -> Vec<String> {
        let mut left = take_away_processes();
        if zram::is_in_use() {
            left.push("swap on zram".to_owned());
            if let Err(failure) = zram::take_away() {
                left.push(format!("zram cannot be reset: {failure}"));
            }
        }
        if self.guest == GuestName::Systemd {
            left.extend(take_away_units());
        }
        for path in cgroups(self.guest).difference(&self.cgroups) {
            // Its parent may have been taken away just before, with it.
            if path.exists() {
                left.push(format!("cgroup `{}`", path.display()));
                if !cgroup::remove_tree(path) {
                    left.push(format!("cgroup `{}` cannot be removed", path.display()));
                }
            }
        }
        let now = KernelState::read_settings();
        let changed = self.settings.differences(&now);
        if !changed.is_empty() {
            self.settings.write_back_settings(&now);
            left.extend(changed);
        }
        left
    }
}

/// Under systemd cgroups come and go by themselves: there, only those that
/// carry our name count.
fn cgroups(guest: GuestName) -> BTreeSet<PathBuf> {
    cgroup::tree(Path::new(CGROUP_ROOT))
        .into_iter()
        .filter(|path| guest != GuestName::Systemd || path.to_string_lossy().contains("grey"))
        .collect()
}

/// The harness is the subreaper: whatever a case started and left is its child
/// by now.
fn take_away_processes() -> Vec<String> {
    let me = i32::try_from(std::process::id()).unwrap_or(0);
    wait_until_childless(me, LEAVE_BOUND);
    let mut left = Vec::new();
    let _ = wait_until(DEATH_BOUND, || {
        let children = processes::children_of(me);
        for child in &children {
            if child.state != 'Z' {
                let line = format!("process {} ({})", child.pid, child.name);
                if !left.contains(&line) {
                    left.push(line);
                }
            }
            // Its own children become ours, and are seen in the next round.
            let _ = processes::kill_and_wait(child.pid, DEATH_BOUND);
        }
        children.is_empty()
    });
    left
}

fn wait_until_childless(me: i32, bound: Duration) {
    let _ = wait_until(bound, || {
        let children = processes::children_of(me);
        for child in &children {
            let _ = processes::reap(child.pid);
        }
        children.is_empty()
    });
}

/// Transient units that carry our name, and failed ones.
fn take_away_units() -> Vec<String> {
    let listed = systemctl(&[
        "list-units",
        "--all",
        "--plain",
        "--no-legend",
        "--full",
        "--type=service,scope,slice,timer",
        "*grey*",
    ]);
    let mut left = Vec::new();
    for line in listed.lines() {
        let Some(unit) = line.split_ascii_whitespace().next() else {
            continue;
        };
        if unit == "grey-cases.service" {
            continue;
        }
        left.push(format!("unit `{unit}`"));
        systemctl(&["stop", unit]);
        systemctl(&["reset-failed", unit]);
    }
    left
}

fn systemctl(arguments: &[&str]) -> String {
    let mut command = Command::new("systemctl");
    command.args(arguments);
    match run(command, DEATH_BOUND) {
        Ok(run) => run.stdout,
        Err(failure) => {
            say(&failure.to_string());
            String::new()
        }
    }
}
