//! A target that selects exactly the processes of a group.
//!
//! Pure: of what was read. Never one that selects more, or fewer.

use std::collections::BTreeSet;

use grey_model::{
    CgroupPath, GroupBy, KernelText, ProcessGroup, ProcessId, ProcessMemory, ProcessState, Target,
};
use grey_telemetry::target::MOST_LISTED;

use super::shot::Shot;

/// The target that selects what is in `group`, which is folded `by` something;
/// `None` where there is none.
pub(super) fn target(shot: &Shot, by: GroupBy, group: &ProcessGroup) -> Option<Target> {
    let members: BTreeSet<ProcessId> = group.members.iter().copied().collect();
    let folded: Vec<&ProcessMemory> = group
        .members
        .iter()
        .filter_map(|id| shot.process(*id))
        .map(|row| &row.memory)
        .collect();
    let name = group.name.as_ref().and_then(text);
    let called = match by {
        GroupBy::Program => name.map(Target::Name),
        GroupBy::Unit => name.map(Target::Unit),
        GroupBy::Container | GroupBy::User | GroupBy::Cgroup | GroupBy::Tree => None,
    };
    let cgroup = common_cgroup(&folded).filter(|path| !path.is_root());
    let only_one = match group.members.as_slice() {
        [id] => Some(Target::Pid(id.pid)),
        _ => None,
    };
    let candidates = [called, cgroup.map(Target::Cgroup), only_one];
    candidates
        .into_iter()
        .flatten()
        .find(|target| selected(shot, target).is_some_and(|found| found == members))
}

fn text(name: &KernelText) -> Option<String> {
    String::from_utf8(name.as_bytes().to_vec()).ok()
}

/// The processes that `target` selects; `None` where only the first of them are
/// shown. The dead hold no memory, and are in no group.
fn selected(shot: &Shot, target: &Target) -> Option<BTreeSet<ProcessId>> {
    let is_it = |process: &ProcessMemory| match target {
        Target::Pid(pid) => process.id.pid == *pid,
        Target::Name(name) => process.name.as_bytes() == name.as_bytes(),
        Target::Unit(unit) => {
            let path = process.cgroup.as_ref();
            path.is_some_and(|path| path.components().any(|name| name == unit.as_bytes()))
        }
        Target::Cgroup(root) => {
            let path = process.cgroup.as_ref();
            path.is_some_and(|path| is_within(path, root))
        }
        Target::Word(_) => false,
    };
    let found: BTreeSet<ProcessId> = shot
        .processes
        .iter()
        .map(|row| &row.memory)
        .filter(|process| !matches!(process.state, ProcessState::Zombie | ProcessState::Dead))
        .filter(|process| is_it(process))
        .map(|process| process.id)
        .collect();
    let is_whole = !matches!(target, Target::Name(_)) || found.len() <= MOST_LISTED;
    is_whole.then_some(found)
}

/// Whether `path` is `root` or below it.
fn is_within(path: &CgroupPath, root: &CgroupPath) -> bool {
    let mut names = path.components();
    root.components().all(|name| names.next() == Some(name))
}

/// The deepest control group that all are in or below.
fn common_cgroup(processes: &[&ProcessMemory]) -> Option<CgroupPath> {
    let mut paths = processes.iter().map(|process| process.cgroup.as_ref());
    let mut common = paths.next()??.clone();
    for path in paths {
        let path = path?;
        while !is_within(path, &common) {
            common = common.parent()?;
        }
    }
    Some(common)
}

#[cfg(test)]
mod tests {
    use grey_fake_kernel::{FakeKernel, FakeProcess};

    use super::*;
    use crate::watch::testkit::shot;

    /// The target of the group `name` of `kernel`, as a word.
    fn word(kernel: &FakeKernel, by: GroupBy, name: &str) -> Option<String> {
        let mut shot = shot(kernel);
        shot.refold(by);
        let group = &shot.group(by, Some(&KernelText::from(name))).unwrap().group;
        target(&shot, by, group)?.to_word()
    }

    #[test]
    fn a_group_that_a_target_selects_has_it() {
        let alone = FakeProcess::new(900, 1, "alone", "/");
        let kernel = FakeKernel::full().with_process(&alone);
        for (by, name, expected) in [
            (GroupBy::Program, "nginx", "name:nginx"),
            (GroupBy::Unit, "nginx.service", "nginx.service"),
            (
                GroupBy::Cgroup,
                "/system.slice/nginx.service",
                "/system.slice/nginx.service",
            ),
            (GroupBy::Tree, "alone (900)", "900"),
        ] {
            let found = word(&kernel, by, name);
            assert_eq!(found.as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn a_target_that_selects_more_or_fewer_is_not_told() {
        // What is in a control group below would be shown, too.
        let below = FakeProcess::new(900, 1, "other", "/build/web/empty");
        let kernel = FakeKernel::full().with_process(&below);
        assert_eq!(word(&kernel, GroupBy::Cgroup, "/build/web"), None);
        // A user has processes everywhere.
        assert_eq!(word(&kernel, GroupBy::User, "1000"), None);
        // Only the first of so many are shown.
        let named = |kernel: FakeKernel, pid: u32| {
            kernel.with_process(&FakeProcess::new(pid, 1, "many", "/build"))
        };
        let most = u32::try_from(MOST_LISTED).unwrap();
        let kernel = (1000..1000 + most).fold(FakeKernel::full(), named);
        let found = word(&kernel, GroupBy::Program, "many");
        assert_eq!(found.as_deref(), Some("name:many"));
        let kernel = named(kernel, 1000 + most);
        assert_eq!(word(&kernel, GroupBy::Program, "many"), None);
    }

    #[test]
    fn a_unit_that_has_others_below_it_is_no_target_for_its_own_processes() {
        let path = "/user.slice/user-1000.slice/user@1000.service";
        let kernel = FakeKernel::full()
            .with_process(&FakeProcess::new(900, 1, "agent", path))
            .with_process(&FakeProcess::new(901, 1, "agent", path));
        assert_eq!(word(&kernel, GroupBy::Unit, "user@1000.service"), None);
    }
}
