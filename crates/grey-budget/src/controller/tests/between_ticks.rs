//! Facts about what happens between two ticks, and after memory was given back
//! to an allocator that keeps it.

use std::sync::mpsc;

use super::*;
use crate::budget::Reservation;

fn budget_of(rig: &Rig) -> &Budget {
    rig.controller.budget()
}

/// What it holds is reserved, in pieces of one mebibyte.
pub(super) struct Reserved {
    process: Arc<Process>,
    component: Component,
    held: Mutex<Vec<Reservation<'static>>>,
    /// Whether others take what it gives before anybody can look.
    pub(super) is_taken_again: AtomicBool,
    taken_again: AtomicU64,
}

impl Reserved {
    pub(super) fn new(rig: &Rig, count: u64) -> Arc<Self> {
        let reserved = Self {
            process: Arc::clone(&rig.process),
            component: budget_of(rig).component("cache").register().unwrap(),
            held: Mutex::default(),
            is_taken_again: AtomicBool::new(false),
            taken_again: AtomicU64::new(0),
        };
        reserved.fill(count);
        Arc::new(reserved)
    }

    fn fill(&self, count: u64) {
        let pieces = (0..count).map(|_| self.component.overdraw(mib(1)).into_owned());
        self.held.lock().unwrap().extend(pieces);
    }

    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.held.lock().unwrap().len()).unwrap()
    }

    /// How many pieces were.
    pub(super) fn taken_again(&self) -> u64 {
        self.taken_again.load(Ordering::SeqCst)
    }

    /// What was freed lies where it was: the resident set does not grow.
    fn take_again(&self, count: u64) {
        self.fill(count);
        self.process.kept.fetch_sub(count * MIB, Ordering::SeqCst);
        self.process.used.fetch_add(count * MIB, Ordering::SeqCst);
        self.taken_again.fetch_add(count, Ordering::SeqCst);
    }
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
        mib(self.count())
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
        if self.is_taken_again.load(Ordering::SeqCst) {
            self.take_again(freed.get() / MIB);
        }
        Reclaimed {
            freed,
            entries: 1,
            ..Reclaimed::default()
        }
    }
}

/// A process with `resident` MiB and an allocator that keeps everything; for
/// `reserved` of them its budget is taken.
pub(super) fn keeping(reserved: u64, resident: u64) -> (Rig, Arc<Reserved>) {
    let mut rig = rig();
    rig.process.never_purges.store(true, Ordering::SeqCst);
    let held = Reserved::new(&rig, reserved);
    rig.fill(resident);
    rig.register(&held);
    (rig, held)
}

#[test]
fn what_the_allocator_keeps_is_free_until_as_much_is_reserved_again() {
    let (rig, held) = keeping(990, 990);
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
    held.take_again(100);
    rig.clock.advance(100);
    assert_eq!(rig.controller.tick().used, used.saturating_add(mib(100)));
    // What somebody else takes is seen at once.
    rig.process.used.fetch_add(2 * MIB, Ordering::SeqCst);
    rig.clock.advance(100);
    assert_eq!(rig.controller.tick().used, used.saturating_add(mib(102)));
    // So close to the limit what is kept may not be what is taken next.
    rig.process.used.fetch_add(MIB, Ordering::SeqCst);
    rig.clock.advance(100);
    assert_eq!(rig.controller.tick().used, mib(993));
}

#[test]
fn close_to_a_nearer_limit_of_the_cgroup_nothing_that_is_kept_is_free() {
    let (rig, _held) = keeping(490, 490);
    rig.process.cgroup_limit.store(500 * MIB, Ordering::SeqCst);
    assert_eq!(rig.controller.tick().level, Level::Emergency);
    rig.clock.advance(60_000);
    assert!(rig.controller.tick().level < Level::Emergency);
    rig.process.used.fetch_add(9 * MIB, Ordering::SeqCst);
    rig.clock.advance(2_000);
    let close = rig.controller.tick();
    assert_eq!((close.used, close.budget), (mib(499), mib(500)));
    assert_eq!(close.level, Level::Emergency);
}

#[test]
fn what_the_kernel_got_after_all_is_not_free_a_second_time() {
    let (rig, held) = keeping(990, 990);
    assert_eq!(rig.controller.tick().level, Level::Emergency);
    // The allocator gives it back, and the program frees more.
    rig.process.kept.store(0, Ordering::SeqCst);
    held.held.lock().unwrap().drain(..400);
    rig.process.used.fetch_sub(400 * MIB, Ordering::SeqCst);
    for _ in 0..3 {
        rig.clock.advance(60_000);
        rig.controller.tick();
    }
    assert_eq!(rig.controller.level(), Level::Normal);
    // It takes that again, and others 145 MiB that nobody charges.
    held.fill(400);
    rig.process.used.fetch_add(545 * MIB, Ordering::SeqCst);
    rig.clock.advance(60_000);
    let after = rig.controller.tick();
    assert_eq!((after.used, after.level), (mib(985), Level::Emergency));
}

