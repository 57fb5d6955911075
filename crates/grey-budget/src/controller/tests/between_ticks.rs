//! Facts about what happens between two ticks, and after memory was given back
//! to an allocator that keeps it.

use std::sync::mpsc;

use super::*;
use crate::budget::Reservation;

fn budget_of(rig: &Rig) -> &Budget {
    rig.controller.budget()
}

/// What it holds is reserved, in pieces of one mebibyte.
struct Reserved {
    process: Arc<Process>,
    held: Mutex<Vec<Reservation<'static>>>,
}

impl Reclaimer for Reserved {
    fn name(&self) -> &'static str {
        "reserved"
    }

    fn priority(&self) -> Priority {
        Priority::Low
    }

    fn modes(&self) -> &[ReclaimMode] {
        &[ReclaimMode::Evict]
    }

    fn reclaimable(&self, _mode: ReclaimMode) -> Bytes {
        mib(u64::try_from(self.held.lock().unwrap().len()).unwrap())
    }

    fn reclaim(&self, request: &ReclaimRequest, _stop: &Stop) -> Reclaimed {
        let mut held = self.held.lock().unwrap();
        let wanted = usize::try_from(request.target.get().div_ceil(MIB)).unwrap();
        let left = held.len().saturating_sub(wanted);
        let gone = held.split_off(left);
        drop(held);
        let freed = mib(u64::try_from(gone.len()).unwrap());
        drop(gone);
        self.process.free(freed.get());
        Reclaimed {
            freed,
            entries: 1,
            ..Reclaimed::default()
        }
    }
}

#[test]
fn what_the_allocator_keeps_is_free_until_as_much_is_reserved_again() {
    let mut rig = rig();
    rig.process.never_purges.store(true, Ordering::SeqCst);
    let component = budget_of(&rig).component("cache").register().unwrap();
    let fill = |count: u64| -> Vec<Reservation<'static>> {
        (0..count)
            .map(|_| component.overdraw(mib(1)).into_owned())
            .collect()
    };
    let held = Arc::new(Reserved {
        process: Arc::clone(&rig.process),
        held: Mutex::new(fill(990)),
    });
    rig.fill(990);
    rig.register(&held);
    assert_eq!(rig.controller.tick().level, Level::Emergency);
    let after = rig.controller.tick();
    assert_eq!(after.used, mib(840), "150 were given back, none was seen");
    // Long after what is in flight would have shown.
    rig.clock.advance(60_000);
    assert_eq!(rig.controller.tick().level, Level::Soft);
    assert_eq!(rig.process.resident(), mib(990));
    rig.clock.advance(100);
    // More went at the soft level, and nothing of it was seen either.
    let used = rig.controller.tick().used;
    assert!(used < mib(840));
    assert_eq!(used, budget_of(&rig).reserved());
    // Taken again it lies where it was: the resident set does not grow.
    held.held.lock().unwrap().extend(fill(100));
    rig.process.kept.fetch_sub(100 * MIB, Ordering::SeqCst);
    rig.process.used.fetch_add(100 * MIB, Ordering::SeqCst);
    rig.clock.advance(100);
    assert_eq!(rig.controller.tick().used, used.saturating_add(mib(100)));
    // What somebody else takes is seen at once.
    rig.process.used.fetch_add(50 * MIB, Ordering::SeqCst);
    rig.clock.advance(100);
    assert_eq!(rig.controller.tick().used, used.saturating_add(mib(150)));
}

#[test]
fn a_thread_that_takes_much_closes_the_budget_before_the_next_tick() {
    let rig = rig();
    rig.controller.tick();
    rig.fill(940);
    rig.controller.inner.look();
    assert_eq!(budget_of(&rig).admission(), Admission::Open);
    // A 32nd more may come until the next look, and the emergency is at 98 %.
    rig.fill(950);
    rig.controller.inner.look();
    assert_eq!(budget_of(&rig).admission(), Admission::CriticalOnly);
    assert_eq!(rig.controller.level(), Level::Normal);
    // The tick decides by the level alone.
    assert_eq!(rig.controller.tick().level, Level::Hard);
    assert_eq!(budget_of(&rig).admission(), Admission::NoRefill);
}

#[test]
fn an_emergency_that_only_waits_for_its_cooldown_lets_caches_exchange() {
    let rig = rig();
    rig.fill(990);
    rig.controller.tick();
    assert_eq!(budget_of(&rig).admission(), Admission::CriticalOnly);
    rig.process.used.store(500 * MIB, Ordering::SeqCst);
    rig.clock.advance(100);
    assert_eq!(rig.controller.tick().level, Level::Emergency);
    assert_eq!(budget_of(&rig).admission(), Admission::NoRefill);
    rig.fill(990);
    rig.clock.advance(100);
    rig.controller.tick();
    assert_eq!(budget_of(&rig).admission(), Admission::CriticalOnly);
    rig.process.used.store(500 * MIB, Ordering::SeqCst);
    rig.clock.advance(60_000);
    assert_eq!(rig.controller.tick().level, Level::Normal);
    assert_eq!(budget_of(&rig).admission(), Admission::Open);
}

#[test]
fn nothing_is_held_while_the_controller_sleeps() {
    let rig = rig_with(ControllerSettings {
        interval: Duration::from_secs(3600),
        ..ControllerSettings::default()
    });
    let running = rig.controller.start().unwrap();
    let controller = rig.controller.clone();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        while controller.statistics().ticks == 0 {
            std::thread::yield_now();
        }
        for _ in 0..10_000 {
            controller.level();
            std::thread::yield_now();
        }
        tell.send(()).unwrap();
    });
    told.recv_timeout(Duration::from_secs(60)).unwrap();
    running.stop();
}

#[test]
fn a_look_is_had_each_time_that_a_64th_of_the_budget_was_taken() {
    let budget = Budget::new(mib(64)).unwrap();
    let component = budget.component("work").register().unwrap();
    let looks = Arc::new(AtomicU64::new(0));
    let (seen, asked) = (Arc::clone(&looks), budget.clone());
    budget.set_alarm(Some(crate::budget::Alarm {
        thread: std::thread::current(),
        look: Arc::new(move || {
            // No lock is held: the budget may be asked.
            assert!(asked.reserved() > Bytes::ZERO);
            seen.fetch_add(1, Ordering::SeqCst);
        }),
    }));
    for _ in 0..100 {
        // In and out: what was taken counts, and not what is held.
        drop(component.reserve(mib(2)).unwrap());
    }
    assert_eq!(looks.load(Ordering::SeqCst), 100);
    for _ in 0..100 {
        drop(component.reserve(Bytes(100)).unwrap());
    }
    assert_eq!(looks.load(Ordering::SeqCst), 100, "small change");
}
