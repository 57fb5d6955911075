//! What samples are made into before they are judged.

use grey_fake_kernel::FakeKernel;
use grey_model::{
    CgroupPath, CgroupValues, GrowthOf, ProcessField, ProcessSample, ProcessValues, Sample,
    SystemField, SystemValues, Target, Trace,
};
use grey_telemetry::Roots;
use grey_telemetry::history::History;
use grey_telemetry::history::{HistoryOptions, HistoryWriter};

use super::*;

mod groups;

const MIB: u64 = 1 << 20;

/// The first second of the samples.
const FIRST: u64 = 100;

/// A process that started at this second after boot and holds so much.
fn process(pid: u32, name: &str, second: u64, mib: u64) -> ProcessSample {
    ProcessSample {
        key: ProcessKey {
            id: ProcessId {
                pid,
                start_time_ticks: second * rustix::param::clock_ticks_per_second(),
            },
            name: KernelText::from(name),
            cgroup: None,
        },
        values: ProcessValues::default()
            .with(ProcessField::Rss, Some(mib * MIB))
            .with(ProcessField::Anonymous, Some(mib * MIB)),
    }
}

fn sample(boot: &str, second: u64, processes: Vec<ProcessSample>) -> Sample {
    Sample {
        at_unix_ms: 1_000_000_000_000 + second * 1000,
        since_boot_ms: (FIRST + second) * 1000,
        boot: BootId(boot.to_owned()),
        system: SystemValues::default(),
        processes,
        cgroups: None,
        groups: None,
    }
}

/// One sample a second, of which the processes are told.
fn each_second(seconds: u64, processes: impl Fn(u64) -> Vec<ProcessSample>) -> Vec<Sample> {
    (0..seconds)
        .map(|second| sample("one", second, processes(second)))
        .collect()
}

fn recorded(samples: &[Sample]) -> Recorded {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    let mut writer = HistoryWriter::open(&path, HistoryOptions::default()).unwrap();
    for sample in samples {
        writer.append(sample).unwrap();
    }
    drop(writer);
    Recorded::read(&mut History::open(&path).unwrap(), 0, u64::MAX).unwrap()
}

fn recalled_of(samples: &[Sample], targets: &[Target]) -> Watched {
    let fake = FakeKernel::full();
    let kernel = Kernel::open(&Roots {
        procfs: fake.procfs(),
        sysfs: fake.sysfs(),
        cgroupfs: fake.cgroupfs(),
        systemd: fake.systemd(),
    })
    .unwrap();
    recall(&kernel, &Scope::typed(targets), &recorded(samples))
}

fn recalled(samples: &[Sample]) -> Watched {
    recalled_of(samples, &[])
}

/// Pid, whether it ended, its lives and what it held, in MiB.
type Told = (u32, bool, Vec<(u64, u64)>);

fn told(watched: &Watched) -> Vec<Told> {
    let subjects = watched.followed.subjects.iter();
    subjects
        .map(|subject| (subject.id.pid, subject.ended, points(&subject.trace)))
        .collect()
}

fn points(trace: &Trace) -> Vec<(u64, u64)> {
    let points = trace.points().iter();
    points
        .map(|point| (point.life, point.amount.get() / MIB))
        .collect()
}

#[test]
fn shared_memory_of_a_process_is_judged_by_what_the_machine_has_more_of() {
    let samples = |machine: fn(u64) -> u64| -> Vec<Sample> {
        (0..4)
            .map(|second| {
                let mut leaker = process(7, "leaker", 0, 100);
                let mapped = Some(20 * (second + 1) * MIB);
                leaker.values = leaker.values.with(ProcessField::Shared, mapped);
                let system = SystemValues::default();
                Sample {
                    system: system.with(SystemField::Shared, Some(machine(second) * MIB)),
                    ..sample("one", second, vec![leaker])
                }
            })
            .collect()
    };
    let shared = |samples: &[Sample]| {
        let watched = recalled(samples);
        watched.followed.subjects[0].shared.judged().map(points)
    };
    let grown = shared(&samples(|second| 500 + 20 * second));
    assert_eq!(grown, Some(vec![(0, 20), (0, 40), (0, 60), (0, 80)]));
    let touched = shared(&samples(|_| 500));
    assert_eq!(touched, Some(vec![(0, 20); 4]));
}

