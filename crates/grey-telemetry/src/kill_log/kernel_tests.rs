//! Lines of the kernel, each in the words of the versions that write it.

use super::*;

fn path(text: &str) -> Option<CgroupPath> {
    CgroupPath::new(text.as_bytes())
}

#[test]
fn a_limit_that_is_none_is_max() {
    let line = b"memory: usage 32768kB, limit 9007199254740988kB, failcnt 7";
    let Some(KernelLine::Memory(counter)) = parse_kernel_line(line) else {
        panic!("not understood");
    };
    assert_eq!(counter.limit, MemoryLimit::Max);
    assert_eq!(
        (counter.usage, counter.failures),
        (Bytes::from_kib(32768), 7)
    );
}

#[test]
fn names_and_paths_with_commas_and_brackets_are_read_whole() {
    let line = b"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,\
                 oom_memcg=/a,b,task_memcg=/a,b/c,task=d,task=x,pid=7,uid=8),pid=77,uid=1000";
    let Some(KernelLine::Summary(summary)) = parse_kernel_line(line) else {
        panic!("not understood");
    };
    assert_eq!(summary.limit_cgroup, path("/a,b"));
    assert_eq!(summary.victim_cgroup, path("/a,b/c,task=d"));
    assert_eq!((summary.pid, summary.uid), (77, Some(1000)));
    assert_eq!(summary.name, KernelText::from("x,pid=7,uid=8)"));
    let line = b"Out of memory: Killed process 77 (a) (b) total-vm:8kB, anon-rss:4kB, \
                 file-rss:0kB, shmem-rss:0kB, UID:5 pgtables:8kB oom_score_adj:-500";
    let Some(KernelLine::Killed(killed)) = parse_kernel_line(line) else {
        panic!("not understood");
    };
    assert_eq!(killed.name, KernelText::from("a) (b"));
    assert_eq!(killed.oom_score_adj, Some(-500));
    assert_eq!(killed.anon, Some(Bytes::from_kib(4)));
    assert!(!killed.in_cgroup);
}

