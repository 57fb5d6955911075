//! One step that changes a setting: guards, read, journal, write, read back,
//! verify by effect.
//!
//! Never writes before the record is on disk, and never calls a write that
//! succeeded a success.

use std::time::{Duration, Instant};

use grey_model::{
    Bytes, CgroupFile, CgroupPath, Change, Effect, Guard, Knob, KnobValue, PlanStep,
    UnitMemoryProperty, Verdict,
};

use super::apply::{Outcome, Run, fall};
use super::check::check_value;
use super::observe::Watch;
use super::{Enforcer, in_one_line};
use crate::disposable::milliseconds;
use crate::journal::{ChangeToRecord, Journal};
use crate::knob::{
    HeldCgroup, HeldProcess, KnobError, Place, Saved, is_equivalent, readable, shown,
};
use crate::measure::{self, Delta, Subject};

/// How often usage is looked at while it settles below a limit.
const SETTLE_PAUSE: Duration = Duration::from_millis(50);

/// How a step ended.
pub(super) struct StepEnd {
    pub(super) effect: Effect,
    /// Why nothing may follow, if so.
    pub(super) stops: Option<Outcome>,
    /// What to do about that.
    pub(super) hint: Option<String>,
    /// What is to be watched, if anything.
    pub(super) watch: Option<Watch>,
}

impl StepEnd {
    pub(super) fn new(effect: Effect, stops: Option<Outcome>) -> Self {
        Self {
            effect,
            stops,
            hint: None,
            watch: None,
        }
    }
}

