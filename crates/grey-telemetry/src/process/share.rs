//! One pass over many processes, shared among threads.
//!
//! Never splits the work in advance: a process may take a thousand times as
//! long as its neighbour, so each thread takes the next one when it is free.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// More threads than this do not make the kernel walk page tables faster.
pub const MOST_THREADS: usize = 16;

/// As many threads as the machine has processors for us, at most
/// [`MOST_THREADS`].
#[must_use]
pub fn useful_threads() -> NonZeroUsize {
    let most = NonZeroUsize::MIN.saturating_add(MOST_THREADS - 1);
    thread::available_parallelism().map_or(NonZeroUsize::MIN, |count| count.min(most))
}

/// Calls `visit` once for each of `pids`, on one thread for each worker. The
/// first worker is the caller's own thread, and does everything where no
/// thread can be started.
pub(super) fn share_among<W: Send>(
    workers: &mut [W],
    pids: &[u32],
    visit: impl Fn(&mut W, u32) + Sync,
) {
    let next = AtomicUsize::new(0);
    let take_turns = |worker: &mut W| {
        while let Some(&pid) = pids.get(next.fetch_add(1, Ordering::Relaxed)) {
            visit(worker, pid);
        }
    };
    let Some((own, others)) = workers.split_first_mut() else {
        return;
    };
    thread::scope(|scope| {
        for worker in others {
            let take_turns = &take_turns;
            let started = thread::Builder::new().spawn_scoped(scope, move || take_turns(worker));
            if started.is_err() {
                break;
            }
        }
        take_turns(own);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_is_visited_once_whatever_the_threads() {
        let pids: Vec<u32> = (1..5000).collect();
        for threads in [1, 2, 7] {
            let mut workers = vec![Vec::new(); threads];
            share_among(&mut workers, &pids, Vec::push);
            let mut visited = workers.concat();
            visited.sort_unstable();
            assert_eq!(visited, pids);
        }
    }

    #[test]
    fn threads_are_at_least_one_and_bounded() {
        assert!((1..=MOST_THREADS).contains(&useful_threads().get()));
    }
}
