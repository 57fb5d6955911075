//! Control groups.

use grey_fake_kernel::{FakeCgroup, FakeKernel};
use grey_model::{Bytes, CgroupMemory, CgroupPath, KernelText, MemoryLimit, Percent};
use grey_telemetry::Kernel;
use grey_telemetry::cgroup::{
    CgroupGrowth, NoV2Memory, TreeBounds, read_cgroup, read_growth_tree, read_processes_of,
    read_subtree_processes, read_tree,
};
use grey_telemetry::process::{Detail, Scratch, read_anonymous, read_process};

use crate::{open, path};

fn read(fake: &FakeKernel, at: &str) -> CgroupMemory {
    read_cgroup(&open(fake), &path(at), &mut Vec::new()).unwrap()
}

fn limit(bytes: u64) -> Option<MemoryLimit> {
    Some(MemoryLimit::Bytes(Bytes(bytes)))
}

#[test]
fn every_file_of_the_account_is_read() {
    let nginx = read(&FakeKernel::full(), "/system.slice/nginx.service");
    assert_eq!(nginx.current, Some(Bytes::from_mib(120)));
    assert_eq!(nginx.peak, Some(Bytes::from_mib(240)));
    assert_eq!(nginx.min, limit(0));
    assert_eq!(nginx.low, limit(16 << 20));
    assert_eq!(nginx.high, limit(200 << 20));
    assert_eq!(nginx.max, Some(MemoryLimit::Max));
    assert_eq!(nginx.swap_current, Some(Bytes::from_mib(4)));
    assert_eq!(nginx.swap_max, Some(MemoryLimit::Max));
    assert_eq!(nginx.zswap_current, Some(Bytes::from_mib(1)));
    assert_eq!(nginx.oom_group, Some(false));
    assert!(nginx.can_reclaim);
    assert_eq!(nginx.events.unwrap().high, Some(12));
    assert_eq!(nginx.pressure.unwrap().some.avg10, Percent(1.5));
    assert_eq!(nginx.stat.unwrap().anon, Some(Bytes::from_mib(60)));
    assert_eq!(nginx.process_count, Some(3));
    assert_eq!(nginx.populated, Some(true));
}

#[test]
fn what_can_leak_is_read_of_every_cgroup() {
    let read = |fake: &FakeKernel, at: &str| {
        let bounds = TreeBounds::default();
        read_growth_tree(&open(fake), &path(at), bounds, &mut Vec::new())
    };
    let build = read(&FakeKernel::full(), "/build");
    let paths: Vec<String> = build.iter().map(|group| group.path.to_string()).collect();
    assert_eq!(paths, ["/build", "/build/web", "/build/web/empty"]);
    let web = &build[1];
    assert_eq!(web.anonymous, Some(Bytes::from_mib(50 + 4)));
    assert_eq!(web.shmem, Some(Bytes::from_mib(1)));
    assert_eq!(web.slab, Some(Bytes::from_kib(512)));
    assert_eq!(web.slab_reclaimable, Some(Bytes::from_kib(1024)));
    // Without slab, and with the buffers of sockets.
    assert_eq!(web.kernel, Some(Bytes::from_kib(12_800 - 1536 + 8)));
    assert_eq!(web.dying, Some(3));
    // Nothing is known of it rather than 0.
    let without = FakeKernel::full().without("cgroup/build/web/memory.stat");
    let web = &read(&without, "/build/web")[0];
    assert_eq!((web.anonymous, web.slab, web.kernel), (None, None, None));
    assert!(read(&FakeKernel::full().with_v1_cgroups(), "/build").is_empty());
    assert!(read(&FakeKernel::full(), "/no-such-group").is_empty());
}

#[test]
fn anonymous_memory_is_resident_and_swapped() {
    let fake = FakeKernel::full();
    let kernel = open(&fake);
    let read = |pid| read_anonymous(&kernel, pid, &mut Vec::new());
    let nginx = read(101).unwrap().expect("it has memory");
    assert_eq!(nginx.anonymous, Bytes::from_kib(65_536 + 16_384));
    assert_eq!(nginx.program.name, KernelText::from("nginx"));
    assert_eq!((nginx.id.pid, nginx.id.start_time_ticks), (101, 1010));
    // A kernel thread and a zombie have none of their own.
    assert_eq!(read(2).unwrap(), None);
    assert_eq!(read(110).unwrap(), None);
    assert!(read(9999).unwrap_err().is_vanished());
}

