//! Watches for what comes back: pages that are faulted in again after they
//! were evicted, or where nobody counts those, memory that grows again.
//!
//! Never holds the journal while it waits, and changes nothing.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use grey_model::{Bytes, CgroupPath, Effect, Pages, Verdict};
use grey_telemetry::Kernel;

use super::Enforcer;
use super::apply::{ApplyContext, Progress};
use crate::measure::{self, Reading, Subject};

/// How often progress is told.
const TICK: Duration = Duration::from_millis(200);

/// What shows what comes back.
pub(super) enum Watch {
    /// Pages that are faulted in again: of the cgroup, or of the machine
    /// without one.
    Refaults {
        /// The cgroup.
        cgroup: Option<CgroupPath>,
        /// Their number at the end of the step.
        before: Pages,
    },
    /// The processes' PSS, where no cgroup has them alone: it grows with new
    /// memory too, and so shows no more than what may have come back.
    Pss {
        /// Whose.
        subject: Subject,
        /// The reading at the end of the step.
        before: Reading,
    },
}

impl Watch {
    /// Watches refaults; `None` where the kernel does not tell them.
    pub(super) fn refaults(kernel: &Kernel, cgroup: Option<CgroupPath>) -> Option<Self> {
        let before = measure::refaults(kernel, cgroup.as_ref())?;
        Some(Self::Refaults { cgroup, before })
    }

    /// Watches the PSS of the subject's processes; `None` where nobody's could
    /// be read.
    pub(super) fn pss(subject: Subject, before: Reading) -> Option<Self> {
        before.has_pss().then_some(Self::Pss { subject, before })
    }
}

/// A step that is watched.
pub(super) struct Watched {
    /// The effect's place.
    pub(super) effect: usize,
    /// By what.
    pub(super) watch: Watch,
}

impl Enforcer {
    /// Waits once for all steps, then fills in what came back. A sentence when
    /// it was ended early: what is told then is of a shorter time.
    pub(super) fn observe(
        &self,
        context: &ApplyContext,
        watched: &[Watched],
        effects: &mut [Effect],
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Option<String> {
        let total = context.observe;
        if total.is_zero() || watched.is_empty() {
            return None;
        }
        let ended = || context.end_observation.load(Ordering::Relaxed);
        let mut lasted = total;
        let start = Instant::now();
        loop {
            let elapsed = start.elapsed().min(total);
            progress(Progress::Observing { elapsed, total });
            if elapsed >= total {
                break;
            }
            if ended() {
                lasted = elapsed;
                break;
            }
            std::thread::sleep(TICK.min(total - elapsed));
        }
        for watched in watched {
            let Some(effect) = effects.get_mut(watched.effect) else {
                continue;
            };
            match &watched.watch {
                Watch::Refaults { cgroup, before } => {
                    if let Some(now) = measure::refaults(&self.kernel, cgroup.as_ref()) {
                        let back = Pages(now.0.saturating_sub(before.0));
                        note_refaults(effect, back.bytes(self.kernel.page_size), lasted);
                    }
                }
                Watch::Pss { subject, before } => {
                    let delta = subject.read(&self.kernel).since(before);
                    if let Some(growth) = delta.pss {
                        note_growth(effect, growth, lasted);
                    }
                }
            }
        }
        (lasted < total).then(|| {
            format!(
                "watching ended early, after {} of {}",
                seconds(lasted),
                seconds(total)
            )
        })
    }
}

fn note_refaults(effect: &mut Effect, back: Bytes, lasted: Duration) {
    effect.refaulted = Some(back);
    let within = seconds(lasted);
    if came_back(effect, back) {
        effect.detail = format!("{}; {back} came back within {within}", effect.detail);
    }
}

/// `10 s`; with a tenth where it was not whole seconds.
fn seconds(time: Duration) -> String {
    if time.subsec_nanos() == 0 {
        format!("{} s", time.as_secs())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

/// Growth may be new memory: it is told, and never counted as refaults.
fn note_growth(effect: &mut Effect, growth: i64, lasted: Duration) {
    let left = matches!(
        effect.verdict,
        Verdict::Worked | Verdict::PartlyWorked | Verdict::MovedNotFreed
    );
    if !left {
        return;
    }
    let grown = Bytes(growth.max(0).unsigned_abs());
    let within = seconds(lasted);
    came_back(effect, grown);
    effect.detail = if grown == Bytes::ZERO {
        format!("{}; nothing came back within {within}", effect.detail)
    } else {
        format!(
            "{}; PSS grew by {grown} within {within}: no more than that came back",
            effect.detail
        )
    };
}

/// Whether the step freed less than it looked like: more than half came back
/// at once, so the memory was in use. The verdict says so then.
fn came_back(effect: &mut Effect, back: Bytes) -> bool {
    let soon = effect.freed.is_some_and(|freed| back.0 > freed.0 / 2);
    let wrong = soon && effect.verdict == Verdict::Worked;
    if wrong {
        effect.verdict = Verdict::PartlyWorked;
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(freed: u64) -> Effect {
        Effect {
            action: "page_out".to_owned(),
            knob: String::new(),
            predicted: None,
            freed: Some(Bytes(freed)),
            compressed_growth_bytes: None,
            net_freed_bytes: None,
            available_delta_bytes: None,
            current_delta_bytes: None,
            pss_delta_bytes: None,
            refaulted: None,
            took_milliseconds: 0,
            verdict: Verdict::Worked,
            detail: "asked".to_owned(),
            journal_id: None,
        }
    }

    const WATCHED: Duration = Duration::from_secs(2);

    #[test]
    fn growth_is_told_and_never_counted_as_refaults() {
        for (growth, verdict, detail) in [
            (
                -4096,
                Verdict::Worked,
                "asked; nothing came back within 2 s",
            ),
            (
                4096,
                Verdict::Worked,
                "asked; PSS grew by 4.0 KiB within 2 s: no more than that came back",
            ),
            (
                81_920,
                Verdict::PartlyWorked,
                "asked; PSS grew by 80.0 KiB within 2 s: no more than that came back",
            ),
        ] {
            let mut effect = effect(100_000);
            note_growth(&mut effect, growth, WATCHED);
            assert_eq!(effect.verdict, verdict, "{growth}");
            assert_eq!(effect.detail, detail);
            assert_eq!(effect.refaulted, None);
        }
    }

    #[test]
    fn where_nothing_left_nothing_is_said_to_come_back() {
        let mut nothing = effect(0);
        nothing.verdict = Verdict::NoEffect;
        note_growth(&mut nothing, 4096, WATCHED);
        assert_eq!(nothing.detail, "asked");
    }

    #[test]
    fn refaults_are_counted_and_told_when_they_are_many() {
        let mut few = effect(100_000);
        note_refaults(&mut few, Bytes(4096), WATCHED);
        assert_eq!(few.refaulted, Some(Bytes(4096)));
        assert_eq!(
            (few.verdict, few.detail.as_str()),
            (Verdict::Worked, "asked")
        );
        let mut many = effect(100_000);
        note_refaults(&mut many, Bytes(81_920), WATCHED);
        assert_eq!(many.verdict, Verdict::PartlyWorked);
        assert_eq!(many.detail, "asked; 80.0 KiB came back within 2 s");
    }
}
