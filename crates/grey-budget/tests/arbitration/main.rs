//! Many consumers at once, of all priorities, that take, wait, hold, panic, call
//! back into the controller, come and go, while the budget is resized, the
//! configuration is rewritten and reloaded, and a cache and a spill store with a
//! small quota are filled, read and emptied, and queues, broadcasters, logs and
//! embeddings come and go in use, beside some that never come back:
//! nothing else hangs, no value is wrong, nothing critical is evicted, nothing is
//! given beyond the budget, and at the end nothing is reserved.
//!
//! `GREY_STRESS_SECONDS` says for how long; a minute if it does not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use grey_budget::controller::ReclaimerId;
use grey_budget::reclaimer::Stop;
use grey_budget::{
    Action, ActionKind, AllocatorKind, Budget, Bytes, Component, Controller, ControllerSettings,
    EvictionRequest, Level, MemoryManager, MemorySource, Priority, Purge, Reading, ReclaimMode,
    ReclaimRequest, Reclaimed, Reclaimer, Reservation, SourceError,
};

mod parts;
mod streams;

use parts::{Mine, Parts};
use streams::{Ends, Streams};

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 64 * MIB;
const CONSUMERS: u64 = 6;

/// Says what the consumers hold.
#[derive(Debug, Default)]
struct Held(AtomicU64, OnceLock<Vec<Component>>);

impl MemorySource for Held {
    fn rss(&self) -> Result<Bytes, SourceError> {
        let parts = self.1.get().into_iter().flatten();
        let held = Bytes(self.0.load(Ordering::SeqCst));
        Ok(parts
            .map(Component::reserved)
            .fold(held, Bytes::saturating_add))
    }

    fn read(&self) -> Result<Reading, SourceError> {
        Ok(Reading::of_rss(self.rss()?))
    }

    fn allocator(&self) -> AllocatorKind {
        AllocatorKind::Unknown
    }

    fn purge(&self) -> Result<Purge, SourceError> {
        let now = self.rss()?;
        Ok(Purge {
            allocator: AllocatorKind::Unknown,
            before: now,
            after: now,
            took: Duration::ZERO,
        })
    }
}

/// xorshift: the same seeds, the same consumers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn one_in(&mut self, odds: u64) -> bool {
        self.next().is_multiple_of(odds)
    }
}

/// Keeps reservations that may be taken away, and misbehaves now and then.
struct Store {
    component: Component,
    priority: Priority,
    items: Mutex<Vec<Reservation<'static>>>,
    held: Arc<Held>,
    controller: Controller,
    random: Mutex<Random>,
    id: Mutex<Option<ReclaimerId>>,
    taken: AtomicU64,
}

impl Store {
    fn items(&self) -> std::sync::MutexGuard<'_, Vec<Reservation<'static>>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn random(&self) -> u64 {
        self.random
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next()
    }

    fn keep(&self, item: Reservation<'static>) {
        self.held.0.fetch_add(item.size().get(), Ordering::SeqCst);
        self.items().push(item);
    }

    fn take(&self) -> Option<Reservation<'static>> {
        let item = self.items().pop()?;
        self.held.0.fetch_sub(item.size().get(), Ordering::SeqCst);
        Some(item)
    }
}

impl Reclaimer for Store {
    fn name(&self) -> &str {
        self.component.name()
    }

    fn priority(&self) -> Priority {
        self.priority
    }

    fn reclaimable(&self, _mode: ReclaimMode) -> Bytes {
        assert!(!self.random().is_multiple_of(97), "a panic while asking");
        self.component.reserved()
    }

    fn reclaim(&self, request: &ReclaimRequest, _stop: &Stop) -> Reclaimed {
        let mut done = Reclaimed::default();
        if request.mode == ReclaimMode::Trim {
            return done;
        }
        match self.random() % 40 {
            0 => panic!("a panic while reclaiming"),
            1 => {
                self.controller.tick();
            }
            2 => {
                self.controller
                    .emergency_eviction(&EvictionRequest::new(request.target));
            }
            3 => drop(self.component.reserve(Bytes(1000))),
            4 => drop(
                self.component
                    .reserve_timeout(Bytes(MIB), Duration::from_millis(2)),
            ),
            5 => {
                let id = *self.id.lock().unwrap_or_else(PoisonError::into_inner);
                id.map(|id| self.controller.unregister(id));
            }
            6 => std::thread::sleep(Duration::from_millis(30)),
            7 => done.freed = request.target,
            _ => {}
        }
        while done.freed < request.target {
            let Some(item) = self.take() else { break };
            done.freed = done.freed.saturating_add(item.size());
            done.entries += 1;
            self.taken.fetch_add(1, Ordering::SeqCst);
        }
        done
    }
}

