//! Facts about requests that wait, and whom the controller asks for their sake.

use super::*;

/// Holds what it has reserved, and gives it back when asked.
struct Held {
    component: Component,
    held: Mutex<Vec<crate::budget::Reservation<'static>>>,
}

impl Reclaimer for Held {
    fn name(&self) -> &str {
        self.component.name()
    }

    fn priority(&self) -> Priority {
        Priority::Low
    }

    fn reclaimable(&self, _mode: ReclaimMode) -> Bytes {
        self.component.reserved()
    }

    fn reclaim(&self, request: &ReclaimRequest, _stop: &Stop) -> Reclaimed {
        let mut done = Reclaimed::default();
        while done.freed < request.target {
            let Some(one) = self.held.lock().unwrap().pop() else {
                break;
            };
            done.freed = done.freed.saturating_add(one.size());
            done.entries += 1;
        }
        done
    }
}

#[test]
fn a_request_that_waits_is_served_from_what_others_can_do_without() {
    let mut rig = rig();
    let budget = rig.controller.budget().clone();
    let cache = budget.component("cache").register().unwrap();
    let work = budget.component("work").register().unwrap();
    let held = (0..700)
        .map(|_| cache.reserve_owned(mib(1)).unwrap())
        .collect();
    rig.register(&Arc::new(Held {
        component: cache,
        held: Mutex::new(held),
    }));
    let running = rig.controller.start().unwrap();
    let served = work
        .reserve_timeout(mib(500), Duration::from_secs(60))
        .map(|served| served.size());
    assert_eq!(served, Ok(mib(500)));
    running.stop();
}

#[test]
fn who_waits_while_nobody_moves_is_refused() {
    let rig = rig();
    let budget = rig.controller.budget().clone();
    let work = budget.component("work").register().unwrap();
    let _held = work.reserve(mib(700)).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            work.reserve_timeout(mib(500), Duration::from_secs(60))
                .map(|served| served.size())
        });
        let refused = (0..30_000).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            rig.clock.advance(10);
            rig.controller.tick();
            waiting.is_finished()
        });
        assert!(refused);
        assert!(!waiting.join().unwrap().unwrap_err().may_retry());
    });
    assert_eq!(rig.controller.statistics().stalls, 1);
}
