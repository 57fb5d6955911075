//! What monitoring costs: one reading, everything that the source knows, one
//! whole tick, and one record.
//!
//! The heap is the allocator's that this program is built with: glibc, or with
//! the features `jemalloc` or `mimalloc` one of those.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bench_budget::{Contender, compare, timed};
use grey_budget::tracker::Counters;
use grey_budget::{
    Budget, Bytes, Level, Levels, MemorySource, MemoryTracker, ProcessSource, Thresholds,
};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[cfg(all(feature = "mimalloc", not(feature = "jemalloc")))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 9;

/// The controller's interval.
const INTERVAL: Duration = Duration::from_millis(100);

fn main() {
    // Something to account for, so that the heap is not empty.
    let held: Vec<Vec<u8>> = (0..200_000).map(|_| vec![1; 200]).collect();
    let source = Arc::new(ProcessSource::new().expect("there is a /proc"));
    println!("allocator: {}", source.allocator());
    readings(&source);
    tick(&source);
    for threads in [1, 2, 4] {
        records(threads);
    }
    drop(black_box(held));
}

fn repeat(times: u64, work: impl Fn()) -> (u64, Duration) {
    timed(times, || {
        for _ in 0..times {
            work();
        }
    })
}

fn readings(source: &ProcessSource) {
    const TIMES: u64 = 20_000;
    const FEW: u64 = 300;
    let file =
        |name: &'static str, times| repeat(times, move || drop(black_box(std::fs::read(name))));
    compare(
        "one reading",
        ROUNDS,
        &mut [
            Contender::new("statm, descriptor kept (ours)", || {
                repeat(TIMES, || drop(black_box(source.rss())))
            }),
            Contender::new("statm, opened each time", || {
                file("/proc/self/statm", TIMES)
            }),
            Contender::new("status, opened each time", || {
                file("/proc/self/status", TIMES)
            }),
            Contender::new("getpid, a part of ours", || {
                repeat(TIMES, || {
                    black_box(std::process::id());
                })
            }),
        ],
    );
    compare(
        "everything: heap, peak, threads, cgroup and all above it, machine",
        ROUNDS,
        &mut [
            Contender::new("read() (ours)", || {
                repeat(FEW, || drop(black_box(source.read())))
            }),
            Contender::new("smaps_rollup", || file("/proc/self/smaps_rollup", FEW)),
        ],
    );
}

/// What a controller does ten times a second: the resident set, the reserved
/// sum, the level; and everything once in ten ticks.
fn tick(source: &Arc<ProcessSource>) {
    const TICKS: u64 = 2_000;
    let budget = Budget::new(Bytes(1 << 40)).expect("it is not empty");
    let components: Vec<_> = (0..8)
        .map(|number| {
            let name = format!("component {number}");
            budget.component(&name).register().expect("it is new")
        })
        .collect();
    let dynamic: Arc<dyn MemorySource> = source.clone();
    let tracker = MemoryTracker::builder(dynamic).budget(&budget).build();
    let mut levels = Levels::<Level>::new(Thresholds::of::<Level>(), Duration::from_secs(5));
    let start = Instant::now();
    let mut one = |full: bool| {
        let rss = tracker.get_current_usage().expect("readable");
        black_box(levels.observe(start.elapsed(), rss, budget.limit()));
        black_box(budget.reserved());
        if full {
            black_box(tracker.snapshot().expect("readable"));
        }
    };
    let (_, light) = timed(TICKS, || (0..TICKS).for_each(|_| one(false)));
    let (_, mixed) = timed(TICKS, || {
        (0..TICKS).for_each(|number| one(number % 10 == 0));
    });
    println!(
        "\na tick of a controller with {} components",
        components.len()
    );
    for (name, took) in [
        ("resident set and level", light),
        ("and everything once in ten", mixed),
    ] {
        let each = took.as_secs_f64() / TICKS as f64;
        println!(
            "{name:<44} {:>12.2} us {:>9.4} % of a core at {INTERVAL:?}",
            each * 1e6,
            each / INTERVAL.as_secs_f64() * 100.0
        );
    }
}

/// `threads` threads do `work` at once; the slowest one's time.
fn on_all(threads: u64, times: u64, work: impl Fn() + Sync) -> (u64, Duration) {
    let work = &work;
    let took = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| scope.spawn(move || repeat(times, work).1))
            .collect();
        let times = running.into_iter().map(|thread| thread.join());
        times.map(|time| time.expect("no thread panics")).max()
    });
    (times, took.unwrap_or_default())
}

/// The time is one thread's for each record, while all record.
fn records(threads: u64) {
    const TIMES: u64 = 2_000_000;
    let counters = Counters::default();
    let shared = AtomicI64::new(0);
    compare(
        &format!("record_allocation, {threads} threads"),
        ROUNDS,
        &mut [
            Contender::new("sharded (ours)", || {
                on_all(threads, TIMES, || {
                    counters.record_allocation(black_box(Bytes(64)));
                })
            }),
            Contender::new("one shared atomic", || {
                on_all(threads, TIMES, || {
                    shared.fetch_add(black_box(64), Ordering::Relaxed);
                })
            }),
        ],
    );
}
