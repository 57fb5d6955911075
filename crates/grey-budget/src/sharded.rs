//! A counter that many threads add to without waiting for each other: each
//! thread has a cell of its own, as long as there are cells.
//!
//! Never exact while others write; exact when they are done.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use crossbeam_utils::CachePadded;

/// Cells of a counter and of a component's slack; a power of two.
pub const SHARDS: usize = 32;

/// Numbers for threads, the lowest free one first, so that as many threads as
/// there are cells never share one.
static FREE: Mutex<Numbers> = Mutex::new(Numbers {
    next: 0,
    given_back: BTreeSet::new(),
});

#[derive(Debug)]
struct Numbers {
    next: usize,
    given_back: BTreeSet<usize>,
}

/// Gives the number back when the thread ends.
struct Number(usize);

impl Number {
    fn take() -> Self {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lowest) = free.given_back.pop_first() {
            return Self(lowest);
        }
        let number = free.next;
        free.next += 1;
        Self(number)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        free.given_back.insert(self.0);
    }
}

/// Not asked for yet.
const UNKNOWN: usize = usize::MAX;

thread_local! {
    static OWNED: Number = Number::take();
    // Apart from OWNED, because a cell without a destructor is read without a check.
    static SHARD: Cell<usize> = const { Cell::new(UNKNOWN) };
}

/// The cell of this thread, below [`SHARDS`].
#[inline]
#[must_use]
pub fn shard_of_this_thread() -> usize {
    #[cfg(grey_loom)]
    return shard_in_a_model();
    #[cfg(not(grey_loom))]
    shard_of_real_thread()
}

/// Loom runs its threads in one of the system's: each gets a cell in turn.
#[cfg(grey_loom)]
fn shard_in_a_model() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    loom::thread_local! {
        static CELL: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    CELL.with(|cell| *cell)
}

#[cfg_attr(grey_loom, expect(dead_code, reason = "loom has threads of its own"))]
#[inline]
fn shard_of_real_thread() -> usize {
    let shard = SHARD.get();
    if shard == UNKNOWN {
        ask_for_shard()
    } else {
        shard
    }
}

#[cold]
fn ask_for_shard() -> usize {
    // While a thread ends its number may be gone: any cell will do then.
    let shard = OWNED.try_with(|number| number.0).unwrap_or(0) % SHARDS;
    SHARD.set(shard);
    shard
}

/// Counts up and down. `add` takes a few nanoseconds on any number of threads;
/// `sum` reads all cells.
#[derive(Debug)]
pub struct ShardedCounter {
    cells: [CachePadded<AtomicI64>; SHARDS],
}

impl ShardedCounter {
    /// At 0.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            cells: [const { CachePadded::new(AtomicI64::new(0)) }; SHARDS],
        }
    }

    /// Adds `amount`; wraps where a cell cannot hold the sum.
    #[inline]
    pub fn add(&self, amount: i64) {
        self.cells[shard_of_this_thread()].fetch_add(amount, Ordering::Relaxed);
    }

    /// The sum over all cells. While others add, some of theirs may be missing.
    #[must_use]
    pub fn sum(&self) -> i64 {
        self.cells.iter().fold(0, |sum, cell| {
            sum.wrapping_add(cell.load(Ordering::Relaxed))
        })
    }
}

impl Default for ShardedCounter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_when_many_count_at_once() {
        let counter = ShardedCounter::new();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counter.add(3);
                        counter.add(-1);
                    }
                });
            }
        });
        assert_eq!(counter.sum(), 2 * 2 * 1000 * i64::try_from(SHARDS).unwrap());
    }

    #[test]
    fn a_number_of_a_thread_that_ended_is_given_again() {
        let mut highest = 0;
        for _ in 0..3 * SHARDS {
            let number = std::thread::spawn(|| OWNED.with(|number| number.0)).join();
            highest = highest.max(number.unwrap());
        }
        // Other tests run beside this one and hold numbers too.
        assert!(highest < 3 * SHARDS, "{highest}");
    }
}
