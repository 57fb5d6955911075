//! Everything in the kernel that the product could change, read as raw bytes,
//! so that "as before" can be shown and not only believed.
//!
//! Never interprets a value, and never writes one, apart from
//! [`KernelState::write_back_settings`], which the harness uses to clean up.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::cgroup;
use crate::guest::{say, write_text};
use crate::processes;

/// The settings of a cgroup that the product may change.
const CGROUP_FILES: &[&str] = &[
    "memory.min",
    "memory.low",
    "memory.high",
    "memory.max",
    "memory.swap.max",
    "memory.swap.high",
    "memory.zswap.max",
    "memory.oom.group",
    "cgroup.subtree_control",
    "cgroup.freeze",
    "cgroup.type",
];

/// The settings of KSM; its counters move by themselves and are not here.
const KSM_FILES: &[&str] = &[
    "run",
    "pages_to_scan",
    "sleep_millisecs",
    "merge_across_nodes",
    "max_page_sharing",
    "use_zero_pages",
    "stable_node_chains_prune_millisecs",
    "advisor_mode",
    "advisor_max_cpu",
    "advisor_min_pages_to_scan",
    "advisor_max_pages_to_scan",
    "advisor_target_scan_time",
    "smart_scan",
];

/// Files that only order the kernel to do something, or that read differently
/// each time.
const NOT_SETTINGS: &[&str] = &["compact_memory", "drop_caches", "stat_refresh"];

/// All of it at one instant: what it is, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelState {
    values: BTreeMap<String, Vec<u8>>,
}

impl KernelState {
    /// Reads all of it: the settings and processes of every cgroup, KSM,
    /// `/proc/sys/vm`, and of every process that is no kernel thread its
    /// `oom_score_adj`, its limits and its cgroup. The reader itself is left out.
    #[must_use]
    pub fn read() -> Self {
        let mut values = Self::read_settings().values;
        let me = i32::try_from(std::process::id()).unwrap_or(0);
        for path in cgroup::tree(Path::new("/sys/fs/cgroup")) {
            for file in CGROUP_FILES {
                read_into(&mut values, &path.join(file));
            }
            let mut pids = cgroup::pids(&path);
            // Kernel threads come and go at any time: each is asked who it is now.
            let is_program =
                |pid| processes::read(pid).is_some_and(|process| !process.kernel_thread);
            pids.retain(|pid| *pid != me && is_program(*pid));
            pids.sort_unstable();
            let key = path.join("cgroup.procs").display().to_string();
            values.insert(key, format!("{pids:?}").into_bytes());
        }
        for process in processes::all() {
            if process.kernel_thread || process.pid == me || process.state == 'Z' {
                continue;
            }
            for file in ["oom_score_adj", "limits", "cgroup"] {
                if let Ok(bytes) = fs::read(format!("/proc/{}/{file}", process.pid)) {
                    let key = format!(
                        "process {} ({}) started at {}: {file}",
                        process.pid, process.name, process.start_time_ticks
                    );
                    values.insert(key, bytes);
                }
            }
        }
        Self { values }
    }

    /// Only what belongs to no cgroup and no process: KSM and `/proc/sys/vm`.
    #[must_use]
    pub fn read_settings() -> Self {
        let mut values = BTreeMap::new();
        for file in KSM_FILES {
            read_into(&mut values, &Path::new("/sys/kernel/mm/ksm").join(file));
        }
        for entry in fs::read_dir("/proc/sys/vm").into_iter().flatten().flatten() {
            let name = entry.file_name();
            if !NOT_SETTINGS.iter().any(|not| name == *not) {
                read_into(&mut values, &entry.path());
            }
        }
        Self { values }
    }

    /// The same without the entries whose name holds this text, such as
    /// `process 42 ` or a cgroup's path.
    #[must_use]
    pub fn without(mut self, text: &str) -> Self {
        self.values.retain(|name, _| !name.contains(text));
        self
    }

    /// One line for each entry that is not the same in both; empty when
    /// everything is, byte by byte.
    #[must_use]
    pub fn differences(&self, after: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, before) in &self.values {
            match after.values.get(name) {
                None => lines.push(format!("{name}: gone, was {}", show(before))),
                Some(now) if now != before => {
                    lines.push(format!("{name}: was {}, is {}", show(before), show(now)));
                }
                Some(_) => {}
            }
        }
        for (name, now) in &after.values {
            if !self.values.contains_key(name) {
                lines.push(format!("{name}: new, is {}", show(now)));
            }
        }
        lines
    }

    /// Writes these settings back where `after` differs.
    pub fn write_back_settings(&self, after: &Self) {
        for (name, before) in &self.values {
            let differs = after.values.get(name) != Some(before);
            if differs && name.starts_with('/') {
                let text = String::from_utf8_lossy(before);
                if let Err(failure) = write_text(Path::new(name), text.trim_end()) {
                    say(&failure.to_string());
                }
            }
        }
    }
}

fn read_into(values: &mut BTreeMap<String, Vec<u8>>, path: &Path) {
    // A file that this kernel does not have, or does not let us read, is absent
    // before and after.
    if let Ok(bytes) = fs::read(path) {
        values.insert(path.display().to_string(), bytes);
    }
}

fn show(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(bytes).trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(entries: &[(&str, &str)]) -> KernelState {
        KernelState {
            values: entries
                .iter()
                .map(|(name, bytes)| ((*name).to_owned(), bytes.as_bytes().to_vec()))
                .collect(),
        }
    }

    #[test]
    fn a_change_a_loss_and_a_gain_are_each_told() {
        let before = state(&[("a", "1\n"), ("b", "2\n"), ("same", "x")]);
        let after = state(&[("a", "9\n"), ("c", "3\n"), ("same", "x")]);
        assert_eq!(
            before.differences(&after),
            [
                "a: was \"1\", is \"9\"",
                "b: gone, was \"2\"",
                "c: new, is \"3\""
            ]
        );
        assert!(before.differences(&before).is_empty());
    }

    #[test]
    fn one_byte_is_a_difference_even_a_line_break() {
        assert_eq!(
            state(&[("a", "1\n")])
                .differences(&state(&[("a", "1")]))
                .len(),
            1
        );
    }

    #[test]
    fn what_is_left_out_makes_no_difference() {
        let before = state(&[("process 4 (x) started at 1: limits", "1")]);
        assert!(
            before
                .without("process 4 ")
                .differences(&state(&[]))
                .is_empty()
        );
    }
}