#[test]
fn who_is_not_in_the_last_sample_is_judged_too() {
    // Another process took its room.
    let watched = recalled(&each_second(4, |second| match second {
        0..=2 => vec![
            process(7, "leaker", 0, 100 * (second + 1)),
            process(8, "calm", 0, 1),
        ],
        _ => vec![process(8, "calm", 0, 1), process(9, "new", 103, 5)],
    }));
    let held = vec![(0, 100), (0, 200), (0, 300)];
    let calm = vec![(0, 1); 4];
    assert_eq!(
        told(&watched),
        [(7, true, held), (8, false, calm), (9, false, vec![(0, 5)])]
    );
}

#[test]
fn who_may_only_have_become_smaller_has_not_ended() {
    let watched = recalled(&each_second(3, |second| match second {
        0 | 1 => vec![process(7, "small", 0, 5), process(8, "large", 0, 50)],
        _ => vec![process(8, "large", 0, 50), process(9, "larger", 0, 60)],
    }));
    let ended: Vec<(u32, bool)> = told(&watched)
        .iter()
        .map(|(pid, ended, _)| (*pid, *ended))
        .collect();
    assert_eq!(ended, [(7, false), (8, false), (9, false)]);
}

#[test]
fn where_all_are_recorded_who_is_missing_has_ended() {
    let mut samples = each_second(3, |second| match second {
        0 | 1 => vec![process(7, "small", 0, 5), process(8, "large", 0, 50)],
        _ => vec![process(8, "large", 0, 50)],
    });
    samples[2].system = SystemValues::default().with(SystemField::Processes, Some(1));
    let watched = recalled(&samples);
    assert!(told(&watched)[0].1);
}

#[test]
fn no_trace_goes_over_a_gap_and_the_last_time_that_is_long_enough_counts() {
    // Ten seconds apart: a minute is too short, seven readings later it is not.
    let gaps = |missing: &[u64]| {
        let samples: Vec<Sample> = (0..30)
            .map(|index| {
                let mut all = vec![process(8, "calm", 0, 1)];
                if !missing.contains(&index) {
                    all.push(process(7, "seldom", 0, index));
                }
                sample("one", index * 10, all)
            })
            .collect();
        let watched = recalled(&samples);
        let trace = points(&watched.followed.subjects[0].trace);
        let first = trace.first().map(|(_, held)| *held);
        (watched.followed.subjects[0].id.pid, first, trace.len())
    };
    // 20 to 29 is long enough, although 0 to 18 is longer.
    assert_eq!(gaps(&[19]), (7, Some(20), 10));
    // 27 to 29 is not.
    assert_eq!(gaps(&[3, 26]), (7, Some(4), 22));
}

#[test]
fn a_restart_is_one_that_began_after_the_end() {
    let watched = recalled(&each_second(6, |second| match second {
        0..=2 => vec![process(7, "web", 0, 10 + second), process(6, "calm", 0, 1)],
        3 => vec![process(6, "calm", 0, 1)],
        _ => vec![
            process(6, "calm", 0, 1),
            process(9, "web", 103, 20 + second),
        ],
    }));
    // Of the life before, that it was.
    let web = vec![(0, 12), (1, 24), (1, 25)];
    let found = told(&watched);
    assert!(found.contains(&(9, false, web)), "{found:?}");
    assert_eq!(found.len(), 2);
}