#[test]
fn a_thread_that_takes_much_closes_the_budget_before_the_next_tick() {
    let rig = rig();
    let inner = &rig.controller.inner;
    rig.controller.tick();
    let fill = |to: u64| rig.process.used.store(to * MIB, Ordering::SeqCst);
    fill(985);
    inner.look();
    assert_eq!(budget_of(&rig).admission(), Admission::Open, "nobody ticks");
    inner.begin();
    fill(940);
    inner.look();
    assert_eq!(budget_of(&rig).admission(), Admission::Open);
    // A 32nd more may come until the next look, and the emergency is at 98 %.
    fill(950);
    inner.look();
    assert_eq!(budget_of(&rig).admission(), Admission::NoRefill);
    let work = budget_of(&rig).component("work").register().unwrap();
    assert!(!work.may_exchange() && work.reserve(Bytes(1)).is_ok());
    fill(985);
    inner.look();
    assert_eq!(budget_of(&rig).admission(), Admission::CriticalOnly);
    assert_eq!(rig.controller.level(), Level::Normal);
    // The tick decides by the level alone.
    fill(950);
    assert_eq!(rig.controller.tick().level, Level::Hard);
    assert_eq!(budget_of(&rig).admission(), Admission::NoRefill);
    assert!(work.may_exchange());
}

#[test]
fn a_look_minds_a_limit_of_the_cgroup_that_is_nearer() {
    let rig = rig();
    rig.process.cgroup_limit.store(500 * MIB, Ordering::SeqCst);
    rig.controller.tick();
    rig.controller.inner.begin();
    rig.fill(499);
    rig.controller.inner.look();
    assert_eq!(budget_of(&rig).admission(), Admission::CriticalOnly);
}

#[test]
fn a_controller_that_ends_leaves_the_budget_open() {
    let rig = rig_with(ControllerSettings {
        interval: Duration::from_secs(3600),
        ..ControllerSettings::default()
    });
    rig.fill(990);
    let running = rig.controller.start().unwrap();
    while budget_of(&rig).admission() == Admission::Open {
        std::thread::yield_now();
    }
    running.stop();
    assert_eq!(budget_of(&rig).admission(), Admission::Open);
    // And whoever ticks again closes it again.
    rig.controller.tick();
    assert_eq!(budget_of(&rig).admission(), Admission::CriticalOnly);
    rig.controller.set_settings(ControllerSettings {
        sheds: false,
        ..ControllerSettings::default()
    });
    rig.controller.tick();
    assert_eq!(budget_of(&rig).admission(), Admission::Open);
}

#[test]
fn a_keeper_that_ends_leaves_the_alarm_to_the_one_after_it() {
    let rig = rig();
    let first = rig.controller.start().unwrap();
    while rig.controller.statistics().ticks == 0 {
        std::thread::yield_now();
    }
    let second = rig.controller.start().unwrap();
    while rig.controller.statistics().ticks < 2 {
        std::thread::yield_now();
    }
    first.stop();
    // Only a look closes it: the second's interval is long over its first tick.
    let work = budget_of(&rig).component("work").register().unwrap();
    rig.fill(990);
    let _ = work.reserve(mib(100)).map(std::mem::forget);
    assert_eq!(budget_of(&rig).admission(), Admission::CriticalOnly);
    second.stop();
}

#[test]
fn one_that_lies_does_not_stand_before_an_honest_one() {
    struct Liar;
    impl Reclaimer for Liar {
        fn name(&self) -> &'static str {
            "liar"
        }
        fn priority(&self) -> Priority {
            Priority::Low
        }
        fn modes(&self) -> &[ReclaimMode] {
            &[ReclaimMode::Evict]
        }
        fn reclaimable(&self, _mode: ReclaimMode) -> Bytes {
            mib(1000)
        }
        fn reclaim(&self, request: &ReclaimRequest, _stop: &Stop) -> Reclaimed {
            Reclaimed {
                freed: request.target,
                entries: u64::MAX,
                ..Reclaimed::default()
            }
        }
    }
    let mut rig = rig();
    let honest = rig.pieces("honest", Priority::Medium, 500);
    rig.register(&Arc::new(Liar));
    rig.fill(990);
    for _ in 0..100 {
        rig.controller.tick();
        rig.clock.advance(1000);
    }
    assert!(honest.held() <= 350, "{}", honest.held());
    assert!(rig.process.resident() < mib(900));
}

#[test]
fn what_others_still_hold_is_not_called_free_above_the_budget() {
    let (rig, _held) = keeping(900, 1100);
    for _ in 0..30 {
        rig.controller.tick();
        rig.clock.advance(10_000);
    }
    assert_eq!(budget_of(&rig).reserved(), Bytes::ZERO);
    assert_eq!(rig.controller.tick().used, mib(1100));
    assert_eq!(rig.controller.level(), Level::Emergency);
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
            let _ = controller.level();
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
