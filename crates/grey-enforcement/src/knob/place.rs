//! Where a change was made: in another namespace the same pid, start time or
//! cgroup path means something else, and what is not seen there is not gone.
//!
//! Never decides, apart from one thing: a pid namespace without processes is
//! over, and whatever was set in it.

use grey_model::{Knob, ProcessState};
use grey_telemetry::Kernel;
use grey_telemetry::process::stat::parse_stat;
use grey_telemetry::process::{ProcessList, hides_processes};
use serde::{Deserialize, Serialize};

/// The namespaces of whoever made a change, as `/proc/self/ns` names them
/// (namespaces(7)); `None` where the kernel or a given tree names none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Place {
    /// Of pids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<String>,
    /// Of the clock that start times are read from (since 5.6).
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    /// Of cgroup paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<String>,
}

/// The first pid namespace, in which every process is seen; the kernel's
/// `PROC_PID_INIT_INO`.
const FIRST: &str = "pid:[4026531836]";

/// Whether a process setting that was made in the pid namespace of `place` is
/// over with it: from the first namespace every process is seen, and none is in
/// that one. Where one process may not be looked at, nobody knows.
pub(crate) fn is_over_with_its_namespace(kernel: &Kernel, place: &Place, knob: &Knob) -> bool {
    let is_of_a_process = matches!(knob, Knob::OomScoreAdj { .. } | Knob::RlimitData { .. });
    let (Some(then), Some(here)) = (&place.pid, Place::of_this_process(kernel).pid) else {
        return false;
    };
    if !is_of_a_process || here != FIRST || *then == here || hides_processes(kernel) {
        return false;
    }
    let mut list = ProcessList::new();
    let Ok(pids) = list.refresh(&kernel.proc) else {
        return false;
    };
    pids.iter()
        .all(|pid| match kernel.proc.link(format!("{pid}/ns/pid")) {
            Some(link) => link != then.as_bytes(),
            // It ended meanwhile, or has ended and waits to be collected.
            // The first process of all is in the first namespace.
            None => *pid == 1 || has_no_namespace(kernel, *pid),
        })
}

fn has_no_namespace(kernel: &Kernel, pid: u32) -> bool {
    match kernel.proc.read(format!("{pid}/stat"), &mut Vec::new()) {
        Ok(text) => parse_stat(text)
            .is_some_and(|stat| matches!(stat.state, ProcessState::Zombie | ProcessState::Dead)),
        Err(error) => error.is_vanished(),
    }
}

impl Place {
    /// Where this process is, as its procfs tells.
    pub(crate) fn of_this_process(kernel: &Kernel) -> Self {
        let link = |name: &str| {
            let target = kernel.proc.link(format!("self/ns/{name}"))?;
            String::from_utf8(target).ok()
        };
        Self {
            pid: link("pid"),
            time: link("time"),
            cgroup: link("cgroup"),
        }
    }

    /// Why a setting cannot be judged from `here`, when it was changed at this
    /// place; `None` when it can.
    pub(crate) fn differs(&self, here: &Self, knob: &Knob) -> Option<String> {
        let pid = [("pid", &self.pid, &here.pid)];
        let process = [pid[0], ("time", &self.time, &here.time)];
        let cgroup = [("cgroup", &self.cgroup, &here.cgroup)];
        let both = [process[0], process[1], cgroup[0]];
        let matter = match knob {
            Knob::Ksm { .. } => &[][..],
            Knob::CgroupFile { .. }
            | Knob::MemoryController { .. }
            | Knob::CgroupDirectory { .. } => &cgroup[..],
            Knob::UnitProperty { .. } => &pid[..],
            Knob::ProcessCgroup { .. } | Knob::TransientScope { .. } => &both[..],
            Knob::OomScoreAdj { .. } | Knob::RlimitData { .. } => &process[..],
        };
        matter
            .iter()
            .find(|(_, then, now)| then != now)
            .map(|(what, then, now)| {
                let name = |it: &Option<String>| it.clone().unwrap_or_else(|| "unknown".to_owned());
                format!(
                    "it was changed in another {what} namespace ({}, here {}): whether it still \
                     holds cannot be seen from here",
                    name(then),
                    name(now)
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use grey_model::{KsmFile, ProcessId};

    use super::*;

    fn place(pid: &str, time: Option<&str>) -> Place {
        Place {
            pid: Some(pid.to_owned()),
            time: time.map(str::to_owned),
            cgroup: None,
        }
    }

    #[test]
    fn a_pid_of_another_namespace_is_another_process_and_ksm_is_the_machines() {
        let process = ProcessId {
            pid: 7,
            start_time_ticks: 1,
        };
        let knob = Knob::OomScoreAdj { process };
        let ours = place("pid:[1]", Some("time:[1]"));
        assert_eq!(ours.differs(&ours, &knob), None);
        let why = ours.differs(&place("pid:[2]", Some("time:[1]")), &knob);
        assert!(
            why.unwrap()
                .contains("another pid namespace (pid:[1], here pid:[2])")
        );
        let why = ours.differs(&place("pid:[1]", None), &knob);
        assert!(why.unwrap().contains("time:[1], here unknown"));
        let merging = Knob::Ksm { file: KsmFile::Run };
        assert_eq!(ours.differs(&place("pid:[2]", None), &merging), None);
    }
}
