//! Groups of processes over time: as they were recorded, or where they were not,
//! of samples that have the largest processes alone.
//!
//! Never takes for growth of a group that one of its processes only now is among
//! the largest: before, it counts as what it then held, since when it started; and
//! where it is missing for a while, as the less of what it held before and after.

use std::collections::BTreeMap;
use std::time::Duration;

use grey_model::{Bytes, GroupField, GroupKey, GroupSample, KernelText};

use super::super::document::GroupKind;
use super::super::follow::{Group, Member};
use super::lives::Seen;

/// A process of a group.
pub(super) struct Part<'all> {
    pub(super) seen: &'all Seen<'all>,
    pub(super) group: (GroupKind, KernelText),
    /// The first sample in which it had started.
    pub(super) from: usize,
}

/// Who is in a group and what each holds, in each sample.
type Members = Vec<Vec<(Member, Bytes)>>;

/// The groups as they were recorded, at these times; `group` says to which each
/// key belongs, and `started` when a process did.
pub(super) fn recorded(
    readings: &[(Duration, Vec<&GroupSample>)],
    group: impl Fn(&GroupKey) -> (GroupKind, KernelText),
    started: impl Fn(u64) -> Duration,
) -> BTreeMap<(GroupKind, KernelText), Group> {
    let mut groups: BTreeMap<(GroupKind, KernelText), Group> = BTreeMap::new();
    for (at, samples) in readings {
        let mut sums: BTreeMap<(GroupKind, KernelText), (u64, Bytes, u64)> = BTreeMap::new();
        for sample in samples {
            let value = |field| sample.values.get(field);
            let amount = |field| Bytes(value(field).unwrap_or_default());
            let oldest = value(GroupField::OldestStart).unwrap_or_default();
            let sum = sums
                .entry(group(&sample.key))
                .or_insert((0, Bytes::ZERO, u64::MAX));
            let processes = value(GroupField::Processes).unwrap_or_default();
            sum.0 = sum.0.saturating_add(processes);
            let held = amount(GroupField::Anonymous).saturating_add(amount(GroupField::Swap));
            sum.1 = sum.1.saturating_add(held);
            sum.2 = sum.2.min(oldest);
        }
        for (name, (processes, held, oldest)) in sums {
            let group = groups.entry(name).or_default();
            let before = group.trace.points().last().map(|last| last.at);
            let is_new = before.is_some_and(|before| started(oldest) > before);
            group.take_sum(*at, processes, held, is_new);
        }
    }
    groups
}

/// The groups of `parts` at the times `at` of the samples.
pub(super) fn groups(
    parts: &[Part<'_>],
    at: &[Duration],
) -> BTreeMap<(GroupKind, KernelText), Group> {
    let mut members: BTreeMap<&(GroupKind, KernelText), Members> = BTreeMap::new();
    for part in parts {
        let sums = members
            .entry(&part.group)
            .or_insert_with(|| vec![Vec::new(); at.len()]);
        for (index, held) in filled(part) {
            sums[index].push(((part.seen.id, 0), held));
        }
    }
    let mut groups = BTreeMap::new();
    for (name, sums) in members {
        let mut group = Group::default();
        for (&at, members) in at.iter().zip(&sums) {
            if !members.is_empty() {
                group.take(at, members);
            }
        }
        groups.insert(name.clone(), group);
    }
    groups
}

/// What a process held in each sample from its start on.
fn filled(part: &Part<'_>) -> Vec<(usize, Bytes)> {
    let held = &part.seen.held;
    let Some(&(first, at_first)) = held.first() else {
        return Vec::new();
    };
    let mut filled: Vec<(usize, Bytes)> = (part.from.min(first)..first)
        .map(|index| (index, at_first))
        .collect();
    for pair in held.windows(2) {
        let ((index, amount), (next, then)) = (pair[0], pair[1]);
        filled.push((index, amount));
        filled.extend((index + 1..next).map(|missing| (missing, amount.min(then))));
    }
    filled.extend(held.last());
    filled
}
