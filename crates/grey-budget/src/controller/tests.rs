//! Facts about levels, actions, reclaimers and evictions.

mod actions;
mod between_ticks;
mod bounds;
mod futile;
mod hanging;
mod loads_back;
mod requests;
mod rogues;
mod steady;
mod waiters;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use grey_model::{Bytes, Level, MemoryLimit, Priority};

use super::*;
use crate::budget::{Admission, Budget, Component};
use crate::clock::Clock;
use crate::limits::LimitKind;
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimed, Reclaimer, Stop};
use crate::source::{AllocatorKind, MemorySource, Purge, Reading, RlimitUse, SourceError};

const MIB: u64 = 1 << 20;

fn mib(count: u64) -> Bytes {
    Bytes(count * MIB)
}

/// Goes on by hand.
#[derive(Debug, Default)]
struct HandClock(AtomicU64);

impl HandClock {
    fn advance(&self, milliseconds: u64) {
        self.0.fetch_add(milliseconds, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.now()
    }
}

/// A process with an allocator that keeps what is freed until it is purged, as
/// glibc does.
#[derive(Debug, Default)]
struct Process {
    used: AtomicU64,
    kept: AtomicU64,
    never_purges: AtomicBool,
    cgroup_limit: AtomicU64,
    /// What others in the cgroup hold, and what of it is its file cache.
    others: AtomicU64,
    file_cache: AtomicU64,
    /// `RLIMIT_AS`, and what is mapped.
    rlimit: AtomicU64,
    mapped: AtomicU64,
    purges: AtomicUsize,
}

impl Process {
    fn free(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::SeqCst);
        self.kept.fetch_add(bytes, Ordering::SeqCst);
    }

    fn resident(&self) -> Bytes {
        Bytes(self.used.load(Ordering::SeqCst) + self.kept.load(Ordering::SeqCst))
    }
}

impl MemorySource for Process {
    fn rss(&self) -> Result<Bytes, SourceError> {
        Ok(self.resident())
    }

    fn read(&self) -> Result<Reading, SourceError> {
        let mut reading = Reading::of_rss(self.resident());
        let limit = self.cgroup_limit.load(Ordering::SeqCst);
        reading.cgroup_limit = (limit > 0).then_some(MemoryLimit::Bytes(Bytes(limit)));
        if limit > 0 {
            let others = Bytes(self.others.load(Ordering::SeqCst));
            reading.cgroup_usage = Some(self.resident().saturating_add(others));
            reading.cgroup_reclaimable = Some(Bytes(self.file_cache.load(Ordering::SeqCst)));
        }
        Ok(reading)
    }

    fn rlimits(&self) -> Vec<RlimitUse> {
        let limit = self.rlimit.load(Ordering::SeqCst);
        let used = Bytes(self.mapped.load(Ordering::SeqCst));
        let rlimit = RlimitUse {
            kind: LimitKind::AddressSpace,
            used,
            limit: Bytes(limit),
        };
        (limit > 0).then_some(rlimit).into_iter().collect()
    }

    fn allocator(&self) -> AllocatorKind {
        AllocatorKind::Glibc
    }

    fn purge(&self) -> Result<Purge, SourceError> {
        let before = self.resident();
        self.purges.fetch_add(1, Ordering::SeqCst);
        if !self.never_purges.load(Ordering::SeqCst) {
            self.kept.store(0, Ordering::SeqCst);
        }
        Ok(Purge {
            allocator: AllocatorKind::Glibc,
            before,
            after: self.resident(),
            took: Duration::ZERO,
        })
    }
}

/// Holds pieces of one mebibyte.
struct Pieces {
    name: &'static str,
    priority: Priority,
    project: &'static str,
    process: Arc<Process>,
    held: AtomicU64,
    modes: &'static [ReclaimMode],
    calls: Mutex<Vec<(ReclaimMode, Bytes)>>,
}

impl Pieces {
    fn new(
        process: &Arc<Process>,
        name: &'static str,
        priority: Priority,
        count: u64,
    ) -> Arc<Self> {
        Self::with(
            process,
            name,
            priority,
            count,
            &[ReclaimMode::Trim, ReclaimMode::Evict],
        )
    }

