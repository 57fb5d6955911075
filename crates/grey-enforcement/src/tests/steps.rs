//! What a single step checks, where it runs, and what it says.
//!
//! The judgement on measured numbers has its own tests beside it.

use grey_model::{
    Bytes, CgroupFile, Change, Guard, Knob, KsmFile, OneShot, PlanStep, ProcessId, Verdict,
};

use super::rig::{Fault, PROCESS, Rig, cgroup, file_knob, ksm, plan, step};
use crate::disposable::Job;
use crate::executor::{ApplyContext, ApplyError, Outcome, Progress, RollbackSelection};

const MAX: &str = "cgroup/web/memory.max";

fn once(shot: OneShot) -> PlanStep {
    PlanStep {
        change: Change::Once { shot },
        ..step(ksm(KsmFile::Run), None, None)
    }
}

fn limit(rig: &Rig, bytes: &str) -> PlanStep {
    let knob = file_knob(rig, "/web", CgroupFile::MemoryMax);
    step(knob, Some("314572800"), Some(bytes))
}

#[test]
fn a_guard_that_does_not_hold_takes_everything_back() {
    let rig = Rig::new();
    let before = rig.kernel_state();
    let mut guarded = limit(&rig, "67108864");
    guarded.guards = vec![Guard::UsageAtMost {
        cgroup: cgroup("/web"),
        ceiling: Bytes::from_mib(40),
    }];
    let applied = rig
        .apply(&plan([
            step(ksm(KsmFile::Run), Some("0"), Some("1")),
            guarded,
        ]))
        .unwrap();
    assert_eq!(applied.outcome, Outcome::Refused);
    assert_eq!(applied.effects[0].verdict, Verdict::Undone);
    assert_eq!(applied.effects[1].verdict, Verdict::Refused);
    assert_eq!(rig.kernel_state(), before);
}

#[test]
fn a_limit_that_does_not_hold_is_taken_back() {
    let rig = Rig::new();
    let before = rig.kernel_state();
    // 50 MiB are in use, and nothing in the rig kills or reclaims.
    let applied = rig.apply(&plan([limit(&rig, "8388608")])).unwrap();
    assert_eq!(applied.outcome, Outcome::Failed);
    assert_eq!(applied.effects[0].verdict, Verdict::Undone);
    assert!(applied.effects[0].detail.contains("still uses"));
    assert_eq!(rig.kernel_state(), before);
}

#[test]
fn a_value_that_the_kernel_did_not_take_is_taken_back() {
    let rig = Rig::new();
    let before = rig.kernel_state();
    let steps = plan([limit(&rig, "104857600")]);
    let applied = rig
        .apply_with(&steps, Fault::SetToSomethingElse(1))
        .unwrap();
    assert_eq!(applied.outcome, Outcome::Failed);
    assert_eq!(applied.effects[0].verdict, Verdict::Failed);
    assert!(
        applied.effects[0].detail.contains("8192"),
        "{:?}",
        applied.effects
    );
    assert_eq!(rig.kernel_state(), before);
}

#[test]
fn a_size_that_is_no_whole_page_is_undone_all_the_same() {
    let rig = Rig::new();
    let applied = rig.apply(&plan([limit(&rig, "104857601")])).unwrap();
    assert_eq!(applied.outcome, Outcome::Complete);
    assert_eq!(rig.read(MAX), "104857600\n");
    rig.roll_back(&RollbackSelection::All, false);
    assert_eq!(rig.read(MAX), "314572800\n");
}

#[test]
fn a_write_that_may_block_runs_in_a_process_of_its_own() {
    let rig = Rig::new();
    let mut blocking = limit(&rig, "209715200");
    blocking.may_block = true;
    rig.apply(&plan([blocking])).unwrap();
    let jobs = rig.counters.borrow().jobs.clone();
    assert!(matches!(jobs[..], [Job::SetKnob { .. }]), "{jobs:?}");
    assert_eq!(rig.read(MAX), "209715200\n");
}

