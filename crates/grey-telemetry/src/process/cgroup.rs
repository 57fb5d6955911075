//! `/proc/PID/cgroup`: the cgroup to which a process's memory is charged.
//!
//! Never looks the cgroup up; the path may lie outside the tree that we see.

use grey_model::CgroupPath;

use crate::ascii::lines;

/// What the kernel appends to a version 2 cgroup that was removed under a
/// zombie. A cgroup may be named so, too.
const REMOVED: &[u8] = b" (deleted)";

/// A process's cgroup as the kernel printed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrintedCgroup {
    /// The path.
    pub path: CgroupPath,
    /// It ends in what the kernel appends when the cgroup was removed: that is
    /// so unless a cgroup of exactly this name exists.
    pub perhaps_removed: bool,
}

/// The cgroup of the memory controller: the v1 hierarchy's where `memory` is
/// mounted there, otherwise the v2 path. `None` where neither is listed, and
/// where it lies outside our cgroup namespace (`/../x`).
///
/// # Kernel
/// `/proc/PID/cgroup`: `hierarchy-id:controllers:path`, cgroups(7). Names
/// cannot hold a newline. Only version 2 paths are marked as removed
/// (`proc_cgroup_show`).
#[must_use]
pub fn parse_memory_cgroup(text: &[u8]) -> Option<PrintedCgroup> {
    let mut unified = None;
    for line in lines(text) {
        let mut fields = line.splitn(3, |&byte| byte == b':');
        let (Some(hierarchy), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if controllers
            .split(|&byte| byte == b',')
            .any(|name| name == b"memory")
        {
            return printed(path, false);
        }
        if hierarchy == b"0" && controllers.is_empty() {
            unified = printed(path, path.ends_with(REMOVED));
        }
    }
    unified
}

fn printed(path: &[u8], perhaps_removed: bool) -> Option<PrintedCgroup> {
    let path = CgroupPath::new(path)?;
    Some(PrintedCgroup {
        path,
        perhaps_removed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Option<String> {
        parse_memory_cgroup(text.as_bytes()).map(|printed| printed.path.to_string())
    }

    #[test]
    fn on_v2_there_is_one_line() {
        let path = parsed("0::/system.slice/nginx.service\n");
        assert_eq!(path.as_deref(), Some("/system.slice/nginx.service"));
    }

    #[test]
    fn a_v1_memory_controller_is_where_the_memory_is_charged() {
        let hybrid = "9:name=systemd:/x\n4:cpu,memory:/job/1:2\n3:cpuset:/\n0::/y\n";
        assert_eq!(parsed(hybrid).as_deref(), Some("/job/1:2"));
        let elsewhere = "9:name=systemd:/x\n3:cpuset:/\n0::/y\n";
        assert_eq!(parsed(elsewhere).as_deref(), Some("/y"));
    }

    #[test]
    fn a_path_that_is_not_ours_to_see_is_nothing() {
        assert_eq!(parsed("0::/../outside\n"), None);
    }

    #[test]
    fn only_a_version_2_path_can_be_marked_as_removed() {
        let marked = |text: &str| {
            let printed = parse_memory_cgroup(text.as_bytes()).unwrap();
            (printed.path.to_string(), printed.perhaps_removed)
        };
        let name = "/x (deleted)".to_owned();
        assert_eq!(marked("0::/x (deleted)\n"), (name.clone(), true));
        assert_eq!(marked("4:memory:/x (deleted)\n0::/y\n"), (name, false));
        assert_eq!(
            marked("0::/x(deleted)\n"),
            ("/x(deleted)".to_owned(), false)
        );
    }

    #[test]
    fn a_broken_file_is_nothing() {
        for text in ["", "\n", "0\n", "0:\n", "x:y:/z\n", "1:memoryless:/z\n"] {
            assert_eq!(parsed(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_memory_cgroup(&text);
        }

        #[test]
        fn a_found_path_begins_with_a_slash(text in "([0-9]{1,2}:(memory|cpu)?:[ -~]{0,20}\n){0,4}") {
            if let Some(printed) = parse_memory_cgroup(text.as_bytes()) {
                prop_assert!(printed.path.as_bytes().starts_with(b"/"));
            }
        }
    }
}
