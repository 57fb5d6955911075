//! Times at which the kernel killed nobody.

use grey_model::{NobodyKilled, NobodyKilledRecord, NobodyReason, Shortage, Target};

use super::*;

fn nobody(reason: NobodyReason, panicked: bool, report: KernelKill) -> KillRecord {
    let report = KernelKill {
        pid: None,
        name: None,
        victim_cgroup: None,
        ..report
    };
    KillRecord::Nobody(Box::new(NobodyKilledRecord {
        reason,
        panicked,
        report,
    }))
}

fn with_scores(scores: &[(u32, i16)], report: KernelKill) -> KernelKill {
    let rows = scores.iter().map(|(pid, score)| TaskRow {
        oom_score_adj: *score,
        ..row(*pid, "db", 95, 0)
    });
    KernelKill {
        tasks: rows.collect(),
        ..report
    }
}

fn told(record: KillRecord) -> NobodyKilled {
    let mut all = explain_nobody_killed(&[at(1, record)], &FACTS);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[test]
fn a_machine_that_stopped_is_told_with_the_reason_and_what_helps() {
    let report = with_scores(&[(7, -1000), (8, -1000)], of_machine());
    let case = told(nobody(NobodyReason::NoCandidate, true, report));
    assert_eq!(case.machine_stopped, Some(true));
    assert_eq!(case.shortage, Some(Shortage::Machine));
    let told_of = case.explanation.join("\n");
    for sentence in [
        "the machine stopped (kernel panic: System is deadlocked on memory): the whole machine was",
        "all 2 processes of the report have an oom_score_adj of -1000",
    ] {
        assert!(told_of.contains(sentence), "{told_of}");
    }
    let advice = case.advice.join("\n");
    for command in [
        "greyctl memory-diagnose",
        "--target name:db --oom-score-adj -500",
        "sysctl -w kernel.panic=30",
        "greyctl record",
    ] {
        assert!(advice.contains(command), "{advice}");
    }
    assert!(!advice.contains("panic_on_oom"), "{advice}");
}

#[test]
fn a_machine_that_is_told_to_stop_says_which_setting_does_it() {
    for (reason, setting) in [
        (NobodyReason::PanicOnOom, "vm.panic_on_oom is 1"),
        (NobodyReason::PanicOnOomCompulsory, "vm.panic_on_oom is 2"),
    ] {
        let case = told(nobody(reason, true, of_machine()));
        assert!(case.explanation[0].contains(setting), "{case:#?}");
        assert!(case.advice[0].ends_with("sysctl -w vm.panic_on_oom=0"));
        assert!(!case.advice.join("\n").contains("oom-score-adj"));
    }
}

#[test]
fn a_cgroup_without_a_candidate_does_not_stop_the_machine() {
    let report = || with_scores(&[(7, -1000), (1, 0)], of_cgroup("/web", "/web"));
    let case = told(nobody(NobodyReason::NoCandidate, false, report()));
    assert_eq!(case.machine_stopped, Some(false));
    assert_eq!((case.shortage, &case.limit_cgroup), (None, &path("/web")));
    assert_eq!(case.limit_bytes, Some(Bytes::from_mib(100)));
    let told_of = case.explanation.join("\n");
    for sentence in [
        "the control group /web was at its limit and used 100.0 MiB of 100.0 MiB",
        "the other one is init",
        "the machine went on",
    ] {
        assert!(told_of.contains(sentence), "{told_of}");
    }
    let advice = case.advice.join("\n");
    assert!(advice.contains("--target /web --limit 150M"), "{advice}");
    assert!(!advice.contains("kernel.panic"), "{advice}");
    // The same with vm.panic_on_oom=2 stops it.
    let stops = NobodyReason::PanicOnOomCompulsory;
    assert_eq!(
        told(nobody(stops, true, report())).machine_stopped,
        Some(true)
    );
}

#[test]
fn what_nobody_could_be_killed_for_again_and_again_is_told_once() {
    let again = |seconds, cgroup| {
        let report = of_cgroup(cgroup, cgroup);
        at(seconds, nobody(NobodyReason::NoCandidate, false, report))
    };
    let by_hand = KernelKill {
        request: Some(MemoryRequest::SysRq),
        ..of_machine()
    };
    let records = [
        again(10, "/web"),
        // The same in another log.
        again(10, "/web"),
        again(20, "/web"),
        again(30, "/web"),
        again(40, "/other"),
        at(45, nobody(NobodyReason::NoCandidate, false, by_hand)),
        at(50, nobody(NobodyReason::NoCandidate, true, of_machine())),
        at(60, nobody(NobodyReason::NoCandidate, true, of_machine())),
    ];
    let all = explain_nobody_killed(&records, &FACTS);
    let times: Vec<_> = all.iter().map(|case| case.times).collect();
    assert_eq!(times, [3, 1, 1, 1, 1]);
    assert_eq!(all[0].at, Moment::from_unix_microseconds(10_000_000));
}

#[test]
fn what_the_log_does_not_say_is_not_claimed() {
    let bare = |reason, panicked| told(nobody(reason, panicked, KernelKill::default()));
    let case = bare(NobodyReason::NoCandidate, false);
    assert_eq!((case.machine_stopped, case.shortage), (None, None));
    let told_of = case.explanation.join("\n");
    assert!(
        told_of.contains("the log ends before it says so"),
        "{told_of}"
    );
    assert!(told_of.contains("is not whole"), "{told_of}");
    let case = bare(NobodyReason::NoCandidate, true);
    assert_eq!(case.shortage, Some(Shortage::Machine));
    let case = bare(NobodyReason::PanicOnOomCompulsory, true);
    assert_eq!(case.shortage, None);
}

#[test]
fn whom_sysrq_did_not_find_is_no_stop() {
    let report = KernelKill {
        request: Some(MemoryRequest::SysRq),
        ..of_machine()
    };
    let case = told(nobody(NobodyReason::NoCandidate, false, report));
    assert_eq!(case.machine_stopped, Some(false));
    assert_eq!(case.shortage, Some(Shortage::Nothing));
    assert!(case.explanation[0].contains("SysRq F"), "{case:#?}");
}

#[test]
fn who_is_gone_gets_no_command() {
    let report = with_scores(&[(7, -1000)], of_machine());
    let records = [at(1, nobody(NobodyReason::NoCandidate, true, report))];
    let missing = named_targets(&records, false);
    assert_eq!(missing, [Target::Name("db".to_owned())]);
    let facts = KillFacts {
        missing: &missing,
        ..FACTS
    };
    let advice = explain_nobody_killed(&records, &facts)[0].advice.join("\n");
    assert!(!advice.contains("memory-enforce --target"), "{advice}");
}
