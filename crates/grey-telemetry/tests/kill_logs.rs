//! The logs that real kernels and systemd wrote of real kills
//! (`fixtures/capture-kills.sh`), whole and damaged; and arbitrary bytes.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use grey_model::{
    Bytes, CgroupPath, Constraint, KernelKill, KernelText, KillRecord, LoggedRecord, MemoryLimit,
    UnitEvent, WallTime,
};
use grey_telemetry::kill_log::assembly::{MOST_RECORDS, MOST_TASKS};
use grey_telemetry::kill_log::kernel::parse_kernel_line;
use grey_telemetry::kill_log::kmsg::{parse_record, read_kmsg};
use grey_telemetry::kill_log::line::parse_line;
use grey_telemetry::kill_log::service::parse_service_line;
use grey_telemetry::kill_log::{KillLog, LogFindings};
use proptest::prelude::*;

/// The kernels whose kills were captured.
const KERNELS: [&str; 3] = ["5.10", "6.1", "6.12"];

/// What systemd's guest wrote, in every form; `true` where systemd's own lines
/// are in it.
const OF_SYSTEMD: [(&str, bool); 11] = [
    ("journal-json", true),
    ("journal-short", true),
    ("journal-short-full", true),
    ("journal-short-iso", true),
    ("journal-short-iso-precise", true),
    ("journal-short-monotonic", true),
    ("journal-short-precise", true),
    ("journal-short-unix", true),
    ("dmesg-T", false),
    ("dmesg-iso", false),
    ("dmesg-x", false),
];

fn captured(kernel: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/captured")
        .join(kernel)
        .join(name)
}

fn search(text: &[u8]) -> LogFindings {
    let mut log = KillLog::default();
    log.push(text);
    log.finish()
}

fn search_captured(kernel: &str, name: &str) -> LogFindings {
    search(&std::fs::read(captured(kernel, name)).unwrap())
}

fn kernel_kills(records: &[LoggedRecord]) -> Vec<&KernelKill> {
    let kills = records.iter().filter_map(|record| match &record.record {
        KillRecord::Kernel(kill) => Some(&**kill),
        _ => None,
    });
    kills.collect()
}

/// The four kills of the script: by the limit above, a group of two, and by
/// the machine.
fn assert_the_four(findings: &LogFindings, of: &str) {
    let kills = kernel_kills(&findings.assembled.records);
    let path = |text: &str| CgroupPath::new(text.as_bytes());
    assert_eq!(kills.len(), 4, "{of}: {kills:#?}");
    for kill in &kills {
        assert!(kill.whole, "{of}: {kill:#?}");
        assert!(!kill.tasks.is_empty(), "{of}");
        assert!(kill.anon.is_some() && kill.uid == Some(0), "{of}");
    }
    let names: Vec<_> = kills
        .iter()
        .map(|kill| kill.name.clone().unwrap())
        .collect();
    let named = ["kernel-cases", "kernel-cases", "sleep", "kernel-cases"].map(KernelText::from);
    assert_eq!(names, named, "{of}");
    let limits = [
        path("/capture"),
        path("/capture/inner"),
        path("/capture/inner"),
        None,
    ];
    for (kill, limit) in kills.iter().zip(limits) {
        assert_eq!(kill.limit_cgroup, limit, "{of}");
        assert_eq!(kill.memory.is_some(), limit.is_some(), "{of}");
        if let Some(memory) = kill.memory {
            assert_eq!(
                memory.limit,
                MemoryLimit::Bytes(Bytes::from_mib(32)),
                "{of}"
            );
            // It is killed a little before the last page, too.
            let usage = memory.usage;
            assert!(
                usage > Bytes::from_mib(31) && usage <= Bytes::from_mib(32),
                "{of}: {usage}"
            );
        }
    }
    for kill in &kills[..3] {
        assert_eq!(kill.victim_cgroup, path("/capture/inner"), "{of}");
        assert_eq!(kill.constraint, Some(Constraint::Cgroup), "{of}");
    }
    assert_eq!(kills[0].killed_group, None, "{of}");
    // The kernel tells of a group's first victim twice.
    assert_eq!((kills[1].told, kills[2].told), (2, 1), "{of}");
    assert_eq!(kills[1].killed_group, path("/capture/inner"), "{of}");
    assert_eq!(kills[2].killed_group, path("/capture/inner"), "{of}");
    assert_eq!(kills[3].constraint, Some(Constraint::Machine), "{of}");
    assert_eq!(kills[3].swap_total, Some(Bytes(0)), "{of}");
    assert_eq!(kills[3].tasks[0].name, named[3], "{of}");
}

