//! From the request to a plan: find the target, gather the facts, ask policy.
//!
//! Reads only. A simulation is planned by the same code as the real thing.

use grey_enforcement::systemd::{Systemd, UnitManager as _};
use grey_model::{
    Action, DropCaches, EnforcementRequest, KsmSpeed, Owner, Plan, PreflightFacts, Privileges,
    Refusal, RefusalKind, ResolvedTarget,
};
use grey_telemetry::{Kernel, gather_facts};

use crate::cli::EnforceOptions;
use crate::exit_code::Exit;
use crate::failure::{Failure, chain, is_denied};
use crate::roots::hint_at_procfs;

/// What planning came to.
#[derive(Debug, Default)]
pub(crate) struct Planned {
    /// The plan; on a simulation also one that may not be carried out.
    pub(crate) plan: Option<Plan>,
    /// Why it may not.
    pub(crate) refusals: Vec<Refusal>,
    /// What could not be found out on the way.
    pub(crate) warnings: Vec<String>,
}

/// The request in the options. Without actions, a simulation is about what is
/// safe for the whole machine.
///
/// # Errors
/// A [`Failure`] when there is nothing to do.
pub(crate) fn request(options: &EnforceOptions) -> Result<EnforcementRequest, Failure> {
    let mut actions = options.actions();
    if actions.is_empty() {
        if !options.simulation || options.target.is_some() {
            return Err(no_action());
        }
        actions = machine_wide();
    }
    Ok(EnforcementRequest {
        target: options.target.clone(),
        actions,
        lease: options.lease.map(|lease| lease.0),
        reason: options.reason.clone().unwrap_or_default(),
    })
}

fn no_action() -> Failure {
    Failure::new(Exit::Usage, "no action was given").hint(
        "name at least one of --reclaim, --high, --limit, --page-out, --drop-caches, \
         --enable-ksm, --oom-score-adj, --rlimit-data; or look first: --simulation",
    )
}

fn machine_wide() -> Vec<Action> {
    vec![
        Action::EnableKsm {
            speed: KsmSpeed::AsIs,
        },
        Action::DropCaches {
            what: DropCaches::PageCache,
        },
    ]
}

/// Plans the request for a target that was found.
///
/// # Errors
/// A [`Failure`] when the machine cannot be read.
pub(crate) fn plan(
    kernel: &Kernel,
    options: &EnforceOptions,
    request: &EnforcementRequest,
    target: Option<ResolvedTarget>,
) -> Result<Planned, Failure> {
    let mut planned = Planned::default();
    let mut facts = gather_facts(kernel, target).map_err(|error| {
        let exit = if is_denied(&error) {
            Exit::NotPermitted
        } else {
            Exit::Failed
        };
        hint_at_procfs(Failure::from_error(exit, &error), &error)
    })?;
    ask_systemd(&mut facts, &mut planned.warnings);
    if options.simulation && options.actions().is_empty() {
        each_alone(request, &facts, &mut planned);
        return Ok(planned);
    }
    match grey_policy::plan(request, &facts) {
        Ok(plan) => planned.plan = Some(plan),
        Err(refusals) => {
            if options.simulation && only_permission(&refusals) {
                planned.plan = grey_policy::plan(request, &permitted(facts)).ok();
            }
            planned.refusals = most_fundamental_first(refusals);
        }
    }
    Ok(planned)
}

/// What systemd says of the target's unit. Where it cannot be asked, policy
/// takes the worse case.
fn ask_systemd(facts: &mut PreflightFacts, warnings: &mut Vec<String>) {
    let owner = facts
        .target
        .as_ref()
        .and_then(|target| target.owner.as_ref());
    let Some(Owner::SystemdUnit { unit } | Owner::DelegatedBySystemd { unit }) = owner else {
        return;
    };
    if !facts.host.systemd {
        return;
    }
    match Systemd::connect().and_then(|systemd| systemd.unit_facts(unit)) {
        Ok(found) => facts.unit = Some(found),
        Err(error) => {
            let next = error
                .hint()
                .map_or_else(String::new, |hint| format!(" ({hint})"));
            let why = chain(&error);
            warnings.push(format!(
                "systemd could not be asked about {unit}: {why}{next}"
            ));
        }
    }
}

/// Each action for itself: one that is not possible does not hide the others.
/// Whoever only looks needs no permission to do it.
fn each_alone(request: &EnforcementRequest, facts: &PreflightFacts, planned: &mut Planned) {
    let mut whole = Plan {
        steps: Vec::new(),
        warnings: Vec::new(),
    };
    for action in &request.actions {
        let one = EnforcementRequest {
            actions: vec![*action],
            ..request.clone()
        };
        let planned_one = match grey_policy::plan(&one, facts) {
            Err(refusals) if only_permission(&refusals) => {
                planned.refusals.extend(refusals);
                grey_policy::plan(&one, &permitted(facts.clone()))
            }
            other => other,
        };
        match planned_one {
            Ok(plan) => {
                whole.steps.extend(plan.steps);
                whole.warnings.extend(plan.warnings);
            }
            Err(refusals) => planned.refusals.extend(refusals),
        }
    }
    planned.refusals = most_fundamental_first(std::mem::take(&mut planned.refusals));
    planned.plan = (!whole.steps.is_empty()).then_some(whole);
}

fn only_permission(refusals: &[Refusal]) -> bool {
    refusals
        .iter()
        .all(|refusal| refusal.kind == RefusalKind::NotPermitted)
}

/// The same machine, if we were root.
fn permitted(mut facts: PreflightFacts) -> PreflightFacts {
    facts.privileges = Privileges {
        root: true,
        sys_admin: true,
        sys_nice: true,
        sys_ptrace: true,
        sys_resource: true,
    };
    facts.features.sysfs_writable = true;
    facts.features.cgroupfs_writable = true;
    facts
}

/// A request that makes no sense comes before what is not permitted, that
/// before what this machine cannot do, and that before what would do harm.
fn most_fundamental_first(mut refusals: Vec<Refusal>) -> Vec<Refusal> {
    refusals.sort_by_key(|refusal| match refusal.kind {
        RefusalKind::Usage => 0,
        RefusalKind::NotPermitted => 1,
        RefusalKind::NotSupported => 2,
        RefusalKind::Unsafe => 3,
    });
    refusals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_fundamental_refusal_comes_first() {
        let refusal = |kind| Refusal {
            kind,
            reason: String::new(),
            hint: String::new(),
        };
        let sorted = most_fundamental_first(vec![
            refusal(RefusalKind::Unsafe),
            refusal(RefusalKind::NotSupported),
            refusal(RefusalKind::NotPermitted),
            refusal(RefusalKind::Usage),
        ]);
        let kinds: Vec<RefusalKind> = sorted.iter().map(|refusal| refusal.kind).collect();
        assert_eq!(
            kinds,
            [
                RefusalKind::Usage,
                RefusalKind::NotPermitted,
                RefusalKind::NotSupported,
                RefusalKind::Unsafe
            ]
        );
    }
}
