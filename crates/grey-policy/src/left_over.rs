//! What is left for a step when the steps before it took their part: a plan
//! must not count the same memory twice.
//!
//! Changes predictions alone. What is safe, and how much a step may take at
//! most, is judged on what is there now: an earlier step may do less than was
//! foreseen.

use grey_model::{Bytes, Change, DropCaches, OneShot, PlanStep, PreflightFacts};

use crate::reclaimable;

/// Lowers each prediction by what earlier steps are to take of the same memory.
pub(crate) fn count_once(steps: &mut [PlanStep], facts: &PreflightFacts) {
    let mut taken = Taken::default();
    for step in steps {
        let Some(predicted) = step.predicted else {
            continue;
        };
        let left = match &step.change {
            Change::Once {
                shot: OneShot::DropCaches { what },
            } => {
                if *what != DropCaches::Slab {
                    taken.cache = unmapped_cache(facts).min(predicted);
                }
                continue;
            }
            Change::Once {
                shot: OneShot::PageOut { .. },
            } => predicted.saturating_sub(taken.of_processes(facts)),
            Change::Once {
                shot:
                    OneShot::Reclaim {
                        amount,
                        until: None,
                        ..
                    },
            } => taken.left_of_cgroup(facts).min(*amount).min(predicted),
            // Down to a mark: whoever was there before has done a part.
            Change::Once { .. } | Change::Set { .. } => predicted.saturating_sub(taken.all()),
        };
        step.predicted = Some(left);
        taken.from_target = taken.from_target.saturating_add(left);
    }
}

/// What the steps so far are to take.
#[derive(Debug, Default)]
struct Taken {
    /// Of the target, by steps that are for it.
    from_target: Bytes,
    /// Of the target's page cache, by dropping everybody's.
    cache: Bytes,
}

impl Taken {
    fn all(&self) -> Bytes {
        self.from_target.saturating_add(self.cache)
    }

    /// Of what its processes map. Cache that nobody maps goes first.
    fn of_processes(&self, facts: &PreflightFacts) -> Bytes {
        self.all().saturating_sub(unmapped_cache(facts))
    }

    fn left_of_cgroup(&self, facts: &PreflightFacts) -> Bytes {
        facts
            .cgroup
            .as_ref()
            .map(|cgroup| reclaimable::of_cgroup(facts, cgroup).total())
            .unwrap_or_default()
            .saturating_sub(self.all())
    }
}

/// The target's page cache that no process maps; zero where it is unknown.
fn unmapped_cache(facts: &PreflightFacts) -> Bytes {
    let stat = facts
        .cgroup
        .as_ref()
        .and_then(|cgroup| cgroup.stat.as_ref());
    let Some(stat) = stat else {
        return Bytes::ZERO;
    };
    let listed: Bytes = [stat.inactive_file, stat.active_file]
        .into_iter()
        .flatten()
        .sum();
    listed.saturating_sub(stat.file_mapped.unwrap_or_default())
}
