//! One step that cannot be undone: reclaim, page-out, dropping caches.
//!
//! Never believes what the write returned: what was freed is measured.

use std::time::Instant;

use grey_model::{CgroupPath, Effect, OneShot, PlanStep, TargetKind, Verdict};

use super::Enforcer;
use super::apply::{Outcome, Run, fall};
use super::judge::{Surroundings, judge};
use super::observe::Watch;
use super::setting::{StepEnd, blank, weigh};
use crate::disposable::{Job, JobEnd, JobResult, milliseconds};
use crate::journal::Journal;
use crate::measure::{self, Delta, Subject};

impl Enforcer {
    pub(super) fn run_shot(
        &self,
        step: &PlanStep,
        shot: &OneShot,
        run: &Run<'_>,
        journal: &Journal,
        progress: &mut dyn FnMut(u64, u64),
    ) -> StepEnd {
        let mut effect = blank(step);
        let subject = subject_of(shot, run);
        let before = subject.read(&self.kernel);
        let start = Instant::now();
        let end = self.run_job(journal, job_of(shot), self.deadline_of(shot), progress);
        effect.took_milliseconds = milliseconds(start.elapsed());
        let after = subject.read(&self.kernel);
        let delta = after.since(&before);
        effect.available_delta_bytes = delta.available;
        effect.current_delta_bytes = delta.current;
        effect.pss_delta_bytes = delta.pss;
        let from_account = measured(&mut effect, shot, run, delta);
        if !matches!(shot, OneShot::DropCaches { .. }) {
            weigh(&mut effect, delta, from_account);
        }
        let surroundings = Surroundings {
            has_swap: measure::has_swap(&self.kernel),
            anonymous: match shot {
                OneShot::PageOut { .. } => before.anonymous_of_processes(),
                _ => before.anonymous_of_cgroup(),
            },
            usage: before.usage(),
        };
        let stops = conclude(&mut effect, shot, end, delta, surroundings);
        // Refaults of a cgroup with others in it, or of the whole machine, are
        // not the processes' own.
        let watch = match shot {
            OneShot::PageOut { .. } if !from_account => Watch::pss(subject, after),
            _ => Watch::refaults(&self.kernel, subject.cgroup),
        };
        StepEnd {
            watch,
            ..StepEnd::new(effect, stops)
        }
    }

    const fn deadline_of(&self, shot: &OneShot) -> std::time::Duration {
        match shot {
            OneShot::Reclaim { .. } => self.options.deadlines.reclaim,
            OneShot::PageOut { .. } => self.options.deadlines.page_out,
            OneShot::DropCaches { .. } => self.options.deadlines.drop_caches,
        }
    }
}

fn job_of(shot: &OneShot) -> Job {
    match shot {
        OneShot::Reclaim {
            cgroup,
            amount,
            until,
        } => Job::Reclaim {
            cgroup: cgroup.clone(),
            amount: *amount,
            until: *until,
        },
        OneShot::PageOut { processes } => Job::PageOut {
            processes: processes.clone(),
        },
        OneShot::DropCaches { what } => Job::DropCaches { what: *what },
    }
}

fn subject_of(shot: &OneShot, run: &Run<'_>) -> Subject {
    let target = run.context.target.as_ref();
    match shot {
        OneShot::Reclaim { cgroup, .. } => Subject {
            cgroup: Some(cgroup.clone()),
            processes: target.map_or_else(Vec::new, |target| target.processes.clone()),
        },
        OneShot::PageOut { processes } => Subject {
            cgroup: target
                .and_then(|target| target.cgroup.clone())
                .filter(|cgroup: &CgroupPath| !cgroup.is_root()),
            processes: processes.clone(),
        },
        OneShot::DropCaches { .. } => Subject::default(),
    }
}

/// Fills in which measurement counts as freed; true for the cgroup's account.
fn measured(effect: &mut Effect, shot: &OneShot, run: &Run<'_>, delta: Delta) -> bool {
    let target = run.context.target.as_ref();
    let mut from_account = false;
    effect.freed = match shot {
        OneShot::Reclaim { .. } => {
            from_account = true;
            delta.current.map(fall)
        }
        OneShot::PageOut { .. } => {
            // In a cgroup with others, its account says nothing about one.
            let alone = target
                .is_none_or(|target| target.kind != TargetKind::Process || target.bystanders == 0);
            let current = delta.current.filter(|_| alone);
            from_account = current.is_some();
            current.or(delta.pss).map(fall)
        }
        OneShot::DropCaches { .. } => delta.free.map(|delta| fall(delta.saturating_neg())),
    };
    from_account
}

/// Judges the step, and says whether it stops the plan. One that was too slow
/// or freed little does not: what follows has its own guards.
fn conclude(
    effect: &mut Effect,
    shot: &OneShot,
    end: JobEnd,
    delta: Delta,
    surroundings: Surroundings,
) -> Option<Outcome> {
    match end {
        JobEnd::Done(result) => {
            // What went with a process was not freed by paging it out: only
            // those that are still there show what was.
            if matches!(result, JobResult::PagedOut { gone: 1.., .. }) {
                effect.freed = effect.pss_delta_bytes.map(fall);
                weigh(effect, delta, false);
            }
            (effect.verdict, effect.detail) = judge(shot, &result, effect, surroundings);
            None
        }
        JobEnd::TimedOut { message } => {
            effect.verdict = Verdict::TimedOut;
            effect.detail = message;
            None
        }
        JobEnd::Failed { message, .. } => {
            effect.verdict = Verdict::Failed;
            effect.detail = message;
            Some(Outcome::Failed)
        }
    }
}

#[cfg(test)]
mod tests {
    use grey_model::{Bytes, Change, Risk};

    use super::*;

    #[test]
    fn what_went_with_a_process_was_not_paged_out() {
        let shot = OneShot::PageOut {
            processes: Vec::new(),
        };
        let step = PlanStep {
            action: "page_out".to_owned(),
            change: Change::Once { shot: shot.clone() },
            predicted: None,
            risk: Risk::Medium,
            reason: String::new(),
            undo: String::new(),
            guards: Vec::new(),
            may_block: true,
        };
        let freed = |gone, pss| {
            let mut effect = blank(&step);
            effect.freed = Some(Bytes::from_mib(256));
            effect.pss_delta_bytes = pss;
            let result = JobResult::PagedOut {
                advised: Bytes::from_mib(68),
                processes: 1,
                gone,
                denied: 0,
                timed_out: false,
            };
            let (delta, around) = (Delta::default(), Surroundings::default());
            conclude(&mut effect, &shot, JobEnd::Done(result), delta, around);
            effect.freed
        };
        assert_eq!(freed(0, None), Some(Bytes::from_mib(256)));
        assert_eq!(freed(1, Some(-4096)), Some(Bytes(4096)));
        assert_eq!(freed(1, None), None);
    }
}