#[test]
fn what_an_earlier_life_held_is_told_of_it_alone() {
    let lives = |seconds, step: u64| {
        let watched = recalled(&each_second(seconds, |second| match second {
            0..=39 => {
                let web = process(7, "web", 0, 10 + second * step);
                vec![web, process(6, "calm", 0, 1)]
            }
            _ => vec![process(6, "calm", 0, 1), process(9, "web", 140, 5)],
        }));
        let found = told(&watched).into_iter();
        found
            .filter(|(pid, _, _)| *pid != 6)
            .map(|(pid, ended, points)| (pid, ended, points.len()))
            .collect::<Vec<_>>()
    };
    // The present one is not long enough: then the last that was is told, too.
    assert_eq!(lives(45, 0), [(7, true, 40), (9, false, 1 + 5)]);
    assert_eq!(lives(80, 0), [(9, false, 1 + 40)]);
    // One that may have leaked is told whatever came after it.
    assert_eq!(lives(80, 1), [(7, true, 40), (9, false, 1 + 40)]);
}

#[test]
fn a_restart_comes_soon_after_the_end_and_only_where_no_other_ran() {
    let lives = |start: u64, others: &[u32]| {
        let watched = recalled(&each_second(300, |second| {
            let mut all = vec![process(6, "calm", 0, 1)];
            all.extend(others.iter().map(|pid| process(*pid, "web", 20, 3)));
            match second {
                0..=39 => all.push(process(7, "web", 0, 10)),
                _ if second > start => all.push(process(9, "web", FIRST + start, 5)),
                _ => {}
            }
            all
        }));
        let subjects = watched.followed.subjects.iter();
        let mut nine = subjects.filter(|subject| subject.id.pid == 9);
        let trace = points(&nine.next().unwrap().trace);
        trace.last().map(|(life, _)| *life)
    };
    assert_eq!(lives(45, &[]), Some(1));
    assert_eq!(lives(39 + 119, &[]), Some(1));
    assert_eq!(lives(39 + 121, &[]), Some(0));
    assert_eq!(lives(45, &[8]), Some(0));
}

#[test]
fn who_goes_on_out_of_sight_is_told_as_that_unless_it_was_just_seen() {
    let seen = |missing: &dyn Fn(u64) -> bool, last: u64| {
        let watched = recalled(&each_second(100, |second| {
            let mut all = vec![process(8, "large", 0, 500)];
            if !missing(second) {
                let held = if second > 90 { last } else { 100 + second };
                all.push(process(7, "leaker", 0, held));
            } else {
                all.push(process(9, "larger", 0, 400));
            }
            all
        }));
        let subjects = watched.followed.subjects.iter();
        let mut leaker = subjects.filter(|subject| subject.id.pid == 7);
        let leaker = leaker.next().unwrap();
        (leaker.ended, leaker.is_out_of_sight)
    };
    assert_eq!(seen(&|_| false, 200), (false, false));
    assert_eq!(seen(&|second| second > 95, 200), (false, false));
    assert_eq!(seen(&|second| second > 80, 200), (false, true));
    // Not long enough since it came back, and it holds less.
    let gap = |second| (85..=90).contains(&second) || second > 95;
    assert_eq!(seen(&gap, 184), (false, false));
    assert_eq!(seen(&gap, 90), (false, true));
}

#[test]
fn what_is_held_while_it_ends_is_left_out() {
    let samples = |goes_on: bool| {
        each_second(4, |second| {
            let mut all = vec![process(6, "calm", 0, 1)];
            match (second, goes_on) {
                (0 | 1, _) | (2, true) => all.push(process(7, "web", 0, 100 + second)),
                (2, false) | (_, true) => all.push(process(7, "web", 0, 7)),
                (_, false) => {}
            }
            all
        })
    };
    let of_web = |goes_on| told(&recalled(&samples(goes_on)))[1].2.clone();
    assert_eq!(of_web(false), [(0, 100), (0, 101)]);
    // It only gave memory back.
    assert_eq!(of_web(true), [(0, 100), (0, 101), (0, 102), (0, 7)]);
}