    fn with(
        process: &Arc<Process>,
        name: &'static str,
        priority: Priority,
        count: u64,
        modes: &'static [ReclaimMode],
    ) -> Arc<Self> {
        process.used.fetch_add(count * MIB, Ordering::SeqCst);
        Arc::new(Self {
            name,
            priority,
            project: name,
            process: Arc::clone(process),
            held: AtomicU64::new(count),
            modes,
            calls: Mutex::default(),
        })
    }

    fn held(&self) -> u64 {
        self.held.load(Ordering::SeqCst)
    }

    fn calls(&self) -> Vec<(ReclaimMode, Bytes)> {
        self.calls.lock().unwrap().clone()
    }
}

impl Reclaimer for Pieces {
    fn name(&self) -> &str {
        self.name
    }

    fn priority(&self) -> Priority {
        self.priority
    }

    fn reclaimable(&self, mode: ReclaimMode) -> Bytes {
        if mode == ReclaimMode::Trim {
            Bytes::ZERO
        } else {
            mib(self.held())
        }
    }

    fn modes(&self) -> &[ReclaimMode] {
        self.modes
    }

    fn reclaim(&self, request: &ReclaimRequest, _stop: &Stop) -> Reclaimed {
        self.calls
            .lock()
            .unwrap()
            .push((request.mode, request.target));
        if request.mode == ReclaimMode::Trim || !request.may_take(self.priority, Some(self.project))
        {
            return Reclaimed::default();
        }
        let wanted = request.target.get().div_ceil(MIB).min(self.held());
        self.held.fetch_sub(wanted, Ordering::SeqCst);
        self.process.free(wanted * MIB);
        let mut done = Reclaimed {
            freed: mib(wanted),
            entries: wanted,
            ..Reclaimed::default()
        };
        if request.mode == ReclaimMode::Spill {
            done.spilled = done.freed;
        }
        done.add_project(self.project, done.freed);
        done
    }
}

struct Rig {
    process: Arc<Process>,
    clock: Arc<HandClock>,
    controller: Controller,
    kept: Vec<Registration>,
}

/// A budget of 1000 MiB that is kept by hand.
fn rig_with(settings: ControllerSettings) -> Rig {
    let process = Arc::new(Process::default());
    let clock = Arc::new(HandClock::default());
    let budget = Budget::new(mib(1000)).unwrap();
    let source: Arc<dyn MemorySource> = Arc::<Process>::clone(&process);
    let hand: Arc<dyn Clock> = Arc::<HandClock>::clone(&clock);
    Rig {
        controller: Controller::with_clock(budget, source, settings, hand),
        process,
        clock,
        kept: Vec::new(),
    }
}

fn rig() -> Rig {
    rig_with(ControllerSettings {
        call_deadline: Duration::from_secs(30),
        ..ControllerSettings::default()
    })
}

impl Rig {
    fn pieces(&mut self, name: &'static str, priority: Priority, count: u64) -> Arc<Pieces> {
        let pieces = Pieces::new(&self.process, name, priority, count);
        self.register(&pieces);
        pieces
    }

    fn register<R: Reclaimer + 'static>(&mut self, reclaimer: &Arc<R>) {
        let reclaimer: Arc<dyn Reclaimer> = Arc::<R>::clone(reclaimer);
        self.kept.push(self.controller.register(reclaimer));
    }

    fn fill(&self, to: u64) {
        let used = self.process.used.load(Ordering::SeqCst);
        self.process
            .used
            .fetch_add(to * MIB - used, Ordering::SeqCst);
    }
}

#[test]
fn the_soft_level_frees_a_twentieth_of_what_is_low() {
    let mut rig = rig();
    let (low, high) = (
        rig.pieces("low", Priority::Low, 300),
        rig.pieces("high", Priority::High, 100),
    );
    rig.fill(800);
    let tick = rig.controller.tick();
    assert_eq!(tick.level, Level::Soft);
    assert_eq!(tick.results.len(), 1);
    assert_eq!(tick.results[0].status, ActionStatus::Completed);
    assert_eq!(tick.results[0].action_type.name(), "cleanup");
    assert_eq!(tick.results[0].freed, Some(mib(50)));
    assert_eq!((low.held(), high.held()), (250, 100));
    assert_eq!(rig.process.resident(), mib(750));
}