#[test]
fn a_file_that_an_older_kernel_lacks_is_absent() {
    let directory = "cgroup/build/web";
    for (name, is_absent) in [
        (
            "memory.peak",
            (|account| account.peak.is_none()) as fn(&CgroupMemory) -> bool,
        ),
        ("memory.reclaim", |account| !account.can_reclaim),
        ("memory.zswap.current", |account| {
            account.zswap_current.is_none()
        }),
        ("memory.swap.current", |account| {
            account.swap_current.is_none()
        }),
        ("memory.oom.group", |account| account.oom_group.is_none()),
        ("memory.pressure", |account| account.pressure.is_none()),
        ("memory.events", |account| account.events.is_none()),
        ("memory.stat", |account| account.stat.is_none()),
        ("memory.max", |account| account.max.is_none()),
        ("cgroup.events", |account| account.populated.is_none()),
        ("cgroup.procs", |account| account.process_count.is_none()),
    ] {
        // Every kernel has that one: without it, the cgroup is there no more.
        if name != "cgroup.procs" {
            let fake = FakeKernel::full().without(format!("{directory}/{name}"));
            assert!(is_absent(&read(&fake, "/build/web")), "{name}");
        }
        let fake = FakeKernel::full().with_unreadable(format!("{directory}/{name}"));
        // The mere presence of memory.reclaim is what is asked.
        if name != "memory.reclaim" {
            assert!(is_absent(&read(&fake, "/build/web")), "unreadable {name}");
        }
    }
}

#[test]
fn the_root_has_no_usage_and_no_limits() {
    let root = read(&FakeKernel::full(), "/");
    assert_eq!(root.current, None);
    assert_eq!(root.max, None);
    assert_eq!(root.effective_limit, None);
    assert!(root.can_reclaim);
}

#[test]
fn the_effective_limit_is_the_strictest_of_all_ancestors() {
    let fake = FakeKernel::full();
    // build/high 150 MiB is stricter than web's own max of 300 MiB.
    assert_eq!(read(&fake, "/build/web").effective_limit, limit(150 << 20));
    assert_eq!(
        read(&fake, "/build/web/empty").effective_limit,
        limit(150 << 20)
    );
    assert_eq!(
        read(&fake, "/init.scope").effective_limit,
        Some(MemoryLimit::Max)
    );
    fake.write("cgroup/build/web/memory.max", "1048576\n");
    assert_eq!(read(&fake, "/build/web").effective_limit, limit(1 << 20));
}

#[test]
fn the_tree_gives_the_same_accounts_as_single_readings() {
    let fake = FakeKernel::full();
    let kernel = open(&fake);
    let mut buffer = Vec::new();
    let tree = read_tree(
        &kernel,
        &CgroupPath::root(),
        TreeBounds::default(),
        &mut buffer,
    );
    assert_eq!(tree.missing, None);
    assert_eq!(tree.unreadable, 0);
    assert!(!tree.cut);
    assert_eq!(tree.groups.len(), 13);
    for account in &tree.groups {
        let single = read_cgroup(&kernel, &account.path, &mut buffer).unwrap();
        assert_eq!(account, &single);
    }
    let below = read_tree(
        &kernel,
        &path("/build/web"),
        TreeBounds::default(),
        &mut buffer,
    );
    assert_eq!(below.groups.len(), 2);
    assert_eq!(below.groups[1].effective_limit, limit(150 << 20));
}

#[test]
fn parents_come_before_their_children() {
    let fake = FakeKernel::full();
    let tree = read_tree(
        &open(&fake),
        &CgroupPath::root(),
        TreeBounds::default(),
        &mut Vec::new(),
    );
    for (index, account) in tree.groups.iter().enumerate() {
        let Some(parent) = account.path.parent() else {
            continue;
        };
        let before = &tree.groups[..index];
        assert!(
            before.iter().any(|other| other.path == parent),
            "{}",
            account.path
        );
    }
}

#[test]
fn a_walk_stops_at_its_bounds_and_says_so() {
    let fake = FakeKernel::full();
    let kernel = open(&fake);
    let read = |bounds| read_tree(&kernel, &CgroupPath::root(), bounds, &mut Vec::new());
    let shallow = read(TreeBounds {
        depth: 1,
        count: 100,
    });
    assert!(shallow.cut);
    assert_eq!(shallow.groups.len(), 5);
    let few = read(TreeBounds { depth: 9, count: 4 });
    assert!(few.cut);
    assert_eq!(few.groups.len(), 4);
}

#[test]
fn where_version_2_has_no_memory_the_tree_is_empty_and_says_why() {
    let bare = FakeKernel::full().with("cgroup/cgroup.controllers", "cpu\n");
    for (fake, reason) in [
        (bare, NoV2Memory::NoController),
        (FakeKernel::full().with_hybrid_cgroups(), NoV2Memory::Hybrid),
        (FakeKernel::full().with_v1_cgroups(), NoV2Memory::V1),
        (FakeKernel::full().without("cgroup"), NoV2Memory::NotMounted),
    ] {
        let kernel = open(&fake);
        let mut buffer = Vec::new();
        let tree = read_tree(
            &kernel,
            &CgroupPath::root(),
            TreeBounds::default(),
            &mut buffer,
        );
        assert_eq!(tree.missing, Some(reason));
        assert_eq!(tree.groups, []);
        let error = read_cgroup(&kernel, &path("/job"), &mut buffer).unwrap_err();
        assert!(error.is_vanished());
    }
}

