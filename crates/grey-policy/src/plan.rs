//! From a request and the facts to a checked plan, or to every reason against it.
//!
//! A plan is made whole or not at all: one refusal stops everything.

use grey_model::{
    Action, EnforcementRequest, Plan, PlanStep, PreflightFacts, ProcessId, ProcessMemory,
    ProcessState, Refusal,
};

use crate::refusals::{harmful, not_supported, usage};
use crate::{cgroup_limits, drop_caches, ksm, left_over, page_out, process_settings, reclaim};

/// What the parts of a plan are collected in.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) steps: Vec<PlanStep>,
    pub(crate) warnings: Vec<String>,
    pub(crate) refusals: Vec<Refusal>,
}

impl Draft {
    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        if !self.refusals.contains(&refusal) {
            self.refusals.push(refusal);
        }
    }

    pub(crate) fn warn(&mut self, warning: impl Into<String>) {
        let warning = warning.into();
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

/// Plans `request` on a machine of which `facts` are known.
///
/// # Errors
/// Every refusal, in the order of the actions; nothing of the request may be
/// done then.
pub fn plan(request: &EnforcementRequest, facts: &PreflightFacts) -> Result<Plan, Vec<Refusal>> {
    let mut draft = Draft::default();
    if request.actions.is_empty() {
        draft.refuse(usage(
            "no action was given",
            "name at least one of --reclaim, --high, --limit, --page-out, --drop-caches, \
             --enable-ksm, --oom-score-adj, --rlimit-data",
        ));
    }
    check_target(request, facts, &mut draft);
    if draft.refusals.is_empty() {
        for action in ordered(&request.actions) {
            plan_action(action, facts, &mut draft);
        }
    }
    if !draft.refusals.is_empty() {
        return Err(draft.refusals);
    }
    left_over::count_once(&mut draft.steps, facts);
    Ok(Plan {
        steps: draft.steps,
        warnings: draft.warnings,
    })
}

fn plan_action(action: Action, facts: &PreflightFacts, draft: &mut Draft) {
    match action {
        Action::Reclaim { amount } => reclaim::plan(amount, facts, draft),
        Action::High { limit } => cgroup_limits::plan_high(limit, facts, draft),
        Action::Limit { limit } => cgroup_limits::plan_max(limit, facts, draft),
        Action::PageOut => page_out::plan(facts, draft),
        Action::DropCaches { what } => drop_caches::plan(what, facts, draft),
        Action::EnableKsm { speed } => ksm::plan(speed, facts, draft),
        Action::OomScoreAdj { value } => process_settings::plan_oom(value, facts, draft),
        Action::RlimitData { limit } => process_settings::plan_rlimit(limit, facts, draft),
    }
}

/// The cheapest means first: settings that free nothing by themselves, then
/// caches, then the target's cold pages, then limits.
fn ordered(actions: &[Action]) -> Vec<Action> {
    let mut actions = actions.to_vec();
    actions.sort_by_key(|action| match action {
        Action::OomScoreAdj { .. } => 0,
        Action::RlimitData { .. } => 1,
        Action::EnableKsm { .. } => 2,
        Action::DropCaches { .. } => 3,
        Action::Reclaim { .. } => 4,
        Action::PageOut => 5,
        Action::High { .. } => 6,
        Action::Limit { .. } => 7,
    });
    actions
}

/// Whether a process has ended and holds nothing. One whose first thread has
/// ended looks the same while others of it go on, and holds all it had.
pub(crate) fn is_zombie(process: &ProcessMemory) -> bool {
    matches!(process.state, ProcessState::Zombie | ProcessState::Dead)
        && process.threads.is_none_or(|threads| threads <= 1)
}

fn is_dead(id: ProcessId, facts: &PreflightFacts) -> bool {
    facts
        .processes
        .iter()
        .any(|process| process.id == id && is_zombie(process))
}

fn check_target(request: &EnforcementRequest, facts: &PreflightFacts, draft: &mut Draft) {
    let Some(target) = &facts.target else {
        if let Some(action) = request.actions.iter().find(|action| action.needs_target()) {
            draft.refuse(usage(
                format!("the action {} needs a target", action.name()),
                "add --target with a pid, a command name, a cgroup path or a unit",
            ));
        }
        return;
    };
    if !request.actions.iter().any(|action| action.needs_target()) {
        return;
    }
    let changes_processes = request.actions.iter().any(|action| {
        action.needs_target() && !matches!(action, Action::Reclaim { .. } | Action::PageOut)
    });
    let has_first = target.processes.iter().any(|process| process.pid == 1);
    if has_first && (target.process.is_some() || changes_processes) {
        draft.refuse(harmful(
            "process 1 keeps the machine alive and is never touched",
            "name the service or the process that uses the memory",
        ));
    }
    if changes_processes && target.name_is_slice() {
        draft.warn(format!(
            "{} holds {} processes of several units: the change is for all of them together",
            target.typed,
            target.processes.len()
        ));
    }
    if let Some(id) = target.process.filter(|id| is_dead(*id, facts)) {
        // Its memory is gone, and what is set on it is set for nobody.
        draft.refuse(usage(
            format!(
                "process {id} has ended (it is a zombie): it holds no memory, and waits only for \
                 its parent to collect it"
            ),
            format!("find its parent: ps -o ppid= -p {}", id.pid),
        ));
        return;
    }
    let summary = &facts.process_summary;
    if summary.count > 0 && summary.count == summary.kernel_threads {
        draft.refuse(not_supported(
            format!(
                "`{}` is a kernel thread and has no memory of its own",
                target.typed
            ),
            "see the breakdown of memory-diagnose for what the kernel uses",
        ));
    }
}
