//! A machine of 8 GiB on which everything is well, and what the rules say of it
//! after a change.
//!
//! Of every finding that is looked at it is asserted that it says what to do.

use grey_model::{
    Bytes, Capabilities, CgroupMode, DirectoryFacts, DiskFacts, DoctorFacts, Features,
    HistoryFacts, HostFacts, HugePageSettings, JournalFacts, KernelText, KsmState, Meminfo,
    Percent, Pressure, PressureLine, Reading, ResourceLimit, ResourceLimits, SetupFacts,
    StateFacts, SwapDevice, SwapKind, VmSettings, Zram, Zswap,
};

use super::super::CheckState::Unknown;
use super::super::{CheckState, Finding, examine};

pub(super) const GIB: u64 = 1 << 30;
pub(super) const MIB: u64 = 1 << 20;

pub(super) fn device(name: &str, kind: SwapKind, priority: i64) -> SwapDevice {
    SwapDevice {
        path: KernelText::from(name),
        kind,
        total: Bytes(GIB),
        used: Bytes::ZERO,
        priority,
    }
}

pub(super) fn zram(size: u64) -> Zram {
    Zram {
        name: "zram0".to_owned(),
        disk_size: Bytes(size),
        original: Bytes::ZERO,
        stored: Bytes::ZERO,
        memory_used: Bytes::ZERO,
        memory_limit: None,
        same_pages: None,
        huge_pages: None,
        algorithm: Some("lz4".to_owned()),
    }
}

pub(super) fn vm() -> VmSettings {
    VmSettings {
        swappiness: Reading::Known(60),
        page_cluster: Reading::Known(0),
        min_free_kib: Reading::Known(11_585),
        watermark_scale_factor: Reading::Known(10),
        vfs_cache_pressure: Reading::Known(100),
        overcommit_memory: Reading::Known(0),
        overcommit_ratio: Reading::Known(50),
        overcommit_kib: Reading::Known(0),
        panic_on_oom: Reading::Known(0),
        oom_kill_allocating_task: Reading::Known(0),
    }
}

pub(super) fn setup() -> SetupFacts {
    let line = PressureLine {
        avg10: Percent(0.0),
        avg60: Percent(0.0),
        avg300: Percent(0.0),
        total_us: 0,
    };
    let roomy = ResourceLimit {
        soft: Some(1024),
        hard: Some(4096),
    };
    let unlimited = ResourceLimit {
        soft: None,
        hard: None,
    };
    SetupFacts {
        host: HostFacts {
            kernel: Some("6.18.0".to_owned()),
            boot_id: None,
            cgroup_mode: CgroupMode::V2,
            page_size_bytes: 4096,
            systemd: true,
            container: false,
        },
        features: Features {
            memory_reclaim: true,
            process_madvise: true,
            ksm: true,
            sysfs_writable: true,
            cgroupfs_writable: true,
        },
        meminfo: Reading::Known(Meminfo {
            mem_total: Some(Bytes(8 * GIB)),
            mem_available: Some(Bytes(4 * GIB)),
            swap_total: Some(Bytes(GIB)),
            commit_limit: Some(Bytes(5 * GIB)),
            committed_as: Some(Bytes(GIB)),
            ..Meminfo::default()
        }),
        psi_parameter: None,
        pressure: Reading::Known(Some(Pressure {
            some: line,
            full: Some(line),
        })),
        swap: Reading::Known(vec![device("/dev/zram0", SwapKind::Zram, 100)]),
        zram: Reading::Known(vec![zram(GIB)]),
        zram_backing: Vec::new(),
        zswap: Reading::Known(Zswap {
            enabled: false,
            compressor: None,
            max_pool_percent: None,
            memory_used: None,
            original: None,
        }),
        ksm: Reading::Known(KsmState {
            run: Some(0),
            ..KsmState::default()
        }),
        huge_pages: HugePageSettings {
            enabled: Reading::Known("madvise".to_owned()),
            defrag: Reading::Known("madvise".to_owned()),
            max_ptes_none: Reading::Known(511),
        },
        mglru: Reading::Known(7),
        damon: Reading::Known(()),
        pagemap_scan: Reading::Known(()),
        vm: vm(),
        capabilities: Reading::Known(Capabilities {
            root: true,
            effective: u64::MAX,
        }),
        limits: Reading::Known(ResourceLimits {
            open_files: Some(roomy),
            address_space: Some(unlimited),
            data: Some(unlimited),
        }),
        processes: grey_model::ProcessListing::Whole,
        daemons: Reading::Known(Vec::new()),
        sparse_servers: Vec::new(),
        own_limit: Reading::Absent,
    }
}

/// A machine of 8 GiB on which everything is well.
pub(super) fn well() -> DoctorFacts {
    DoctorFacts {
        setup: setup(),
        state: StateFacts {
            path: "/state".to_owned(),
            directory: Reading::Known(DirectoryFacts {
                is_directory: true,
                owner: 0,
                us: 0,
                mode: 0o40700,
            }),
            journal: Reading::Known(JournalFacts::default()),
            history: Reading::Known(HistoryFacts {
                size: Bytes(MIB),
                samples: Some(60),
                last_age_seconds: Some(1),
                is_being_recorded: Some(true),
                lost: Vec::new(),
                repeated: Vec::new(),
                unreadable: Vec::new(),
                newer: Vec::new(),
                looked_at_all: true,
                open_to_others: None,
            }),
            disk: Reading::Known(DiskFacts {
                available: Bytes(GIB),
                available_files: Some(1000),
            }),
        },
    }
}

pub(super) fn found(check: &str, change: impl FnOnce(&mut DoctorFacts)) -> Finding {
    let mut facts = well();
    change(&mut facts);
    let findings = examine(&facts);
    let one = findings.into_iter().find(|finding| finding.check == check);
    let one = one.unwrap_or_else(|| panic!("there is no check `{check}`"));
    // Whoever is told of something is told what to do, or that nothing has to be.
    // By a command, or with why there is none.
    let is_answered = one.remedy.is_some() != one.no_command.is_some();
    assert!(is_answered || one.state >= Unknown, "{one:?}");
    assert!(!one.why.is_empty(), "{one:?}");
    one
}

/// A change of the facts, and what the check then says.
type Side = (fn(&mut DoctorFacts), CheckState);

pub(super) fn assert_sides(check: &str, sides: &[Side]) {
    for (number, (change, expected)) in sides.iter().enumerate() {
        let finding = found(check, change);
        assert_eq!(finding.state, *expected, "side {number}: {finding:?}");
    }
}

pub(super) fn meminfo(facts: &mut DoctorFacts) -> &mut Meminfo {
    match &mut facts.setup.meminfo {
        Reading::Known(meminfo) => meminfo,
        other => panic!("{other:?}"),
    }
}

pub(super) fn value<T>(reading: &mut Reading<T>) -> &mut T {
    match reading {
        Reading::Known(value) => value,
        _ => panic!("it is not known"),
    }
}
