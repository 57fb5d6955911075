//! The control groups as a tree, the largest of them when not all are shown.
//!
//! Never shows a limit that could not be read as "no limit".

use std::collections::HashSet;

use grey_model::{Bytes, CgroupEvents, CgroupMemory, CgroupPath, MemoryLimit};

use super::document::Diagnosis;
use super::report::Extent;
use crate::table::{Column, Table, Tone, Value, heading};

/// The tree of cgroups; empty where memory is not accounted by version 2.
pub(crate) fn table(diagnosis: &Diagnosis, extent: Extent) -> String {
    if diagnosis.cgroups.is_empty() {
        return String::new();
    }
    let shown = choose(&diagnosis.cgroups, extent);
    let mut remark = format!("{} of {}", shown.len(), diagnosis.cgroups.len());
    if shown.len() < diagnosis.cgroups.len() {
        remark.push_str(", the largest");
    }
    let mut text = heading("Control groups", &remark, extent.width);
    let mut table = Table::new(vec![
        Column::text("PATH", 0).gives_way(20),
        Column::number("USAGE", 0),
        Column::number("SWAP", 3).optional(),
        Column::number("MIN", 9),
        Column::number("LOW", 8),
        Column::number("HIGH", 5),
        Column::number("MAX", 4),
        Column::number("LIMIT", 0),
        Column::number("PRESSURE", 6).optional(),
        Column::number("KILLED", 2).optional(),
        Column::text("EVENTS", 7).optional(),
    ]);
    let paths: HashSet<&CgroupPath> = shown.iter().map(|cgroup| &cgroup.path).collect();
    for cgroup in shown {
        table.row(row(cgroup, &paths));
    }
    text.push_str(&table.render(extent.width));
    text
}

/// The largest by usage, in the order of the tree.
fn choose(cgroups: &[CgroupMemory], extent: Extent) -> Vec<&CgroupMemory> {
    let mut shown: Vec<&CgroupMemory> = cgroups.iter().collect();
    if !extent.verbose {
        shown.sort_by_key(|cgroup| std::cmp::Reverse(cgroup.current));
        shown.truncate(extent.top);
    }
    shown.sort_by(|one, other| one.path.components().cmp(other.path.components()));
    shown
}

fn row(cgroup: &CgroupMemory, shown: &HashSet<&CgroupPath>) -> Vec<Value> {
    let full = cgroup
        .pressure
        .and_then(|pressure| pressure.full)
        .map(|full| full.avg10);
    let full_tone = match full {
        Some(share) if share.0 >= 5.0 => Tone::Alarm,
        Some(_) => Tone::Plain,
        None => Tone::Dim,
    };
    let swap = match cgroup.swap_current {
        Some(Bytes::ZERO) | None => Value::unknown(),
        Some(bytes) => Value::new(bytes).tone(Tone::Warning),
    };
    vec![
        Value::new(label(&cgroup.path, shown)),
        Value::or_unknown(cgroup.current),
        swap,
        protection(cgroup.min),
        protection(cgroup.low),
        limit(cgroup.high),
        limit(cgroup.max),
        limit(cgroup.effective_limit),
        Value::or_unknown(full).tone(full_tone),
        killed(cgroup.events),
        events(cgroup.events),
    ]
}

/// The part of the path that the nearest shown ancestor does not already say,
/// indented by how many of them there are.
fn label(path: &CgroupPath, shown: &HashSet<&CgroupPath>) -> String {
    let mut depth = 0;
    let mut nearest: Option<CgroupPath> = None;
    let mut above = path.parent();
    while let Some(ancestor) = above {
        if shown.contains(&ancestor) {
            depth += 1;
            nearest.get_or_insert_with(|| ancestor.clone());
        }
        above = ancestor.parent();
    }
    let text = path.to_string();
    let rest = match nearest.map(|ancestor| ancestor.to_string()) {
        Some(ancestor) if ancestor == "/" => text.as_str(),
        Some(ancestor) => text
            .strip_prefix(&ancestor)
            .map_or(text.as_str(), |rest| rest.trim_start_matches('/')),
        None => text.as_str(),
    };
    format!("{}{rest}", "  ".repeat(depth))
}

/// A limit, or a dash.
pub(crate) fn limit(limit: Option<MemoryLimit>) -> Value {
    match limit {
        Some(MemoryLimit::Max) => Value::new("max").tone(Tone::Dim),
        Some(MemoryLimit::Bytes(bytes)) => Value::new(bytes),
        None => Value::unknown(),
    }
}

/// A protection, or a dash.
pub(crate) fn protection(limit: Option<MemoryLimit>) -> Value {
    match limit {
        Some(MemoryLimit::Bytes(Bytes::ZERO)) => Value::new("0").tone(Tone::Dim),
        Some(MemoryLimit::Max) => Value::new("max"),
        Some(MemoryLimit::Bytes(bytes)) => Value::new(bytes),
        None => Value::unknown(),
    }
}

/// How many processes the kernel killed there; nothing is the usual case.
fn killed(events: Option<CgroupEvents>) -> Value {
    match events.and_then(|events| events.oom_kill) {
        Some(0) | None => Value::unknown(),
        Some(kills) => Value::new(kills).tone(Tone::Alarm),
    }
}

/// The other events that are not 0.
fn events(events: Option<CgroupEvents>) -> Value {
    match event_counts(events) {
        Some(counts) => Value::new(counts).tone(Tone::Warning),
        None => Value::unknown(),
    }
}

/// The same in words; `None` when there are none.
pub(crate) fn event_counts(events: Option<CgroupEvents>) -> Option<String> {
    let events = events?;
    let counted: Vec<String> = [
        ("high", events.high),
        ("max", events.max),
        ("oom", events.oom),
    ]
    .into_iter()
    .filter_map(|(name, count)| {
        let count = count.filter(|count| *count > 0)?;
        Some(format!("{name} {count}"))
    })
    .collect();
    (!counted.is_empty()).then(|| counted.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> CgroupPath {
        CgroupPath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_path_is_told_from_the_nearest_shown_ancestor_on() {
        let (root, slice) = (CgroupPath::root(), path("/system.slice"));
        let deep = path("/system.slice/a.service/worker");
        assert_eq!(
            label(&deep, &HashSet::from([&root, &slice])),
            "    a.service/worker"
        );
        assert_eq!(
            label(&deep, &HashSet::new()),
            "/system.slice/a.service/worker"
        );
        assert_eq!(label(&root, &HashSet::from([&root])), "/");
        assert_eq!(label(&slice, &HashSet::from([&root])), "  /system.slice");
    }

    #[test]
    fn a_limit_that_could_not_be_read_is_not_shown_as_none() {
        let text = |value: Value| format!("{value:?}");
        assert_ne!(text(limit(None)), text(limit(Some(MemoryLimit::Max))));
    }
}
