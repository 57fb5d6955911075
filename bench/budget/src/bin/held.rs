//! Whether the budget is held: the peak of the resident set over it while four
//! threads insert values of changing sizes, and how long 1 GiB takes to be back
//! with the kernel.
//!
//! The heap is the allocator's that this program is built with: glibc, or with
//! the features `jemalloc` or `mimalloc` one of those.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bench_budget::median;
use grey_budget::cache::{Cache, CacheBuilder};
use grey_budget::{
    Budget, Bytes, Controller, ControllerSettings, EvictionRequest, MemorySource, Priority,
    ProcessSource, Reclaimer,
};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[cfg(all(feature = "mimalloc", not(feature = "jemalloc")))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const THREADS: u64 = 4;
const LARGEST: u64 = 256 << 10;
const LIMIT: Bytes = Bytes::from_mib(512);
/// How much is inserted by all threads together.
const INSERTED: u64 = 8 << 30;

type Value = Arc<Vec<u8>>;

fn main() {
    let source = Arc::new(ProcessSource::new().expect("there is a /proc"));
    println!("allocator: {}", source.allocator());
    println!(
        "\npeak while {THREADS} threads insert {} of values up to {}, budget {LIMIT}",
        Bytes(INSERTED),
        Bytes(LARGEST)
    );
    println!(
        "one value in flight a thread: {:.3} of the budget",
        in_flight()
    );
    println!(
        "{:<44} {:>12} {:>10} {:>8} {:>10}",
        "", "peak", "of budget", "MB/s", "after"
    );
    // Ours first: what it leaves behind is purged before the next one begins.
    for shape in [Shape::Even, Shape::Sawtooth] {
        for percent in [85, 100] {
            held(&source, shape, percent);
            bare(&source, shape, percent);
        }
    }
    relief(&source);
}

fn in_flight() -> f64 {
    (THREADS * LARGEST) as f64 / LIMIT.get() as f64
}

/// How sizes change over time.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// All sizes at any time.
    Even,
    /// Small ones for long, then large ones: what breaks allocators into pieces.
    Sawtooth,
}

impl Shape {
    fn size(self, number: u64) -> u64 {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
        match self {
            Self::Even => 1024 + mixed % (LARGEST - 1024),
            Self::Sawtooth => {
                let large = (number / 4096) % 2 == 1;
                let most = if large { LARGEST } else { 8192 };
                most / 2 + mixed % (most / 2)
            }
        }
    }
}

/// A value of which every page is written.
fn value(size: u64, number: u64) -> Value {
    Arc::new(vec![(number % 251) as u8 + 1; size as usize])
}

fn weigh(value: &Value) -> Bytes {
    Bytes(value.capacity() as u64)
}

/// Inserts from all threads, and reads every second one back; says how long it took.
fn load(
    shape: Shape,
    insert: &(impl Fn(u64, Value) + Sync),
    get: &(impl Fn(u64) + Sync),
) -> Duration {
    let (next, sum) = (AtomicU64::new(0), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let size = shape.size(number);
                    if sum.fetch_add(size, Ordering::Relaxed) > INSERTED {
                        return;
                    }
                    insert(number, value(size, number));
                    get(number / 2);
                }
            });
        }
    });
    start.elapsed()
}

/// The resident set's highest value since the last call of `forget_peak`.
fn peak(source: &ProcessSource) -> Bytes {
    source
        .read()
        .expect("readable")
        .rss_peak
        .unwrap_or_default()
}

/// Lets the kernel count the peak anew (proc(5), clear_refs).
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").expect("the own one is writable");
}

fn line(name: &str, peak: Bytes, base: Bytes, took: Duration, after: Bytes) {
    let over = peak.saturating_sub(base);
    println!(
        "{name:<44} {:>12} {:>10.3} {:>8.0} {:>10}",
        over.to_string(),
        over.get() as f64 / LIMIT.get() as f64,
        INSERTED as f64 / 1e6 / took.as_secs_f64(),
        after.saturating_sub(base).to_string()
    );
}

/// A cache that may hold `percent` of the budget, and a controller.
fn held(source: &Arc<ProcessSource>, shape: Shape, percent: u64) {
    let base = source.purge().expect("this allocator can be purged").after;
    forget_peak();
    let budget = Budget::new(LIMIT).expect("it is not empty");
    let controller = Controller::new(
        budget.clone(),
        Arc::clone(source) as Arc<dyn MemorySource>,
        ControllerSettings::default(),
    );
    let cache: Arc<Cache<u64, Value>> = Arc::new(
        CacheBuilder::new(&budget, "values", LIMIT.scale(percent, 100))
            .build(|_: &u64, value: &Value| weigh(value))
            .expect("a name that is new"),
    );
    let _registration = controller.register(Arc::clone(&cache) as Arc<dyn Reclaimer>);
    let running = controller.start().expect("a thread");
    let most = AtomicU64::new(0);
    let took = load(
        shape,
        &|number, value| {
            let _ = cache.insert(number, value);
            most.fetch_max(budget.reserved().get(), Ordering::Relaxed);
        },
        &|number| drop(cache.get(&number)),
    );
    running.stop();
    let (high, now) = (peak(source), source.rss().expect("readable"));
    line(
        &format!("{shape:?}, {percent} %: cache and controller (ours)"),
        high,
        base,
        took,
        now,
    );
    let reserved = most.into_inner() as f64 / LIMIT.get() as f64;
    let statistics = controller.statistics();
    println!(
        "    reserved at most {reserved:.3} of the budget; {} things evicted at a level, {} purged",
        statistics.evicted, statistics.purged
    );
}

