//! Finds what a person named in a sample of history.
//!
//! Never looks at the machine of now: what is gone is found, and what the sample
//! had no room for is not.

use std::collections::BTreeSet;

use grey_model::{
    CgroupPath, KernelText, Owner, ProcessSample, ResolvedTarget, Sample, Target, TargetKind,
};
use jiff::tz::TimeZone;

use super::past::has_systemd;
use crate::cli::GlobalOptions;
use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::moment::{shown, typed};
use crate::recommend;
use crate::scope::Scope;

/// Why something that was there may not be found.
pub(crate) const KEPT: &str =
    "history keeps the largest processes and cgroups of each sample alone";

/// All that the targets name in `sample`; a sentence in `notes` where one of them
/// fits several things.
///
/// # Errors
/// A [`Failure`] when the sample has nothing of a target.
pub(crate) fn resolve_all(
    global: &GlobalOptions,
    sample: &Sample,
    targets: &[Target],
    notes: &mut Vec<String>,
) -> Result<Vec<ResolvedTarget>, Failure> {
    let mut resolved: Vec<ResolvedTarget> = Vec::new();
    for target in targets {
        let found = resolve(sample, target);
        match found.len() {
            0 => return Err(has_nothing_of(global, sample, target)),
            1 => {}
            several => notes.push(format!(
                "{target} fits {several} processes and cgroups of then: all are shown"
            )),
        }
        for found in found {
            if !resolved.contains(&found) {
                resolved.push(found);
            }
        }
    }
    Ok(resolved)
}

fn has_nothing_of(global: &GlobalOptions, sample: &Sample, target: &Target) -> Failure {
    let at = shown(sample.at_unix_ms, &TimeZone::system());
    let said = format!("the sample of {at} has no process or cgroup that is `{target}`");
    let failure = Failure::new(Exit::Usage, said).detail(KEPT);
    match typed(sample.at_unix_ms) {
        Some(at) => {
            let words = format!("memory-diagnose --at {at}");
            let all = recommend::command(global, &words);
            failure.hint(format!("see what it has: {all}"))
        }
        None => failure,
    }
}

/// The trees of cgroups that fit, then the processes outside of them that do.
fn resolve(sample: &Sample, target: &Target) -> Vec<ResolvedTarget> {
    let scope = Scope::typed(std::slice::from_ref(target));
    let of_processes = sample.processes.iter();
    let of_processes = of_processes.filter_map(|process| process.key.cgroup.as_ref());
    let groups = sample.cgroups.iter().flatten().map(|group| &group.path);
    let fitting = of_processes
        .chain(groups)
        .filter(|path| scope.has_cgroup(path));
    let trees: BTreeSet<CgroupPath> = fitting.map(|path| highest(&scope, path)).collect();
    let is_outside = |process: &&ProcessSample| {
        let cgroup = process.key.cgroup.as_ref();
        scope.has(process.key.id, &process.key.name, None)
            && !cgroup.is_some_and(|path| scope.has_cgroup(path))
    };
    let processes = sample.processes.iter().filter(is_outside);
    let systemd = has_systemd(sample);
    let trees = trees
        .into_iter()
        .map(|path| tree(sample, target, path, systemd));
    trees
        .chain(processes.map(|found| process(target, found, systemd)))
        .collect()
}

/// The cgroup that was named, of one in it.
fn highest(scope: &Scope, path: &CgroupPath) -> CgroupPath {
    let mut highest = path.clone();
    while let Some(parent) = highest.parent().filter(|above| scope.has_cgroup(above)) {
        highest = parent;
    }
    highest
}

fn tree(sample: &Sample, target: &Target, path: CgroupPath, systemd: bool) -> ResolvedTarget {
    let inside = sample.processes.iter().filter(|process| {
        let cgroup = process.key.cgroup.as_ref();
        cgroup.is_some_and(|cgroup| path.contains(cgroup))
    });
    ResolvedTarget {
        typed: target.to_string(),
        kind: match target {
            Target::Unit(_) => TargetKind::Unit,
            _ => TargetKind::Cgroup,
        },
        name: KernelText::from(path.name().unwrap_or(b"/")),
        process: None,
        owner: Some(Owner::of(&path, systemd)),
        processes: inside.map(|process| process.key.id).collect(),
        cgroup: Some(path),
        bystanders: 0,
    }
}

fn process(target: &Target, found: &ProcessSample, systemd: bool) -> ResolvedTarget {
    let key = &found.key;
    ResolvedTarget {
        typed: target.to_string(),
        kind: TargetKind::Process,
        name: key.name.clone(),
        process: Some(key.id),
        owner: (key.cgroup.as_ref()).map(|path| Owner::of(path, systemd)),
        cgroup: key.cgroup.clone(),
        processes: vec![key.id],
        bystanders: 0,
    }
}
