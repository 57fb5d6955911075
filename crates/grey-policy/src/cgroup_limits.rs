//! `memory.high` and `memory.max`: when they are safe, and how a limit below
//! the present usage is reached without killing anybody.
//!
//! Never plans a limit that the target can only meet by dying.

use grey_model::action::LIMIT_FLOOR;
use grey_model::{
    Bytes, CgroupMemory, CgroupPath, Change, Guard, Knob, KnobValue, MemoryLimit, OneShot,
    PlanStep, PreflightFacts, Refusal, Risk, UnitMemoryProperty,
};

use crate::plan::Draft;
use crate::reclaimable::{self, Reclaimable, SWAP_ROOM_FLOOR};
use crate::refusals::{harmful, not_supported, threaded};
use crate::route::{self, Route};

/// Plans `memory.high`.
pub(crate) fn plan_high(limit: MemoryLimit, facts: &PreflightFacts, draft: &mut Draft) {
    let property = UnitMemoryProperty::MemoryHigh;
    let Some((route, account)) = approach(limit, property, facts, draft) else {
        return;
    };
    let over = account.over(limit);
    let mut risk = Risk::Low;
    if over > Bytes::ZERO {
        risk = Risk::Medium;
        if let Some(refusal) = account.would_livelock(limit) {
            draft.refuse(refusal);
            return;
        }
        if let Some(refusal) = holds_ourselves(facts, &route) {
            draft.refuse(refusal);
            return;
        }
        draft.warn(format!(
            "usage is {over} above the new memory.high: the target is slowed down until that \
             much is reclaimed"
        ));
    }
    route::prepare(&route, "high", facts, draft);
    let reason = match limit {
        MemoryLimit::Max => "no throttling any more".to_owned(),
        MemoryLimit::Bytes(bytes) => format!("throttle and reclaim above {bytes}"),
    };
    let predicted = (over > Bytes::ZERO).then(|| over.min(account.reclaimable.total()));
    let step = set_step("high", &route, property, limit, facts, reason);
    draft.steps.push(PlanStep {
        predicted,
        risk,
        may_block: over > Bytes::ZERO,
        ..step
    });
}

/// Plans `memory.max`: reclaim below it first, check, then set it.
pub(crate) fn plan_max(limit: MemoryLimit, facts: &PreflightFacts, draft: &mut Draft) {
    let property = UnitMemoryProperty::MemoryMax;
    let Some((route, account)) = approach(limit, property, facts, draft) else {
        return;
    };
    let MemoryLimit::Bytes(bytes) = limit else {
        route::prepare(&route, "limit", facts, draft);
        let reason = "no limit any more".to_owned();
        draft
            .steps
            .push(set_step("limit", &route, property, limit, facts, reason));
        return;
    };
    warn_about_killing(facts, draft);
    // Ten percent of room, so that the next allocation is not the one that kills.
    let ceiling = bytes.scale(10, 11);
    let over = account.current.saturating_sub(ceiling);
    if let (true, Some(refusal)) = (over > Bytes::ZERO, account.would_kill(bytes)) {
        draft.refuse(refusal);
        return;
    }
    if let (true, Some(refusal)) = (over > Bytes::ZERO, holds_ourselves(facts, &route)) {
        draft.refuse(refusal);
        return;
    }
    route::prepare(&route, "limit", facts, draft);
    let mut restore_high = None;
    if let (true, Some(cgroup)) = (over > Bytes::ZERO, account.path.clone()) {
        if facts.features.memory_reclaim {
            // A little lower than the guard asks: the target goes on living.
            let mark = ceiling.scale(15, 16).max(account.stuck()).min(ceiling);
            let amount = account.current.saturating_sub(mark);
            draft.steps.push(reclaim_below(cgroup, amount, mark));
        } else {
            restore_high = squeeze_with_high(&route, ceiling, over, facts, draft);
        }
    }
    let reason = format!("kill within the target above {bytes}, instead of anywhere");
    let mut step = set_step("limit", &route, property, limit, facts, reason);
    step.risk = if over > Bytes::ZERO {
        Risk::High
    } else {
        Risk::Medium
    };
    step.may_block = account.path.is_some();
    step.guards = account
        .path
        .into_iter()
        .map(|cgroup| Guard::UsageAtMost { cgroup, ceiling })
        .collect();
    draft.steps.push(step);
    draft.steps.extend(restore_high);
}

/// What the limit will be measured against.
struct Account {
    /// The cgroup whose usage counts; `None` when the target moves to a new one.
    path: Option<CgroupPath>,
    current: Bytes,
    reclaimable: Reclaimable,
}

impl Account {
    fn new(route: &Route, facts: &PreflightFacts) -> Option<Self> {
        if route.moves() {
            let swap_room = reclaimable::swap_room(facts, None);
            let none = Bytes::ZERO;
            let reclaimable = Reclaimable {
                file: none,
                swappable: none,
                slab: none,
                anonymous: none,
                swap_room,
            };
            return Some(Self {
                path: None,
                current: none,
                reclaimable,
            });
        }
        let cgroup: &CgroupMemory = facts.cgroup.as_ref()?;
        Some(Self {
            path: Some(cgroup.path.clone()),
            current: cgroup.current?,
            reclaimable: reclaimable::of_cgroup(facts, cgroup),
        })
    }