/// The same capacity without anybody who looks at the resident set.
fn bare(source: &Arc<ProcessSource>, shape: Shape, percent: u64) {
    #[derive(Clone)]
    struct Weigh;
    impl quick_cache::Weighter<u64, Value> for Weigh {
        fn weight(&self, _: &u64, value: &Value) -> u64 {
            value.capacity() as u64
        }
    }
    let base = source.purge().expect("this allocator can be purged").after;
    forget_peak();
    let capacity = LIMIT.scale(percent, 100).get();
    let cache = quick_cache::sync::Cache::with_weighter(4096, capacity, Weigh);
    let took = load(
        shape,
        &|number, value| cache.insert(number, value),
        &|number| drop(cache.get(&number)),
    );
    let (high, now) = (peak(source), source.rss().expect("readable"));
    line(
        &format!("{shape:?}, {percent} %: quick_cache alone"),
        high,
        base,
        took,
        now,
    );
}

/// 1 GiB is asked for; done is what the kernel has back.
fn relief(source: &Arc<ProcessSource>) {
    const WANTED: Bytes = Bytes::from_mib(1024);
    const ROUNDS: usize = 5;
    const SIZE: u64 = 64 << 10;
    let held = WANTED.get() + WANTED.get() / 4;
    let (mut ours, mut freed, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let budget = Budget::new(Bytes(held * 2)).expect("it is not empty");
        let controller = Controller::new(
            budget.clone(),
            Arc::clone(source) as Arc<dyn MemorySource>,
            ControllerSettings::default(),
        );
        let cache: Arc<Cache<u64, Value>> = Arc::new(
            CacheBuilder::new(&budget, "values", Bytes(held + held / 2))
                .build(|_: &u64, value: &Value| weigh(value))
                .expect("a name that is new"),
        );
        let _registration = controller.register(Arc::clone(&cache) as Arc<dyn Reclaimer>);
        for number in 0..held / SIZE {
            cache
                .insert(number, value(SIZE, number))
                .expect("there is room");
        }
        let before = source.rss().expect("readable");
        let start = Instant::now();
        let request = EvictionRequest::new(WANTED).up_to(Priority::High);
        let result = controller.emergency_eviction(&request);
        ours.push(start.elapsed().as_secs_f64() * 1e3);
        assert!(result.evicted >= WANTED, "{result:?}");
        let back = before.saturating_sub(source.rss().expect("readable"));
        freed.push(back.get() as f64 / WANTED.get() as f64);
        drop(cache);
        source.purge().expect("this allocator can be purged");
        // The same bytes, dropped by hand and purged.
        let values: Vec<Value> = (0..WANTED.get() / SIZE)
            .map(|number| value(SIZE, number))
            .collect();
        let start = Instant::now();
        drop(values);
        source.purge().expect("this allocator can be purged");
        bare.push(start.elapsed().as_secs_f64() * 1e3);
    }
    // One thread that keeps allocating must not be held up much meanwhile.
    let stop = AtomicBool::new(false);
    let longest = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                drop(value(4096, 1));
                longest = longest.max(start.elapsed());
            }
            longest
        });
        let values: Vec<Value> = (0..WANTED.get() / SIZE)
            .map(|number| value(SIZE, number))
            .collect();
        drop(values);
        source.purge().expect("this allocator can be purged");
        stop.store(true, Ordering::Relaxed);
        other.join().expect("it counts only")
    });
    let (ours, bare) = (median(&mut ours), median(&mut bare));
    println!(
        "\nrelief of {WANTED} in values of {} (median of {ROUNDS} rounds)",
        Bytes(SIZE)
    );
    println!(
        "{:<44} {ours:>9.1} ms {:>8.2}",
        "emergency_eviction (ours)",
        ours / bare
    );
    println!(
        "{:<44} {bare:>9.1} ms {:>8.2}",
        "drop and purge, nothing decided", 1.0
    );
    println!(
        "given back to the kernel: {:.3} of what was asked",
        median(&mut freed)
    );
    println!("longest allocation of another thread during a purge: {longest:?}");
}
