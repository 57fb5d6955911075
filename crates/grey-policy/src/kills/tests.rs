//! Whose kill it was, in which words, and with which advice.

use grey_model::{
    Bytes, CgroupMemory, CgroupPath, Constraint, CounterUse, KernelKill, MemoryLimit, OomdCause,
    OomdKill, Pages, Percent, ProgramKill, TaskRow, UnitEvent, UnitRecord,
};

use super::*;

const FACTS: KillFacts<'static> = KillFacts {
    page_size: match PageSize::new(4096) {
        Some(size) => size,
        None => panic!("4096 is a page size"),
    },
    has_systemd: false,
    kernel_log_searched: true,
    has_limits: true,
    missing: &[],
};

const SYSTEMD: KillFacts<'static> = KillFacts {
    has_systemd: true,
    ..FACTS
};

fn path(text: &str) -> Option<CgroupPath> {
    CgroupPath::new(text.as_bytes())
}

fn at(seconds: i64, record: KillRecord) -> TimedRecord {
    TimedRecord {
        at: Moment::from_unix_microseconds(seconds * 1_000_000),
        uncertain_by: Duration::ZERO,
        since_boot: None,
        host: None,
        record,
    }
}

fn kernel(kill: KernelKill) -> KillRecord {
    KillRecord::Kernel(Box::new(kill))
}

fn of_cgroup(limit: &str, own: &str) -> KernelKill {
    KernelKill {
        pid: Some(7),
        name: Some(KernelText::from("web")),
        constraint: Some(Constraint::Cgroup),
        limit_cgroup: path(limit),
        victim_cgroup: path(own),
        memory: Some(CounterUse {
            usage: Bytes::from_mib(100),
            limit: MemoryLimit::Bytes(Bytes::from_mib(100)),
            failures: 3,
        }),
        anon: Some(Bytes::from_mib(90)),
        file: Some(Bytes::from_mib(5)),
        shmem: Some(Bytes(0)),
        oom_score_adj: Some(0),
        tasks: vec![row(7, "web", 95, 0), row(8, "small", 1, 0)],
        whole: true,
        told: 1,
        ..KernelKill::default()
    }
}

fn of_machine() -> KernelKill {
    KernelKill {
        constraint: Some(Constraint::Machine),
        limit_cgroup: None,
        memory: None,
        swap_free: Some(Bytes(0)),
        swap_total: Some(Bytes(0)),
        ..of_cgroup("/", "/build")
    }
}

fn row(pid: u32, name: &str, mebibytes: u64, oom_score_adj: i16) -> TaskRow {
    TaskRow {
        pid,
        name: KernelText::from(name),
        rss: Pages(mebibytes << 8),
        swap: Pages(0),
        oom_score_adj,
    }
}

fn unit_record(event: UnitEvent) -> KillRecord {
    KillRecord::Unit(UnitRecord {
        unit: KernelText::from("web.service"),
        event,
    })
}

fn one(records: &[TimedRecord], facts: &KillFacts<'_>) -> Kill {
    let mut kills = explain_kills(records, facts);
    assert_eq!(kills.len(), 1, "{kills:#?}");
    kills.remove(0)
}

fn says(lines: &[String], text: &str) -> bool {
    lines.iter().any(|line| line.contains(text))
}

#[test]
fn a_cgroups_own_limit_is_told_with_its_numbers() {
    let kill = one(&[at(1, kernel(of_cgroup("/web", "/web")))], &FACTS);
    assert_eq!(kill.killer, Killer::KernelCgroup);
    assert_eq!(kill.limit_bytes, Some(Bytes::from_mib(100)));
    assert_eq!(kill.rss_bytes, Some(Bytes::from_mib(95)));
    assert!(says(
        &kill.explanation,
        "/web was at its limit: it used 100.0 MiB of 100.0 MiB"
    ));
    assert!(!says(&kill.explanation, "above it"));
    assert!(says(&kill.explanation, "the largest of the 2 processes"));
    assert!(says(
        &kill.advice,
        "greyctl memory-enforce --target /web --limit 150M"
    ));
    assert!(says(
        &kill.advice,
        "greyctl memory-enforce --target /web --high 90M"
    ));
}

