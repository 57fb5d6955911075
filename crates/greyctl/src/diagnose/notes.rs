//! What is missing on this machine, or to us, and what to do about it.
//!
//! Pure: facts become sentences.

use grey_model::{CgroupMode, HostFacts, ProcessListing, ProcessMemory};
use grey_telemetry::system::SystemSnapshot;

use super::document::Diagnosis;
use super::report::Extent;
use crate::count::counted;
use crate::table::{heading, wrap};

/// Processes of others do not even show.
pub(super) const fn hidden(listing: ProcessListing, privileged: bool) -> &'static str {
    if matches!(listing, ProcessListing::Empty) {
        "procfs has no process at all: it is not a procfs of a running machine; see --procfs"
    } else if privileged {
        "procfs has no process 1: it is not a whole procfs, or it is mounted with hidepid and this \
         root may not look at others; what it lacks is neither listed nor counted"
    } else {
        "procfs hides the processes of others from us (it is mounted with hidepid): they are \
         neither listed nor counted; run as root to see them"
    }
}

/// The sentences for what was found.
pub(crate) fn collect(
    host: &HostFacts,
    system: &SystemSnapshot,
    processes: &[ProcessMemory],
    unreadable: u64,
    privileged: bool,
) -> Vec<String> {
    let mut notes = Vec::new();
    match host.cgroup_mode {
        CgroupMode::V2 => {}
        CgroupMode::Hybrid | CgroupMode::V1 => {
            let how = if host.systemd {
                "boot with systemd.unified_cgroup_hierarchy=1 or cgroup_no_v1=memory"
            } else {
                "mount cgroup2 with the memory controller (kernel parameter cgroup_no_v1=memory)"
            };
            notes.push(format!(
                "the memory controller is on cgroup v1: accounts of single cgroups are not \
                 shown, and their limits cannot be set; {how} to have them"
            ));
        }
        CgroupMode::V2WithoutMemory => notes.push(
            "this cgroup v2 tree has no memory controller: accounts of single cgroups are not \
             shown, and their limits cannot be set"
                .to_owned(),
        ),
        CgroupMode::None => notes
            .push("no control groups are mounted: processes are shown one by one only".to_owned()),
    }
    if system.pressure.is_none() {
        notes.push(
            "pressure (PSI) is not available: this kernel has none, or needs psi=1 on its \
             command line"
                .to_owned(),
        );
    }
    if system.ksm.is_none() {
        notes.push("KSM is not built into this kernel".to_owned());
    }
    if unreadable > 0 {
        notes.push(unreadable_processes(unreadable, privileged));
    }
    let kernel_lacks_pss = !processes.is_empty()
        && unreadable == 0
        && processes
            .iter()
            .all(|process| process.kernel_thread || process.pss.is_none());
    if kernel_lacks_pss && processes.iter().any(|process| !process.kernel_thread) {
        notes.push(
            "PSS and USS are not shown: this kernel has no smaps_rollup (since 4.14)".to_owned(),
        );
    }
    if host.container {
        notes
            .push("this is the view from inside a container: the totals are the host's".to_owned());
    }
    notes
}

fn unreadable_processes(count: u64, privileged: bool) -> String {
    let processes = counted(count, "process", "processes");
    let next = if privileged {
        "the kernel keeps us out, although we are root: a security module or a missing capability"
    } else {
        "run as root to see everything"
    };
    format!("{processes} could not be read in full (PSS, USS, swap): {next}")
}

/// The notes as a section.
pub(crate) fn list(diagnosis: &Diagnosis, extent: Extent) -> String {
    if diagnosis.notes.is_empty() {
        return String::new();
    }
    let mut text = heading("Notes", "", extent.width);
    for note in &diagnosis.notes {
        let most = extent.width.map(|width| width.saturating_sub(4));
        // A command that is broken into lines could not be copied.
        let (sentence, command) = match note.split_once(": greyctl ") {
            Some((sentence, rest)) => (format!("{sentence}:"), Some(format!("greyctl {rest}"))),
            None => (note.clone(), None),
        };
        for (index, line) in wrap(&sentence, most).iter().chain(&command).enumerate() {
            text.push_str(if index == 0 { "  - " } else { "    " });
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}