#[test]
fn what_kmsg_says_of_kills_is_understood_on_every_kernel() {
    for kernel in KERNELS {
        assert_the_four(&search_captured(kernel, "dev/kmsg"), kernel);
    }
}

#[test]
fn what_dmesg_says_is_what_kmsg_says() {
    for kernel in KERNELS {
        let dmesg = search_captured(kernel, "log/dmesg");
        assert_the_four(&dmesg, kernel);
        let kmsg = search_captured(kernel, "dev/kmsg");
        assert_eq!(dmesg.assembled, kmsg.assembled, "{kernel}");
    }
}

#[test]
fn a_kmsg_that_is_a_file_is_read_as_the_device_is() {
    let mut log = KillLog::default();
    let reading = read_kmsg(&captured("6.12", "dev/kmsg"), &mut log).unwrap();
    assert!(reading.first_sequence.is_some_and(|first| first > 0));
    assert!(!reading.is_from_boot());
    assert_the_four(&log.finish(), "6.12");
    let missing = read_kmsg(Path::new("/nonexistent/kmsg"), &mut KillLog::default());
    assert!(missing.unwrap_err().is_missing());
}

#[test]
fn a_log_that_lost_its_beginning_gives_what_it_has() {
    let whole = std::fs::read(captured("6.12", "dev/kmsg")).unwrap();
    let lines: Vec<&[u8]> = whole.split_inclusive(|&byte| byte == b'\n').collect();
    for first in 0..lines.len() {
        let findings = search(&lines[first..].concat());
        for kill in kernel_kills(&findings.assembled.records) {
            assert!(kill.pid.is_some(), "from line {first}");
        }
    }
    // The last line but one is the machine's kill, or its reaper's.
    let last = search(&lines[lines.len() - 2..].concat());
    assert_eq!(kernel_kills(&last.assembled.records).len(), 1);
}

/// How long a unit had run is told to the second or to the microsecond, and only
/// where the log has the boot.
fn without_length(event: &UnitEvent) -> UnitEvent {
    match event {
        UnitEvent::FailedByOom { ran_for } => {
            assert!(ran_for.is_none_or(|ran_for| ran_for < Duration::from_secs(120)));
            FAILED_BY_OOM
        }
        event => event.clone(),
    }
}

#[test]
fn every_form_of_a_log_tells_the_same() {
    let limit = CgroupPath::new(b"/system.slice/web.service");
    for (name, has_units) in OF_SYSTEMD {
        let findings = search_captured("6.12", &format!("log/{name}"));
        let records = &findings.assembled.records;
        let kills = kernel_kills(records);
        assert_eq!(kills.len(), 1, "{name}");
        assert_eq!(kills[0].limit_cgroup, limit, "{name}");
        assert_eq!(
            kills[0].swap.unwrap().limit,
            MemoryLimit::Bytes(Bytes(0)),
            "{name}"
        );
        assert!(kills[0].whole, "{name}");
        let time = records[0].time;
        let is_timed = time.since_boot.is_some() || time.wall != WallTime::Unknown;
        assert!(is_timed, "{name}");
        let events: Vec<_> = records
            .iter()
            .filter_map(|record| match &record.record {
                KillRecord::Unit(unit) => {
                    Some((unit.unit.to_string(), without_length(&unit.event)))
                }
                _ => None,
            })
            .collect();
        let ended = |unit: &str, signal| (unit.to_owned(), UnitEvent::EndedBy { signal });
        let expected = [
            ("web.service".to_owned(), UnitEvent::KernelKilled),
            ended("web.service", 9),
            ("web.service".to_owned(), FAILED_BY_OOM),
            ended("once.service", 15),
            ended("third.service", 9),
        ];
        assert_eq!(
            events,
            if has_units { &expected[..] } else { &[] },
            "{name}"
        );
    }
}