#[test]
fn in_version_1_memory_and_swap_together_can_be_the_limit() {
    let report = KernelKill {
        memory: Some(CounterUse {
            usage: Bytes::from_mib(50),
            limit: MemoryLimit::Max,
            failures: 0,
        }),
        memory_and_swap: Some(CounterUse {
            usage: Bytes::from_mib(69),
            limit: MemoryLimit::Bytes(Bytes::from_mib(70)),
            failures: 3,
        }),
        ..of_cgroup("/web", "/web")
    };
    let kill = one(&[at(1, kernel(report))], &FACTS);
    assert_eq!(kill.limit_bytes, Some(Bytes::from_mib(70)));
    assert_eq!(kill.usage_bytes, Some(Bytes::from_mib(69)));
}

#[test]
fn a_limit_of_an_ancestor_is_told_as_that() {
    let kill = one(&[at(1, kernel(of_cgroup("/web", "/web/in")))], &FACTS);
    assert_eq!(kill.cgroup, path("/web/in"));
    assert_eq!(kill.limit_cgroup, path("/web"));
    assert!(says(
        &kill.explanation,
        "it was in /web/in: the limit is not of that one but of /web above it"
    ));
}

#[test]
fn the_machine_out_of_memory_is_no_cgroups_limit() {
    let kill = one(&[at(1, kernel(of_machine()))], &FACTS);
    assert_eq!(kill.killer, Killer::KernelGlobal);
    assert_eq!((kill.limit_bytes, kill.limit_cgroup), (None, None));
    assert!(says(
        &kill.explanation,
        "the whole machine was out of memory"
    ));
    assert!(says(&kill.explanation, "the machine has no swap"));
    assert!(says(&kill.advice, "--target name:web --oom-score-adj -500"));
    for (constraint, words) in [
        (Constraint::Cpuset, "cpuset"),
        (Constraint::MemoryPolicy, "memory policy"),
    ] {
        let kill = KernelKill {
            constraint: Some(constraint),
            ..of_machine()
        };
        assert!(says(
            &one(&[at(1, kernel(kill))], &FACTS).explanation,
            words
        ));
    }
}

#[test]
fn somebody_larger_that_was_spared_is_named() {
    let report = KernelKill {
        tasks: vec![row(9, "database", 500, -900), row(7, "web", 95, 0)],
        ..of_machine()
    };
    let kill = one(&[at(1, kernel(report))], &FACTS);
    assert!(says(&kill.explanation, "database (9) used more: 500.0 MiB"));
    assert!(says(
        &kill.explanation,
        "spared because its oom_score_adj is -900, and the victim's 0"
    ));
    assert!(says(&kill.advice, "--target name:database --high 400M"));
    let consumers = kill.consumers.unwrap();
    assert!(!consumers[0].killed && consumers[1].killed);
}

#[test]
fn a_report_that_is_cut_says_so_and_invents_nothing() {
    let cut = KernelKill {
        pid: Some(7),
        constraint: Some(Constraint::Cgroup),
        told: 1,
        ..KernelKill::default()
    };
    let kill = one(&[at(1, kernel(cut))], &FACTS);
    assert_eq!(kill.killer, Killer::KernelCgroup);
    assert_eq!(
        (&kill.cgroup, kill.limit_bytes, kill.rss_bytes),
        (&None, None, None)
    );
    assert!(says(&kill.explanation, "which one, the log no longer says"));
    let reaped = KernelKill {
        pid: Some(7),
        told: 1,
        ..KernelKill::default()
    };
    assert_eq!(
        one(&[at(1, kernel(reaped))], &FACTS).killer,
        Killer::Unknown
    );
}

