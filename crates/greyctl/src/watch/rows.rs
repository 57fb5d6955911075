//! The rows of the table: filtered, sorted, and below their parents where a
//! tree is wanted.
//!
//! Pure. What is unknown comes last, however the rows are sorted.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use grey_model::{Bytes, CgroupPath, KernelText};

use super::shot::{CgroupRow, GroupRow, Key, ProcessRow, Shot};
use super::state::{Order, SortBy, State, View};
use crate::diagnose::processes::user;

/// One row.
#[derive(Debug, Clone)]
pub(super) struct Row<'shot> {
    /// What it is of.
    pub(super) subject: Subject<'shot>,
    /// How deep it lies in the tree.
    pub(super) depth: usize,
}

/// What a row is of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'shot> {
    /// A process.
    Process(&'shot ProcessRow),
    /// A group of processes.
    Group(&'shot GroupRow, grey_model::GroupBy),
    /// A control group.
    Cgroup(&'shot CgroupRow),
}

/// A value to sort by.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Number(i128),
    Text(String),
}

impl Subject<'_> {
    /// What selects it.
    pub(super) fn key(&self) -> Key {
        match self {
            Self::Process(row) => Key::Process(row.memory.id),
            Self::Group(row, by) => Key::Group(*by, row.group.name.clone()),
            Self::Cgroup(row) => Key::Cgroup(row.memory.path.clone()),
        }
    }

    /// Its name, as the kernel or a program gave it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Process(row) => row.memory.name.to_process_name(),
            Self::Group(row, _) => {
                let name = row.group.name.as_ref();
                name.map_or_else(|| "(none)".to_owned(), KernelText::to_process_name)
            }
            Self::Cgroup(row) => row.memory.path.to_string(),
        }
    }

    fn weight(&self, by: SortBy) -> Option<Weight> {
        let number = |bytes: Option<Bytes>| bytes.map(|bytes| Weight::Number(bytes.0.into()));
        let known =
            |bytes: Bytes, unknown: u64, count: u64| number((unknown < count).then_some(bytes));
        let change = |change: Option<i64>| change.map(|change| Weight::Number(change.into()));
        if by == SortBy::Name {
            return Some(Weight::Text(self.name()));
        }
        match (self, by) {
            (Self::Process(row), _) => {
                let memory = &row.memory;
                match by {
                    SortBy::Memory => number(memory.pss.or(memory.rss)),
                    SortBy::Rss => number(memory.rss),
                    SortBy::Uss => number(memory.uss),
                    SortBy::Swap => number(memory.swap),
                    SortBy::Change => change(row.trend.per_minute),
                    SortBy::User => user(memory).map(Weight::Text),
                    SortBy::Pid | SortBy::Count | SortBy::Name => {
                        Some(Weight::Number(memory.id.pid.into()))
                    }
                }
            }
            (Self::Group(row, _), _) => {
                let group = &row.group;
                match by {
                    SortBy::Memory if group.pss_unknown == 0 => number(Some(group.pss)),
                    SortBy::Memory | SortBy::Rss => {
                        known(group.rss, group.rss_unknown, group.count)
                    }
                    SortBy::Uss => known(group.uss, group.uss_unknown, group.count),
                    SortBy::Swap => number(Some(group.swap)),
                    SortBy::Change => change(row.trend.per_minute),
                    _ => Some(Weight::Number(group.count.into())),
                }
            }
            (Self::Cgroup(row), SortBy::Swap) => number(row.memory.swap_current),
            (Self::Cgroup(row), SortBy::Change) => change(row.trend.per_minute),
            // The root has no usage of its own, and holds everything.
            (Self::Cgroup(row), _) if row.memory.path.is_root() => Some(Weight::Number(i128::MAX)),
            (Self::Cgroup(row), _) => number(row.memory.current),
        }
    }

    /// Whether the filter lets it through; `wanted` is in small letters.
    fn matches(&self, wanted: &str) -> bool {
        let has = |text: &str| text.to_lowercase().contains(wanted);
        if has(&self.name()) {
            return true;
        }
        let Self::Process(row) = self else {
            return false;
        };
        let memory = &row.memory;
        let line = memory.command_line.as_ref().map(ToString::to_string);
        let cgroup = memory.cgroup.as_ref().map(ToString::to_string);
        let mut texts = [line, cgroup, user(memory), memory.container.clone()]
            .into_iter()
            .flatten();
        memory.id.pid.to_string() == wanted || texts.any(|text| has(&text))
    }
}

