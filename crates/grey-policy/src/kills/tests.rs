//! Whose kill it was, in which words, and with which advice; here of the
//! kernel's kills.

mod advice;
mod by_others;
mod exit_codes;
mod nobody;
mod shortage;

use grey_model::{
    Bytes, CgroupMemory, CgroupPath, Constraint, CounterUse, KernelKill, MemoryLimit,
    MemoryRequest, OomdCause, OomdKill, Pages, Percent, ProgramKill, TaskRow, UnitEvent,
    UnitRecord,
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

/// Of a unit that had run since before the log.
const FAILED_BY_OOM: UnitEvent = UnitEvent::FailedByOom { ran_for: None };

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
        request: Some(MemoryRequest::Pages {
            order: 0,
            zone: None,
        }),
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
fn who_can_never_be_killed_is_not_counted_among_those_who_could() {
    let choice = |others: &[TaskRow], tasks_left_out| {
        let mut tasks = vec![row(7, "web", 95, 0)];
        tasks.extend_from_slice(others);
        let report = KernelKill {
            tasks,
            tasks_left_out,
            ..of_machine()
        };
        one(&[at(1, kernel(report))], &FACTS).explanation
    };
    let spared = row(9, "sshd", 4, -1000);
    let other = row(10, "shell", 4, -999);
    let nobody = choice(std::slice::from_ref(&spared), 0);
    assert!(says(&nobody, "nobody else could have been killed for it"));
    let both = choice(&[spared.clone(), other], 0);
    assert!(says(&both, "largest of the 2 processes that could"));
    let cut = choice(&[spared], 3);
    assert!(says(&cut, "largest of the 1 processes that are listed"));
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