#[test]
fn the_page_size_is_the_one_of_the_machine_that_wrote_the_log() {
    let mut report = of_cgroup("/web", "/web");
    report.tasks[0].rss = Pages((95 << 20) / (64 << 10));
    let kill = one(&[at(1, kernel(report))], &FACTS);
    assert_eq!(kill.consumers.unwrap()[0].rss_bytes, Bytes::from_mib(95));
}

#[test]
fn one_report_in_two_logs_is_one_kill() {
    let mut kmsg = at(100, kernel(of_cgroup("/web", "/web")));
    kmsg.since_boot = Some(Duration::from_secs(50));
    kmsg.uncertain_by = Duration::from_secs(3600);
    let mut journal = at(-3000, kmsg.record.clone());
    journal.since_boot = kmsg.since_boot;
    journal.host = Some(KernelText::from("box"));
    let kill = one(&[kmsg.clone(), journal.clone()], &FACTS);
    assert_eq!(kill.at, journal.at, "the journal's time is exact");
    assert_eq!(kill.at_uncertain_by_seconds, Some(0.0));
    journal.since_boot = Some(Duration::from_secs(51));
    assert_eq!(explain_kills(&[kmsg, journal], &FACTS).len(), 2);
}

#[test]
fn reports_of_another_day_or_kind_are_other_kills() {
    let count = |records: &[TimedRecord]| explain_kills(records, &FACTS).len();
    let of_cgroup = || kernel(of_cgroup("/web", "/web"));
    let same_kind = [at(100, of_cgroup()), at(101, of_cgroup())];
    assert_eq!(count(&same_kind), 1);
    let other_kind = [at(100, of_cgroup()), at(101, kernel(of_machine()))];
    assert_eq!(count(&other_kind), 2);
    // A report of which only the reaper's line is left has no kind.
    let reaped = KernelKill {
        constraint: None,
        ..of_machine()
    };
    assert_eq!(count(&[at(100, of_cgroup()), at(101, kernel(reaped))]), 1);
    let since_boot = |seconds| TimedRecord {
        since_boot: Some(Duration::from_secs(50)),
        ..at(seconds, of_cgroup())
    };
    assert_eq!(count(&[since_boot(100), since_boot(100 + 86_400)]), 2);
    assert_eq!(count(&[since_boot(100), since_boot(100 + 3600)]), 1);
}

#[test]
fn what_systemd_says_is_laid_upon_the_kernels_report() {
    let report = of_cgroup("/system.slice/web.service", "/system.slice/web.service");
    let records = [
        at(100, unit_record(UnitEvent::KernelKilled)),
        at(100, unit_record(UnitEvent::EndedBy { signal: 9 })),
        at(99, kernel(report)),
    ];
    let kill = one(&records, &SYSTEMD);
    assert_eq!(kill.killer, Killer::KernelCgroup);
    assert_eq!(kill.unit, Some(KernelText::from("web.service")));
    assert!(says(&kill.advice, "--target web.service --limit 150M"));
    assert!(says(&kill.advice, "systemctl set-property -- web.service"));
    // Two minutes later it is another one.
    let later = at(220, unit_record(UnitEvent::EndedBy { signal: 9 }));
    let kills = explain_kills(&[records[2].clone(), later], &SYSTEMD);
    assert_eq!(kills.len(), 2);
    assert_eq!(kills[1].killer, Killer::Signal);
}

#[test]
fn a_sigterm_is_a_signal_and_never_the_kernels() {
    let kill = one(
        &[at(1, unit_record(UnitEvent::EndedBy { signal: 15 }))],
        &SYSTEMD,
    );
    assert_eq!((kill.killer, kill.signal), (Killer::Signal, Some(15)));
    assert!(says(&kill.explanation, "never sends SIGTERM"));
    assert!(says(
        &kill.advice,
        "journalctl --since \"1969-12-31 23:59:01 UTC\""
    ));
    let asked = UnitEvent::SignalRequested {
        signal: 15,
        pid: 7,
        name: KernelText::from("web"),
    };
    let records = [
        at(1, unit_record(asked)),
        at(2, unit_record(UnitEvent::EndedBy { signal: 15 })),
    ];
    let kill = one(&records, &SYSTEMD);
    assert_eq!(kill.pid, Some(7));
    assert!(says(
        &kill.explanation,
        "somebody asked systemd to send SIGTERM"
    ));
}

