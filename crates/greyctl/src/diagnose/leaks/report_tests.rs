//! Which verdicts are shown, and how their numbers read.

use super::*;
use grey_model::{CgroupPath, KernelText, ProcessId};

fn judgement(verdict: LeakVerdict, slope: f64) -> LeakJudgement {
    LeakJudgement {
        verdict,
        growth_bytes: Some(20 << 20),
        growth_percent: Some(25.0),
        slope_bytes_per_second: Some(slope),
        confidence: Some(0.99),
        exhausts_in_seconds: Some(5400.0),
        restarts: 0,
        window_seconds: 60.0,
        needs_seconds: None,
    }
}

fn plain(values: &[Value]) -> String {
    let mut table = Table::new(columns([
        Column::number("A", 0),
        Column::text("B", 0),
        Column::text("C", 0),
    ]));
    table.row(values.to_vec());
    anstream::adapter::strip_str(&table.render(None)).to_string()
}

fn extent(top: usize) -> Extent {
    Extent {
        verbose: false,
        top,
        width: None,
    }
}

#[test]
fn the_numbers_read_as_people_say_them() {
    let first = ["1", "2", "3"].map(Value::new);
    let text = plain(&row(first, &judgement(LeakVerdict::Leak, 349_525.333)));
    for part in ["leak", "+20.0 MiB", "25.0 %", "+20.00", "99 %", "1h 30m"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn what_is_calm_or_beyond_the_top_is_counted() {
    let entries = [
        judgement(LeakVerdict::Leak, 1.0),
        judgement(LeakVerdict::Growing, 1.0),
        judgement(LeakVerdict::Stable, 0.0),
        judgement(LeakVerdict::TooShort, 0.0),
    ];
    let (shown, rest) = chosen(&entries, |entry| entry, is_calm, extent(1));
    assert_eq!(shown.len(), 1);
    assert_eq!(rest, "not shown: 1 growing, 1 stable, 1 too short");
}

#[test]
fn a_cgroup_that_only_has_the_growth_of_one_below_is_explained() {
    let leak = |path: &str, of, slope| CgroupLeak {
        ended: false,
        cgroup: CgroupPath::new(path.as_bytes()).unwrap(),
        of,
        judgement: judgement(LeakVerdict::Leak, slope),
    };
    let (top, below) = (
        leak("/build", GrowthOf::Anonymous, 100.0),
        leak("/build/web", GrowthOf::Anonymous, 95.0),
    );
    let (slab, other) = (
        leak("/build", GrowthOf::Slab, 100.0),
        leak("/build/other", GrowthOf::Slab, 50.0),
    );
    let all = [&top, &below, &slab, &other];
    let explained = all.map(|leak| is_explained(leak, &all));
    assert_eq!(explained, [true, false, false, false]);
}

#[test]
fn times_have_the_units_that_people_think_in() {
    for (seconds, text) in [
        (0.34, "0.3s"),
        (59.6, "1m"),
        (100.0, "1m 40s"),
        (3000.0, "50m"),
        (40_000.0, "11h"),
        (1_000_000.0, "12 days"),
    ] {
        assert_eq!(time(seconds), text);
    }
}

fn process(pid: u32, of: GrowthOf, verdict: LeakVerdict, ended: bool) -> ProcessLeak {
    ProcessLeak {
        id: ProcessId {
            pid,
            start_time_ticks: 1,
        },
        group: KernelText::from("group"),
        cgroup: None,
        name: KernelText::from("name"),
        ended,
        out_of_sight: false,
        of,
        judgement: judgement(verdict, 1.0),
    }
}

/// The section of these processes; the pids of its rows, and its last line.
fn section(processes: &[ProcessLeak], is_asked_for: bool) -> (String, Vec<String>, String) {
    let window = LeakWindow {
        asked_seconds: 60.0,
        seconds: 60.0,
        interval_seconds: 5.0,
        readings: 13,
        ended_early: false,
        needs_seconds: 30.0,
    };
    let text = processes_section(processes, &window, is_asked_for, extent(10));
    let text = anstream::adapter::strip_str(&text).to_string();
    let rows = text.lines().filter_map(|line| {
        let first = line.split_whitespace().next()?;
        first.parse::<u32>().is_ok().then(|| line.trim().to_owned())
    });
    let last = text.lines().last().unwrap_or_default().trim().to_owned();
    (text.clone(), rows.collect(), last)
}

#[test]
fn shared_memory_that_grows_is_a_row_of_its_own_and_a_process_counts_once() {
    let (own, shared) = (GrowthOf::Anonymous, GrowthOf::Shmem);
    let processes = [
        process(1, shared, LeakVerdict::Leak, false),
        process(2, shared, LeakVerdict::Leak, true),
        process(1, own, LeakVerdict::Leak, false),
        process(2, own, LeakVerdict::Stable, true),
        process(3, own, LeakVerdict::Stable, false),
        process(3, shared, LeakVerdict::Stable, false),
    ];
    let (text, rows, last) = section(&processes, false);
    assert!(text.contains("2 of 3 processes"), "{text}");
    assert_eq!(rows.len(), 3, "{text}");
    assert!(rows[0].contains("name (tmpfs and shared)"), "{text}");
    assert!(rows[1].contains("name (tmpfs and shared, ended)"), "{text}");
    assert_eq!(last, "not shown: 2 stable");
}

#[test]
fn what_was_asked_for_has_its_row_and_what_came_and_went_has_none() {
    let own = GrowthOf::Anonymous;
    let processes = [
        process(1, own, LeakVerdict::Growing, true),
        process(2, own, LeakVerdict::Sawtooth, true),
        process(3, own, LeakVerdict::Sawtooth, false),
        process(4, own, LeakVerdict::Stable, false),
    ];
    let (text, rows, last) = section(&processes, false);
    assert_eq!(rows.len(), 2, "{text}");
    assert_eq!(last, "not shown: 1 sawtooth, 1 stable");
    let (text, rows, _) = section(&processes, true);
    assert_eq!(rows.len(), 4, "{text}");
}

#[test]
fn a_group_of_one_has_a_row_where_no_process_of_it_tells_as_much() {
    let group = |verdict| GroupLeak {
        kind: super::super::document::GroupKind::Program,
        group: KernelText::from("group"),
        processes: 1,
        ended: false,
        judgement: judgement(verdict, 1.0),
    };
    let of_it = |verdict| [process(1, GrowthOf::Anonymous, verdict, false)];
    let (leak, growing) = (LeakVerdict::Leak, LeakVerdict::Growing);
    let stable = LeakVerdict::Stable;
    assert!(is_worse_than_its_processes(&group(leak), &[]));
    assert!(is_worse_than_its_processes(&group(leak), &of_it(growing)));
    assert!(!is_worse_than_its_processes(&group(leak), &of_it(leak)));
    assert!(!is_worse_than_its_processes(&group(stable), &[]));
}
