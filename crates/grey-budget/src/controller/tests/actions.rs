//! Facts about the queue of actions, and about what an eviction tells.

use super::*;

#[test]
fn the_queue_is_done_in_order_and_tells_of_each() {
    let mut rig = rig();
    rig.pieces("cache", Priority::Low, 600);
    let add = |kind, text: &str, priority| {
        rig.controller
            .enqueue_action(Action::new(kind, text, priority))
            .unwrap();
    };
    add(ActionKind::Cleanup, "Clean up old cache entries", 5);
    add(ActionKind::SpillToDisk, "Spill query cache to disk", 7);
    add(
        ActionKind::custom("rotate", || Err("the disk is full".to_owned())),
        "",
        1,
    );
    add(ActionKind::custom("fall over", || panic!("oh no")), "", 2);
    add(ActionKind::custom("shrink", || Ok(mib(3))), "", 3);
    let results = rig.controller.execute_all_actions();
    let told: Vec<_> = results
        .iter()
        .map(|result| {
            (
                result.action_type.name(),
                result.status,
                result.error.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("spill_to_disk", ActionStatus::Completed, None),
            ("cleanup", ActionStatus::Completed, None),
            ("shrink", ActionStatus::Completed, None),
            (
                "fall over",
                ActionStatus::Failed,
                Some("`fall over` panicked: oh no")
            ),
            ("rotate", ActionStatus::Failed, Some("the disk is full")),
        ]
    );
    assert_eq!(results[0].freed, Some(mib(100)));
    assert_eq!(results[1].freed, Some(mib(50)));
    assert_eq!(rig.controller.queued_actions(), 0);
}

#[test]
fn an_eviction_tells_whose_things_went_and_leaves_the_excluded() {
    let mut rig = rig();
    let (docs, core) = (
        rig.pieces("docs", Priority::Low, 400),
        rig.pieces("core", Priority::Medium, 400),
    );
    let kept = rig.pieces("kept", Priority::Low, 100);
    let request = EvictionRequest::new(mib(500))
        .up_to(Priority::Medium)
        .without("kept");
    let done = rig.controller.emergency_eviction(&request);
    assert_eq!(done.evicted, mib(500));
    assert_eq!(done.freed, Some(mib(500)));
    assert_eq!(
        done.evicted_projects,
        [("docs".to_owned(), mib(400)), ("core".to_owned(), mib(100))]
    );
    assert_eq!((docs.held(), core.held(), kept.held()), (0, 300, 100));
    let history = rig.controller.history();
    assert_eq!(history.len(), 1);
    assert_eq!(
        (history[0].evicted_count, history[0].total_candidates),
        (500, 3)
    );
}