#[test]
fn a_stop_that_took_too_long_is_systemds() {
    let sent = UnitEvent::KilledBySystemd {
        signal: 9,
        pid: 7,
        name: KernelText::from("web"),
    };
    let records = [
        at(1, unit_record(sent)),
        at(1, unit_record(UnitEvent::EndedBy { signal: 9 })),
    ];
    let kill = one(&records, &SYSTEMD);
    assert_eq!((kill.killer, kill.pid), (Killer::Signal, Some(7)));
    assert_eq!(kill.program, Some(KernelText::from("systemd")));
    assert!(says(&kill.advice, "TimeoutStopUSec -- web.service"));
}

#[test]
fn a_sigkill_is_a_persons_only_where_the_kernels_log_was_searched() {
    let record = at(1, unit_record(UnitEvent::EndedBy { signal: 9 }));
    assert_eq!(
        one(std::slice::from_ref(&record), &SYSTEMD).killer,
        Killer::Signal
    );
    let unsearched = KillFacts {
        kernel_log_searched: false,
        ..SYSTEMD
    };
    assert_eq!(one(&[record], &unsearched).killer, Killer::Unknown);
}

#[test]
fn systemds_word_alone_leaves_the_limit_unknown() {
    let kill = one(&[at(1, unit_record(UnitEvent::KernelKilled))], &SYSTEMD);
    assert_eq!(kill.killer, Killer::Unknown);
    assert!(says(&kill.explanation, "not known whose memory was out"));
}

#[test]
fn one_process_is_one_process() {
    let told = |count| {
        let event = UnitEvent::OomdKilled(Some(count));
        one(&[at(1, unit_record(event))], &SYSTEMD).explanation
    };
    assert!(says(
        &told(1),
        "systemd-oomd killed 1 process of web.service"
    ));
    assert!(says(
        &told(2),
        "systemd-oomd killed 2 processes of web.service"
    ));
}

#[test]
fn systemd_oomd_is_named_with_its_cause() {
    let oomd = KillRecord::Oomd(OomdKill {
        cgroup: path("/system.slice/web.service"),
        cause: OomdCause::Pressure {
            cgroup: path("/system.slice"),
            pressure: Percent(62.1),
            limit: Percent(50.0),
            duration: KernelText::from("20s"),
        },
    });
    let records = [
        at(1, oomd),
        at(1, unit_record(UnitEvent::OomdKilled(Some(3)))),
        at(1, unit_record(UnitEvent::EndedBy { signal: 9 })),
    ];
    let kill = one(&records, &SYSTEMD);
    assert_eq!(kill.killer, Killer::SystemdOomd);
    assert!(says(
        &kill.explanation,
        "lost 62.1 % of their time waiting for memory, more than 50.0 %"
    ));
    assert!(says(&kill.explanation, "the pressure was in /system.slice"));
    assert!(says(&kill.advice, "ManagedOOMPreference=avoid"));
    assert_eq!(kill.unit, Some(KernelText::from("web.service")));
}

/// earlyoom's signal to process 7.
fn sent(signal: u8, name: &str) -> ProgramKill {
    ProgramKill {
        program: KernelText::from("earlyoom"),
        signal,
        pid: Some(7),
        name: Some(KernelText::from(name)),
        uid: None,
        cgroup: None,
        rss: Some(Bytes::from_mib(12)),
    }
}

