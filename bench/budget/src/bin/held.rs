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
/// How long all threads insert.
const TIME: Duration = Duration::from_secs(3);

type Value = Arc<Vec<u8>>;

fn main() {
    let source = Arc::new(ProcessSource::new().expect("there is a /proc"));
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if !wanted.is_empty() {
        return part(&wanted, &source);
    }
    println!("allocator: {}", source.allocator());
    println!(
        "\npeak while {THREADS} threads insert values up to {} for {TIME:?}, budget {LIMIT}",
        Bytes(LARGEST)
    );
    println!(
        "one value in flight a thread: {:.3} of the budget",
        in_flight()
    );
    println!(
        "{:<44} {:>12} {:>10} {:>8} {:>6} {:>10}",
        "", "peak", "of budget", "MB/s", "hits", "after"
    );
    for shape in ["even", "sawtooth"] {
        for percent in ["85", "100"] {
            for who in ["ours", "bare"] {
                alone(&[who, shape, percent]);
            }
        }
    }
    alone(&["relief"]);
}

/// Runs one part in a process of its own: what one leaves in the allocator is
/// not the next one's.
fn alone(part: &[&str]) {
    let this = std::env::current_exe().expect("it runs");
    let status = std::process::Command::new(this).args(part).status();
    assert!(status.expect("it can be started").success(), "{part:?}");
}

fn part(part: &[String], source: &Arc<ProcessSource>) {
    match part {
        [who, shape, percent] => {
            let shape = match shape.as_str() {
                "even" => Shape::Even,
                _ => Shape::Sawtooth,
            };
            let percent = percent.parse().expect("a number");
            match who.as_str() {
                "ours" => held(source, shape, percent),
                _ => bare(source, shape, percent),
            }
        }
        _ => relief(source),
    }
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

/// Inserts from all threads, and reads one of the last thousand back; says how
/// many bytes were inserted, in megabytes a second, and how many of those that
/// were asked for were there.
fn load(
    shape: Shape,
    insert: &(impl Fn(u64, Value) + Sync),
    get: &(impl Fn(u64) -> bool + Sync),
) -> (f64, f64) {
    let (next, sum, hits) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while start.elapsed() < TIME {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let size = shape.size(number);
                    sum.fetch_add(size, Ordering::Relaxed);
                    insert(number, value(size, number));
                    let asked = number.saturating_sub(number.wrapping_mul(0x2545_f491) % 1000);
                    hits.fetch_add(u64::from(get(asked)), Ordering::Relaxed);
                }
            });
        }
    });
    let rate = sum.into_inner() as f64 / 1e6 / start.elapsed().as_secs_f64();
    (rate, hits.into_inner() as f64 / next.into_inner() as f64)
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

fn line(name: &str, source: &ProcessSource, base: Bytes, (rate, hits): (f64, f64)) {
    let over = peak(source).saturating_sub(base);
    let after = source.rss().expect("readable").saturating_sub(base);
    println!(
        "{name:<44} {:>12} {:>10.3} {rate:>8.0} {hits:>6.3} {:>10}",
        over.to_string(),
        over.get() as f64 / LIMIT.get() as f64,
        after.to_string()
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
        &|number| cache.get(&number).is_some(),
    );
    running.stop();
    line(
        &format!("{shape:?}, {percent} %: cache and controller (ours)"),
        source,
        base,
        took,
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
        &|number| cache.get(&number).is_some(),
    );
    line(
        &format!("{shape:?}, {percent} %: quick_cache alone"),
        source,
        base,
        took,
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
