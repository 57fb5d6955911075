//! Runs `memory-enforce`: plan, show, apply, show what it did.
//!
//! A refusal changes nothing. With `--json` there is a document on stdout
//! however the run ends.

use std::time::Duration;

use grey_enforcement::{Applied, ApplyContext, Enforcer, Outcome as Ended, Progress};
use grey_model::{
    Change, Effect, EnforcementRequest, Plan, Refusal, RefusalKind, ResolvedTarget, Verdict,
};
use jiff::Timestamp;

use super::document::{Enforcement, Outcome, PlannedStep, SCHEMA};
use super::progress::ProgressLine;
use super::{planning, report};
use crate::cli::{EnforceOptions, GlobalOptions};
use crate::count::counted;
use crate::duration::short;
use crate::enforcer::{self, apply_failure, exit_of};
use crate::error_document::Ending;
use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::recommend;
use crate::rollback::document::RolledBack;
use crate::rollback::expired;
use crate::roots::open_kernel;
use crate::table::{BOLD, wrap};
use crate::target::{describe, resolve};

/// Runs `memory-enforce`.
///
/// # Errors
/// A [`Failure`] when nothing was done, or less than was asked for.
pub(crate) fn run(
    global: &GlobalOptions,
    options: &EnforceOptions,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let mut document = Enforcement::new(options.simulation);
    let ended = enforce(global, options, &mut document, output);
    if let Err(failure) = &ended {
        document.fail(failure);
    }
    if options.json {
        document.ending = Ending::of(&ended);
        output.json(&document)?;
    }
    ended
}

fn enforce(
    global: &GlobalOptions,
    options: &EnforceOptions,
    document: &mut Enforcement,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let request = planning::request(options)?;
    let kernel = open_kernel(global)?;
    // What is planned starts from the values that should hold by now.
    if options.simulation {
        document.warnings = expired::would_undo(global, &kernel);
    } else {
        let undone = expired::undo(global, &kernel, "memory-enforce", output);
        document.expired_leases = undone.changes;
        document.warnings = undone.warnings;
    }
    for warning in &document.warnings {
        output.warn(warning);
    }
    let told = document.warnings.len();
    let target = match &request.target {
        Some(target) => Some(resolve(global, &kernel, target)?),
        None => None,
    };
    document.target = target.clone();
    if let (Some(target), false) = (&target, options.json) {
        output.text(&target_line(target, output.width()))?;
    }
    let planned = planning::plan(&kernel, options, &request, target.clone())?;
    document.refusals.clone_from(&planned.refusals);
    document.warnings.extend(planned.warnings);
    if let Some(plan) = &planned.plan {
        document.plan = plan.steps.iter().map(PlannedStep::new).collect();
        document.warnings.extend(plan.warnings.iter().cloned());
        warn_of_idle_lease(&request, plan, document);
    }
    for warning in document.warnings.iter().skip(told) {
        output.warn(warning);
    }
    if !document.plan.is_empty() && !options.json {
        output.text(&report::plan(
            &document.plan,
            options.simulation,
            output.width(),
        ))?;
    }
    let Some(plan) = planned.plan else {
        return Err(refused(&planned.refusals));
    };
    if options.simulation {
        if document.refusals.is_empty() && !plan.steps.is_empty() {
            document
                .refusals
                .extend(enforcer::would_refuse(global, &plan)?);
        }
        return simulated(options, document, output);
    }
    if plan.steps.is_empty() {
        document.outcome = Outcome::NothingToDo;
        if !options.json {
            output.text("Nothing to change.\n")?;
        }
        return Ok(Exit::Success);
    }
    apply(global, options, &request, &plan, target, document, output)
}

fn target_line(target: &ResolvedTarget, width: Option<usize>) -> String {
    let mut text = String::new();
    for (index, line) in wrap(
        &describe(target),
        width.map(|width| width.saturating_sub(8)),
    )
    .iter()
    .enumerate()
    {
        let label = if index == 0 { "Target" } else { "      " };
        text.push_str(&format!("{BOLD}{label}{BOLD:#}  {line}\n"));
    }
    text
}

fn warn_of_idle_lease(request: &EnforcementRequest, plan: &Plan, document: &mut Enforcement) {
    let sets_something = plan
        .steps
        .iter()
        .any(|step| matches!(step.change, Change::Set { .. }));
    if request.lease.is_some() && !sets_something {
        document.warnings.push(
            "--for has nothing to undo here: what this plan does leaves no setting behind"
                .to_owned(),
        );
    }
}