/// An effect of which nothing is known yet.
pub(super) fn blank(step: &PlanStep) -> Effect {
    let knob = match &step.change {
        Change::Set { knob, .. } => knob.to_string(),
        Change::Once { shot } => shot.to_string(),
    };
    Effect {
        action: step.action.clone(),
        knob,
        predicted: step.predicted,
        freed: None,
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

/// What compressed swap took of what was freed, and what is left. A drop of
/// caches is not weighed: it swaps nothing.
pub(super) fn weigh(effect: &mut Effect, delta: Delta, from_account: bool) {
    effect.compressed_growth_bytes = delta.compressed();
    effect.net_freed_bytes = effect
        .freed
        .and_then(|freed| delta.net(freed, from_account));
}

impl Enforcer {
    /// The end of a step whose guard does not hold.
    pub(super) fn check_guards(&self, step: &PlanStep) -> Option<StepEnd> {
        for guard in &step.guards {
            let Guard::UsageAtMost { cgroup, ceiling } = guard;
            let detail = match measure::usage_of(&self.kernel, cgroup) {
                Some(usage) if usage <= *ceiling => continue,
                Some(usage) => {
                    format!("{cgroup} uses {usage}, more than the {ceiling} at which this is safe")
                }
                None => format!("memory.current of {cgroup} could not be read"),
            };
            let effect = Effect {
                verdict: Verdict::Refused,
                detail,
                ..blank(step)
            };
            return Some(StepEnd::new(effect, Some(Outcome::Refused)));
        }
        None
    }

    pub(super) fn run_setting(
        &self,
        step: &PlanStep,
        run: &Run<'_>,
        journal: &mut Journal,
    ) -> StepEnd {
        let mut effect = blank(step);
        let result = self.set_and_verify(step, run, journal, &mut effect);
        let (stops, hint) = match result {
            Ok(()) => (None, None),
            Err(stop) => {
                effect.verdict = stop.verdict;
                effect.detail = stop.detail;
                (Some(stop.outcome), stop.hint)
            }
        };
        let cgroup = self.account_of(step, run);
        let watch = effect
            .freed
            .and_then(|_| Watch::refaults(&self.kernel, cgroup));
        StepEnd {
            hint,
            watch,
            ..StepEnd::new(effect, stops)
        }
    }

    /// Whether a lease of ours would take away what is so now: then it is
    /// recorded anew, and that lease ends into the new change.
    fn ends_by_lease(&self, journal: &Journal, knob: &Knob) -> bool {
        self.knobs.saved_before(knob).is_ok_and(|saved| {
            let knob = with_identity(knob, &saved);
            journal.ledger().is_leased(&knob, journal.boot())
        })
    }

    fn set_and_verify(
        &self,
        step: &PlanStep,
        run: &Run<'_>,
        journal: &mut Journal,
        effect: &mut Effect,
    ) -> Result<(), Stop> {
        let Change::Set {
            knob,
            before,
            after,
        } = &step.change
        else {
            return Ok(());
        };
        let found = self.knobs.read(knob).map_err(|error| Stop::of(&error))?;
        let is_so = is_equivalent(knob, after.as_ref(), found.as_ref(), self.kernel.page_size);
        if is_so && !self.ends_by_lease(journal, knob) {
            effect.verdict = Verdict::AlreadySo;
            effect.detail = format!("it is {} already", readable(found.as_ref()));
            return Ok(());
        }
        if !run.prepared.touches(knob) {
            let checked = (before.as_ref(), after.as_ref());
            check_value(knob, checked.0, checked.1, found.clone(), &self.kernel).map_err(
                |error| Stop {
                    verdict: Verdict::Refused,
                    outcome: Outcome::Refused,
                    detail: error.to_string(),
                    hint: None,
                },
            )?;
        }
        let saved = self
            .knobs
            .saved_before(knob)
            .map_err(|error| Stop::of(&error))?;
        let knob = with_identity(knob, &saved);
        let saved = Saved {
            place: Some(Place::of_this_process(&self.kernel)),
            ..saved
        };
        let subject = Subject {
            cgroup: self.account_of(step, run),
            processes: Vec::new(),
        };
        let reading = subject.read(&self.kernel);
        self.keep_what_it_rests_on(run, journal, &knob, after.as_ref())?;
        let id = journal
            .record_change(ChangeToRecord {
                plan_id: &run.plan_id,
                knob: &knob,
                before: found.clone(),
                after: after.clone(),
                saved,
                reason: &run.context.reason,
                lease_until: run.lease_until,
            })
            .map_err(|error| Stop::failed(in_one_line(&error)))?;
        effect.journal_id = Some(id);
        let start = Instant::now();
        let written = self.write(journal, &knob, after.as_ref(), step.may_block);
        effect.took_milliseconds = milliseconds(start.elapsed());
        written.map_err(|error| Stop::of(&error))?;
        self.read_back(journal, id, &knob, after.as_ref())?;
        effect.detail = if is_so {
            format!(
                "it stays {}; the lease before it does not end it",
                readable(found.as_ref())
            )
        } else {
            format!(
                "{} became {}",
                readable(found.as_ref()),
                readable(after.as_ref())
            )
        };
        let held = self.verify_limit(&knob, after.as_ref(), subject.cgroup.as_ref());
        let delta = subject.read(&self.kernel).since(&reading);
        effect.available_delta_bytes = delta.available;
        effect.current_delta_bytes = delta.current;
        if step.predicted.is_some() {
            effect.freed = delta.current.map(fall);
            weigh(effect, delta, true);
        }
        held
    }

    /// Asks again for what `knob` is in and a lease of ours would take away
    /// sooner: the group that was made for it, the process that was moved
    /// there. Each is recorded anew as it is, so that the lease ends into the
    /// new record and leaves it.
    fn keep_what_it_rests_on(
        &self,
        run: &Run<'_>,
        journal: &mut Journal,
        knob: &Knob,
        after: Option<&KnobValue>,
    ) -> Result<(), Stop> {
        let ledger = journal.ledger();
        let below: Vec<Knob> = ledger
            .leased_below(knob, after, run.lease_until, journal.boot())
            .into_iter()
            .map(|change| change.knob.clone())
            .collect();
        for knob in below {
            let found = self.knobs.read(&knob).map_err(|error| Stop::of(&error))?;
            let saved = self
                .knobs
                .saved_before(&knob)
                .map_err(|error| Stop::of(&error))?;
            let id = journal
                .record_change(ChangeToRecord {
                    plan_id: &run.plan_id,
                    knob: &knob,
                    before: found.clone(),
                    after: found.clone(),
                    saved: Saved {
                        place: Some(Place::of_this_process(&self.kernel)),
                        ..saved
                    },
                    reason: "what is set in it outlives its lease",
                    lease_until: run.lease_until,
                })
                .map_err(|error| Stop::failed(in_one_line(&error)))?;
            self.read_back(journal, id, &knob, found.as_ref())?;
        }
        Ok(())
    }

    fn read_back(
        &self,
        journal: &mut Journal,
        id: u64,
        knob: &Knob,
        after: Option<&KnobValue>,
    ) -> Result<(), Stop> {
        let now = self.knobs.read(knob).map_err(|error| Stop::of(&error))?;
        let made = self
            .knobs
            .made_cgroup(knob)
            .map_err(|error| Stop::of(&error))?;
        let saved = Saved {
            cgroup_id: made,
            ..Saved::default()
        };
        journal
            .record_applied(id, now.clone(), saved)
            .map_err(|error| Stop::failed(in_one_line(&error)))?;
        if is_equivalent(knob, after, now.as_ref(), self.kernel.page_size) {
            return Ok(());
        }
        Err(Stop::of(&KnobError::NotTaken {
            knob: knob.clone(),
            wanted: shown(after),
            found: shown(now.as_ref()),
        }))
    }

    /// A limit holds when usage is below it, and a unit's when its cgroup has
    /// it.
    fn verify_limit(
        &self,
        knob: &Knob,
        after: Option<&KnobValue>,
        cgroup: Option<&CgroupPath>,
    ) -> Result<(), Stop> {
        let (Some(file), Some(cgroup), Some(after)) = (limit_file(knob), cgroup, after) else {
            return Ok(());
        };
        if let Knob::UnitProperty { .. } = knob {
            self.check_unit_limit(knob, file, cgroup, after)
                .map_err(|error| Stop::of(&error))?;
        }
        let Ok(limit) = after.0.parse().map(Bytes) else {
            return Ok(());
        };
        if file == CgroupFile::MemoryHigh {
            return Ok(());
        }
        let start = Instant::now();
        loop {
            match measure::usage_of(&self.kernel, cgroup) {
                Some(usage) if usage <= limit => return Ok(()),
                Some(usage) if start.elapsed() >= self.options.deadlines.settle => {
                    return Err(Stop {
                        verdict: Verdict::Undone,
                        outcome: Outcome::Failed,
                        detail: format!(
                            "{cgroup} still uses {usage} under a limit of {limit}: the kernel \
                             could not enforce it"
                        ),
                        hint: None,
                    });
                }
                Some(_) => std::thread::sleep(SETTLE_PAUSE),
                None => {
                    return Err(Stop::failed(format!(
                        "memory.current of {cgroup} could not be read"
                    )));
                }
            }
        }
    }

    /// Whether a unit's cgroup has the limit that systemd was given.
    pub(super) fn check_unit_limit(
        &self,
        knob: &Knob,
        file: CgroupFile,
        cgroup: &CgroupPath,
        after: &KnobValue,
    ) -> Result<(), KnobError> {
        let direct = Knob::CgroupFile {
            cgroup: cgroup.clone(),
            id: None,
            file,
        };
        let found = self.knobs.read(&direct)?;
        let wanted = match after.0.as_str() {
            "infinity" => KnobValue("max".to_owned()),
            _ => after.clone(),
        };
        if is_equivalent(
            &direct,
            Some(&wanted),
            found.as_ref(),
            self.kernel.page_size,
        ) {
            return Ok(());
        }
        Err(KnobError::NotTaken {
            knob: knob.clone(),
            wanted: wanted.0,
            found: shown(found.as_ref()),
        })
    }

    /// The cgroup whose account a step changes.
    pub(super) fn account_of(&self, step: &PlanStep, run: &Run<'_>) -> Option<CgroupPath> {
        match &step.change {
            Change::Set {
                knob: Knob::CgroupFile { cgroup, .. },
                ..
            } => Some(cgroup.clone()),
            Change::Set {
                knob: Knob::UnitProperty { .. },
                ..
            } => {
                let target = run.context.target.as_ref()?;
                // A process may have moved into a scope a step ago.
                let now = target
                    .process
                    .and_then(|process| HeldProcess::open(&self.kernel, process).ok())
                    .and_then(|held| held.cgroup(&self.kernel).ok());
                now.or_else(|| target.cgroup.clone())
                    .filter(|cgroup| HeldCgroup::open(&self.kernel, cgroup, None).is_ok())
            }
            _ => None,
        }
    }
}

/// Why a step stops the plan.
pub(super) struct Stop {
    pub(super) verdict: Verdict,
    pub(super) outcome: Outcome,
    pub(super) detail: String,
    pub(super) hint: Option<String>,
}

impl Stop {
    pub(super) fn failed(detail: String) -> Self {
        Self {
            verdict: Verdict::Failed,
            outcome: Outcome::Failed,
            detail,
            hint: None,
        }
    }

    fn of(error: &KnobError) -> Self {
        let (verdict, outcome) = if error.is_timed_out() {
            (Verdict::TimedOut, Outcome::TimedOut)
        } else if error.is_denied() {
            (Verdict::Failed, Outcome::NotPermitted)
        } else {
            (Verdict::Failed, Outcome::Failed)
        };
        Self {
            verdict,
            outcome,
            detail: in_one_line(error),
            hint: error.hint(),
        }
    }
}

/// The setting with the identity that was found, so that undoing cannot hit
/// another cgroup of the same path.
fn with_identity(knob: &Knob, saved: &Saved) -> Knob {
    match knob {
        Knob::CgroupFile { cgroup, id, file } => Knob::CgroupFile {
            cgroup: cgroup.clone(),
            id: id.or(saved.cgroup_id),
            file: *file,
        },
        other => other.clone(),
    }
}

fn limit_file(knob: &Knob) -> Option<CgroupFile> {
    match knob {
        Knob::CgroupFile { file, .. } => Some(*file),
        Knob::UnitProperty { property, .. } => Some(UnitMemoryProperty::cgroup_file(*property)),
        _ => None,
    }
}
