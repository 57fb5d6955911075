//! Parsers against the files of every kernel that was captured
//! (`fixtures/capture.sh`).
//!
//! A meminfo field that this version does not know fails here, and only here.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::path::{Path, PathBuf};

use grey_model::{Bytes, CgroupMode, CgroupPath, ProcessState};
use grey_telemetry::cgroup::{TreeBounds, read_cgroup, read_growth_tree};
use grey_telemetry::cold::{NoGenerations, read_generations};
use grey_telemetry::data_limit::parse_data_limit;
use grey_telemetry::process::cgroup::parse_memory_cgroup;
use grey_telemetry::process::smaps_rollup::parse_smaps_rollup;
use grey_telemetry::process::stat::parse_stat;
use grey_telemetry::process::status::parse_status;
use grey_telemetry::{Kernel, Roots, SystemSnapshot, read_host, read_system};

/// Each captured kernel: its name and its tree.
fn captured() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/captured");
    let mut kernels: Vec<_> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .collect();
    kernels.sort();
    assert!(!kernels.is_empty());
    kernels
}

fn open(tree: &Path) -> Kernel {
    Kernel::open(&Roots {
        procfs: tree.join("proc"),
        sysfs: tree.join("sys"),
        cgroupfs: tree.join("cgroup"),
        systemd: tree.join("run/systemd/system"),
    })
    .unwrap()
}

fn read(tree: &Path) -> SystemSnapshot {
    read_system(&open(tree), &mut Vec::new()).unwrap()
}

#[test]
fn no_field_of_meminfo_is_unknown() {
    for (kernel, tree) in captured() {
        assert_eq!(read(&tree).meminfo.unknown, [], "{kernel}");
    }
}

#[test]
fn the_breakdown_sums_to_the_total_with_a_small_residual() {
    for (kernel, tree) in captured() {
        let snapshot = read(&tree);
        let total = i64::try_from(snapshot.totals.total.get()).unwrap();
        assert_eq!(snapshot.breakdown.sum(), total, "{kernel}");
        let residual = snapshot.breakdown.0.last().unwrap().bytes;
        // A guest of 1 GiB has more than one percent in pages that drivers took.
        assert!(residual.abs() < total / 25, "{kernel}: {residual}");
    }
}

#[test]
fn what_every_supported_kernel_prints_is_read() {
    for (kernel, tree) in captured() {
        let snapshot = read(&tree);
        let vmstat = snapshot.vmstat.unwrap();
        for (name, counter) in [
            ("oom_kill", vmstat.oom_kill),
            ("pswpin", vmstat.pswpin),
            ("pswpout", vmstat.pswpout),
            ("pgscan_direct", vmstat.pgscan_direct),
            ("pgsteal_kswapd", vmstat.pgsteal_kswapd),
            ("workingset_refault_anon", vmstat.workingset_refault_anon),
            ("workingset_refault_file", vmstat.workingset_refault_file),
        ] {
            assert!(counter.is_some(), "{kernel}: {name}");
        }
        assert!(snapshot.per_cpu_free_lists.is_some(), "{kernel}");
        assert!(snapshot.meminfo.mem_available.is_some(), "{kernel}");
        assert!(snapshot.zswap.is_some(), "{kernel}");
        let ksm = snapshot.ksm.unwrap();
        assert!(ksm.run.is_some() && ksm.pages_sharing.is_some(), "{kernel}");
        let host = read_host(&open(&tree), &mut Vec::new());
        let release = host.kernel.unwrap();
        assert!(release.starts_with(&kernel), "{kernel}: {release}");
        assert!(host.boot_id.is_some(), "{kernel}");
    }
}

#[test]
fn pressure_is_read_where_it_was_captured() {
    for (kernel, tree) in captured() {
        let exists = tree.join("proc/pressure/memory").exists();
        assert_eq!(read(&tree).pressure.is_some(), exists, "{kernel}");
    }
}