/// A simulation succeeds when there is a plan to show, even if it may not be
/// carried out: whoever only looks is told what is in the way.
fn simulated(
    options: &EnforceOptions,
    document: &mut Enforcement,
    output: &mut Output,
) -> Result<Exit, Failure> {
    document.outcome = Outcome::Simulated;
    if document.plan.is_empty() && document.refusals.is_empty() && !options.json {
        output.text("Nothing to change.\n")?;
    }
    for refusal in &document.refusals {
        output.warn(&format!("this would be refused: {}", refusal.reason));
        output.hint(&refusal.hint);
    }
    Ok(Exit::Success)
}

fn refused(refusals: &[Refusal]) -> Failure {
    let mut failures = refusals.iter().map(|refusal| {
        let failure = Failure::new(exit_of(refusal.kind), &refusal.reason).hint(&refusal.hint);
        match refusal.kind {
            RefusalKind::NotPermitted => failure.hint("see the plan without it: --simulation"),
            _ => failure,
        }
    });
    let Some(mut first) = failures.next() else {
        return Failure::new(Exit::Failed, "no plan was made");
    };
    first.others = failures.collect();
    first
}

fn apply(
    global: &GlobalOptions,
    options: &EnforceOptions,
    request: &EnforcementRequest,
    plan: &Plan,
    target: Option<ResolvedTarget>,
    document: &mut Enforcement,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let mut enforcer: Enforcer = enforcer::open(global, "memory-enforce")?;
    enforcer::say_if_locked(global, output);
    let mut interrupt = Interrupt::default();
    let context = ApplyContext {
        target,
        reason: request.reason.clone(),
        lease: request.lease,
        observe: options.observe.0,
        end_observation: interrupt.flag(),
    };
    let mut line = ProgressLine::new(output.shows_progress());
    let applied = enforcer.apply(plan, &context, &mut |progress| {
        // Not before: a step that is under way is ended by Ctrl-C. Where the
        // signal cannot be taken, it ends the watching as well.
        if matches!(progress, Progress::Observing { .. }) {
            let _ = interrupt.watch();
        }
        line.update(&progress);
    });
    line.finish();
    interrupt.release();
    let applied = applied.map_err(|error| apply_failure(global, &error))?;
    let told = document.warnings.len();
    record(&applied, request.lease, document);
    for warning in document.warnings.iter().skip(told) {
        output.warn(warning);
    }
    if !options.json {
        output.text(&report::effects(&document.effects, output.width()))?;
        if !document.undone.is_empty() {
            let title = "Put back";
            let text = crate::rollback::changes(title, &document.undone, output.width());
            output.text(&text)?;
        }
    }
    if !document.journal_ids.is_empty() {
        for hint in undo_hints(global, &document.journal_ids, request.lease) {
            output.hint(&hint);
        }
    }
    match document.outcome {
        Outcome::NoEffect => output.warn("it was done, and nothing came of it"),
        Outcome::PartlyDone => output.warn("less came of it than was asked for"),
        _ => {}
    }
    verdict(global, applied.outcome, document).map_err(|failure| match &applied.hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    })
}

fn record(applied: &Applied, lease: Option<Duration>, document: &mut Enforcement) {
    document.effects.clone_from(&applied.effects);
    document.journal_ids.clone_from(&applied.journal_ids);
    document.plan_id = Some(applied.plan_id.clone());
    document.undone = applied.undone.iter().map(RolledBack::new).collect();
    document.warnings.extend(applied.remarks.iter().cloned());
    let settled = document
        .effects
        .iter()
        .filter(|effect| effect.verdict == Verdict::AlreadySo);
    if let (Some(lease), so @ 1..) = (lease, settled.count()) {
        document.warnings.push(not_leased(so, lease));
    }
    let every = |verdicts: &[Verdict]| {
        let mut effects = document.effects.iter();
        effects.all(|effect| verdicts.contains(&effect.verdict))
    };
    let nothing_new = every(&[Verdict::AlreadySo]);
    let useless = every(&[
        Verdict::NoEffect,
        Verdict::MovedNotFreed,
        Verdict::AlreadySo,
    ]);
    document.outcome = match applied.outcome {
        Ended::Complete if nothing_new => Outcome::NothingToDo,
        Ended::Complete => Outcome::Done,
        Ended::Partial if useless => Outcome::NoEffect,
        Ended::Partial => Outcome::PartlyDone,
        Ended::Refused => Outcome::Refused,
        Ended::TimedOut => Outcome::TimedOut,
        Ended::NotPermitted | Ended::Failed => Outcome::Failed,
    };
    if !document.journal_ids.is_empty() {
        document.lease_until = lease.and_then(until);
    }
}

