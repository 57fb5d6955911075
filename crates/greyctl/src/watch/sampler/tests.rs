//! Tests of `sampler.rs`, on fake kernels.
//!
//! Never part of the product.

use grey_fake_kernel::{FakeKernel, FakeProcess};
use grey_model::{GrowthOf, KernelText};

use super::*;
use crate::watch::shot::What;
use crate::watch::testkit::{everything, sampler};

fn process(shot: &Shot, pid: u32) -> Option<&ProcessRow> {
    shot.processes.iter().find(|row| row.memory.id.pid == pid)
}

#[test]
fn what_is_shown_is_what_the_kernel_says() {
    let kernel = FakeKernel::full();
    let shot = sampler(&kernel).look(&everything()).unwrap();
    let worker = &process(&shot, 101).unwrap().memory;
    assert_eq!(worker.rss, Some(Bytes::from_kib(65536 * 3 / 2)));
    // File pages are half of the anonymous ones, and four share them.
    assert_eq!(worker.pss, Some(Bytes::from_kib(65536 * 9 / 8)));
    assert_eq!(worker.uss, Some(Bytes::from_kib(65536)));
    assert_eq!(worker.swap, Some(Bytes::from_kib(65536 / 4)));
    assert_eq!(worker.unit.as_deref(), Some("nginx.service"));
    assert!(process(&shot, 101).unwrap().pss_age.is_some());
}

#[test]
fn what_cannot_be_read_is_unknown_and_never_zero() {
    let kernel = FakeKernel::full();
    let shot = sampler(&kernel).look(&everything()).unwrap();
    let secret = process(&shot, 230).unwrap();
    assert_eq!((secret.memory.pss, secret.memory.uss), (None, None));
    assert_eq!(secret.pss_age, None);
    assert!(secret.memory.rss.is_some());
    let kernel_thread = &process(&shot, 2).unwrap().memory;
    assert_eq!((kernel_thread.rss, kernel_thread.pss), (None, None));
    assert!(process(&shot, 220).is_none(), "it has no files");
}

#[test]
fn a_process_that_ends_is_gone_at_the_next_look_and_one_that_begins_is_there() {
    let kernel = FakeKernel::full();
    let mut sampler = sampler(&kernel);
    sampler.look(&everything()).unwrap();
    kernel.remove("proc/311");
    let kernel = kernel.with_process(&FakeProcess::new(400, 1, "late", "/build/web"));
    let shot = sampler.look(&everything()).unwrap();
    assert!(process(&shot, 311).is_none());
    assert!(process(&shot, 400).is_some());
    drop(kernel);
}

#[test]
fn a_process_on_the_screen_is_read_anew_when_its_memory_changes() {
    let kernel = FakeKernel::empty();
    let full = FakeKernel::full();
    for name in ["meminfo", "pressure/memory"] {
        let content = std::fs::read(full.path("proc").join(name)).unwrap();
        kernel.write(format!("proc/{name}"), content);
    }
    let kernel = (1..=100).fold(kernel, |kernel, pid| {
        kernel.with_process(&FakeProcess::new(pid, 0, "before", "/"))
    });
    let mut sampler = sampler(&kernel);
    sampler.look(&Wish::default()).unwrap();
    let kernel = (1..=100).fold(kernel, |kernel, pid| {
        kernel.with_process(&FakeProcess {
            anon_kib: if pid == 91 { 8192 } else { 8196 },
            ..FakeProcess::new(pid, 0, "after", "/")
        })
    });
    let wish = Wish {
        visible: vec![90, 91],
        ..Wish::default()
    };
    let shot = sampler.look(&wish).unwrap();
    let name = |pid| process(&shot, pid).unwrap().memory.name.to_string();
    assert_eq!(name(90), "after");
    assert_eq!(name(91), "before");
    // Not all of the others had their turn yet.
    assert!((1..=100).any(|pid| name(pid) == "before"));
    drop(kernel);
}

#[test]
fn only_what_is_wished_for_is_read() {
    let kernel = FakeKernel::full();
    let mut sampler = sampler(&kernel);
    let shot = sampler.look(&Wish::default()).unwrap();
    assert!(shot.cgroups.is_none() && shot.groups.is_none() && shot.detail.is_none());
    let shot = sampler.look(&everything()).unwrap();
    assert!(shot.cgroups.is_some_and(|groups| groups.len() > 10));
    let (by, groups) = shot.groups.unwrap();
    assert_eq!(by, GroupBy::Program);
    assert!(groups.iter().any(|row| row.group.count == 2));
}

#[test]
fn a_host_without_the_optional_things_is_shown_all_the_same() {
    let kernel = FakeKernel::full()
        .without("proc/pressure")
        .without("proc/swaps")
        .without("sys")
        .without("cgroup");
    let shot = sampler(&kernel).look(&everything()).unwrap();
    assert!(shot.pressure.is_none() && shot.stalls.is_empty());
    assert!(shot.cgroups.unwrap().is_empty());
    assert!(shot.swap.zram.is_empty());
}