#[test]
fn who_began_before_the_other_ended_is_no_restart() {
    // It was smaller than the recorded ones until then.
    let watched = recalled(&each_second(4, |second| match second {
        0 | 1 => vec![process(7, "web", 0, 10), process(6, "calm", 0, 1)],
        _ => vec![process(6, "calm", 0, 1), process(9, "web", 50, 20)],
    }));
    let pids: Vec<u32> = told(&watched).iter().map(|(pid, _, _)| *pid).collect();
    assert_eq!(pids, [6, 7, 9]);
}

#[test]
fn who_was_not_asked_for_counts_as_the_restart_of_one_that_was() {
    let samples = each_second(4, |second| match second {
        0 | 1 => vec![process(7, "web", 0, 10), process(6, "calm", 0, 1)],
        _ => vec![process(6, "calm", 0, 1), process(9, "web", 102, 20)],
    });
    let watched = recalled_of(&samples, &[Target::Pid(7)]);
    let (web, itself) = (vec![(0, 10), (1, 20), (1, 20)], vec![(0, 10); 2]);
    assert_eq!(told(&watched), [(7, true, itself), (9, false, web)]);
    let named = |text: &str| text.parse::<Target>().unwrap();
    for (target, found) in [
        ("name:calm", true),
        ("calm", true),
        ("name:cal", false),
        ("6", true),
    ] {
        let scope = Scope::typed(&[named(target)]);
        let has = recorded(&samples).has(&scope);
        assert_eq!(has, found, "{target}");
    }
}

#[test]
fn samples_without_processes_hide_nobody_and_are_told() {
    let mut samples = each_second(3, |_| vec![process(7, "web", 0, 10)]);
    samples.push(sample("one", 3, Vec::new()));
    let watched = recalled(&samples);
    assert_eq!(told(&watched), [(7, false, vec![(0, 10); 3])]);
    let says = |text: &str| watched.remarks.iter().any(|remark| remark.contains(text));
    assert!(says("1 sample has no processes"), "{:?}", watched.remarks);
}

#[test]
fn what_was_before_the_last_boot_is_told_and_not_mixed_in() {
    let mut samples = each_second(3, |_| vec![process(7, "web", 0, 10)]);
    samples.push(sample("two", 0, vec![process(7, "web", 0, 20)]));
    let watched = recalled(&samples);
    assert_eq!(told(&watched), [(7, false, vec![(0, 20)])]);
    let remark = watched
        .remarks
        .iter()
        .find(|remark| remark.contains("boot"));
    let remark = remark.unwrap();
    for says in ["3 samples of before the last boot", "--until"] {
        assert!(remark.contains(says), "{remark}");
    }
    // Where the boot's id is hidden, the clock that nobody sets tells.
    let mut hidden = each_second(3, |_| vec![process(7, "web", 0, 10)]);
    hidden.push(sample("one", 0, vec![process(7, "web", 0, 20)]));
    assert_eq!(
        recorded(&hidden).before_boot.map(|(count, _)| count),
        Some(3)
    );
}

#[test]
fn many_samples_are_thinned_out_evenly_and_the_newest_stays() {
    let recorded = recorded(&each_second(5003, |second| {
        vec![process(7, "web", 0, second)]
    }));
    let times: Vec<u64> = recorded.processes.iter().map(|(ms, _)| ms / 1000).collect();
    assert!((300..=720).contains(&times.len()), "{}", times.len());
    assert_eq!(
        (times.first(), times.last()),
        (Some(&FIRST), Some(&(FIRST + 5002)))
    );
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let (last, others) = gaps.split_last().unwrap();
    let (least, most) = (others.iter().min().unwrap(), others.iter().max().unwrap());
    assert!(most - least <= 2 && last <= most, "{least} {most} {last}");
}

#[test]
fn a_sample_at_the_end_of_all_time_is_no_danger() {
    let mut samples = each_second(800, |_| vec![process(7, "web", 0, 10)]);
    for (later, sample) in (0..).zip(&mut samples[700..]) {
        sample.since_boot_ms = u64::MAX - 99 + later;
    }
    let last = recorded(&samples).processes.last().map(|(ms, _)| *ms);
    assert_eq!(last, Some(u64::MAX));
    assert_eq!(told(&recalled(&samples)).len(), 1);
}

