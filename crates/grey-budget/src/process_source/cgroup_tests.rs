//! Facts about the cgroup's reading, on trees of files.

use std::fs;

use grey_telemetry::Roots;
use tempfile::TempDir;

use super::*;

const MIB: u64 = 1 << 20;

struct Tree(TempDir);

impl Tree {
    fn new(own: &str) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        tree.write("proc/self/cgroup", own);
        fs::create_dir_all(tree.0.path().join("cgroup")).unwrap();
        tree
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn v2(own: &str) -> Self {
        let tree = Self::new(own);
        tree.write("cgroup/cgroup.controllers", "cpu memory\n");
        tree
    }

    fn v1(own: &str) -> Self {
        let tree = Self::new(own);
        tree.write("cgroup/memory/cgroup.procs", "");
        tree
    }

    fn read(&self) -> CgroupReading {
        let root = self.0.path();
        let kernel = Kernel::open(&Roots {
            procfs: root.join("proc"),
            sysfs: root.join("sys"),
            cgroupfs: root.join("cgroup"),
            systemd: root.join("systemd"),
        })
        .unwrap();
        read_own_cgroup(&kernel, &mut Vec::new())
    }
}

fn limit(bytes: u64) -> Option<MemoryLimit> {
    Some(MemoryLimit::Bytes(Bytes(bytes)))
}

#[test]
fn the_lowest_limit_of_all_above_holds() {
    let tree = Tree::v2("0::/a/b\n");
    tree.write("cgroup/a/b/memory.max", "max\n");
    tree.write("cgroup/a/b/memory.high", "max\n");
    tree.write("cgroup/a/b/memory.current", "12345\n");
    tree.write("cgroup/a/memory.max", &format!("{}\n", 900 * MIB));
    tree.write("cgroup/a/memory.high", &format!("{}\n", 700 * MIB));
    let reading = tree.read();
    assert_eq!(reading.limit, limit(700 * MIB));
    assert_eq!(reading.usage, Some(Bytes(12345)));
}

#[test]
fn max_everywhere_is_no_limit_and_not_an_unknown_one() {
    let tree = Tree::v2("0::/a\n");
    tree.write("cgroup/a/memory.max", "max\n");
    assert_eq!(tree.read().limit, Some(MemoryLimit::Max));
    let bare = Tree::v2("0::/\n");
    assert_eq!(bare.read().limit, None);
}

#[test]
fn version_1_is_read_by_its_own_names() {
    let tree = Tree::v1("4:memory:/job\n0::/\n");
    tree.write(
        "cgroup/memory/memory.limit_in_bytes",
        "9223372036854771712\n",
    );
    tree.write("cgroup/memory/job/memory.limit_in_bytes", "1048576\n");
    tree.write("cgroup/memory/job/memory.usage_in_bytes", "4096\n");
    tree.write(
        "cgroup/memory/job/memory.stat",
        "inactive_file 1\ntotal_inactive_file 1024\n",
    );
    let reading = tree.read();
    assert_eq!(reading.limit, limit(MIB));
    assert_eq!(reading.usage, Some(Bytes(4096)));
    assert_eq!(reading.reclaimable, Some(Bytes(1024)));
}

#[test]
fn the_largest_number_of_version_1_is_no_limit() {
    let tree = Tree::v1("4:memory:/job\n");
    tree.write(
        "cgroup/memory/job/memory.limit_in_bytes",
        "9223372036854771712\n",
    );
    assert_eq!(tree.read().limit, Some(MemoryLimit::Max));
}

#[test]
fn hybrid_is_read_where_the_memory_controller_is() {
    let tree = Tree::v1("4:memory:/job\n0::/\n");
    tree.write("cgroup/unified/cgroup.controllers", "\n");
    tree.write("cgroup/memory/job/memory.limit_in_bytes", "8192\n");
    assert_eq!(tree.read().limit, limit(8192));
}

#[test]
fn a_container_that_is_told_a_foreign_path_reads_its_root() {
    let tree = Tree::v1("4:memory:/docker/0123\n");
    tree.write("cgroup/memory/memory.limit_in_bytes", "8192\n");
    tree.write("cgroup/memory/memory.usage_in_bytes", "4096\n");
    let reading = tree.read();
    assert_eq!(reading.limit, limit(8192));
    assert_eq!(reading.usage, Some(Bytes(4096)));
}

#[test]
fn without_cgroups_everything_is_unknown() {
    assert_eq!(Tree::new("").read(), CgroupReading::default());
    let outside = Tree::v2("0::/../elsewhere\n");
    outside.write("cgroup/memory.max", "4096\n");
    assert_eq!(outside.read(), CgroupReading::default());
}
