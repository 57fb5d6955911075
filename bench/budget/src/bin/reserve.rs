//! Reserving and releasing, and recording, beside DataFusion's memory pools,
//! tokio's semaphore and one shared atomic, at 1, 2 and 4 threads.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bench_budget::{Contender, compare};
use datafusion_execution::memory_pool::{
    FairSpillPool, GreedyMemoryPool, MemoryConsumer, MemoryPool,
};
use grey_budget::{Budget, Bytes, ShardedCounter};

const PAIRS: u64 = 1_000_000;
const SIZE: usize = 4096;
const ROUNDS: usize = 7;

/// Runs `work` on `threads` threads at once; the time of the slowest counts,
/// and the operations of one thread, so that "flat" means the same number.
fn on_threads(threads: usize, work: impl Fn(u64) + Sync) -> (u64, Duration) {
    let barrier = Barrier::new(threads);
    let took = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    let start = Instant::now();
                    work(PAIRS);
                    start.elapsed()
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .max()
    });
    (PAIRS, took.expect("at least one thread"))
}

fn data_fusion(pool: Arc<dyn MemoryPool>) -> impl Fn(u64) + Sync {
    move |pairs| {
        let reservation = MemoryConsumer::new("bench").with_can_spill(true).register(&pool);
        for _ in 0..pairs {
            reservation.try_grow(black_box(SIZE)).expect("there is room");
            reservation.shrink(SIZE);
        }
    }
}

fn main() {
    let budget = Budget::new(Bytes(1 << 30)).expect("not empty");
    let component = budget.component("bench").register().expect("the first");
    for threads in [1, 2, 4] {
        let greedy = data_fusion(Arc::new(GreedyMemoryPool::new(1 << 30)));
        let fair = data_fusion(Arc::new(FairSpillPool::new(1 << 30)));
        let semaphore = tokio::sync::Semaphore::new(1 << 28);
        let ours = |pairs| {
            for _ in 0..pairs {
                drop(black_box(component.reserve(black_box(Bytes(SIZE as u64)))));
            }
        };
        let tokio = |pairs| {
            for _ in 0..pairs {
                drop(black_box(semaphore.try_acquire_many(black_box(SIZE as u32))));
            }
        };
        compare(
            &format!("reserve and release {SIZE} bytes, a pair, {threads} threads"),
            ROUNDS,
            &mut [
                Contender::new("grey-budget", || on_threads(threads, ours)),
                Contender::new("DataFusion GreedyMemoryPool", || on_threads(threads, &greedy)),
                Contender::new("DataFusion FairSpillPool", || on_threads(threads, &fair)),
                Contender::new("tokio Semaphore", || on_threads(threads, tokio)),
            ],
        );
        let counter = ShardedCounter::new();
        let shared = AtomicU64::new(0);
        compare(
            &format!("record, {threads} threads"),
            ROUNDS,
            &mut [
                Contender::new("grey-budget", || {
                    on_threads(threads, |count| {
                        for _ in 0..count {
                            counter.add(black_box(1));
                        }
                    })
                }),
                Contender::new("one shared atomic", || {
                    on_threads(threads, |count| {
                        for _ in 0..count {
                            shared.fetch_add(black_box(1), Ordering::Relaxed);
                        }
                    })
                }),
            ],
        );
    }
}
