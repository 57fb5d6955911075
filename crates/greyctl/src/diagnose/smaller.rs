//! Processes of a moment that were too small to be kept one by one: a sample has
//! them in its groups, with how many they were and what they held.
//!
//! Pure: groups become sentences, and no sum of a diagnosis is changed by them.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use grey_model::{Bytes, CgroupPath, GroupBy, GroupField, KernelText, Owner, Sample, Target};

use crate::count::counted;
use crate::history::past::has_systemd;
use crate::scope::Scope;

/// So many are told, those that held most.
const MOST: usize = 5;

/// What is known of the processes that have one name together.
#[derive(Debug, Default)]
struct Together {
    counted: u64,
    held: u64,
    kept: u64,
}

/// Of whom fewer were kept than there were, folded `by`, of the targets alone.
pub(super) fn notes(sample: &Sample, targets: &[Target], by: GroupBy) -> Vec<String> {
    let (scope, systemd) = (Scope::typed(targets), has_systemd(sample));
    let mut all: BTreeMap<KernelText, Together> = BTreeMap::new();
    for group in sample.groups.iter().flatten() {
        let (program, cgroup) = (&group.key.name, group.key.cgroup.as_ref());
        if scope.has_group(program, cgroup)
            && let Some(name) = name(by, program, cgroup, systemd)
        {
            let value = |field| group.values.get(field).unwrap_or_default();
            let together = all.entry(name).or_default();
            let processes = value(GroupField::Processes);
            together.counted = together.counted.saturating_add(processes);
            let held = value(GroupField::Anonymous).saturating_add(value(GroupField::Swap));
            together.held = together.held.saturating_add(held);
        }
    }
    for process in &sample.processes {
        let (program, cgroup) = (&process.key.name, process.key.cgroup.as_ref());
        let name = name(by, program, cgroup, systemd);
        if let Some(together) = name.and_then(|name| all.get_mut(&name)) {
            together.kept += 1;
        }
    }
    let mut fewer: Vec<(KernelText, Together)> = all.into_iter().collect();
    fewer.retain(|(_, together)| together.kept < together.counted);
    fewer.sort_by_key(|(_, together)| Reverse(together.held));
    let told = fewer.iter().take(MOST);
    told.map(|(name, together)| sentence(name, together))
        .collect()
}

fn name(
    by: GroupBy,
    program: &KernelText,
    cgroup: Option<&CgroupPath>,
    systemd: bool,
) -> Option<KernelText> {
    let owner = || cgroup.map(|path| Owner::of(path, systemd));
    match by {
        GroupBy::Program => Some(program.clone()),
        GroupBy::Cgroup => cgroup.map(|path| KernelText::from(path.as_bytes())),
        GroupBy::Unit => owner()?.unit().map(KernelText::from),
        GroupBy::Container => owner()?.container().as_ref().map(KernelText::from),
        // Samples do not have these.
        GroupBy::User | GroupBy::Tree => None,
    }
}

fn sentence(name: &KernelText, together: &Together) -> String {
    let (name, held) = (name.to_process_name(), Bytes(together.held));
    let processes = counted(together.counted, "process", "processes");
    let kept = together.kept;
    format!(
        "{name}: {processes} with {held} of anonymous memory and swap when they were last counted, \
         {kept} of them kept"
    )
}

#[cfg(test)]
mod tests {
    use grey_model::{
        BootId, GroupKey, GroupSample, GroupValues, ProcessId, ProcessKey, ProcessSample,
        ProcessValues, SystemValues,
    };

    use super::*;

    fn path(text: &str) -> Option<CgroupPath> {
        CgroupPath::new(text.as_bytes())
    }

    fn group(name: &str, cgroup: &str, processes: u64, mib: u64) -> GroupSample {
        GroupSample {
            key: GroupKey {
                name: KernelText::from(name),
                cgroup: path(cgroup),
            },
            values: GroupValues::default()
                .with(GroupField::Processes, Some(processes))
                .with(GroupField::Anonymous, Some(mib << 20))
                .with(GroupField::Swap, Some(1 << 20)),
        }
    }

    fn kept(pid: u32, name: &str, cgroup: &str) -> ProcessSample {
        ProcessSample {
            key: ProcessKey {
                id: ProcessId {
                    pid,
                    start_time_ticks: 1,
                },
                name: KernelText::from(name),
                cgroup: path(cgroup),
            },
            values: ProcessValues::default(),
        }
    }

    const WEB: &str = "/system.slice/web.service";

    fn sample() -> Sample {
        Sample {
            at_unix_ms: 0,
            since_boot_ms: 0,
            boot: BootId(String::new()),
            system: SystemValues::default(),
            processes: vec![kept(1, "worker", WEB), kept(2, "db", "/db")],
            cgroups: None,
            groups: Some(vec![
                group("worker", WEB, 500, 99),
                group("worker", "/else", 3, 9),
                group("db", "/db", 1, 400),
            ]),
        }
    }

    fn told(targets: &[&str], by: GroupBy) -> Vec<String> {
        let targets: Vec<Target> = targets.iter().map(|typed| typed.parse().unwrap()).collect();
        notes(&sample(), &targets, by)
    }

    #[test]
    fn who_was_too_small_to_be_kept_is_counted() {
        let says = " of anonymous memory and swap when they were last counted,";
        let all = told(&[], GroupBy::Program);
        let kept = format!("worker: 503 processes with 110.0 MiB{says} 1 of");
        assert!(all[0].starts_with(&kept), "{all:?}");
        assert_eq!(all.len(), 1, "all that db has was kept");
        let units = told(&[], GroupBy::Unit);
        let unit = format!("web.service: 500 processes with 100.0 MiB{says} 1 of");
        assert!(units[0].starts_with(&unit) && units.len() == 1, "{units:?}");
        let cgroups = told(&[], GroupBy::Cgroup);
        let elsewhere = format!("/else: 3 processes with 10.0 MiB{says} 0 of");
        assert!(cgroups[1].starts_with(&elsewhere), "{cgroups:?}");
        assert_eq!(told(&[], GroupBy::Container), Vec::<String>::new());
    }

    #[test]
    fn of_a_target_its_own_are_counted_alone() {
        for (typed, count) in [
            ("worker", "503"),
            ("web.service", "500"),
            ("/system.slice", "500"),
            ("/else", "3"),
        ] {
            let told = told(&[typed], GroupBy::Program);
            let says = format!("worker: {count} processes");
            assert!(told[0].starts_with(&says), "{typed}: {told:?}");
            assert_eq!(told.len(), 1, "{typed}");
        }
        assert_eq!(told(&["1", "db"], GroupBy::Program), Vec::<String>::new());
    }
}