#[test]
fn the_hard_level_frees_a_tenth_by_spilling() {
    let mut rig = rig();
    let spiller = Pieces::with(
        &rig.process,
        "cache",
        Priority::Medium,
        300,
        &[ReclaimMode::Spill, ReclaimMode::Evict],
    );
    rig.register(&spiller);
    rig.fill(935);
    let tick = rig.controller.tick();
    assert_eq!(tick.level, Level::Hard);
    assert_eq!(tick.results[0].action_type.name(), "spill_to_disk");
    assert_eq!(tick.results[0].freed, Some(mib(100)));
    assert_eq!(spiller.calls(), [(ReclaimMode::Spill, mib(100))]);
    assert_eq!(rig.controller.statistics().spilled, mib(100));
}

#[test]
fn the_hard_level_evicts_where_nothing_can_be_spilled() {
    let mut rig = rig();
    let plain = rig.pieces("plain", Priority::Medium, 300);
    rig.fill(935);
    assert_eq!(rig.controller.tick().results[0].freed, Some(mib(100)));
    assert_eq!(plain.held(), 200);
}

#[test]
fn the_emergency_frees_more_than_a_seventh_at_once() {
    let mut rig = rig();
    let cache = rig.pieces("cache", Priority::High, 500);
    rig.fill(985);
    let tick = rig.controller.tick();
    assert_eq!(tick.level, Level::Emergency);
    assert_eq!(tick.results[0].action_type.name(), "evict");
    assert_eq!(tick.results[0].freed, Some(mib(150)));
    assert_eq!(cache.held(), 350);
}

#[test]
fn low_goes_before_medium_before_high_and_critical_stays() {
    let mut rig = rig();
    let parts = [
        rig.pieces("high", Priority::High, 100),
        rig.pieces("critical", Priority::Critical, 500),
        rig.pieces("low", Priority::Low, 60),
        rig.pieces("medium", Priority::Medium, 60),
    ];
    rig.fill(990);
    rig.controller.tick();
    assert_eq!(parts.map(|part| part.held()), [70, 500, 0, 0]);
    // However much is asked for.
    let request = EvictionRequest::new(mib(10_000)).up_to(Priority::Critical);
    let done = rig.controller.emergency_eviction(&request);
    assert_eq!(done.evicted, mib(70));
}

#[test]
fn a_fall_that_does_not_show_yet_is_not_asked_for_again() {
    let mut rig = rig();
    let cache = rig.pieces("cache", Priority::Low, 600);
    rig.process.never_purges.store(true, Ordering::SeqCst);
    rig.fill(985);
    rig.controller.tick();
    assert_eq!(cache.held(), 450);
    // The resident set still says 985; what is in flight is credited.
    for _ in 0..5 {
        rig.clock.advance(100);
        rig.controller.tick();
    }
    assert_eq!(cache.held(), 450);
}

#[test]
fn caches_are_not_emptied_for_memory_that_is_elsewhere() {
    let mut rig = rig();
    let cache = rig.pieces("cache", Priority::Low, 800);
    rig.process.never_purges.store(true, Ordering::SeqCst);
    rig.fill(990);
    for _ in 0..100 {
        rig.controller.tick();
        rig.clock.advance(200);
    }
    // Twenty seconds at the emergency level, which would be twenty evictions.
    assert_eq!(rig.controller.level(), Level::Emergency);
    assert_eq!(rig.controller.statistics().futile_pauses, 1);
    assert_eq!(cache.held(), 800 - 3 * 150);
    // When it grows all the same, the pause is over.
    rig.process.used.fetch_add(100 * MIB, Ordering::SeqCst);
    rig.controller.tick();
    assert!(cache.held() < 800 - 3 * 150);
}

#[test]
fn a_level_goes_back_below_its_exit_and_opens_the_door_again() {
    let mut rig = rig();
    let cache = rig.pieces("cache", Priority::Low, 600);
    rig.fill(985);
    assert_eq!(rig.controller.tick().level, Level::Emergency);
    assert_eq!(rig.controller.budget().admission(), Admission::CriticalOnly);
    rig.clock.advance(1000);
    rig.controller.tick();
    assert_eq!(rig.controller.level(), Level::Emergency);
    rig.clock.advance(5000);
    rig.controller.tick();
    assert_eq!(rig.controller.budget().admission(), Admission::Open);
    // Once for the emergency, once for the soft level that followed.
    assert_eq!(cache.held(), 600 - 150 - 65);
}