#[test]
fn earlyoom_is_a_signal_and_its_second_one_is_the_same_kill() {
    let records = [
        at(1, KillRecord::Program(sent(15, "web"))),
        at(4, KillRecord::Program(sent(9, "web"))),
        at(5, unit_record(UnitEvent::EndedBy { signal: 9 })),
    ];
    let kill = one(&records, &SYSTEMD);
    assert_eq!((kill.killer, kill.signal), (Killer::Signal, Some(9)));
    assert_eq!(kill.program, Some(KernelText::from("earlyoom")));
    assert_eq!(kill.unit, Some(KernelText::from("web.service")));
    assert!(says(&kill.explanation, "and not the kernel"));
}

/// Of which unit earlyoom's victim was, once a unit's `event` was logged at
/// `second`, and how many kills that makes. The signal was sent at 10.
fn unit_of(kill: ProgramKill, second: i64, event: UnitEvent) -> (Option<String>, usize) {
    let records = [
        at(10, KillRecord::Program(kill)),
        at(second, unit_record(event)),
    ];
    let kills = explain_kills(&records, &SYSTEMD);
    let by_earlyoom = |kill: &&Kill| kill.program == Some(KernelText::from("earlyoom"));
    let unit = kills.iter().find(by_earlyoom).unwrap().unit.as_ref();
    (unit.map(ToString::to_string), kills.len())
}

#[test]
fn a_units_end_is_of_whom_earlyoom_killed_only_where_something_ties_them() {
    let ended = |signal| UnitEvent::EndedBy { signal };
    let web = Some("web.service".to_owned());
    let of_unit = |path: &str| ProgramKill {
        cgroup: CgroupPath::new(path.as_bytes()),
        ..sent(15, "worker")
    };
    // Another program, at the same time and by the same signal.
    assert_eq!(unit_of(sent(15, "worker"), 11, ended(15)), (None, 2));
    assert_eq!(
        unit_of(sent(15, "worker"), 11, UnitEvent::PassedOn { signal: 15 }),
        (None, 2)
    );
    // By its name, by its cgroup, and by what systemd says of the pid.
    assert_eq!(unit_of(sent(15, "web"), 11, ended(15)), (web.clone(), 1));
    let inside = of_unit("/system.slice/web.service/in");
    assert_eq!(unit_of(inside, 11, ended(15)), (web.clone(), 1));
    let killing = |pid| UnitEvent::KilledBySystemd {
        signal: 9,
        pid,
        name: KernelText::from("worker"),
    };
    assert_eq!(unit_of(sent(15, "worker"), 11, killing(7)), (web, 2));
    assert_eq!(unit_of(sent(15, "worker"), 11, killing(8)), (None, 2));
    // Where its cgroup is known, its name says nothing.
    let (unit, kills) = unit_of(
        ProgramKill {
            name: Some(KernelText::from("web")),
            ..of_unit("/system.slice/other.service")
        },
        11,
        ended(15),
    );
    assert_eq!((unit.as_deref(), kills), (Some("other.service"), 2));
}

#[test]
fn a_unit_that_ended_before_the_signal_was_sent_is_not_its_victims() {
    let ended = || UnitEvent::EndedBy { signal: 15 };
    assert_eq!(unit_of(sent(15, "web"), 9, ended()), (None, 2));
    let in_cgroup = ProgramKill {
        cgroup: path("/system.slice/web.service"),
        ..sent(15, "web")
    };
    assert_eq!(
        unit_of(in_cgroup, 9, ended()).1,
        2,
        "that end is another kill"
    );
    assert_eq!(
        unit_of(sent(15, "web"), 10, ended()).1,
        1,
        "in the same second"
    );
}

