//! Watches for what comes back: pages that are faulted in again after they
//! were evicted.
//!
//! Never holds the journal while it waits, and changes nothing.

use std::time::{Duration, Instant};

use grey_model::{CgroupPath, Effect, Pages, Verdict};

use super::Enforcer;
use super::apply::Progress;
use crate::measure;

/// How often progress is told.
const TICK: Duration = Duration::from_millis(200);

/// Whose refaults are watched.
pub(super) struct Watched {
    /// The effect's place.
    pub(super) effect: usize,
    /// The cgroup; the machine without one.
    pub(super) cgroup: Option<CgroupPath>,
    /// Refaults at the end of the step.
    pub(super) before: Pages,
}

impl Enforcer {
    /// Waits once for all steps, then fills in what came back.
    pub(super) fn observe(
        &self,
        total: Duration,
        watched: &[Watched],
        effects: &mut [Effect],
        progress: &mut dyn FnMut(Progress<'_>),
    ) {
        if total.is_zero() || watched.is_empty() {
            return;
        }
        let start = Instant::now();
        loop {
            let elapsed = start.elapsed().min(total);
            progress(Progress::Observing { elapsed, total });
            if elapsed >= total {
                break;
            }
            std::thread::sleep(TICK.min(total - elapsed));
        }
        for watched in watched {
            let now = measure::refaults(&self.kernel, watched.cgroup.as_ref());
            let Some(effect) = effects.get_mut(watched.effect) else {
                continue;
            };
            let Some(now) = now else { continue };
            let back = Pages(now.0.saturating_sub(watched.before.0)).bytes(self.kernel.page_size);
            effect.refaulted = Some(back);
            let Some(freed) = effect.freed else { continue };
            // More than half came back at once: the memory was in use.
            if effect.verdict == Verdict::Worked && back.0 > freed.0 / 2 {
                effect.verdict = Verdict::PartlyWorked;
                effect.detail = format!(
                    "{}; {back} came back within {} s",
                    effect.detail,
                    total.as_secs()
                );
            }
        }
    }
}
