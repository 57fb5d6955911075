//! Facts about exit codes and counters, which tell of kills without a log.

use super::*;

#[test]
fn exit_code_137_may_be_the_killer_and_143_never_is() {
    let killed = explain_kills(&[at(1, kernel(of_cgroup("/web", "/web")))], &FACTS);
    let code = explain_exit_code(137, &killed, true);
    assert_eq!((code.signal, code.can_be_oom_killer), (Some(9), true));
    assert!(says(
        &code.explanation,
        "the kernel's out-of-memory killer did 1, systemd-oomd 0,"
    ));
    const NOT_FOR_MEMORY: &str = "it was not the out-of-memory killer";
    let silent = explain_exit_code(137, &[], true);
    assert!(says(&silent.explanation, NOT_FOR_MEMORY));
    let unsearched = explain_exit_code(137, &[], false);
    assert!(!says(&unsearched.explanation, NOT_FOR_MEMORY));
    let code = explain_exit_code(143, &killed, true);
    assert_eq!((code.signal, code.can_be_oom_killer), (Some(15), false));
    assert!(says(
        &code.explanation,
        "The kernel's out-of-memory killer never sends it"
    ));
}

#[test]
fn what_systemd_says_of_the_out_of_memory_killer_counts_as_its_kill() {
    let unit = |seconds, unit: &str, event| {
        let unit = KernelText::from(unit);
        at(seconds, KillRecord::Unit(UnitRecord { unit, event }))
    };
    let cut = KernelKill {
        pid: Some(7),
        told: 1,
        ..KernelKill::default()
    };
    let records = [
        unit(1, "a.service", UnitEvent::KernelKilled),
        unit(100, "b.service", FAILED_BY_OOM),
        unit(200, "c.service", UnitEvent::PassedOn { signal: 9 }),
        at(300, kernel(cut)),
        at(400, kernel(of_machine())),
    ];
    let kills = explain_kills(&records, &SYSTEMD);
    assert_eq!(kills.len(), 5);
    let oomd = [&KERNEL[..], &[Killer::SystemdOomd]].concat();
    let can_be: Vec<_> = kills.iter().map(|kill| kill.can_be.clone()).collect();
    let kernels = || Some(KERNEL.to_vec());
    assert_eq!(can_be, [kernels(), Some(oomd), None, kernels(), None]);
    let told = explain_exit_code(137, &kills, true).explanation;
    let counted = "killer did 3, systemd-oomd 0, one of these two 1, and somebody else, or nobody \
                   knows who, 1:";
    assert!(says(&told, counted), "{told:#?}");
    let told = explain_exit_code(137, &kills[2..], true).explanation;
    assert!(says(
        &told,
        "killer did 2, systemd-oomd 0, and somebody else"
    ));
    // That a unit failed by it is enough to say something.
    let told = explain_exit_code(137, &kills[1..2], true).explanation;
    assert!(says(&told, "one of these two 1"), "{told:#?}");
}

#[test]
fn without_a_kill_in_a_log_137_need_not_be_of_somebody() {
    for code in [9, 137] {
        let explained = explain_exit_code(code, &[], true).explanation;
        for cause in [
            "RLIMIT_CPU",
            "a container's first process",
            "PR_SET_PDEATHSIG",
            "a stop that took too long",
        ] {
            assert!(says(&explained, cause), "{code}: {explained:#?}");
        }
        assert!(!says(&explained, "somebody sent it"));
        assert_eq!(says(&explained, "can end with 137 by itself"), code == 137);
    }
}

#[test]
fn a_number_up_to_31_is_an_exit_status_or_a_signal() {
    for (code, name) in [
        (1, "SIGHUP"),
        (9, "SIGKILL"),
        (15, "SIGTERM"),
        (31, "SIGSYS"),
    ] {
        let explained = explain_exit_code(code, &[], true);
        assert_eq!(explained.signal, None, "{code} need not be a signal");
        assert_eq!(explained.can_be_oom_killer, code == 9);
        assert!(says(&explained.explanation, "can be an exit status"));
        let told = format!("status={code}, or what waitpid() tells: then it is {name}");
        assert!(says(&explained.explanation, &told), "{explained:#?}");
    }
    // These end nobody: SIGCHLD, SIGWINCH.
    for code in [17, 28] {
        let explained = explain_exit_code(code, &[], true);
        assert!(says(&explained.explanation, "stands for no signal"));
    }
}

#[test]
fn who_ended_by_itself_may_have_had_a_child_that_was_killed() {
    let kills = explain_kills(&[at(1, kernel(of_cgroup("/web", "/web")))], &FACTS);
    for code in [1, 100, 255] {
        let found = explain_exit_code(code, &kills, true).explanation;
        assert!(says(&found, "compare with the kill that was found"));
        let silent = explain_exit_code(code, &[], true).explanation;
        assert!(says(&silent, "a process that it had started was killed"));
        assert!(!says(&silent, "no killer"));
    }
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
    for code in [0, 17, 32, 126, 127, 128, 193, 255] {
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