#[test]
fn restoring_a_limit_below_usage_runs_in_a_process_of_its_own() {
    let rig = Rig::new();
    rig.write("cgroup/web/memory.high", "62914560\n");
    let knob = file_knob(&rig, "/web", CgroupFile::MemoryHigh);
    rig.apply(&plan([step(knob, Some("62914560"), Some("max"))]))
        .unwrap();
    rig.write("cgroup/web/memory.current", "104857600\n");
    rig.roll_back(&RollbackSelection::All, false);
    let jobs = rig.counters.borrow().jobs.clone();
    assert!(matches!(jobs[..], [Job::SetKnob { .. }]), "{jobs:?}");
    assert_eq!(rig.read("cgroup/web/memory.high"), "62914560\n");
}

#[test]
fn a_setting_that_is_so_already_is_not_journaled() {
    let rig = Rig::new();
    let applied = rig
        .apply(&plan([step(ksm(KsmFile::Run), Some("0"), Some("0"))]))
        .unwrap();
    assert_eq!(applied.effects[0].verdict, Verdict::AlreadySo);
    assert_eq!(applied.outcome, Outcome::Complete);
    assert!(applied.journal_ids.is_empty());
    assert!(rig.entries().is_empty());
}

#[test]
fn what_a_reclaim_freed_is_measured() {
    let rig = Rig::new();
    let reclaim = |amount| {
        plan([once(OneShot::Reclaim {
            cgroup: cgroup("/web"),
            amount,
            until: None,
        })])
    };
    let mut seen = Vec::new();
    let applied = rig
        .enforcer(Fault::None)
        .apply(
            &reclaim(Bytes::from_mib(10)),
            &ApplyContext {
                observe: std::time::Duration::from_millis(1),
                ..ApplyContext::default()
            },
            &mut |progress| {
                if let Progress::Step { done, total, .. } = progress {
                    seen.push((done, total));
                }
            },
        )
        .unwrap();
    let effect = &applied.effects[0];
    assert_eq!(effect.freed, Some(Bytes::from_mib(10)));
    assert_eq!(effect.current_delta_bytes, Some(-(10 << 20)));
    assert_eq!(effect.verdict, Verdict::Worked);
    assert_eq!(effect.refaulted, Some(Bytes::ZERO));
    assert_eq!(seen, [(10 << 20, 10 << 20)]);
}

/// The machine of the rig has swap on zram; what the reclaim takes from `/web`
/// goes there, one to `ratio`.
fn reclaim_into_zram(rig: &Rig, ratio: u64) -> grey_model::Effect {
    let mm_stat = |used: u64| format!("{} {used} {used} 0 {used} 0 0 0 0\n", 80 << 20);
    rig.write(
        "proc/swaps",
        "Filename Type Size Used Priority\n/dev/zram0 partition 524284 81920 100\n",
    );
    rig.write("proc/meminfo", "MemTotal: 1000 kB\nSwapTotal: 524284 kB\n");
    std::fs::create_dir_all(rig.path("sys/block/zram0")).unwrap();
    // One that is a disk and not swap: its growth is none of ours.
    std::fs::create_dir_all(rig.path("sys/block/zram1")).unwrap();
    for device in ["zram0", "zram1"] {
        rig.write(&format!("sys/block/{device}/disksize"), "536870912\n");
        let path = format!("sys/block/{device}/mm_stat");
        rig.write(&path, &mm_stat(20 << 20));
    }
    let steps = plan([once(OneShot::Reclaim {
        cgroup: cgroup("/web"),
        amount: Bytes::from_mib(10),
        until: None,
    })]);
    let context = ApplyContext {
        observe: std::time::Duration::ZERO,
        ..ApplyContext::default()
    };
    let applied = rig
        .enforcer(Fault::None)
        .apply(&steps, &context, &mut |progress| {
            if let Progress::Step { done, .. } = progress {
                let used = (20 << 20) + done / ratio;
                rig.write("sys/block/zram0/mm_stat", &mm_stat(used));
                rig.write("sys/block/zram1/mm_stat", &mm_stat(500 << 20));
            }
        })
        .unwrap();
    let expected = match applied.effects[0].verdict {
        Verdict::Worked => Outcome::Complete,
        _ => Outcome::Partial,
    };
    assert_eq!(applied.outcome, expected);
    applied.effects[0].clone()
}