#[test]
fn the_process_that_was_captured_is_read() {
    for (kernel, tree) in captured() {
        let file = |name: &str| std::fs::read(tree.join("proc/self").join(name)).unwrap();
        let text = file("stat");
        let stat = parse_stat(&text).unwrap();
        assert_eq!(stat.name, b"sleep", "{kernel}");
        assert_eq!(stat.state, ProcessState::Sleeping, "{kernel}");
        assert!(!stat.kernel_thread && stat.start_time_ticks > 0, "{kernel}");
        let status = parse_status(&file("status"));
        assert!(status.data.is_some() && status.swap.is_some(), "{kernel}");
        let rollup = parse_smaps_rollup(&file("smaps_rollup"));
        assert!(rollup.pss.is_some() && rollup.uss().is_some(), "{kernel}");
        let printed = parse_memory_cgroup(&file("cgroup"));
        let path = printed.map(|printed| printed.path);
        assert_eq!(path, CgroupPath::new(b"/capture"), "{kernel}");
        let limit = parse_data_limit(&file("limits"));
        assert_eq!(limit.as_deref(), Some("unlimited:unlimited"), "{kernel}");
    }
}

#[test]
fn the_cgroup_that_was_captured_is_read() {
    for (kernel, tree) in captured() {
        if !tree.join("cgroup").exists() {
            continue;
        }
        let opened = open(&tree);
        let host = read_host(&opened, &mut Vec::new());
        assert_eq!(host.cgroup_mode, CgroupMode::V2, "{kernel}");
        let path = CgroupPath::new(b"/capture").unwrap();
        let account = read_cgroup(&opened, &path, &mut Vec::new()).unwrap();
        assert!(account.current.is_some(), "{kernel}");
        for limit in [account.min, account.low, account.high, account.max] {
            assert!(limit.is_some(), "{kernel}");
        }
        let events = account.events.unwrap();
        assert!(
            events.high.is_some() && events.oom_kill.is_some(),
            "{kernel}"
        );
        let stat = account.stat.unwrap();
        assert!(stat.anon.is_some() && stat.file.is_some(), "{kernel}");
        assert!(stat.workingset_refault_anon.is_some(), "{kernel}");
        assert!(stat.slab_reclaimable.is_some(), "{kernel}");
        assert_eq!(account.process_count, Some(1), "{kernel}");
        assert_eq!(account.populated, Some(true), "{kernel}");
        assert!(account.pressure.is_some(), "{kernel}");
        let growth = read_growth_tree(&opened, &path, TreeBounds::default(), &mut Vec::new());
        let growth = &growth[0];
        assert!(
            growth.anonymous.is_some() && growth.shmem.is_some(),
            "{kernel}"
        );
        assert!(growth.slab.is_some() && growth.dying.is_some(), "{kernel}");
    }
}

#[test]
fn the_generations_that_were_captured_are_read_where_they_are_in_use() {
    let path = CgroupPath::new(b"/capture").unwrap();
    let of = |kernel: &str| {
        let captured = captured();
        let (_, tree) = captured.iter().find(|(name, _)| name == kernel).unwrap();
        read_generations(&open(tree), &path, &mut Vec::new())
    };
    let (lists, aging) = of("6.12").unwrap();
    assert!(aging.on && aging.walks);
    // The cgroup, and the one below it with half of its memory in use.
    let found: Vec<_> = lists.iter().map(|list| (list.memcg, list.node)).collect();
    assert_eq!(found, [(2, 0), (3, 0)]);
    let numbers: Vec<u64> = lists[1]
        .generations
        .iter()
        .map(|generation| generation.number)
        .collect();
    assert_eq!(numbers, [2, 3, 4, 5]);
    assert!(lists[1].generations[1].anonymous > Bytes::from_mib(30));
    assert!(lists[1].generations[2].anonymous > Bytes::from_mib(30));
    assert!(matches!(of("6.1"), Err(NoGenerations::TurnedOff)));
    assert!(matches!(of("5.10"), Err(NoGenerations::NotInKernel)));
}