#[test]
fn of_several_victims_with_a_name_the_last_before_the_units_end_is_its() {
    let victim = |second, pid| {
        let pid = Some(pid);
        at(
            second,
            KillRecord::Program(ProgramKill {
                pid,
                ..sent(15, "web")
            }),
        )
    };
    let end = at(13, unit_record(UnitEvent::EndedBy { signal: 15 }));
    let records = [victim(10, 7), victim(12, 8), victim(14, 9), end];
    let kills = explain_kills(&records, &SYSTEMD);
    let named: Vec<_> = kills
        .iter()
        .map(|kill| (kill.pid, kill.unit.is_some()))
        .collect();
    assert_eq!(named, [(Some(7), false), (Some(8), true), (Some(9), false)]);
}

#[test]
fn an_end_that_earlyoom_may_have_caused_says_so_and_claims_nothing() {
    let untied = |event| {
        let records = [
            at(10, KillRecord::Program(sent(15, "worker"))),
            at(11, unit_record(event)),
        ];
        let kills = explain_kills(&records, &SYSTEMD);
        let of_unit = kills.iter().find(|kill| kill.unit.is_some()).unwrap();
        of_unit.explanation.clone()
    };
    let told = "earlyoom sent SIGTERM to worker (7) at that time";
    assert!(says(&untied(UnitEvent::EndedBy { signal: 15 }), told));
    assert!(says(&untied(UnitEvent::PassedOn { signal: 15 }), told));
    assert!(!says(&untied(UnitEvent::EndedBy { signal: 9 }), told));
}

#[test]
fn what_others_manage_gets_their_own_command() {
    let docker = "/system.slice/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope";
    let kill = one(&[at(1, kernel(of_cgroup(docker, docker)))], &SYSTEMD);
    assert!(says(&kill.advice, "docker update --memory 157286400"));
    assert!(!says(&kill.advice, "memory-enforce"));
}

#[test]
fn a_limit_below_what_we_set_is_raised_and_not_lowered() {
    let mut report = of_cgroup("/system.slice/web.service", "/system.slice/web.service");
    report.memory = report.memory.map(|memory| CounterUse {
        limit: MemoryLimit::Bytes(Bytes::from_mib(32)),
        ..memory
    });
    let kill = one(&[at(1, kernel(report))], &FACTS);
    // The path tells that it is a unit, wherever the log is read.
    assert!(says(&kill.advice, "--target web.service --limit 64M"));
    assert!(!says(&kill.advice, "--high"));
}

#[test]
fn a_path_is_one_word_of_a_shell() {
    let kill = one(&[at(1, kernel(of_cgroup("/a b's", "/a b's")))], &FACTS);
    assert!(says(&kill.advice, r"--target '/a b'\''s'"));
}

#[test]
fn a_name_is_in_a_command_as_its_bytes_or_no_command_is_given() {
    let hostile = "/a\x1b[2J: sudo reboot";
    let kill = one(&[at(1, kernel(of_cgroup(hostile, hostile)))], &FACTS);
    assert!(says(
        &kill.advice,
        r"--target $'/a\033[2J: sudo reboot' --limit"
    ));
    let mut report = of_cgroup("/", "/");
    report.limit_cgroup = CgroupPath::new(b"/a\xff");
    let kill = one(&[at(1, kernel(report))], &FACTS);
    assert!(says(&kill.advice, "not UTF-8"));
    assert!(!says(&kill.advice, "--target"));
    let killed = |name: &[u8]| {
        let mut report = of_machine();
        report.name = Some(KernelText::from(name));
        report.tasks[0].name = KernelText::from(name);
        report.victim_cgroup = CgroupPath::new(b"/");
        one(&[at(1, kernel(report))], &FACTS).advice
    };
    let named = killed(b"-x'\n: sudo ;");
    assert!(says(
        &named,
        r"--target $'name:-x\'\012: sudo ;' --oom-score-adj"
    ));
    for untyped in [&b"a\xff"[..], b"a "] {
        assert!(says(&killed(untyped), "cannot be typed"));
        assert!(!says(&killed(untyped), "--target"));
    }
}

