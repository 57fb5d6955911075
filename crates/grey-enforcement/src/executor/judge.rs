//! The judgement on a write that cannot be undone: pure.
//!
//! Never calls it a success because the kernel took it.

use grey_model::{Bytes, Effect, OneShot, Verdict};

use crate::disposable::{JobResult, ReclaimStop};

/// Less than this is what a target's accounts drift by themselves.
const NOISE: Bytes = Bytes::from_kib(64);
/// Less than this is what the machine's accounts drift by themselves.
const NOISE_OF_MACHINE: Bytes = Bytes::from_mib(1);
/// A step that freed this share of what was asked did what was asked, in percent.
const ENOUGH_PERCENT: u64 = 90;
/// When less than one part in so many of what left the target is gained,
/// it was moved and not freed.
const LEAST_GAIN_PART: i64 = 10;

/// What was there to be freed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Surroundings {
    /// Whether there is swap.
    pub(super) has_swap: Option<bool>,
    /// Anonymous memory of the target before the step.
    pub(super) anonymous: Option<Bytes>,
    /// All memory that the target's cgroup had in use before the step.
    pub(super) usage: Option<Bytes>,
}

impl Surroundings {
    /// Why nothing was freed, where that is known: how the sentence goes on.
    fn why_nothing(self) -> &'static str {
        let holds_some = self.anonymous.is_some_and(|bytes| bytes > Bytes::ZERO);
        if self.has_swap == Some(false) && holds_some {
            " because there is no swap for anonymous memory"
        } else {
            ""
        }
    }
}

/// The verdict, and one sentence that explains it.
pub(super) fn judge(
    shot: &OneShot,
    result: &JobResult,
    effect: &Effect,
    surroundings: Surroundings,
) -> (Verdict, String) {
    let judged = match (shot, result) {
        (OneShot::Reclaim { amount, .. }, JobResult::Reclaimed { stopped, .. }) => {
            judge_reclaim(*amount, *stopped, effect, surroundings)
        }
        (OneShot::PageOut { .. }, JobResult::PagedOut { .. }) => {
            judge_page_out(result, effect, surroundings.why_nothing())
        }
        (OneShot::DropCaches { .. }, JobResult::Dropped) => judge_drop(effect),
        _ => (
            Verdict::Failed,
            "the disposable process did something else".to_owned(),
        ),
    };
    weigh_compressed(shot, effect, judged)
}

/// Whether `freed` is nothing but drift. What was predicted and came is none,
/// however little it is.
fn is_nothing(freed: Bytes, predicted: Option<Bytes>, noise: Bytes) -> bool {
    let least = predicted
        .filter(|predicted| *predicted > Bytes::ZERO)
        .map_or(noise, |predicted| {
            predicted.scale(ENOUGH_PERCENT, 100).min(noise)
        });
    freed == Bytes::ZERO || freed < least
}

fn judge_page_out(result: &JobResult, effect: &Effect, why_nothing: &str) -> (Verdict, String) {
    let JobResult::PagedOut {
        advised,
        processes,
        gone,
        denied,
        timed_out,
    } = result
    else {
        return (Verdict::Failed, String::new());
    };
    let noun = if *processes == 1 {
        "process"
    } else {
        "processes"
    };
    let nothing = effect
        .freed
        .is_some_and(|freed| is_nothing(freed, effect.predicted, NOISE));
    // What is advised is no more than asked for: what went is measured.
    let mut detail = format!("the kernel was asked for {advised} of {processes} {noun}");
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
    } else if effect.freed.is_none() {
        detail.push_str("; what was freed is unknown");
        Verdict::PartlyWorked
    } else if nothing {
        detail.push_str("; ");
        detail.push_str(&nothing_came(effect, why_nothing));
        Verdict::NoEffect
    } else if *denied > 0 || *gone > 0 {
        Verdict::PartlyWorked
    } else {
        Verdict::Worked
    };
    (verdict, detail)
}

/// That nothing was freed, or so little that it says nothing: never both.
fn nothing_came(effect: &Effect, why_nothing: &str) -> String {
    match effect.freed.filter(|freed| *freed > Bytes::ZERO) {
        None => format!("nothing was freed{why_nothing}"),
        Some(freed) => format!("{freed} less in use is no more than drift{why_nothing}"),
    }
}

fn judge_drop(effect: &Effect) -> (Verdict, String) {
    let nothing = effect
        .freed
        .is_some_and(|freed| is_nothing(freed, effect.predicted, NOISE_OF_MACHINE));
    if nothing {
        let came = nothing_came(effect, "");
        let why = format!("{came}: what is cached is in use, dirty or tmpfs");
        return (Verdict::NoEffect, why);
    }
    (Verdict::Worked, "clean caches were dropped".to_owned())
}