#[test]
fn a_removed_cgroup_has_another_id_when_it_comes_back() {
    let fake = FakeKernel::full();
    let first = read(&fake, "/build/web").id;
    assert_eq!(read(&fake, "/build/web").id, first);
    // The new directory is made before the old one goes, so that a file
    // system that reuses inode numbers at once cannot hand out the same one.
    let fake = fake.with_cgroup(&FakeCgroup::new("build/new", 0, &[]));
    fake.remove("cgroup/build/web");
    std::fs::rename(fake.path("cgroup/build/new"), fake.path("cgroup/build/web")).unwrap();
    assert_ne!(read(&fake, "/build/web").id, first);
}

#[test]
fn a_cgroup_that_is_removed_while_it_is_read_is_in_no_part_of_the_tree() {
    // What is left of one then: a directory without its files.
    let fake = FakeKernel::full().without("cgroup/build/web/cgroup.procs");
    let kernel = open(&fake);
    let mut buffer = Vec::new();
    let gone = path("/build/web");
    assert!(
        read_cgroup(&kernel, &gone, &mut buffer)
            .unwrap_err()
            .is_vanished()
    );
    let bounds = TreeBounds::default();
    let tree = read_tree(&kernel, &CgroupPath::root(), bounds, &mut buffer);
    assert!(tree.groups.iter().all(|group| group.path != gone));
    assert!(tree.groups.iter().any(|group| group.path == path("/build")));
    assert_eq!((tree.unreadable, tree.is_gone()), (0, false));
    let growth = read_growth_tree(&kernel, &path("/build"), bounds, &mut buffer);
    assert!(growth.iter().all(|group| group.path != gone));
    let nothing = read_tree(&kernel, &path("/build/nothing"), bounds, &mut buffer);
    assert!(nothing.is_gone());
}

#[test]
fn what_can_leak_is_the_same_of_an_account_that_was_read_before() {
    let fake = FakeKernel::full();
    let (kernel, root) = (open(&fake), CgroupPath::root());
    let (bounds, mut buffer) = (TreeBounds::default(), Vec::new());
    let read = read_growth_tree(&kernel, &root, bounds, &mut buffer);
    let tree = read_tree(&kernel, &root, bounds, &mut buffer);
    let mut of_accounts: Vec<CgroupGrowth> = tree.groups.iter().map(CgroupGrowth::of).collect();
    for (one, other) in of_accounts.iter_mut().zip(&read) {
        one.dying = other.dying;
    }
    assert_eq!(of_accounts, read);
    let web = read.iter().find(|group| group.path == path("/build/web"));
    assert_eq!(web.unwrap().amounts().count(), 5);
}

#[test]
fn a_missing_cgroup_is_vanished() {
    let fake = FakeKernel::full();
    let error = read_cgroup(&open(&fake), &path("/nowhere"), &mut Vec::new()).unwrap_err();
    assert!(error.is_vanished());
}

#[test]
fn processes_are_listed_of_a_cgroup_and_of_its_subtree() {
    let fake = FakeKernel::full();
    let kernel = open(&fake);
    let mut buffer = Vec::new();
    let slice = path("/system.slice");
    assert_eq!(
        read_processes_of(&kernel, &slice, &mut buffer).unwrap(),
        [] as [u32; 0]
    );
    assert_eq!(
        read_subtree_processes(&kernel, &slice, &mut buffer).unwrap(),
        [100, 101, 110, 300, 301]
    );
    fake.write(
        "cgroup/system.slice/nginx.service/cgroup.procs",
        "100\n0\n100\n",
    );
    assert_eq!(
        read_subtree_processes(&kernel, &slice, &mut buffer).unwrap(),
        [100, 300, 301]
    );
}

#[test]
fn a_subtree_with_an_unreadable_list_gives_the_others() {
    let name = "cgroup/system.slice/nginx.service/cgroup.procs";
    let fake = FakeKernel::full().with_unreadable(name);
    let pids = read_subtree_processes(&open(&fake), &path("/system.slice"), &mut Vec::new());
    assert_eq!(pids.unwrap(), [300, 301]);
}

#[test]
fn on_version_1_processes_are_those_of_the_memory_hierarchy() {
    let fake = FakeKernel::full().with_v1_cgroups();
    let pids = read_processes_of(&open(&fake), &path("/job"), &mut Vec::new()).unwrap();
    assert_eq!(pids, [310, 311, 320]);
}

#[test]
fn a_cgroup_that_is_named_like_a_removed_one_is_told_from_it_by_being_there() {
    let name = "0::/build (deleted)\n";
    let host = FakeKernel::full().with("proc/310/cgroup", name);
    let cgroup = |kernel: &Kernel| {
        let reading = read_process(kernel, 310, Detail::Basic, &mut Scratch::new(kernel));
        reading.unwrap().memory.cgroup
    };
    assert_eq!(cgroup(&open(&host)), None);
    std::fs::create_dir(host.cgroupfs().join("build (deleted)")).unwrap();
    let path = CgroupPath::new(b"/build (deleted)");
    assert_eq!(cgroup(&open(&host)), path);
    let nothing_mounted = host.without("cgroup");
    assert_eq!(cgroup(&open(&nothing_mounted)), None);
}