#[test]
fn no_limit_is_advised_where_none_can_be_set() {
    let unlimited = KillFacts {
        has_limits: false,
        ..SYSTEMD
    };
    let unit = "/system.slice/web.service";
    let mut of_version_1 = of_cgroup("/web", "/web");
    of_version_1.memory_and_swap = of_version_1.memory;
    let nested = "/system.slice/web.service/inner";
    for (report, facts) in [
        (of_cgroup("/web", "/web"), &unlimited),
        (of_cgroup(unit, unit), &unlimited),
        (of_cgroup(nested, nested), &unlimited),
        (of_machine(), &unlimited),
        (of_version_1, &FACTS),
    ] {
        let kill = one(&[at(1, kernel(report))], facts);
        assert!(!says(&kill.advice, "--limit"), "{:?}", kill.advice);
        assert!(!says(&kill.advice, "--high"), "{:?}", kill.advice);
        assert!(says(&kill.advice, "cgroup version 2"), "{:?}", kill.advice);
        // systemd knows how, on either version.
        let is_unit = kill.limit_cgroup == path(unit);
        assert_eq!(says(&kill.advice, "MemoryMax="), is_unit);
    }
}

#[test]
fn of_what_is_gone_no_command_is_given() {
    let unit = |name: &str| Target::Unit(name.to_owned());
    let missing = [
        Target::Cgroup(path("/web").unwrap()),
        Target::Cgroup(path("/build").unwrap()),
        Target::Name("web".to_owned()),
        unit("web.service"),
        unit("web.scope"),
    ];
    let facts = KillFacts {
        missing: &missing,
        ..SYSTEMD
    };
    let advice = |report| one(&[at(1, kernel(report))], &facts).advice;
    for own in ["/web", "/system.slice/web.scope"] {
        let [said] = &advice(of_cgroup(own, own))[..] else {
            panic!("{:?}", advice(of_cgroup(own, own)));
        };
        assert!(said.contains("not there now"), "{said}");
    }
    // A service's file stays.
    let of_unit = advice(of_cgroup(
        "/system.slice/web.service",
        "/system.slice/web.service",
    ));
    assert!(says(
        &of_unit,
        "where the unit has a file: systemctl set-property -- web.service"
    ));
    assert!(!says(&of_unit, "--target"));
    let of_machine = advice(of_machine());
    assert!(!says(&of_machine, "--target"), "{of_machine:?}");
    assert!(says(&of_machine, "it has ended"));
    let killed = one(&[at(1, unit_record(UnitEvent::KernelKilled))], &facts);
    assert!(!says(&killed.advice, "--target"));
    // All that may be named is looked for.
    let named = named_targets(
        &[
            at(1, kernel(of_cgroup("/web", "/build"))),
            at(2, unit_record(UnitEvent::KernelKilled)),
        ],
        true,
    );
    for target in &missing[..4] {
        assert!(named.contains(target), "{target:?} of {named:?}");
    }
}

#[test]
fn exit_code_137_may_be_the_killer_and_143_never_is() {
    let killed = explain_kills(&[at(1, kernel(of_cgroup("/web", "/web")))], &FACTS);
    let code = explain_exit_code(137, &killed, true);
    assert_eq!((code.signal, code.can_be_oom_killer), (Some(9), true));
    assert!(says(
        &code.explanation,
        "the kernel's out-of-memory killer did 1, systemd-oomd 0,"
    ));
    let silent = explain_exit_code(137, &[], true);
    assert!(says(&silent.explanation, "somebody sent it the signal"));
    let unsearched = explain_exit_code(137, &[], false);
    assert!(!says(
        &unsearched.explanation,
        "somebody sent it the signal"
    ));
    let code = explain_exit_code(143, &killed, true);
    assert_eq!((code.signal, code.can_be_oom_killer), (Some(15), false));
    assert!(says(
        &code.explanation,
        "out-of-memory killer never sends it"
    ));
}