#[test]
fn what_was_asked_for_is_told_by_the_first_line() {
    let pages = |order, zone| Some(MemoryRequest::Pages { order, zone });
    for (text, expected) in [
        (
            "gfp_mask=0x140dca(GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO), order=0, oom_score_adj=0",
            pages(0, None),
        ),
        (
            "gfp_mask=0xdc0(GFP_KERNEL|__GFP_ZERO), order=2, oom_score_adj=-5",
            pages(2, None),
        ),
        (
            "gfp_mask=0xcc4(GFP_KERNEL|GFP_DMA32), order=0, oom_score_adj=0",
            pages(0, Some(DeviceZone::Dma32)),
        ),
        (
            "gfp_mask=0xcc1(GFP_KERNEL|GFP_DMA), order=1, oom_score_adj=0",
            pages(1, Some(DeviceZone::Dma)),
        ),
        (
            "gfp_mask=0x6000c0(GFP_KERNEL), nodemask=(null), order=3, oom_score_adj=0",
            pages(3, None),
        ),
        ("gfp_mask=0xcc0, order=0, oom_score_adj=0", pages(0, None)),
        (
            "gfp_mask=0x0(), order=0, oom_score_adj=0",
            Some(MemoryRequest::PageFault),
        ),
        (
            "gfp_mask=0xcc0(GFP_KERNEL), order=-1, oom_score_adj=0",
            Some(MemoryRequest::SysRq),
        ),
        ("gfp_mask=0xcc0(GFP_KERNEL), ord", None),
        (
            "gfp_mask=0xcc0(GFP_KERNEL), order=300, oom_score_adj=0",
            None,
        ),
    ] {
        assert_eq!(request(text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn the_nodes_are_those_of_the_reason() {
    let nodes = |text: &str| {
        let line = format!("oom-kill:constraint={text},task_memcg=/,task=x,pid=7,uid=0");
        summary(line.as_bytes())
            .unwrap()
            .nodes
            .map(|nodes| nodes.to_string())
    };
    let cpuset = "CONSTRAINT_CPUSET,nodemask=(null),cpuset=a,mems_allowed=9,mems_allowed=0-1,3";
    assert_eq!(
        nodes(&format!("{cpuset},global_oom")).as_deref(),
        Some("0-1,3")
    );
    assert_eq!(nodes(cpuset).as_deref(), Some("0-1,3"));
    let policy = "CONSTRAINT_MEMORY_POLICY,nodemask=0,2,cpuset=/,mems_allowed=0-3,global_oom";
    assert_eq!(nodes(policy).as_deref(), Some("0,2"));
    let none = "CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0-3,global_oom";
    assert_eq!(nodes(none), None);
}

#[test]
fn a_line_that_is_cut_gives_what_it_has() {
    let line = b"Memory cgroup out of memory: Killed process 77 (x) total-vm:8kB, anon-r";
    let Some(KernelLine::Killed(killed)) = parse_kernel_line(line) else {
        panic!("not understood");
    };
    assert_eq!((killed.pid, killed.anon), (77, None));
    assert!(killed.in_cgroup);
}

#[test]
fn the_table_is_read_by_its_heading() {
    let rows = [
        (
            "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
            "[    123]     0   123     7000      500    90112        3          -998 a b",
        ),
        (
            "[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name",
            "[    123]     0   123     7000      500      400      100         0    90112        3          -998 a b",
        ),
    ];
    for (heading, row) in rows {
        let Some(KernelLine::TableHeading(columns)) = parse_kernel_line(heading.as_bytes()) else {
            panic!("no heading");
        };
        assert_eq!(
            parse_kernel_line(row.as_bytes()),
            Some(KernelLine::TableRow)
        );
        let row = columns.row(row.as_bytes()).unwrap();
        assert_eq!((row.pid, row.rss, row.swap), (123, Pages(500), Pages(3)));
        assert_eq!(row.oom_score_adj, -998);
        assert_eq!(row.name, KernelText::from("a b"));
    }
}

#[test]
fn each_other_line_is_known() {
    let is = |line: &str| parse_kernel_line(line.as_bytes());
    assert!(matches!(
        is("a b invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=-1, oom_score_adj=0"),
        Some(KernelLine::Invoked {
            request: Some(MemoryRequest::SysRq),
            ..
        })
    ));
    assert_eq!(
        is("sysrq: Manual OOM execution"),
        Some(KernelLine::AskedByHand)
    );
    assert_eq!(
        is("sysrq: OOM request ignored. No task eligible"),
        Some(KernelLine::HandIgnored)
    );
    assert_eq!(
        is("Memory cgroup stats for /a/b:"),
        path("/a/b").map(KernelLine::StatsFor)
    );
    assert_eq!(
        is("Memory cgroup stats for /a: b:"),
        path("/a: b").map(KernelLine::StatsFor)
    );
    assert_eq!(
        is("Tasks in /a are going to be killed due to memory.oom.group set"),
        path("/a").map(KernelLine::GroupKill)
    );
    assert!(matches!(
        is("oom_reaper: reaped process 7 (x), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB"),
        Some(KernelLine::Reaped { pid: 7, .. })
    ));
    assert_eq!(
        is("OOM victim 7 (x) is already exiting. Skip killing the task"),
        Some(KernelLine::AlreadyExiting { pid: 7 })
    );
    assert_eq!(
        is("oom_kill_process: 12 callbacks suppressed"),
        Some(KernelLine::Suppressed { count: 12 })
    );
    assert!(matches!(
        is("Out of memory (oom_kill_allocating_task): Killed process 7 (x) total-vm:1kB"),
        Some(KernelLine::Killed(Killed {
            killed_who_asked: true,
            ..
        }))
    ));
    assert_eq!(
        is("Out of memory and no killable processes..."),
        Some(KernelLine::NobodyToKill)
    );
    for (why, reason) in [
        ("System is deadlocked on memory", NobodyReason::NoCandidate),
        (
            "Out of memory and no killable processes...",
            NobodyReason::NoCandidate,
        ),
        (
            "Out of memory: system-wide panic_on_oom is enabled",
            NobodyReason::PanicOnOom,
        ),
        (
            "Out of memory: compulsory panic_on_oom is enabled",
            NobodyReason::PanicOnOomCompulsory,
        ),
    ] {
        let line = format!("Kernel panic - not syncing: {why}");
        assert_eq!(is(&line), Some(KernelLine::Panicked(reason)), "{line}");
    }
    for other in [
        "",
        "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009",
        "---[ end Kernel panic - not syncing: System is deadlocked on memory ]---",
        "x: Killed process 7 (x)",
        "kmem: usage 0kB, limit 1kB, failcnt 0",
    ] {
        assert_eq!(is(other), None, "{other}");
    }
}