#[test]
fn stalls_are_the_share_of_the_time_between_two_looks() {
    let kernel = FakeKernel::full();
    let read = |total: u64| {
        let text = format!(
            "some avg10=9.00 avg60=0.00 avg300=0.00 total={total}\n\
             full avg10=3.00 avg60=0.00 avg300=0.00 total=0\n"
        );
        kernel.write("proc/pressure/memory", text);
        read_system(&kernel_of(&kernel), &mut Vec::new())
            .unwrap()
            .pressure
    };
    let mut stalls = Stalls::default();
    stalls.take(Duration::ZERO, read(1_000).as_ref());
    stalls.take(Duration::from_secs(2), read(501_000).as_ref());
    let shares: Vec<u64> = stalls
        .kept
        .iter()
        .map(|stall| {
            let text = format!("{:.0}", stall.some);
            text.parse().unwrap()
        })
        .collect();
    assert_eq!(shares, [9, 25]);
}

fn kernel_of(fake: &FakeKernel) -> Kernel {
    crate::watch::testkit::open(fake)
}

#[test]
fn a_detail_reads_the_page_tables_and_has_the_trend() {
    let kernel = FakeKernel::full();
    let mut sampler = Sampler::new(kernel_of(&kernel), Duration::from_nanos(2));
    let shot = sampler.look(&everything()).unwrap();
    let key = Key::Process(process(&shot, 101).unwrap().memory.id);
    let wish = Wish {
        detail: Some(key.clone()),
        ..everything()
    };
    let shot = sampler.look(&wish).unwrap();
    let detail = shot.detail.unwrap();
    assert_eq!(detail.key, key);
    assert!(detail.process.unwrap().pss_file.is_some());
    assert_eq!(detail.moved.trace.points().len(), 2);
}

#[test]
fn each_kind_of_a_control_groups_memory_is_followed() {
    let kernel = FakeKernel::full();
    let path = CgroupPath::new(b"/build/web").unwrap();
    let wish = Wish {
        detail: Some(Key::Cgroup(path)),
        ..everything()
    };
    let stat = "cgroup/build/web/memory.stat";
    let before = std::fs::read_to_string(kernel.path(stat)).unwrap();
    let grown = |key: &str| {
        let lines = before.lines().map(|line| match line.split_once(' ') {
            Some((name, amount)) if name == key => {
                format!("{key} {}\n", amount.parse::<u64>().unwrap() + (64 << 20))
            }
            _ => format!("{line}\n"),
        });
        lines.collect::<String>()
    };
    for (key, of) in [
        ("anon", GrowthOf::Anonymous),
        ("shmem", GrowthOf::Shmem),
        ("slab_unreclaimable", GrowthOf::Slab),
        ("kernel", GrowthOf::Kernel),
    ] {
        let mut sampler = Sampler::new(kernel_of(&kernel), Duration::from_nanos(2));
        kernel.write(stat, &before);
        sampler.look(&wish).unwrap();
        kernel.write(stat, grown(key));
        let moved = sampler.look(&wish).unwrap().detail.unwrap().moved;
        assert_eq!(moved.trend.of, What::Kind(of), "{key}");
        let points = moved.trace.points();
        let grown = points[1].amount.signed_difference(points[0].amount);
        assert_eq!(grown, 64 << 20, "{key}");
    }
}

#[test]
fn an_exec_begins_another_life_of_the_process_and_of_its_group() {
    let kernel = FakeKernel::full().with_process(&FakeProcess::new(
        900,
        0,
        "sh",
        "/system.slice/one.service",
    ));
    let mut sampler = Sampler::new(kernel_of(&kernel), Duration::from_nanos(2));
    let wish = Wish {
        by: Some(GroupBy::Unit),
        visible: vec![900],
        ..Wish::default()
    };
    let first = process(&sampler.look(&wish).unwrap(), 900).unwrap().clone();
    let kernel = kernel.with_process(&FakeProcess {
        anon_kib: 4096,
        ..FakeProcess::new(900, 0, "indexer", "/system.slice/one.service")
    });
    let second = process(&sampler.look(&wish).unwrap(), 900).unwrap().clone();
    assert_eq!(first.memory.id, second.memory.id);
    assert_eq!(second.memory.name.to_string(), "indexer");
    let group = Key::Group(GroupBy::Unit, Some(KernelText::from("one.service")));
    for key in [Key::Process(first.memory.id), group] {
        let lives = sampler.follow.lives(&key);
        assert_eq!(
            (lives.len(), lives.first() == lives.last()),
            (2, false),
            "{key:?}"
        );
    }
    drop(kernel);
}

#[test]
fn a_look_between_two_others_leaves_no_reading() {
    let kernel = FakeKernel::full();
    let mut sampler = sampler(&kernel);
    sampler.look(&everything()).unwrap();
    let shot = sampler.look(&everything()).unwrap();
    assert_eq!(shot.stalls.len(), 1);
    let worker = process(&shot, 101).unwrap().memory.id;
    assert_eq!(
        sampler
            .follow
            .moved(&Key::Process(worker))
            .trace
            .points()
            .len(),
        1
    );
}

#[test]
fn a_detail_of_a_process_that_ended_is_empty_and_never_of_its_successor() {
    let kernel = FakeKernel::full();
    let mut sampler = sampler(&kernel);
    let shot = sampler.look(&everything()).unwrap();
    let key = Key::Process(process(&shot, 311).unwrap().memory.id);
    let successor = FakeProcess {
        start_time_ticks: 999_999,
        ..FakeProcess::new(311, 1, "successor", "/build/web")
    };
    let kernel = kernel.with_process(&successor);
    let wish = Wish {
        detail: Some(key),
        ..everything()
    };
    let shot = sampler.look(&wish).unwrap();
    assert!(shot.detail.unwrap().process.is_none());
    drop(kernel);
}