#[test]
fn an_exit_status_that_passes_a_kill_on_names_its_unit() {
    let unit = "/system.slice/web.service";
    let passed = || unit_record(UnitEvent::PassedOn { signal: 9 });
    let known = one(
        &[at(1, kernel(of_cgroup(unit, unit))), at(2, passed())],
        &SYSTEMD,
    );
    assert_eq!(known.killer, Killer::KernelCgroup);
    assert!(says(
        &known.explanation,
        "for web.service ended with exit status 137"
    ));
    let alone = one(&[at(1, passed())], &SYSTEMD);
    assert_eq!((alone.killer, alone.signal), (Killer::Unknown, Some(9)));
    assert_eq!(alone.unit, Some(KernelText::from("web.service")));
    assert!(says(
        &alone.explanation,
        "for web.service ended with exit status 137"
    ));
    let code = explain_exit_code(137, &[known], true);
    assert!(says(
        &code.explanation,
        "processes of these units: web.service"
    ));
}

#[test]
fn the_unit_of_a_kill_is_named_where_its_cgroup_alone_tells() {
    let unit = "/system.slice/web.service";
    let kill = one(&[at(1, kernel(of_cgroup("/system.slice", unit)))], &SYSTEMD);
    assert_eq!(kill.unit, Some(KernelText::from("web.service")));
    assert!(says(&kill.explanation, "web.service"));
    let machine = KernelKill {
        victim_cgroup: path(unit),
        ..of_machine()
    };
    let kill = one(&[at(1, kernel(machine))], &SYSTEMD);
    assert!(says(&kill.explanation, "it was of the unit web.service"));
    let kill = one(&[at(1, kernel(of_cgroup("/web", "/web")))], &SYSTEMD);
    assert_eq!(kill.unit, None);
}

#[test]
fn only_128_plus_a_signal_is_a_signal() {
    for code in [0, 1, 9, 15, 126, 127, 128, 193, 255] {
        let explained = explain_exit_code(code, &[], true);
        assert_eq!(
            (explained.signal, explained.can_be_oom_killer),
            (None, false),
            "{code}"
        );
        assert_eq!(explained.explanation.len(), 1);
    }
    for code in 129..=192 {
        let explained = explain_exit_code(code, &[], true);
        assert_eq!(explained.signal, Some(code - 128));
        assert_eq!(explained.can_be_oom_killer, code == 137, "{code}");
    }
}

fn group(text: &str, oom_kill: u64) -> CgroupMemory {
    serde_json::from_value(serde_json::json!({
        "path": text, "id": 1, "can_reclaim": false,
        "events": {"oom_kill": oom_kill},
    }))
    .unwrap()
}

#[test]
fn a_counter_that_no_log_explains_is_told_once_and_lowest() {
    let groups = [
        group("/a", 3),
        group("/a/b", 2),
        group("/a/c", 0),
        group("/d", 1),
        group("/e", 2),
        group("/e/f", 2),
    ];
    let told: Vec<_> = unlogged_kills(&groups, &[])
        .into_iter()
        .map(|kills| (kills.cgroup.to_string(), kills.oom_kills, kills.logged))
        .collect();
    assert_eq!(
        told,
        [
            ("/a".to_owned(), 3, 0),
            ("/a/b".to_owned(), 2, 0),
            ("/d".to_owned(), 1, 0),
            // All of it is in the lower one.
            ("/e/f".to_owned(), 2, 0)
        ]
    );
    let logged = [
        at(1, kernel(of_cgroup("/a", "/a/b"))),
        at(
            2,
            kernel(KernelKill {
                told: 2,
                pid: Some(8),
                ..of_cgroup("/a", "/a")
            }),
        ),
        at(
            3,
            kernel(KernelKill {
                pid: Some(9),
                ..of_cgroup("/d", "/d")
            }),
        ),
    ];
    // A group was killed as one: the log names the group, the counter is below.
    assert_eq!(unlogged_kills(&groups[..4], &logged), []);
}