/// Never comes back from a call before the end.
struct Hanging(Arc<AtomicBool>);

/// How many of these there are: more than once were too many.
const HANGING: usize = 20;

impl Reclaimer for Hanging {
    fn name(&self) -> &'static str {
        "hanging"
    }

    fn priority(&self) -> Priority {
        Priority::Low
    }

    fn reclaimable(&self, _mode: ReclaimMode) -> Bytes {
        Bytes(MIB)
    }

    fn reclaim(&self, _request: &ReclaimRequest, _stop: &Stop) -> Reclaimed {
        while !self.0.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
        Reclaimed::default()
    }
}

/// One consumer, until it is told to end.
fn consume(
    seed: u64,
    stores: &[Arc<Store>],
    (parts, streams): (&Parts, &Streams),
    budget: &Budget,
    end: &AtomicBool,
) {
    let mut keys = Mine::new(seed);
    let mut ends = Ends::default();
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut mine: Vec<Reservation<'static>> = Vec::new();
    let mut registration = None;
    while !end.load(Ordering::SeqCst) {
        let store = &stores[usize::try_from(random.next() % 5).unwrap()];
        let size = Bytes(if random.one_in(4) {
            random.next() % MIB
        } else {
            random.next() % 8192
        });
        let got = if random.one_in(10) {
            store
                .component
                .reserve_timeout(size, Duration::from_micros(random.next() % 2000))
                .map(Reservation::into_owned)
        } else {
            store.component.reserve_owned(size)
        };
        match (got, random.next() % 6) {
            (Ok(item), 0) => mine.push(item),
            // What is critical stays bounded by its owner alone.
            (Ok(item), _) if store.priority != Priority::Critical => store.keep(item),
            (Ok(mut item), _) => {
                let _ = item.grow(Bytes(random.next() % 1000));
                let part = item.split(Bytes(random.next() % 4096));
                mine.push(part);
            }
            (Err(_), 1) => {
                let item = store.take();
                drop(item);
            }
            (Err(_), _) => mine.truncate(mine.len() / 2),
        }
        if random.one_in(4) {
            keys.step(parts, &mut random);
        }
        if random.one_in(4) {
            ends.step(streams, &mut random);
        }
        if random.one_in(50) {
            mine.truncate(3);
        }
        if random.one_in(500) {
            registration = Some(store.controller.register(Arc::<Store>::clone(store)));
            let id = registration.as_ref().map(grey_budget::Registration::id);
            *store.id.lock().unwrap_or_else(PoisonError::into_inner) = id;
        }
        if random.one_in(2000) {
            let _ = budget.set_limit(Bytes(LIMIT / 2 + random.next() % LIMIT));
            let mut settings = store.controller.settings();
            settings.repeat = Duration::from_millis(random.next() % 50);
            store.controller.set_settings(settings);
        }
        if random.one_in(300) {
            let action = Action::new(ActionKind::Cleanup, "stress", 5).target(size);
            let _ = store.controller.enqueue_action(action);
        }
    }
    drop(registration);
    ends.end();
    keys.end(parts);
}

