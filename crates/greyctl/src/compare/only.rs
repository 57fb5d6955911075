//! Of two moments what belongs to the targets that were named, also what is gone
//! from one of them.
//!
//! Never narrows the machine's own amounts: those are of nobody.

use std::collections::BTreeSet;

use grey_model::{CgroupPath, KernelText, ProcessId, Sample, Snapshot, Target};
use grey_policy::comparable::Comparability;

use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::history::target::KEPT;
use crate::scope::Scope;

/// Processes and cgroups of the targets, in either moment.
#[derive(Debug, Default)]
pub(super) struct Only {
    processes: BTreeSet<ProcessId>,
    /// With every ancestor.
    cgroups: BTreeSet<CgroupPath>,
}

impl Only {
    /// Those of `targets` in two samples; `None` where none was named.
    ///
    /// # Errors
    /// A [`Failure`] when neither has something of a target.
    pub(super) fn of_samples(
        targets: &[Target],
        both: [&Sample; 2],
    ) -> Result<Option<Self>, Failure> {
        Self::of(targets, |only, scope| {
            for sample in both {
                for process in &sample.processes {
                    let key = &process.key;
                    only.take_process(scope, key.id, &key.name, key.cgroup.as_ref());
                }
                let groups = sample.cgroups.iter().flatten();
                only.take_cgroups(scope, groups.map(|group| &group.path));
            }
        })
        .map_err(|failure| failure.detail(KEPT))
    }

    /// The same of two diagnoses.
    ///
    /// # Errors
    /// A [`Failure`] when neither has something of a target.
    pub(super) fn of_snapshots(
        targets: &[Target],
        both: [&Snapshot; 2],
    ) -> Result<Option<Self>, Failure> {
        Self::of(targets, |only, scope| {
            for snapshot in both {
                for process in &snapshot.processes {
                    let cgroup = process.cgroup.as_ref();
                    only.take_process(scope, process.id, &process.name, cgroup);
                }
                only.take_cgroups(scope, snapshot.cgroups.iter().map(|group| &group.path));
            }
        })
    }

    fn of(targets: &[Target], take: impl Fn(&mut Self, &Scope)) -> Result<Option<Self>, Failure> {
        let mut all = Self::default();
        for target in targets {
            let mut only = Self::default();
            take(&mut only, &Scope::typed(std::slice::from_ref(target)));
            if only.processes.is_empty() && only.cgroups.is_empty() {
                let said = format!("neither of the two has a process or cgroup that is `{target}`");
                return Err(Failure::new(Exit::Usage, said)
                    .hint("leave --target out to see what they have"));
            }
            all.processes.append(&mut only.processes);
            all.cgroups.append(&mut only.cgroups);
        }
        Ok((!targets.is_empty()).then_some(all))
    }

    fn take_process(
        &mut self,
        scope: &Scope,
        id: ProcessId,
        name: &KernelText,
        cgroup: Option<&CgroupPath>,
    ) {
        if scope.has(id, name, cgroup) {
            self.processes.insert(id);
            self.take_with_ancestors(cgroup);
        }
    }

    fn take_cgroups<'all>(&mut self, scope: &Scope, paths: impl Iterator<Item = &'all CgroupPath>) {
        for path in paths.filter(|path| scope.has_cgroup(path)) {
            self.take_with_ancestors(Some(path));
        }
    }

    fn take_with_ancestors(&mut self, path: Option<&CgroupPath>) {
        let mut next = path.cloned();
        while let Some(path) = next {
            next = path.parent();
            self.cgroups.insert(path);
        }
    }

    /// Leaves everybody else out of `snapshot`.
    pub(super) fn narrow(&self, snapshot: &mut Snapshot) {
        let (processes, cgroups) = (&mut snapshot.processes, &mut snapshot.cgroups);
        processes.retain(|process| self.processes.contains(&process.id));
        cgroups.retain(|group| self.cgroups.contains(&group.path));
    }

    /// The same of what could not be compared.
    pub(super) fn narrow_comparability(&self, found: &mut Comparability) {
        for ids in [
            &mut found.processes_left_out,
            &mut found.at_most_before,
            &mut found.at_most_after,
        ] {
            ids.retain(|id| self.processes.contains(id));
        }
        for paths in [
            &mut found.cgroups_left_out,
            &mut found.cgroups_entered,
            &mut found.cgroups_left,
        ] {
            paths.retain(|path| self.cgroups.contains(path));
        }
    }
}