/// What was so before is not ours to undo.
fn not_leased(settings: usize, lease: Duration) -> String {
    let what = counted(settings as u64, "setting was", "settings were");
    format!(
        "{what} so already, and {} so: nothing of that is undone after {}",
        if settings == 1 { "stays" } else { "stay" },
        short(lease)
    )
}

fn until(lease: Duration) -> Option<String> {
    let lease = jiff::SignedDuration::try_from(lease).ok()?;
    let instant = Timestamp::now().checked_add(lease).ok()?;
    instant
        .round(jiff::Unit::Second)
        .ok()
        .map(|instant| instant.to_string())
}

/// How to undo what this run has set; each sentence ends in its command.
fn undo_hints(global: &GlobalOptions, ids: &[u64], lease: Option<Duration>) -> Vec<String> {
    let rollback = |words: &str| recommend::command(global, words);
    let by_itself = lease.map_or_else(String::new, |lease| {
        format!("it is undone by itself in {}; to ", short(lease))
    });
    match ids {
        [id] => vec![format!(
            "{by_itself}undo it{}: {}",
            if lease.is_some() { " now" } else { "" },
            rollback(&format!("rollback {id}"))
        )],
        ids => {
            let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
            vec![format!(
                "{by_itself}undo changes {} and whatever else still holds{}: {}",
                ids.join(", "),
                if lease.is_some() { " now" } else { "" },
                rollback("rollback")
            )]
        }
    }
}

/// The exit code; what did not work is told as an error.
fn verdict(
    global: &GlobalOptions,
    outcome: Ended,
    document: &Enforcement,
) -> Result<Exit, Failure> {
    let (exit, hint): (Exit, String) = match outcome {
        Ended::Complete => return Ok(Exit::Success),
        // What came of it is in the effects, and is no error of ours.
        Ended::Partial if document.undone.is_empty() => return Ok(Exit::PartlyDone),
        Ended::Partial => (
            Exit::PartlyDone,
            format!(
                "not everything was put back; try again: {}",
                recommend::command(global, "rollback")
            ),
        ),
        Ended::Refused => (Exit::RefusedBySafety, "everything was put back".to_owned()),
        Ended::TimedOut => (Exit::TimedOut, "what was set was put back".to_owned()),
        Ended::NotPermitted => (Exit::NotPermitted, "everything was put back".to_owned()),
        Ended::Failed => (Exit::Failed, "everything was put back".to_owned()),
    };
    let message = document
        .effects
        .iter()
        .rev()
        .find(|effect| is_bad(effect))
        .map_or_else(
            || "the plan was not carried out".to_owned(),
            |effect| format!("{}: {}", effect.knob, effect.detail),
        );
    Err(Failure::new(exit, message).hint(hint))
}

const fn is_bad(effect: &Effect) -> bool {
    matches!(
        effect.verdict,
        Verdict::Refused | Verdict::TimedOut | Verdict::Failed | Verdict::Undone
    )
}

impl Enforcement {
    fn new(simulation: bool) -> Self {
        Self {
            schema: SCHEMA,
            simulation,
            outcome: Outcome::Refused,
            target: None,
            expired_leases: Vec::new(),
            plan: Vec::new(),
            effects: Vec::new(),
            undone: Vec::new(),
            refusals: Vec::new(),
            warnings: Vec::new(),
            journal_ids: Vec::new(),
            plan_id: None,
            lease_until: None,
            ending: Ending::default(),
        }
    }

    /// Records why the run ended early. What stopped it before the first
    /// change is a refusal, too.
    fn fail(&mut self, failure: &Failure) {
        if self.plan_id.is_some() {
            return;
        }
        let kind = match failure.exit {
            Exit::Usage => Some(RefusalKind::Usage),
            Exit::NotPermitted => Some(RefusalKind::NotPermitted),
            Exit::NotSupported => Some(RefusalKind::NotSupported),
            Exit::RefusedBySafety => Some(RefusalKind::Unsafe),
            _ => None,
        };
        self.outcome = match (kind, failure.exit) {
            (Some(_), _) => Outcome::Refused,
            (None, Exit::TimedOut) => Outcome::TimedOut,
            (None, _) => Outcome::Failed,
        };
        if let (Some(kind), true) = (kind, self.refusals.is_empty()) {
            self.refusals.push(Refusal {
                kind,
                reason: failure.message.clone(),
                hint: failure.hints.join("; "),
            });
        }
    }
}
