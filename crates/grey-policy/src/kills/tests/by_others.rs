//! Facts about kills by signals, systemd and the programs that watch memory.

use super::*;

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

/// systemd's signal to process `pid`, at `second`.
fn sent_by_systemd(second: i64, signal: u8, pid: u32) -> TimedRecord {
    let name = KernelText::from("wd");
    at(
        second,
        unit_record(UnitEvent::KilledBySystemd { signal, pid, name }),
    )
}

/// What is said of the last of these, of which the watchdog's line is the first.
fn after_the_watchdog(limit: Option<&str>, sent: &[TimedRecord]) -> Kill {
    let limit = limit.map(KernelText::from);
    let mut records = vec![at(10, unit_record(UnitEvent::WatchdogRanOut { limit }))];
    records.extend_from_slice(sent);
    let mut kills = explain_kills(&records, &SYSTEMD);
    assert_eq!(kills.len(), sent.len(), "{kills:#?}");
    kills.pop().unwrap()
}

#[test]
fn what_the_watchdog_has_killed_is_no_slow_stop() {
    let kill = after_the_watchdog(Some("30s"), &[sent_by_systemd(10, 6, 7)]);
    assert_eq!((kill.killer, kill.signal), (Killer::Signal, Some(6)));
    let silent = "for 30s it did not tell systemd that it is alive";
    assert!(says(&kill.explanation, silent), "{:?}", kill.explanation);
    assert!(says(&kill.advice, "show -p WatchdogUSec -- web.service"));
    assert!(!says(&kill.advice, "TimeoutStopUSec"));
    let asked = after_the_watchdog(None, &[sent_by_systemd(10, 6, 7)]);
    assert!(says(&asked.explanation, "WATCHDOG=trigger"));
    // It did not end by that either.
    let slow = after_the_watchdog(
        Some("30s"),
        &[sent_by_systemd(10, 6, 7), sent_by_systemd(100, 9, 7)],
    );
    assert!(says(
        &slow.explanation,
        "after the signal of systemd's watchdog"
    ));
    assert!(says(&slow.advice, "TimeoutAbortUSec -- web.service"));
}