#[test]
fn an_action_of_a_level_that_is_over_is_not_done() {
    let mut rig = rig();
    let cache = rig.pieces("cache", Priority::Low, 600);
    rig.fill(800);
    rig.controller.tick();
    assert_eq!(cache.held(), 550);
    // The level's next action is decided on, and before it is done all is well.
    let mut stale = Action::new(ActionKind::Evict, "decided under the soft level", 10);
    stale.decided = Some((Level::Soft, rig.controller.generation()));
    rig.controller.enqueue_action(stale).unwrap();
    rig.process.used.store(600 * MIB, Ordering::SeqCst);
    rig.clock.advance(10_000);
    let tick = rig.controller.tick();
    assert_eq!(tick.level, Level::Normal);
    assert_eq!(tick.results[0].status, ActionStatus::Stale);
    assert_eq!(cache.held(), 550);
}

/// Does in `reclaim` what it is told to.
struct Rogue {
    name: &'static str,
    work: Box<dyn Fn(&ReclaimRequest) -> Reclaimed + Send + Sync>,
}

impl Rogue {
    fn new(
        name: &'static str,
        work: impl Fn(&ReclaimRequest) -> Reclaimed + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            work: Box::new(work),
        })
    }
}

impl Reclaimer for Rogue {
    fn name(&self) -> &str {
        self.name
    }

    fn priority(&self) -> Priority {
        Priority::Low
    }

    fn reclaimable(&self, _mode: ReclaimMode) -> Bytes {
        Bytes(u64::MAX)
    }

    fn modes(&self) -> &[ReclaimMode] {
        &[ReclaimMode::Evict]
    }

    fn reclaim(&self, request: &ReclaimRequest, _stop: &Stop) -> Reclaimed {
        (self.work)(request)
    }
}

#[test]
fn a_callback_is_called_when_its_level_is_entered_and_may_panic() {
    let mut rig = rig();
    rig.pieces("cache", Priority::Low, 900);
    let calls: Arc<Mutex<Vec<(&str, Level)>>> = Arc::default();
    let note = |name: &'static str| {
        let calls = Arc::clone(&calls);
        move |event: &LevelEvent| calls.lock().unwrap().push((name, event.to))
    };
    rig.controller.on_level(Level::Soft, note("soft")).keep();
    rig.controller
        .on_level(Level::Hard, |_| panic!("not today"))
        .keep();
    rig.controller
        .on_level(Level::Emergency, note("emergency"))
        .keep();
    let ended = rig.controller.on_level(Level::Soft, note("ended"));
    drop(ended);
    let (_subscription, events) = rig.controller.subscribe(10);
    rig.fill(985);
    rig.controller.tick();
    assert_eq!(
        *calls.lock().unwrap(),
        [("soft", Level::Emergency), ("emergency", Level::Emergency)]
    );
    rig.clock.advance(10_000);
    rig.controller.tick();
    let seen: Vec<Level> = events.try_iter().map(|event| event.to).collect();
    assert_eq!(seen, [Level::Emergency, Level::Soft]);
    assert_eq!(calls.lock().unwrap().len(), 2);
}

#[test]
fn a_limit_of_the_cgroup_below_the_budget_is_what_counts() {
    let mut rig = rig();
    let cache = rig.pieces("cache", Priority::Low, 400);
    rig.process.cgroup_limit.store(405 * MIB, Ordering::SeqCst);
    let tick = rig.controller.tick();
    assert_eq!((tick.level, tick.budget), (Level::Emergency, mib(405)));
    assert!(cache.held() <= 400 - 60, "{}", cache.held());
}

#[test]
fn a_controller_that_runs_ends_when_it_is_dropped() {
    let rig = rig();
    let running = rig.controller.start().unwrap();
    for _ in 0..30_000 {
        if rig.controller.statistics().ticks > 2 {
            drop(running);
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("never ticked");
}
