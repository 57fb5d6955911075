//! A machine that has everything: each test removes or changes one thing.

use grey_model::*;

pub(crate) fn mib(count: u64) -> Bytes {
    Bytes::from_mib(count)
}

pub(crate) fn path(text: &str) -> CgroupPath {
    CgroupPath::new(text.as_bytes()).unwrap()
}

pub(crate) fn id(pid: u32) -> ProcessId {
    ProcessId {
        pid,
        start_time_ticks: 7,
    }
}

/// A group with 200 MiB in use: 150 anonymous, 40 page cache, the rest slab.
pub(crate) fn group(name: &str) -> CgroupMemory {
    CgroupMemory {
        path: path(name),
        id: CgroupId(42),
        current: Some(mib(200)),
        peak: Some(mib(220)),
        min: Some(MemoryLimit::Bytes(Bytes::ZERO)),
        low: Some(MemoryLimit::Bytes(Bytes::ZERO)),
        high: Some(MemoryLimit::Max),
        max: Some(MemoryLimit::Bytes(mib(300))),
        effective_limit: Some(MemoryLimit::Bytes(mib(300))),
        swap_current: Some(Bytes::ZERO),
        swap_max: Some(MemoryLimit::Max),
        zswap_current: None,
        oom_group: Some(false),
        can_reclaim: true,
        events: Some(CgroupEvents::default()),
        pressure: None,
        stat: Some(CgroupMemoryStat {
            anon: Some(mib(150)),
            inactive_anon: Some(mib(100)),
            active_anon: Some(mib(50)),
            inactive_file: Some(mib(30)),
            active_file: Some(mib(10)),
            slab_reclaimable: Some(mib(4)),
            ..Default::default()
        }),
        process_count: Some(1),
        populated: Some(true),
    }
}

pub(crate) fn process(pid: u32) -> ProcessMemory {
    ProcessMemory {
        id: id(pid),
        parent_pid: 1,
        name: KernelText::from("web"),
        state: ProcessState::Sleeping,
        kernel_thread: false,
        user_id: Some(0),
        user: Some("root".to_owned()),
        command_line: None,
        cpu_time_ticks: Some(0),
        threads: Some(1),
        rss: Some(mib(180)),
        rss_anon: Some(mib(150)),
        rss_file: Some(mib(30)),
        rss_shmem: Some(Bytes::ZERO),
        pss: Some(mib(160)),
        pss_anon: None,
        pss_file: None,
        pss_shmem: None,
        uss: Some(mib(155)),
        swap: Some(Bytes::ZERO),
        swap_pss: Some(Bytes::ZERO),
        locked: Some(Bytes::ZERO),
        oom_score: Some(100),
        oom_score_adj: Some(0),
        cgroup: Some(path("/web")),
        unit: None,
        container: None,
        ksm: None,
    }
}

pub(crate) fn swap(size: Bytes) -> SwapDevice {
    SwapDevice {
        path: KernelText::from("/dev/zram0"),
        kind: SwapKind::Zram,
        total: size,
        used: Bytes::ZERO,
        priority: 100,
    }
}

pub(crate) fn target(kind: TargetKind, cgroup: &str, owner: Owner) -> ResolvedTarget {
    let process = (kind == TargetKind::Process).then(|| id(77));
    ResolvedTarget {
        typed: "web".to_owned(),
        kind,
        name: KernelText::from("web"),
        process,
        cgroup: Some(path(cgroup)),
        owner: Some(owner),
        processes: vec![id(77)],
        bystanders: 0,
    }
}

/// Root, cgroup v2, 512 MiB of free zram, a target cgroup `/web` of nobody's.
pub(crate) fn machine() -> PreflightFacts {
    PreflightFacts {
        host: HostFacts {
            kernel: Some("6.12.0".to_owned()),
            boot_id: Some(BootId("b".to_owned())),
            cgroup_mode: CgroupMode::V2,
            page_size_bytes: 4096,
            systemd: false,
            container: false,
        },
        page_size: PageSize::new(4096).unwrap(),
        privileges: Privileges {
            root: true,
            sys_admin: true,
            sys_nice: true,
            sys_ptrace: true,
            sys_resource: true,
        },
        features: Features {
            memory_reclaim: true,
            process_madvise: true,
            ksm: true,
            sysfs_writable: true,
            cgroupfs_writable: true,
        },
        meminfo: Meminfo {
            mem_total: Some(mib(1000)),
            mem_free: Some(mib(400)),
            cached: Some(mib(300)),
            shmem: Some(mib(20)),
            active_file: Some(mib(150)),
            inactive_file: Some(mib(130)),
            mapped: Some(mib(50)),
            ..Meminfo::default()
        },
        per_cpu_free_lists: Some(mib(1)),
        swap_devices: vec![swap(mib(512))],
        zram: Vec::new(),
        ksm: Some(KsmState {
            run: Some(0),
            pages_to_scan: Some(100),
            sleep_milliseconds: Some(20),
            advisor_mode: Some("none".to_owned()),
            ..KsmState::default()
        }),
        target: Some(target(TargetKind::Cgroup, "/web", Owner::Nobody)),
        cgroup: Some(group("/web")),
        ancestors: Vec::new(),
        threaded_domain: None,
        protected: Some(Bytes::ZERO),
        generations: None,
        processes: vec![process(77)],
        process_summary: TargetProcesses {
            count: 1,
            ..Default::default()
        },
        unit: None,
        rlimit_data: Some("unlimited:unlimited".to_owned()),
        vm_data: Some(mib(170)),
        root_has_memory_controller: Some(false),
        own_pid: 4000,
        our_subtree: None,
    }
}

pub(crate) fn request(actions: &[Action]) -> EnforcementRequest {
    EnforcementRequest {
        target: Some("web".parse().unwrap()),
        actions: actions.to_vec(),
        lease: None,
        reason: "test".to_owned(),
    }
}

pub(crate) fn plan(facts: &PreflightFacts, action: Action) -> Result<Plan, Vec<Refusal>> {
    grey_policy::plan(&request(&[action]), facts)
}

pub(crate) fn refusal(facts: &PreflightFacts, action: Action) -> Refusal {
    let mut refusals = plan(facts, action).expect_err("the plan should be refused");
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    let refusal = refusals.remove(0);
    assert!(!refusal.hint.is_empty());
    refusal
}

pub(crate) fn steps(facts: &PreflightFacts, action: Action) -> Vec<PlanStep> {
    plan(facts, action).expect("the plan should be made").steps
}

/// Which processes paging out would take from.
pub(crate) fn paged_out(facts: &PreflightFacts) -> Vec<ProcessId> {
    match &steps(facts, Action::PageOut)[0].change {
        Change::Once {
            shot: OneShot::PageOut { processes },
        } => processes.clone(),
        other => panic!("{other:?}"),
    }
}

/// The machine, where the target is one process.
pub(crate) fn process_target() -> PreflightFacts {
    PreflightFacts {
        target: Some(target(TargetKind::Process, "/web", Owner::Nobody)),
        ..machine()
    }
}