const FAILED_BY_OOM: UnitEvent = UnitEvent::FailedByOom { ran_for: None };

fn all_captured() -> &'static [Vec<u8>] {
    static LOGS: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    LOGS.get_or_init(|| {
        let kernels = KERNELS.iter().map(|kernel| captured(kernel, "dev/kmsg"));
        let forms = OF_SYSTEMD
            .iter()
            .map(|(name, _)| captured("6.12", &format!("log/{name}")));
        let read = |path: PathBuf| std::fs::read(path).unwrap();
        kernels.chain(forms).map(read).collect()
    })
}

fn feed_everything(text: &[u8]) {
    let findings = search(text);
    assert!(findings.assembled.records.len() <= MOST_RECORDS);
    for kill in kernel_kills(&findings.assembled.records) {
        assert!(kill.tasks.len() <= MOST_TASKS);
    }
    for line in text.split(|&byte| byte == b'\n') {
        let _ = parse_line(line);
        let _ = parse_record(line);
        let _ = parse_kernel_line(line);
        for program in [
            None,
            Some(&b"systemd"[..]),
            Some(b"systemd-oomd"),
            Some(b"earlyoom"),
        ] {
            let _ = parse_service_line(program, line);
        }
    }
}

/// What reports are made of.
const PIECES: &[&[u8]] = &[
    b"[ 1.5] ",
    b"3,1,2,-,caller=T1;",
    b"Nov 21 10:04:05 box kernel: ",
    b"\n",
    b" invoked oom-killer: order=-",
    b"memory: usage ",
    b"Memory cgroup stats for ",
    b"[  pid  ] uid tgid rss swapents oom_score_adj name",
    b"[ 1] 2 3 4 5 6 7",
    b"oom-kill:constraint=",
    b",task=",
    b",pid=",
    b",uid=",
    b"Memory cgroup out of memory: Killed process ",
    b" (",
    b") total-vm:",
    b"7",
    b"18446744073709551616",
    b"Out of memory and no killable processes",
    b"Kernel panic - not syncing: ",
    b"System is deadlocked on memory",
    b"Tasks in /",
    b" are going to be killed due to memory.oom.group",
    b"Killed /",
    b" due to ",
    b"sending SIGTERM to process ",
    b"\"",
    b": ",
    b"{\"MESSAGE\":",
    b"\xff\\x",
];

proptest! {
    #[test]
    fn arbitrary_bytes_panic_nothing(text in proptest::collection::vec(any::<u8>(), 0..400)) {
        feed_everything(&text);
    }

    #[test]
    fn pieces_of_reports_panic_nothing(
        pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..40),
    ) {
        feed_everything(&pieces.concat());
    }

    #[test]
    fn damaged_logs_panic_nothing(
        which in 0usize..14, from in any::<usize>(), until in any::<usize>(),
        at in any::<usize>(), byte in any::<u8>(), again in any::<usize>(),
    ) {
        let mut text = all_captured()[which].clone();
        let length = text.len();
        text[at % length] = byte;
        let (from, until) = (from % length, until % length);
        text.drain(from.min(until)..from.max(until));
        let half = again % (text.len() + 1);
        text.extend_from_within(half..);
        feed_everything(&text);
    }
}

#[test]
fn each_line_of_a_real_log_is_in_a_known_form() {
    for (number, log) in all_captured().iter().enumerate() {
        let findings = search(log);
        let spoken = findings.lines - findings.blank_lines;
        assert_eq!(findings.known_lines, spoken, "log {number}");
    }
}