#[test]
fn what_zram_grew_by_is_taken_off_what_was_freed() {
    let effect = reclaim_into_zram(&Rig::new(), 4);
    assert_eq!(effect.freed, Some(Bytes::from_mib(10)));
    assert_eq!(effect.compressed_growth_bytes, Some(10 << 18));
    assert_eq!(effect.net_freed_bytes, Some(30 << 18));
    assert_eq!(effect.verdict, Verdict::Worked);
    let effect = reclaim_into_zram(&Rig::new(), 1);
    assert_eq!(effect.freed, Some(Bytes::from_mib(10)));
    assert_eq!(effect.net_freed_bytes, Some(0));
    assert_eq!(effect.verdict, Verdict::MovedNotFreed);
}

#[test]
fn without_compressed_swap_nothing_is_said_of_it() {
    let rig = Rig::new();
    let applied = rig
        .apply(&plan([once(OneShot::Reclaim {
            cgroup: cgroup("/web"),
            amount: Bytes::from_mib(10),
            until: None,
        })]))
        .unwrap();
    let effect = &applied.effects[0];
    assert_eq!(effect.compressed_growth_bytes, None);
    assert_eq!(effect.net_freed_bytes, None);
}

#[test]
fn a_one_shot_that_is_too_slow_does_not_undo_settings() {
    let rig = Rig::new();
    let applied = rig
        .apply(&plan([
            step(ksm(KsmFile::Run), Some("0"), Some("1")),
            once(OneShot::PageOut {
                processes: vec![PROCESS],
            }),
        ]))
        .unwrap();
    assert_eq!(applied.outcome, Outcome::TimedOut);
    assert_eq!(applied.effects[1].verdict, Verdict::TimedOut);
    assert_eq!(applied.journal_ids.len(), 1);
    assert_eq!(rig.read("sys/kernel/mm/ksm/run"), "1\n");
}

#[test]
fn one_shots_are_checked_before_anything_is_changed() {
    let rig = Rig::new();
    let before = rig.kernel_state();
    let gone = ProcessId {
        pid: 9,
        start_time_ticks: 9,
    };
    std::fs::remove_file(rig.path("cgroup/web/memory.reclaim")).unwrap();
    let before: Vec<_> = before
        .into_iter()
        .filter(|(path, _)| !path.ends_with("memory.reclaim"))
        .collect();
    let shots = [
        OneShot::PageOut {
            processes: vec![gone],
        },
        OneShot::Reclaim {
            cgroup: cgroup("/web"),
            amount: Bytes(1),
            until: None,
        },
        OneShot::DropCaches {
            what: grey_model::DropCaches::PageCache,
        },
    ];
    for shot in shots {
        let steps = plan([step(ksm(KsmFile::Run), Some("0"), Some("1")), once(shot)]);
        let refused = rig.apply(&steps).unwrap_err();
        assert!(matches!(refused, ApplyError::Shot { .. }), "{refused}");
        assert_eq!(rig.kernel_state(), before);
    }
}

#[test]
fn version_one_of_the_control_groups_is_never_written() {
    let rig = Rig::new();
    let knob = Knob::CgroupDirectory {
        cgroup: cgroup("/memory/x"),
        refuge: cgroup("/"),
    };
    std::fs::remove_file(rig.path("cgroup/cgroup.controllers")).unwrap();
    std::fs::create_dir(rig.path("cgroup/memory")).unwrap();
    rig.write("cgroup/memory/cgroup.procs", "");
    let refused = rig
        .apply(&plan([step(knob, None, Some("present"))]))
        .unwrap_err();
    assert_eq!(
        refused.refusal_kind(),
        grey_model::RefusalKind::NotSupported
    );
    assert!(!rig.path("cgroup/memory/x").exists());
}

#[test]
fn a_path_that_the_journal_cannot_hold_is_refused() {
    let rig = Rig::new();
    let path = grey_model::CgroupPath::new(b"/web\xff").unwrap();
    let knob = Knob::CgroupDirectory {
        cgroup: path,
        refuge: cgroup("/"),
    };
    let refused = rig
        .apply(&plan([step(knob, None, Some("present"))]))
        .unwrap_err();
    assert!(matches!(refused, ApplyError::Knob { .. }), "{refused}");
}
