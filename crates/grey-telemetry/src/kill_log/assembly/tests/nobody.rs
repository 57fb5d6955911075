//! Reports that end without a victim.

use grey_model::{NobodyKilledRecord, NobodyReason};

use super::*;

const NO_CANDIDATE: &str = "Out of memory and no killable processes...";
const DEADLOCK: &str = "Kernel panic - not syncing: System is deadlocked on memory";
const COMPULSORY: &str =
    "Kernel panic - not syncing: Out of memory: compulsory panic_on_oom is enabled";

/// Those of the log's records; all of them are.
fn nobody(lines: &[&str]) -> Vec<NobodyKilledRecord> {
    let lines: Vec<_> = lines.iter().map(|line| (None, *line)).collect();
    let assembled = assemble(&lines);
    assert_eq!(assembled.unfinished, 0);
    let records = assembled.records.into_iter();
    records
        .map(|logged| match logged.record {
            KillRecord::Nobody(nobody) => *nobody,
            other => panic!("{other:?}"),
        })
        .collect()
}

/// What stands before it, of the machine or of a cgroup.
fn head(cgroup: Option<&str>) -> Vec<String> {
    let lines = report(cgroup.unwrap_or("/"), 7, 100);
    let is_of_cgroup = |line: &&String| line.starts_with("memory") || line.starts_with("Memory");
    lines[..6]
        .iter()
        .filter(|line| cgroup.is_some() || !is_of_cgroup(line))
        .cloned()
        .collect()
}

fn after(head: &[String], ends: &[&'static str]) -> Vec<NobodyKilledRecord> {
    let head = head.iter().map(String::as_str);
    nobody(&head.chain(ends.iter().copied()).collect::<Vec<_>>())
}

#[test]
fn a_panic_for_want_of_memory_has_the_facts_of_its_report() {
    let found = after(&head(None), &[NO_CANDIDATE, DEADLOCK]);
    assert_eq!(found.len(), 1, "{found:#?}");
    let nobody = &found[0];
    assert_eq!(nobody.reason, NobodyReason::NoCandidate);
    assert!(nobody.panicked && nobody.report.whole);
    assert_eq!(nobody.report.constraint, Some(Constraint::Machine));
    assert_eq!(nobody.report.asked_by, Some(KernelText::from("asker-7")));
    assert_eq!(nobody.report.tasks.len(), 1);
    let found = after(&head(Some("/web")), &[COMPULSORY]);
    let report = &found[0].report;
    assert_eq!(found[0].reason, NobodyReason::PanicOnOomCompulsory);
    assert_eq!(report.limit_cgroup, CgroupPath::new(b"/web"));
    let limit = MemoryLimit::Bytes(Bytes::from_kib(100));
    assert_eq!(report.memory.map(|memory| memory.limit), Some(limit));
}

#[test]
fn a_cgroup_in_which_nobody_may_be_killed_is_no_panic() {
    let mut lines = head(Some("/web"));
    lines.push(NO_CANDIDATE.to_owned());
    let found = after(&lines, &[DEADLOCK]);
    assert_eq!(found.len(), 2, "the panic is another matter");
    assert!(!found[0].panicked && found[1].panicked);
    assert_eq!(found[0].report.constraint, Some(Constraint::Cgroup));
    assert_eq!(found[1].report.constraint, None);
}

#[test]
fn a_panic_alone_is_told_and_nothing_is_invented() {
    for (line, reason) in [
        (DEADLOCK, NobodyReason::NoCandidate),
        (COMPULSORY, NobodyReason::PanicOnOomCompulsory),
    ] {
        let found = nobody(&[line]);
        let expected = NobodyKilledRecord {
            reason,
            panicked: true,
            report: KernelKill::default(),
        };
        assert_eq!(found, [expected]);
    }
}

#[test]
fn a_kill_before_a_panic_stays_a_kill() {
    let mut lines = report("/web", 7, 100);
    // Its last line is lost.
    lines.pop();
    lines.push(DEADLOCK.to_owned());
    let assembled = assemble(&from(None, &lines));
    let [kill, nobody] = &assembled.records[..] else {
        panic!("{assembled:#?}");
    };
    assert!(matches!(&kill.record, KillRecord::Kernel(kill) if kill.pid == Some(7)));
    let report = match &nobody.record {
        KillRecord::Nobody(nobody) => &nobody.report,
        other => panic!("{other:?}"),
    };
    assert_eq!(*report, KernelKill::default());
}
