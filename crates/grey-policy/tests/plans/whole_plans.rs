//! Plans of several steps: their order, their sum, and what stops them.

use crate::machine::*;
use grey_model::*;

#[test]
fn an_action_without_its_target_is_a_usage_error() {
    let facts = PreflightFacts {
        target: None,
        ..machine()
    };
    assert_eq!(refusal(&facts, Action::PageOut).kind, RefusalKind::Usage);
    assert!(
        plan(
            &facts,
            Action::DropCaches {
                what: DropCaches::Slab
            }
        )
        .is_ok()
    );
}

#[test]
fn one_refusal_stops_the_whole_plan() {
    let facts = PreflightFacts {
        ksm: None,
        ..machine()
    };
    let actions = [
        Action::PageOut,
        Action::EnableKsm {
            speed: KsmSpeed::AsIs,
        },
    ];
    assert!(grey_policy::plan(&request(&actions), &facts).is_err());
}

#[test]
fn the_cheapest_means_come_first() {
    let facts = machine();
    let limit = Action::Limit {
        limit: MemoryLimit::Bytes(mib(250)),
    };
    let actions = [limit, Action::PageOut, Action::Reclaim { amount: mib(5) }];
    let plan = grey_policy::plan(&request(&actions), &facts).unwrap();
    let order: Vec<&str> = plan.steps.iter().map(|step| step.action.as_str()).collect();
    assert_eq!(order, ["reclaim", "page_out", "limit"]);
}

fn predictions(facts: &PreflightFacts, actions: &[Action]) -> Vec<(String, Option<Bytes>)> {
    grey_policy::plan(&request(actions), facts)
        .unwrap()
        .steps
        .into_iter()
        .map(|step| (step.action, step.predicted))
        .collect()
}

#[test]
fn memory_that_an_earlier_step_takes_is_not_predicted_again() {
    let mut facts = machine();
    // Nothing but what its processes map: all steps are after the same memory.
    let stat = facts.cgroup.as_mut().unwrap().stat.as_mut().unwrap();
    stat.file_mapped = Some(mib(40));
    let limit = Action::Limit {
        limit: MemoryLimit::Bytes(mib(150)),
    };
    let reclaim = Action::Reclaim { amount: mib(30) };
    let alone = predictions(&facts, &[limit]);
    assert!(alone[0].1.unwrap() > mib(70), "{alone:?}");
    let together = predictions(&facts, &[limit, reclaim, Action::PageOut]);
    let named = |name: &str, amount| (name.to_owned(), amount);
    assert_eq!(
        together,
        [
            named("reclaim", Some(mib(30))),
            named("page_out", Some(mib(125))),
            named("limit", Some(Bytes::ZERO)),
            named("limit", None),
        ]
    );
    let less = predictions(&facts, &[limit, reclaim]);
    let left = alone[0].1.unwrap().saturating_sub(mib(30));
    assert_eq!(less[1].1, Some(left));
}

#[test]
fn cache_that_is_dropped_is_not_reclaimed_again() {
    let drop = Action::DropCaches {
        what: DropCaches::PageCache,
    };
    let reclaim = Action::Reclaim { amount: mib(190) };
    let plan = predictions(&machine(), &[reclaim, drop, Action::PageOut]);
    // 192 MiB can be reclaimed, 40 of it cache that nobody maps.
    let amounts: Vec<_> = plan.into_iter().map(|(_, amount)| amount).collect();
    assert_eq!(amounts, [Some(mib(230)), Some(mib(152)), Some(mib(3))]);
}

#[test]
fn the_steps_themselves_do_not_rely_on_what_earlier_ones_should_bring() {
    let limit = Action::Limit {
        limit: MemoryLimit::Bytes(mib(150)),
    };
    let amount = |actions: &[Action]| {
        let plan = grey_policy::plan(&request(actions), &machine()).unwrap();
        plan.steps.iter().rev().find_map(|step| match &step.change {
            Change::Once {
                shot: OneShot::Reclaim { amount, .. },
            } => Some(*amount),
            _ => None,
        })
    };
    let reclaim = Action::Reclaim { amount: mib(150) };
    assert_eq!(amount(&[limit]), amount(&[limit, reclaim]));
}