fn with_cgroup(sample: Sample, path: &str, id: u64, anonymous: Option<u64>) -> Sample {
    let values = CgroupValues::default()
        .with(CgroupField::Current, Some(900 * MIB))
        .with(CgroupField::Swap, Some(MIB))
        .with(CgroupField::Anonymous, anonymous.map(|mib| mib * MIB))
        .with(CgroupField::Id, Some(id));
    let group = CgroupSample {
        path: CgroupPath::new(path.as_bytes()).unwrap(),
        values,
    };
    Sample {
        cgroups: Some(vec![group]),
        ..sample
    }
}

#[test]
fn a_cgroup_is_followed_by_each_kind_of_its_memory_and_one_made_again_is_another() {
    let mut samples = each_second(5, |_| vec![process(7, "web", 0, 10)]);
    for (index, id) in [(0, 1), (2, 1), (3, 2)] {
        let held = Some(10 + index as u64);
        samples[index] = with_cgroup(samples[index].clone(), "/web", id, held);
    }
    let watched = recalled(&samples);
    let path = CgroupPath::new(b"/web").unwrap();
    let trace = &watched.followed.cgroups[&(path, GrowthOf::Anonymous)];
    // With what of it is in swap.
    assert_eq!(points(trace), [(1, 11), (1, 13), (2, 14)]);
    assert_eq!(watched.followed.cgroups.len(), 1);
    assert_eq!(watched.lasted_of_cgroups, Duration::from_secs(3));
    let other = recalled_of(&samples, &["/other".parse().unwrap()]);
    assert!(other.followed.cgroups.is_empty());
}

#[test]
fn without_cgroups_what_grows_on_the_machine_is_told_of_it() {
    let samples: Vec<Sample> = (0..4)
        .map(|second| {
            let system = SystemValues::default()
                .with(SystemField::Shared, Some((10 + second) * MIB))
                .with(SystemField::SlabUnreclaimable, Some((20 + second) * MIB))
                .with(SystemField::PageTables, Some((30 + second) * MIB));
            Sample {
                system,
                ..sample("one", second, vec![process(7, "web", 0, 10)])
            }
        })
        .collect();
    let watched = recalled(&samples);
    let told = (watched.followed.cgroups.iter())
        .map(|((path, of), trace)| (path.to_string(), *of, points(trace)));
    let grown = |from: u64| (from..from + 4).map(|mib| (0, mib)).collect::<Vec<_>>();
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            ("/".to_owned(), GrowthOf::Shmem, grown(10)),
            ("/".to_owned(), GrowthOf::Slab, grown(20)),
            ("/".to_owned(), GrowthOf::Kernel, grown(30)),
        ]
    );
    assert_eq!(watched.lasted_of_cgroups, Duration::from_secs(3));
    // Whose target is something else did not ask for it, and who has cgroups has
    // that of the machine among them.
    let other = recalled_of(&samples, &[Target::Pid(7)]);
    assert!(other.followed.cgroups.is_empty());
    let mut with = samples;
    with[0] = with_cgroup(with[0].clone(), "/web", 1, Some(1));
    let paths = recalled(&with).followed.cgroups.into_keys();
    assert!(
        paths
            .map(|(path, _)| path)
            .all(|path| path != CgroupPath::root())
    );
}

#[test]
fn cgroups_of_which_only_the_whole_usage_is_known_are_not_judged_and_told() {
    let sample = sample("one", 0, vec![process(7, "web", 0, 10)]);
    let watched = recalled(&[with_cgroup(sample, "/web", 1, None)]);
    assert!(watched.followed.cgroups.is_empty());
    let says = |text: &str| watched.remarks.iter().any(|remark| remark.contains(text));
    assert!(says("whole usage alone"), "{:?}", watched.remarks);
}