    fn over(&self, limit: MemoryLimit) -> Bytes {
        limit
            .bytes()
            .map_or(Bytes::ZERO, |bytes| self.current.saturating_sub(bytes))
    }

    /// What stays whatever is tried.
    fn stuck(&self) -> Bytes {
        self.current.saturating_sub(self.reclaimable.total())
    }

    fn would_livelock(&self, limit: MemoryLimit) -> Option<Refusal> {
        let bytes = limit.bytes()?;
        let mostly_anonymous = self.reclaimable.anonymous > self.current.scale(80, 100);
        let no_room = self.reclaimable.swap_room < SWAP_ROOM_FLOOR;
        if self.stuck() <= bytes && !(no_room && mostly_anonymous) {
            return None;
        }
        Some(harmful(
            format!(
                "memory.high of {bytes} is below what cannot be reclaimed ({} of {} in use, {} \
                 of swap room): the target would be throttled without end",
                self.stuck().max(
                    self.reclaimable
                        .anonymous
                        .saturating_sub(self.reclaimable.swappable)
                ),
                self.current,
                self.reclaimable.swap_room
            ),
            self.way_out("--high"),
        ))
    }

    fn would_kill(&self, limit: Bytes) -> Option<Refusal> {
        // The same ten percent as the ceiling.
        let needed = self.stuck().scale(11, 10);
        let no_swap = self.reclaimable.swap_room == Bytes::ZERO;
        if needed <= limit && !(no_swap && self.reclaimable.anonymous > limit) {
            return None;
        }
        Some(harmful(
            format!(
                "memory.max of {limit} would kill: {} of the {} in use cannot be reclaimed ({} \
                 of swap room)",
                self.stuck(),
                self.current,
                self.reclaimable.swap_room
            ),
            self.way_out("--limit"),
        ))
    }

    fn way_out(&self, option: &str) -> String {
        let feasible = self.stuck().max(LIMIT_FLOOR).scale(115, 100);
        let mebibytes = feasible.0.div_ceil(1024 * 1024);
        let swap = if self.reclaimable.swap_room < SWAP_ROOM_FLOOR {
            ", or add swap (zram is enough) and try again"
        } else {
            ""
        };
        format!("use at least {option} {mebibytes}M{swap}")
    }
}

/// The checks that both limits share.
fn approach(
    limit: MemoryLimit,
    property: UnitMemoryProperty,
    facts: &PreflightFacts,
    draft: &mut Draft,
) -> Option<(Route, Account)> {
    if let Some(bytes) = limit.bytes().filter(|bytes| *bytes < LIMIT_FLOOR) {
        draft.refuse(harmful(
            format!("{bytes} is under the floor of {LIMIT_FLOOR} for any limit"),
            format!(
                "use at least --{} {}M",
                match property {
                    UnitMemoryProperty::MemoryHigh => "high",
                    UnitMemoryProperty::MemoryMax => "limit",
                },
                LIMIT_FLOOR.0 >> 20
            ),
        ));
        return None;
    }
    let route = match route::find(facts, property, limit) {
        Ok(route) => route,
        Err(refusal) => {
            draft.refuse(refusal);
            return None;
        }
    };
    // A process leaves it for a cgroup of its own.
    if let (false, Some(refusal)) = (route.moves(), threaded(facts)) {
        draft.refuse(refusal);
        return None;
    }
    let Some(account) = Account::new(&route, facts) else {
        draft.refuse(not_supported(
            "the target's memory.current could not be read",
            "check that its parent has memory in cgroup.subtree_control",
        ));
        return None;
    };
    warn_about_surroundings(limit, property, facts, draft);
    Some((route, account))
}

fn warn_about_surroundings(
    limit: MemoryLimit,
    property: UnitMemoryProperty,
    facts: &PreflightFacts,
    draft: &mut Draft,
) {
    let stricter = facts
        .ancestors
        .iter()
        .filter_map(|group| Some((group, group.high.into_iter().chain(group.max).min()?)))
        .filter(|(_, theirs)| *theirs < limit)
        .min_by_key(|(_, theirs)| *theirs);
    if let Some((group, theirs)) = stricter {
        draft.warn(format!(
            "{} above it already limits it to {theirs}",
            group.path
        ));
    }
    if let Some(cgroup) = &facts.cgroup {
        let now = match property {
            UnitMemoryProperty::MemoryHigh => cgroup.high,
            UnitMemoryProperty::MemoryMax => cgroup.max,
        };
        if let Some(now) = now.filter(|now| *now < limit) {
            draft.warn(format!(
                "this raises {} from {now}",
                property.cgroup_file().file_name()
            ));
        }
        let floor = cgroup.min.into_iter().chain(cgroup.low).max();
        if let Some(floor) = floor.filter(|floor| *floor > limit) {
            draft.warn(format!(
                "its own protection of {floor} is above the limit and loses"
            ));
        }
    }
    let unit = facts.unit.as_ref();
    if unit.is_some_and(|unit| unit.oomd_kills_on_pressure || unit.oomd_kills_on_swap) {
        draft.warn(
            "systemd-oomd watches this unit (ManagedOOM*=kill) and may kill it when the \
                 limit puts it under pressure",
        );
    }
}