#[test]
fn a_slow_stop_after_a_watchdogs_kill_is_a_slow_stop() {
    let later = [sent_by_systemd(10, 6, 7), sent_by_systemd(100, 9, 8)];
    for sent in [&later[..], &later[1..]] {
        let kill = after_the_watchdog(Some("30s"), sent);
        assert!(says(&kill.advice, "TimeoutStopUSec"), "{:?}", kill.advice);
    }
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

/// What `before` and the end of a unit that failed for memory come to.
fn failed_by_oom(before: &[TimedRecord], signal: u8) -> Vec<Kill> {
    let mut records = before.to_vec();
    records.push(at(100, unit_record(UnitEvent::EndedBy { signal })));
    records.push(at(101, unit_record(FAILED_BY_OOM)));
    let unsearched = KillFacts {
        kernel_log_searched: false,
        ..SYSTEMD
    };
    let kills = explain_kills(&records, &SYSTEMD);
    assert_eq!(kills, explain_kills(&records, &unsearched));
    kills
}

#[test]
fn a_unit_that_failed_for_memory_was_no_persons_victim() {
    for signal in [9, 15] {
        let kills = failed_by_oom(&[], signal);
        assert_eq!(kills.len(), 1, "{kills:#?}");
        let kill = &kills[0];
        assert_eq!((kill.killer, kill.signal), (Killer::Unknown, Some(9)));
        assert_eq!(kill.unit, Some(KernelText::from("web.service")));
        assert!(says(&kill.explanation, "failed with the result oom-kill"));
        assert!(!says(&kill.explanation, "person"));
        assert_eq!(says(&kill.explanation, "OOMPolicy=stop"), signal == 15);
        assert!(says(&kill.advice, "memory-diagnose --target web.service"));
    }
}

#[test]
fn the_report_of_a_kill_says_more_than_that_the_unit_failed_by_it() {
    let group = "/system.slice/web.service";
    let oomd = KillRecord::Oomd(OomdKill {
        cgroup: path(group),
        cause: OomdCause::Other(KernelText::from("the moon")),
    });
    for (record, killer) in [
        (kernel(of_cgroup(group, group)), Killer::KernelCgroup),
        (unit_record(UnitEvent::KernelKilled), Killer::Unknown),
        (
            unit_record(UnitEvent::OomdKilled(Some(3))),
            Killer::SystemdOomd,
        ),
        (oomd, Killer::SystemdOomd),
    ] {
        // A stop of what is left may take its time.
        let kills = failed_by_oom(&[at(11, record)], 15);
        assert_eq!(kills.len(), 1, "{kills:#?}");
        assert_eq!(kills[0].killer, killer);
        assert!(!says(&kills[0].explanation, "result oom-kill"));
        assert!(says(&kills[0].explanation, "OOMPolicy=stop"));
    }
}

#[test]
fn an_end_long_before_a_unit_failed_for_memory_is_its_own() {
    let before = [at(10, unit_record(UnitEvent::EndedBy { signal: 15 }))];
    let kills = failed_by_oom(&before, 9);
    let killers: Vec<Killer> = kills.iter().map(|kill| kill.killer).collect();
    assert_eq!(killers, [Killer::Signal, Killer::Unknown]);
    // A kill in the next run of the unit says nothing of this one.
    let group = "/system.slice/web.service";
    let next = [at(160, kernel(of_cgroup(group, group)))];
    assert_eq!(failed_by_oom(&next, 9).len(), 2);
}

#[test]
fn however_long_a_unit_takes_to_end_after_a_kill_it_is_one_kill() {
    let group = "/system.slice/web.service";
    let killed = |second| at(second, kernel(of_cgroup(group, group)));
    let stopped = |second| {
        let end = unit_record(UnitEvent::EndedBy { signal: 15 });
        [killed(second), at(second + 5, end)]
    };
    for second in [10, -300, -86_400] {
        let kills = failed_by_oom(&stopped(second), 9);
        assert_eq!(kills.len(), 1, "{second}: {kills:#?}");
        assert_eq!(kills[0].killer, Killer::KernelCgroup);
    }
    // Two kills are two, and the result is of neither alone.
    assert_eq!(failed_by_oom(&[killed(-300), killed(-200)], 9).len(), 2);
    let oomd = KillRecord::Oomd(OomdKill {
        cgroup: path(group),
        cause: OomdCause::Other(KernelText::from("the moon")),
    });
    assert_eq!(failed_by_oom(&[at(-300, oomd)], 9).len(), 1);
}

#[test]
fn a_kill_of_an_earlier_run_is_not_why_this_one_failed() {
    let group = "/system.slice/web.service";
    let killed = |second| at(second, kernel(of_cgroup(group, group)));
    let failed = |second, ran_for| {
        let ran_for = Some(Duration::from_secs(ran_for));
        at(second, unit_record(UnitEvent::FailedByOom { ran_for }))
    };
    let times = |records: &[TimedRecord]| -> Vec<(Killer, Option<Moment>)> {
        let kills = explain_kills(records, &SYSTEMD).into_iter();
        kills.map(|kill| (kill.killer, kill.at)).collect()
    };
    let moment = |second: i64| Moment::from_unix_microseconds(second * 1_000_000);
    // The kernel's report of the second is lost; it was so soon, or so late.
    for second in [20, 100, 5000] {
        let records = [
            killed(10),
            failed(11, 5),
            failed(second, second.unsigned_abs() - 11),
        ];
        let expected = [
            (Killer::KernelCgroup, moment(10)),
            (Killer::Unknown, moment(second)),
        ];
        assert_eq!(times(&records), expected);
        // An end of the second run is the second kill's, too.
        let end = at(second - 1, unit_record(UnitEvent::EndedBy { signal: 15 }));
        let [first, failed, again] = records;
        assert_eq!(times(&[first, failed, end, again]).len(), 2);
    }
    // What ended before that run, or after it, is no end of it.
    let end = |second| at(second, unit_record(UnitEvent::EndedBy { signal: 15 }));
    assert_eq!(times(&[end(80), failed(100, 19)]).len(), 2);
    assert_eq!(times(&[end(120), failed(100, 19)]).len(), 2);
    // Both reports are there: each is its own run's.
    let both = [killed(10), failed(11, 5), killed(300), failed(900, 889)];
    let expected = [10, 300].map(|second| (Killer::KernelCgroup, moment(second)));
    assert_eq!(times(&both), expected);
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
