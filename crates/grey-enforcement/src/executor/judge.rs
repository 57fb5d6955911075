//! The judgement on a write that cannot be undone: pure.
//!
//! Never calls it a success because the kernel took it.

use grey_model::{Bytes, Effect, OneShot, Verdict};

use crate::disposable::{JobResult, ReclaimStop};

/// Less than this is what memory accounts drift by themselves.
const NOISE: Bytes = Bytes::from_kib(64);
/// A step that freed this share of what was asked did what was asked, in percent.
const ENOUGH_PERCENT: u64 = 90;

/// The verdict, and one sentence that explains it.
pub(super) fn judge(
    shot: &OneShot,
    result: &JobResult,
    effect: &Effect,
    has_swap: Option<bool>,
) -> (Verdict, String) {
    let freed = effect.freed;
    let nothing = freed.is_some_and(|freed| freed < NOISE);
    let why_nothing = match has_swap {
        Some(false) => " because there is no swap for anonymous memory",
        _ => "",
    };
    match (shot, result) {
        (OneShot::Reclaim { amount, .. }, JobResult::Reclaimed { stopped, .. }) => {
            judge_reclaim(*amount, *stopped, freed, why_nothing)
        }
        (
            OneShot::PageOut { .. },
            JobResult::PagedOut {
                advised,
                processes,
                gone,
                denied,
                timed_out,
            },
        ) => {
            let noun = if *processes == 1 {
                "process"
            } else {
                "processes"
            };
            let mut detail = format!("{advised} of {processes} {noun} advised");
            if *gone > 0 {
                detail.push_str(&format!(", {gone} gone"));
            }
            if *denied > 0 {
                detail.push_str(&format!(", {denied} not permitted"));
            }
            let verdict = if *processes == 0 && *denied > 0 {
                Verdict::Failed
            } else if *timed_out {
                detail.push_str(", stopped at the deadline");
                Verdict::TimedOut
            } else if freed.is_none() {
                detail.push_str("; what was freed is unknown");
                Verdict::PartlyWorked
            } else if nothing {
                detail.push_str(&format!("; nothing was freed{why_nothing}"));
                Verdict::NoEffect
            } else if *denied > 0 || *gone > 0 {
                Verdict::PartlyWorked
            } else {
                Verdict::Worked
            };
            (verdict, detail)
        }
        (OneShot::DropCaches { .. }, JobResult::Dropped) if nothing => (
            Verdict::NoEffect,
            "nothing was freed: what is cached is in use, dirty or tmpfs".to_owned(),
        ),
        (OneShot::DropCaches { .. }, JobResult::Dropped) => {
            (Verdict::Worked, "clean caches were dropped".to_owned())
        }
        _ => (
            Verdict::Failed,
            "the disposable process did something else".to_owned(),
        ),
    }
}

fn judge_reclaim(
    amount: Bytes,
    stopped: ReclaimStop,
    freed: Option<Bytes>,
    why_nothing: &str,
) -> (Verdict, String) {
    let why = match stopped {
        ReclaimStop::Amount => "the amount was reached",
        ReclaimStop::Until => "usage is as low as was asked",
        ReclaimStop::StoppedPaying => "it stopped paying: what is left does not go",
        ReclaimStop::Deadline => "it was stopped at the deadline",
    };
    let Some(freed) = freed else {
        return (
            Verdict::PartlyWorked,
            format!("{why}; memory.current could not be read"),
        );
    };
    if stopped == ReclaimStop::Until {
        return (Verdict::Worked, why.to_owned());
    }
    if stopped == ReclaimStop::Deadline {
        return (Verdict::TimedOut, why.to_owned());
    }
    if freed < NOISE {
        return (
            Verdict::NoEffect,
            format!("nothing was freed{why_nothing}: {why}"),
        );
    }
    if freed >= amount.scale(ENOUGH_PERCENT, 100) {
        return (Verdict::Worked, why.to_owned());
    }
    (Verdict::PartlyWorked, format!("{freed} of {amount}: {why}"))
}

#[cfg(test)]
mod tests {
    use grey_model::{CgroupPath, DropCaches};

    use super::*;

    fn effect(freed: Option<Bytes>) -> Effect {
        Effect {
            action: String::new(),
            knob: String::new(),
            predicted: None,
            freed,
            available_delta_bytes: None,
            current_delta_bytes: None,
            pss_delta_bytes: None,
            refaulted: None,
            took_milliseconds: 0,
            verdict: Verdict::Worked,
            detail: String::new(),
            journal_id: None,
        }
    }

    fn reclaim(stopped: ReclaimStop, freed: u64) -> Verdict {
        let shot = OneShot::Reclaim {
            cgroup: CgroupPath::root(),
            amount: Bytes::from_mib(100),
            until: None,
        };
        let freed = Bytes::from_mib(freed);
        let result = JobResult::Reclaimed { freed, stopped };
        judge(&shot, &result, &effect(Some(freed)), Some(true)).0
    }

    #[test]
    fn a_reclaim_is_judged_by_what_was_freed() {
        assert_eq!(reclaim(ReclaimStop::Amount, 95), Verdict::Worked);
        assert_eq!(reclaim(ReclaimStop::Amount, 50), Verdict::PartlyWorked);
        assert_eq!(
            reclaim(ReclaimStop::StoppedPaying, 50),
            Verdict::PartlyWorked
        );
        assert_eq!(reclaim(ReclaimStop::StoppedPaying, 0), Verdict::NoEffect);
        assert_eq!(reclaim(ReclaimStop::Deadline, 50), Verdict::TimedOut);
    }

    #[test]
    fn advice_without_swap_is_no_success() {
        let shot = OneShot::PageOut {
            processes: Vec::new(),
        };
        let result = JobResult::PagedOut {
            advised: Bytes::from_mib(500),
            processes: 1,
            gone: 0,
            denied: 0,
            timed_out: false,
        };
        let (verdict, detail) = judge(&shot, &result, &effect(Some(Bytes::ZERO)), Some(false));
        assert_eq!(verdict, Verdict::NoEffect);
        assert!(detail.contains("no swap"), "{detail}");
    }

    #[test]
    fn a_process_that_went_away_is_no_clean_success() {
        let shot = OneShot::PageOut {
            processes: Vec::new(),
        };
        let result = |processes| JobResult::PagedOut {
            advised: Bytes::from_mib(68),
            processes,
            gone: 1,
            denied: 0,
            timed_out: false,
        };
        let verdict = |processes, freed| judge(&shot, &result(processes), &effect(freed), None).0;
        assert_eq!(verdict(0, None), Verdict::PartlyWorked);
        assert_eq!(verdict(1, Some(Bytes::from_mib(5))), Verdict::PartlyWorked);
    }

    #[test]
    fn a_cache_of_tmpfs_does_not_go() {
        let shot = OneShot::DropCaches {
            what: DropCaches::PageCache,
        };
        let verdict = |freed| {
            judge(
                &shot,
                &JobResult::Dropped,
                &effect(Some(freed)),
                Some(false),
            )
            .0
        };
        assert_eq!(verdict(Bytes::ZERO), Verdict::NoEffect);
        assert_eq!(verdict(Bytes::from_mib(1)), Verdict::Worked);
    }
}