fn judge_reclaim(
    amount: Bytes,
    stopped: ReclaimStop,
    effect: &Effect,
    surroundings: Surroundings,
) -> (Verdict, String) {
    let why = match stopped {
        ReclaimStop::Amount => "the amount was reached",
        ReclaimStop::Until => "usage is as low as was asked",
        ReclaimStop::StoppedPaying => "it stopped paying: what is left does not go",
        ReclaimStop::Deadline => "it was stopped at the deadline",
    };
    let Some(freed) = effect.freed else {
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
    if is_nothing(freed, effect.predicted, NOISE.min(amount)) {
        let empty = surroundings.usage.filter(|usage| *usage < NOISE);
        let detail = match empty {
            Some(usage) => format!("there was nothing to free: {usage} in use"),
            None => format!(
                "{}: {why}",
                nothing_came(effect, surroundings.why_nothing())
            ),
        };
        return (Verdict::NoEffect, detail);
    }
    if freed >= amount.scale(ENOUGH_PERCENT, 100) {
        return (Verdict::Worked, why.to_owned());
    }
    (Verdict::PartlyWorked, format!("{freed} of {amount}: {why}"))
}

/// Memory that compressed swap takes in turn was not freed. A reclaim that only
/// makes room below a limit did its part all the same: the limit counts what
/// the target has.
fn weigh_compressed(
    shot: &OneShot,
    effect: &Effect,
    (verdict, mut detail): (Verdict, String),
) -> (Verdict, String) {
    let (Some(freed), Some(growth), Some(net)) = (
        effect.freed,
        effect.compressed_growth_bytes,
        effect.net_freed_bytes,
    ) else {
        return (verdict, detail);
    };
    // Of so little, the pages that the store takes in advance say more than
    // what was put into it, and so does what others swap meanwhile.
    if freed < NOISE_OF_MACHINE || growth < NOISE.signed_difference(Bytes::ZERO) {
        return (verdict, detail);
    }
    let freed = freed.signed_difference(Bytes::ZERO);
    if net >= freed {
        return (verdict, detail);
    }
    let growth = Bytes(growth.unsigned_abs());
    let for_a_limit = matches!(shot, OneShot::Reclaim { until: Some(_), .. });
    let succeeded = matches!(verdict, Verdict::Worked | Verdict::PartlyWorked);
    if succeeded && !for_a_limit && net.saturating_mul(LEAST_GAIN_PART) < freed {
        let moved =
            format!("moved into compressed swap, not freed: that took {growth} more; {detail}");
        return (Verdict::MovedNotFreed, moved);
    }
    if net <= 0 {
        detail.push_str(&format!(
            "; compressed swap took {growth} more, so that nothing was gained"
        ));
    } else {
        let gain = Bytes(net.unsigned_abs());
        detail.push_str(&format!(
            "; compressed swap took {growth} of it, {gain} was gained"
        ));
    }
    (verdict, detail)
}

#[cfg(test)]
mod tests {
    use grey_model::{CgroupPath, DropCaches};

    use super::*;

    const SWAP: Surroundings = Surroundings {
        has_swap: Some(true),
        anonymous: None,
        usage: None,
    };

    const fn without_swap(anonymous: Option<Bytes>) -> Surroundings {
        Surroundings {
            has_swap: Some(false),
            anonymous,
            usage: None,
        }
    }

    fn effect(freed: Option<Bytes>) -> Effect {
        Effect {
            action: String::new(),
            knob: String::new(),
            predicted: None,
            freed,
            compressed_growth_bytes: None,
            net_freed_bytes: None,
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
        judge(&shot, &result, &effect(Some(freed)), SWAP).0
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
        let (verdict, detail) = judge(
            &shot,
            &result,
            &effect(Some(Bytes::ZERO)),
            without_swap(Some(Bytes::from_mib(64))),
        );
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
        let verdict = |processes, freed| {
            judge(
                &shot,
                &result(processes),
                &effect(freed),
                Surroundings::default(),
            )
            .0
        };
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
                without_swap(None),
            )
            .0
        };
        assert_eq!(verdict(Bytes::ZERO), Verdict::NoEffect);
        assert_eq!(verdict(Bytes::from_mib(1)), Verdict::Worked);
    }

    fn paged_out() -> (OneShot, JobResult) {
        let shot = OneShot::PageOut {
            processes: Vec::new(),
        };
        let result = JobResult::PagedOut {
            advised: Bytes::from_kib(100),
            processes: 1,
            gone: 0,
            denied: 0,
            timed_out: false,
        };
        (shot, result)
    }

    #[test]
    fn little_that_was_foreseen_and_came_is_no_drift() {
        let (shot, result) = paged_out();
        let judged = |predicted: Option<u64>, freed: u64| {
            let mut effect = effect(Some(Bytes::from_kib(freed)));
            effect.predicted = predicted.map(Bytes::from_kib);
            judge(&shot, &result, &effect, without_swap(None)).0
        };
        assert_eq!(judged(Some(36), 36), Verdict::Worked);
        assert_eq!(judged(Some(36), 8), Verdict::NoEffect);
        assert_eq!(judged(Some(36), 0), Verdict::NoEffect);
        assert_eq!(judged(Some(0), 36), Verdict::NoEffect);
        assert_eq!(judged(None, 36), Verdict::NoEffect);
        assert_eq!(judged(Some(4096), 64), Verdict::Worked);
    }

    #[test]
    fn what_is_shown_as_freed_is_never_called_nothing() {
        let (shot, result) = paged_out();
        let told = |freed: u64| {
            let effect = effect(Some(Bytes::from_kib(freed)));
            judge(&shot, &result, &effect, without_swap(None)).1
        };
        let asked = "the kernel was asked for 100.0 KiB of 1 process; ";
        assert_eq!(
            told(36),
            format!("{asked}36.0 KiB less in use is no more than drift")
        );
        assert_eq!(told(0), format!("{asked}nothing was freed"));
    }

    #[test]
    fn missing_swap_is_blamed_only_where_there_is_anonymous_memory() {
        let shot = OneShot::Reclaim {
            cgroup: CgroupPath::root(),
            amount: Bytes::from_mib(10),
            until: None,
        };
        let result = JobResult::Reclaimed {
            freed: Bytes::ZERO,
            stopped: ReclaimStop::StoppedPaying,
        };
        let detail = |anonymous| {
            let nothing = effect(Some(Bytes::ZERO));
            judge(&shot, &result, &nothing, without_swap(anonymous)).1
        };
        assert!(!detail(Some(Bytes::ZERO)).contains("swap"));
        assert!(!detail(None).contains("swap"));
        assert!(detail(Some(Bytes(4096))).contains("no swap"));
        let empty = Surroundings {
            usage: Some(Bytes::ZERO),
            ..without_swap(Some(Bytes::ZERO))
        };
        let told = judge(&shot, &result, &effect(Some(Bytes::ZERO)), empty).1;
        assert_eq!(told, "there was nothing to free: 0 B in use");
    }

    #[test]
    fn drift_of_the_machine_is_no_dropped_cache() {
        let shot = OneShot::DropCaches {
            what: DropCaches::PageCache,
        };
        let judged = |predicted: Option<u64>, freed: u64| {
            let mut effect = effect(Some(Bytes::from_kib(freed)));
            effect.predicted = predicted.map(Bytes::from_kib);
            judge(&shot, &JobResult::Dropped, &effect, SWAP).0
        };
        assert_eq!(judged(Some(0), 212), Verdict::NoEffect);
        assert_eq!(judged(None, 212), Verdict::NoEffect);
        assert_eq!(judged(Some(220), 212), Verdict::Worked);
        assert_eq!(judged(Some(0), 1024), Verdict::Worked);
    }

    fn reclaimed_into_zram(growth: i64, until: Option<Bytes>) -> (Verdict, String) {
        let shot = OneShot::Reclaim {
            cgroup: CgroupPath::root(),
            amount: Bytes::from_mib(100),
            until,
        };
        let freed = Bytes::from_mib(100);
        let stopped = match until {
            Some(_) => ReclaimStop::Until,
            None => ReclaimStop::Amount,
        };
        let result = JobResult::Reclaimed { freed, stopped };
        let mut effect = effect(Some(freed));
        effect.compressed_growth_bytes = Some(growth << 20);
        effect.net_freed_bytes = Some((100 - growth) << 20);
        judge(&shot, &result, &effect, SWAP)
    }

    #[test]
    fn memory_that_zram_takes_in_turn_was_not_freed() {
        let (verdict, detail) = reclaimed_into_zram(102, None);
        assert_eq!(verdict, Verdict::MovedNotFreed);
        assert!(detail.contains("not freed"), "{detail}");
        assert_eq!(reclaimed_into_zram(91, None).0, Verdict::MovedNotFreed);
        let (verdict, detail) = reclaimed_into_zram(60, None);
        assert_eq!(verdict, Verdict::Worked);
        assert!(detail.contains("40.0 MiB was gained"), "{detail}");
        assert_eq!(reclaimed_into_zram(-5, None).0, Verdict::Worked);
    }

    #[test]
    fn room_below_a_limit_is_room_wherever_the_memory_went() {
        let (verdict, detail) = reclaimed_into_zram(102, Some(Bytes::from_mib(50)));
        assert_eq!(verdict, Verdict::Worked);
        let end = "compressed swap took 102.0 MiB more, so that nothing was gained";
        assert!(detail.ends_with(end), "{detail}");
    }

    #[test]
    fn what_the_store_takes_in_advance_judges_no_small_page_out() {
        let (shot, result) = paged_out();
        let mut effect = effect(Some(Bytes::from_kib(52)));
        effect.predicted = Some(Bytes::from_kib(52));
        effect.compressed_growth_bytes = Some(196 << 10);
        effect.net_freed_bytes = Some(-(144 << 10));
        let (verdict, detail) = judge(&shot, &result, &effect, SWAP);
        assert_eq!(verdict, Verdict::Worked);
        assert!(!detail.contains("compressed"), "{detail}");
    }
}