/// The rows of `shot` that `state` wants to see, in its order.
pub(super) fn rows<'shot>(shot: &'shot Shot, state: &State) -> Vec<Row<'shot>> {
    let mut subjects: Vec<Subject<'shot>> = match state.view {
        View::Processes => {
            let shown = |row: &&ProcessRow| state.kernel_threads || !row.memory.kernel_thread;
            let processes = shot.processes.iter().filter(shown);
            processes.map(Subject::Process).collect()
        }
        View::Groups => {
            let (by, groups) = match &shot.groups {
                Some((by, groups)) => (*by, groups.as_slice()),
                None => (state.by, &[][..]),
            };
            groups.iter().map(|row| Subject::Group(row, by)).collect()
        }
        View::Cgroups => {
            let groups = shot.cgroups.iter().flatten();
            groups.map(Subject::Cgroup).collect()
        }
    };
    if !state.filter.is_empty() {
        let wanted = state.filter.to_lowercase();
        subjects.retain(|subject| subject.matches(&wanted));
    }
    let order = state.order();
    sort(&mut subjects, order);
    if order.tree && state.view != View::Groups {
        return as_tree(&subjects);
    }
    let flat = |subject| Row { subject, depth: 0 };
    subjects.into_iter().map(flat).collect()
}

fn sort(subjects: &mut Vec<Subject<'_>>, order: Order) {
    let reversed = order.by.largest_first() != order.inverted;
    let mut weighed: Vec<(Option<Weight>, Key, Subject<'_>)> = subjects
        .drain(..)
        .map(|subject| (subject.weight(order.by), subject.key(), subject))
        .collect();
    weighed.sort_by(|(one, one_key, _), (other, other_key, _)| {
        let by_weight = match (one, other) {
            (Some(one), Some(other)) if reversed => other.cmp(one),
            (Some(one), Some(other)) => one.cmp(other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        by_weight.then_with(|| one_key.cmp(other_key))
    });
    subjects.extend(weighed.into_iter().map(|(_, _, subject)| subject));
}

/// Each below its nearest ancestor that is there, brothers in the order given.
fn as_tree<'shot>(subjects: &[Subject<'shot>]) -> Vec<Row<'shot>> {
    let mut by_pid: HashMap<u32, usize> = HashMap::new();
    let mut by_path: HashMap<&CgroupPath, usize> = HashMap::new();
    for (index, subject) in subjects.iter().enumerate() {
        match subject {
            Subject::Process(row) => _ = by_pid.insert(row.memory.id.pid, index),
            Subject::Cgroup(row) => _ = by_path.insert(&row.memory.path, index),
            Subject::Group(..) => {}
        }
    }
    let parent = |subject: &Subject<'_>| match subject {
        Subject::Process(row) => by_pid.get(&row.memory.parent_pid).copied(),
        Subject::Cgroup(row) => {
            let mut above = std::iter::successors(row.memory.path.parent(), CgroupPath::parent);
            above.find_map(|path| by_path.get(&path).copied())
        }
        Subject::Group(..) => None,
    };
    let mut children: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
    for (index, subject) in subjects.iter().enumerate() {
        children.entry(parent(subject)).or_default().push(index);
    }
    let mut rows = Vec::with_capacity(subjects.len());
    let mut placed: HashSet<usize> = HashSet::new();
    let mut waiting: Vec<(usize, usize)> = Vec::new();
    let roots = children.get(&None).cloned().unwrap_or_default();
    // After the roots, those that a tree which changed meanwhile has in a ring.
    for root in roots.into_iter().chain(0..subjects.len()) {
        waiting.push((root, 0));
        while let Some((index, depth)) = waiting.pop() {
            if !placed.insert(index) {
                continue;
            }
            rows.push(Row {
                subject: subjects[index],
                depth,
            });
            let below = children.get(&Some(index)).into_iter().flatten().rev();
            waiting.extend(below.map(|child| (*child, depth + 1)));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use grey_fake_kernel::{FakeKernel, FakeProcess};
    use grey_model::GroupBy;

    use super::*;
    use crate::watch::testkit::shot;

    fn state(view: View, by: SortBy) -> State {
        let mut state = State::new(view, GroupBy::Program);
        let tree = false;
        state.set_order(Order {
            by,
            inverted: false,
            tree,
        });
        state
    }

    fn pids(shot: &Shot, state: &State) -> Vec<u32> {
        rows(shot, state)
            .iter()
            .map(|row| match row.subject {
                Subject::Process(row) => row.memory.id.pid,
                _ => 0,
            })
            .collect()
    }

    #[test]
    fn the_largest_comes_first_and_what_is_unknown_last() {
        let shot = shot(&FakeKernel::full());
        let mut state = state(View::Processes, SortBy::Uss);
        let found = pids(&shot, &state);
        assert_eq!(found[0], 101);
        // A zombie, and one that may not be read.
        assert_eq!(found[found.len() - 2..], [110, 230]);
        let order = state.order();
        state.set_order(Order {
            inverted: true,
            ..order
        });
        let inverted = pids(&shot, &state);
        assert_eq!(inverted[inverted.len() - 2..], [110, 230]);
        assert_eq!(inverted[inverted.len() - 3], 101);
    }

    #[test]
    fn kernel_threads_are_listed_when_they_are_wanted() {
        let shot = shot(&FakeKernel::full());
        let mut state = state(View::Processes, SortBy::Pid);
        assert!(!pids(&shot, &state).contains(&2));
        state.kernel_threads = true;
        assert!(pids(&shot, &state).contains(&2));
    }

    #[test]
    fn a_filter_looks_at_names_units_command_lines_and_pids_in_any_case() {
        let shot = shot(&FakeKernel::full());
        let mut state = state(View::Processes, SortBy::Pid);
        for (filter, expected) in [
            ("NGINX", &[100, 101, 110][..]),
            ("/usr/bin/post", &[300]),
            ("build/web", &[310, 311, 320, 330]),
            ("311", &[311]),
            ("nothing has this", &[]),
        ] {
            filter.clone_into(&mut state.filter);
            assert_eq!(pids(&shot, &state), expected, "{filter}");
        }
    }

    #[test]
    fn in_a_tree_children_are_below_their_parents() {
        let shot = shot(&FakeKernel::full());
        let mut state = state(View::Processes, SortBy::Pid);
        let order = state.order();
        state.set_order(Order {
            tree: true,
            ..order
        });
        let found = rows(&shot, &state);
        let depth = |pid: u32| {
            let row = found
                .iter()
                .find(|row| row.subject.key() == key_of(&shot, pid));
            row.unwrap().depth
        };
        assert_eq!((depth(1), depth(100), depth(101)), (0, 1, 2));
        let order: Vec<u32> = pids(&shot, &state);
        assert_eq!(order[..4], [1, 100, 101, 110]);
    }

    fn key_of(shot: &Shot, pid: u32) -> Key {
        let found = shot.processes.iter().find(|row| row.memory.id.pid == pid);
        Key::Process(found.unwrap().memory.id)
    }

    #[test]
    fn parents_in_a_ring_lose_nobody() {
        let kernel = FakeKernel::full()
            .with_process(&FakeProcess::new(501, 502, "egg", "/"))
            .with_process(&FakeProcess::new(502, 501, "hen", "/"));
        let shot = shot(&kernel);
        let mut state = state(View::Processes, SortBy::Pid);
        let flat = pids(&shot, &state).len();
        let order = state.order();
        state.set_order(Order {
            tree: true,
            ..order
        });
        assert_eq!(pids(&shot, &state).len(), flat);
    }

    #[test]
    fn control_groups_are_below_the_nearest_that_the_filter_leaves() {
        let shot = shot(&FakeKernel::full());
        let mut state = State::new(View::Cgroups, GroupBy::Program);
        let found = rows(&shot, &state);
        assert_eq!(found[0].subject.name(), "/");
        assert!(found.iter().skip(1).all(|row| row.depth > 0));
        state.filter = "web".to_owned();
        let found = rows(&shot, &state);
        let shown: Vec<(usize, String)> = found
            .iter()
            .map(|row| (row.depth, row.subject.name()))
            .collect();
        let expected = [(0, "/build/web"), (1, "/build/web/empty")];
        assert_eq!(
            shown,
            expected.map(|(depth, name)| (depth, name.to_owned()))
        );
    }
}