/// Ends the test when something never comes to an end: who waits for it would
/// wait for ever.
#[expect(clippy::print_stderr, reason = "a test that ends the process says why")]
fn wait_for(is_over: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_over() {
        if start.elapsed() > Duration::from_secs(60) {
            eprintln!("something hangs");
            std::process::abort();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn wait_for_thread(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(work);
    wait_for(|| thread.is_finished());
    thread.join().unwrap();
}

#[test]
fn many_consumers_that_misbehave_break_nothing() {
    let seconds = std::env::var("GREY_STRESS_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let length = Duration::from_secs(seconds.unwrap_or(60));
    // Panics are part of it; their messages are not.
    std::panic::set_hook(Box::new(|info| {
        if !info.to_string().contains("a panic while") {
            eprintln!("{info}");
        }
    }));
    let budget = Budget::new(Bytes(LIMIT)).unwrap();
    let held = Arc::new(Held::default());
    let source: Arc<dyn MemorySource> = Arc::<Held>::clone(&held);
    let settings = {
        let mut settings = ControllerSettings::default();
        settings.interval = Duration::from_millis(5);
        settings.cooldown = Duration::from_millis(20);
        settings.repeat = Duration::from_millis(10);
        settings.call_deadline = Duration::from_millis(20);
        settings.stall = Duration::from_millis(200);
        settings.futility_pause = Duration::from_millis(50);
        settings
    };
    let parts = Parts::new(&budget);
    let streamed =
        ["queue", "events", "history"].map(|name| budget.component(name).register().unwrap());
    let counted = streamed.iter().chain([parts.cache.component()]);
    held.1.set(counted.cloned().collect()).unwrap();
    let manager = MemoryManager::configured(&parts.config.current())
        .budget(&budget)
        .source(source)
        .settings(settings)
        .build()
        .unwrap();
    manager.follow(&parts.config).unwrap();
    let observing = parts.observe();
    let controller = manager.controller().clone();
    let freed = Arc::new(AtomicBool::new(false));
    let hanging: Vec<_> = (0..HANGING)
        .map(|_| controller.register(Arc::new(Hanging(Arc::clone(&freed)))))
        .collect();
    // Told from within to watch no more; a reload may have it watch again.
    let (stopped, times) = (manager.clone(), AtomicU64::new(0));
    let stopping = controller.on_change(move |_| {
        if times.fetch_add(1, Ordering::SeqCst).is_multiple_of(3) {
            stopped.stop_monitoring();
        }
    });
    let cached = controller.register(parts.reclaimer());
    let streams = Streams::new(&budget, streamed, &controller);
    let tenant = budget.tenant("tenant", Priority::Medium, Some(Bytes(LIMIT / 3)));
    let stores: Vec<Arc<Store>> = [
        ("low", Priority::Low),
        ("medium", Priority::Medium),
        ("high", Priority::High),
        ("critical", Priority::Critical),
        ("shared", Priority::Medium),
    ]
    .into_iter()
    .map(|(name, priority)| {
        let builder = budget.component(name).priority(priority);
        let component = match name {
            "low" => builder.refillable().floor(Bytes(MIB)),
            "high" => builder.fair(),
            "shared" => builder.tenant(&tenant),
            "critical" => builder.limit(Bytes(LIMIT / 8)),
            _ => builder,
        };
        Arc::new(Store {
            component: component.register().unwrap(),
            priority,
            items: Mutex::default(),
            held: Arc::clone(&held),
            controller: controller.clone(),
            random: Mutex::new(Random(7)),
            id: Mutex::default(),
            taken: AtomicU64::new(0),
        })
    })
    .collect();
    let kept: Vec<_> = stores
        .iter()
        .map(|store| controller.register(Arc::<Store>::clone(store)))
        .collect();
    controller
        .on_level(Level::Hard, |_| panic!("a panic while called back"))
        .keep();
    let running = controller.start().unwrap();
    let end = AtomicBool::new(false);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let running: Vec<_> = (1..=CONSUMERS)
            .map(|seed| {
                let (stores, budget, end) = (&stores, &budget, &end);
                let parts = (&parts, &streams);
                scope.spawn(move || consume(seed, stores, parts, budget, end))
            })
            .collect();
        let mut ticks = controller.statistics().ticks;
        while start.elapsed() < length {
            std::thread::sleep(Duration::from_millis(500).min(length));
            let now = controller.statistics().ticks;
            // Thirty seconds without a tick is a hang on any machine.
            let moved = (0..300).any(|_| {
                std::thread::sleep(Duration::from_millis(100));
                controller.statistics().ticks > now
            });
            assert!(moved, "the controller hangs: {:?}", controller.statistics());
            ticks = ticks.max(now);
        }
        end.store(true, Ordering::SeqCst);
        wait_for(|| running.iter().all(|consumer| consumer.is_finished()));
    });
    wait_for_thread(move || running.stop());
    assert!(!controller.late_calls().is_empty(), "nobody hung");
    freed.store(true, Ordering::SeqCst);
    wait_for(|| controller.statistics().calls_out == 0);
    assert_eq!(controller.late_calls(), []);
    let statistics = controller.statistics();
    println!("{statistics:?}");
    assert_eq!(statistics.panics, 0, "of our own thread");
    assert!(statistics.ticks > 10, "the queue starves the readings");
    assert!(
        statistics.actions > 0 && statistics.evicted > 0,
        "nothing was ever evicted"
    );
    assert_eq!(
        stores[3].taken.load(Ordering::SeqCst),
        0,
        "something critical was evicted"
    );
    parts.check();
    assert!(
        parts.reloads.load(Ordering::SeqCst) > 10 && parts.spilled.load(Ordering::SeqCst) > 100,
        "nothing was reloaded or spilled"
    );
    wait_for_thread(move || {
        manager.stop_monitoring();
        drop((kept, cached, observing, hanging, stopping, manager));
    });
    streams.end();
    parts.store.flush().unwrap();
    drop(parts);
    for store in &stores {
        store.items().clear();
    }
    assert_eq!(budget.reserved(), Bytes::ZERO);
    assert_eq!(budget.waiters().0, 0);
    budget.settle();
    assert_eq!(budget.committed(), Bytes(MIB), "only the floor is left");
}
