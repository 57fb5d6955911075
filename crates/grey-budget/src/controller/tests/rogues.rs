//! Facts about reclaimers that panic, hang, lie or call back.

use super::*;

#[test]
fn one_that_panics_does_not_keep_the_others_from_being_asked() {
    let mut rig = rig();
    rig.register(&Rogue::new("rogue", |_| panic!("not today")));
    let cache = rig.pieces("cache", Priority::Low, 600);
    rig.fill(985);
    let tick = rig.controller.tick();
    assert_eq!(cache.held(), 450);
    assert_eq!(tick.results[0].status, ActionStatus::Failed);
    assert_eq!(
        tick.results[0].error.as_deref(),
        Some("`rogue` panicked: not today")
    );
}

#[test]
fn one_that_hangs_is_left_behind_and_not_asked_before_it_returns() {
    let mut rig = rig_with(ControllerSettings {
        call_deadline: Duration::from_millis(50),
        ..ControllerSettings::default()
    });
    let (entered, open) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let (count, gate) = (Arc::clone(&entered), Arc::clone(&open));
    rig.register(&Rogue::new("rogue", move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        while !gate.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        Reclaimed::default()
    }));
    let cache = rig.pieces("cache", Priority::Medium, 600);
    let request = EvictionRequest::new(mib(10)).up_to(Priority::Low);
    let first = rig.controller.emergency_eviction(&request);
    assert_eq!(first.errors, ["`rogue` did not return in time"]);
    let second = rig
        .controller
        .emergency_eviction(&request.clone().up_to(Priority::Medium));
    assert!(
        second.errors[0].contains("has not returned"),
        "{:?}",
        second.errors
    );
    assert_eq!(cache.held(), 590);
    assert_eq!(entered.load(Ordering::SeqCst), 1);
    assert_eq!(rig.controller.statistics().calls_out, 1);
    open.store(true, Ordering::SeqCst);
    for _ in 0..30_000 {
        if rig.controller.statistics().calls_out == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the late call is never counted as returned");
}

#[test]
fn one_that_lies_is_found_out_by_the_kernels_numbers() {
    let mut rig = rig();
    rig.register(&Rogue::new("liar", |request| Reclaimed {
        freed: request.target,
        entries: 1,
        ..Reclaimed::default()
    }));
    rig.fill(985);
    let tick = rig.controller.tick();
    assert_eq!(tick.results[0].given_back, mib(150));
    assert_eq!(tick.results[0].freed, Some(Bytes::ZERO));
}

#[test]
fn one_that_unregisters_itself_or_calls_back_hangs_nothing() {
    let mut rig = rig();
    let registration: Arc<OnceLock<ReclaimerId>> = Arc::default();
    let (id, controller) = (Arc::clone(&registration), rig.controller.clone());
    rig.register(&Rogue::new("rogue", move |_| {
        controller.unregister(*id.get().unwrap());
        assert!(controller.execute_all_actions().is_empty());
        controller.emergency_eviction(&EvictionRequest::new(Bytes(1)));
        controller.tick();
        Reclaimed::default()
    }));
    registration.set(rig.kept[0].id()).unwrap();
    let done = rig
        .controller
        .emergency_eviction(&EvictionRequest::new(mib(1)));
    assert_eq!(done.errors, [] as [&str; 0]);
    assert_eq!(rig.controller.history()[0].total_candidates, 1);
    rig.controller
        .emergency_eviction(&EvictionRequest::new(mib(1)));
    assert_eq!(rig.controller.history().last().unwrap().total_candidates, 0);
}

/// Says that it gave all that a number holds, of the little that it has.
fn boaster(reclaimable: Bytes) -> Arc<Boaster> {
    Arc::new(Boaster(reclaimable))
}

struct Boaster(Bytes);

impl Reclaimer for Boaster {
    fn name(&self) -> &'static str {
        "boaster"
    }

    fn priority(&self) -> Priority {
        Priority::Low
    }

    fn reclaimable(&self, _mode: ReclaimMode) -> Bytes {
        self.0
    }

    fn modes(&self) -> &[ReclaimMode] {
        &[ReclaimMode::Evict]
    }

    fn reclaim(&self, _request: &ReclaimRequest, _stop: &Stop) -> Reclaimed {
        let all = Bytes(u64::MAX);
        Reclaimed {
            freed: all,
            entries: u64::MAX,
            spilled: all,
            by_project: vec![("docs".to_owned(), all), ("core".to_owned(), all)],
        }
    }
}

#[test]
fn nobody_is_believed_to_have_given_more_than_it_said_it_could() {
    let mut rig = rig();
    rig.register(&boaster(mib(3)));
    rig.fill(500);
    let request = EvictionRequest::new(mib(10)).up_to(Priority::High);
    let done = rig.controller.emergency_eviction(&request);
    assert_eq!(done.evicted, mib(3));
    let projects: u64 = done
        .evicted_projects
        .iter()
        .map(|(_, part)| part.get())
        .sum();
    assert_eq!(projects, 3 * MIB);
    assert!(done.evicted_count <= 3 * MIB, "{}", done.evicted_count);
    assert_eq!(rig.controller.history()[0].given_back, mib(3));
    let counted = rig.controller.statistics();
    assert_eq!((counted.given_back, counted.spilled), (mib(3), mib(3)));
    assert!(counted.evicted <= 3 * MIB, "{}", counted.evicted);
}

#[test]
fn nobody_is_believed_to_have_given_more_than_process_or_budget_hold() {
    let mut rig = rig();
    rig.register(&boaster(Bytes(u64::MAX)));
    rig.fill(500);
    let request = EvictionRequest::new(Bytes(u64::MAX));
    assert_eq!(
        rig.controller.emergency_eviction(&request).evicted,
        mib(1000)
    );
    assert_eq!(rig.controller.history()[0].given_back, mib(1000));
    assert!(rig.controller.statistics().evicted <= 1000 * MIB);
    rig.fill(1500);
    assert_eq!(
        rig.controller.emergency_eviction(&request).evicted,
        mib(1500)
    );
}