fn warn_about_killing(facts: &PreflightFacts, draft: &mut Draft) {
    if facts
        .cgroup
        .as_ref()
        .is_some_and(|cgroup| cgroup.oom_group == Some(true))
    {
        draft.warn("memory.oom.group is set: one OOM kill takes the whole group");
    }
    let summary = &facts.process_summary;
    if summary.unkillable > 0 {
        draft.warn(format!(
            "{} of its processes have oom_score_adj -1000: the kernel cannot enforce the limit \
             on them, and they may stall at it",
            summary.unkillable
        ));
    }
    if summary.uninterruptible > 0 {
        draft.warn(format!(
            "{} of its processes are in uninterruptible sleep and cannot give memory back now",
            summary.uninterruptible
        ));
    }
}

fn reclaim_below(cgroup: CgroupPath, amount: Bytes, ceiling: Bytes) -> PlanStep {
    PlanStep {
        action: "limit".to_owned(),
        change: Change::Once {
            shot: OneShot::Reclaim {
                cgroup,
                amount,
                until: Some(ceiling),
            },
        },
        predicted: Some(amount),
        risk: Risk::Medium,
        reason: format!("bring usage to {ceiling} before the limit is set"),
        undo: "pages come back when they are used".to_owned(),
        guards: Vec::new(),
        may_block: true,
    }
}

/// Without `memory.reclaim`, `memory.high` does the reclaiming; the returned
/// step puts it back. Nothing is added when the plan has set `memory.high` as
/// low as that already.
fn squeeze_with_high(
    route: &Route,
    ceiling: Bytes,
    over: Bytes,
    facts: &PreflightFacts,
    draft: &mut Draft,
) -> Option<PlanStep> {
    let property = UnitMemoryProperty::MemoryHigh;
    let limit = MemoryLimit::Bytes(ceiling);
    let (knob, _) = route.knob(property, facts);
    let planned = planned_value(&knob, draft);
    let planned_bytes = planned.as_ref().and_then(|value| value.0.parse().ok());
    if planned_bytes.is_some_and(|bytes: u64| bytes <= ceiling.0) {
        return None;
    }
    let reason =
        format!("this kernel has no memory.reclaim: memory.high brings usage to {ceiling}");
    let mut squeeze = set_step("limit", route, property, limit, facts, reason);
    squeeze.predicted = Some(over);
    squeeze.risk = Risk::Medium;
    squeeze.may_block = true;
    if let (Some(planned), Change::Set { before, .. }) = (planned, &mut squeeze.change) {
        *before = Some(planned);
    }
    let mut restore = squeeze.clone();
    if let (
        Change::Set { before, after, .. },
        Change::Set {
            before: found,
            after: squeezed,
            ..
        },
    ) = (&mut restore.change, &squeeze.change)
    {
        *before = squeezed.clone();
        *after = found.clone();
    }
    restore.predicted = None;
    restore.risk = Risk::Low;
    restore.may_block = false;
    restore.reason = "memory.high was only needed to get there".to_owned();
    draft.steps.push(squeeze);
    Some(restore)
}

/// What the plan so far leaves in `knob`, where it sets it at all.
fn planned_value(knob: &Knob, draft: &Draft) -> Option<KnobValue> {
    draft
        .steps
        .iter()
        .rev()
        .find_map(|step| match &step.change {
            Change::Set {
                knob: theirs,
                after,
                ..
            } if theirs == knob => after.clone(),
            _ => None,
        })
}

/// A limit below usage slows down or kills whoever sets it from inside.
fn holds_ourselves(facts: &PreflightFacts, route: &Route) -> Option<Refusal> {
    let target = facts.target.as_ref()?;
    let inside = target
        .processes
        .iter()
        .any(|process| process.pid == facts.own_pid);
    (inside && !route.moves()).then(|| {
        harmful(
            "this very command runs inside the target and would be slowed down by the limit",
            "run it from another session or cgroup",
        )
    })
}

fn set_step(
    action: &str,
    route: &Route,
    property: UnitMemoryProperty,
    limit: MemoryLimit,
    facts: &PreflightFacts,
    reason: String,
) -> PlanStep {
    let (knob, before) = route.knob(property, facts);
    let undo = match &before {
        Some(before) => format!("set it back to {}", before.readable()),
        None => "set it back to what is read right before the change".to_owned(),
    };
    PlanStep {
        action: action.to_owned(),
        change: Change::Set {
            knob,
            before,
            after: Some(route.value(limit)),
        },
        predicted: None,
        risk: Risk::Low,
        reason,
        undo,
        guards: Vec::new(),
        may_block: false,
    }
}
