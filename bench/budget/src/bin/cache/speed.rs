//! How long a get and an insert take, of threads that do nothing else.
//!
//! Never asserts on time: it prints.

use std::time::{Duration, Instant};

use bench_budget::{Contender, compare};

use crate::peers::{Peer, make};

/// How much is done.
#[derive(Clone, Copy)]
pub struct Scale {
    /// Entries that fit.
    pub entries: u64,
    /// Of each thread in a round.
    pub operations: u64,
    /// Of each contender.
    pub rounds: usize,
}

/// What of it is measured.
pub struct Wanted {
    pub peers: Vec<String>,
    pub work: Vec<String>,
    pub threads: Vec<u64>,
}

#[derive(Clone, Copy)]
enum Work {
    /// Keys that are there.
    Get,
    /// Keys that are not there, into a full cache.
    Insert,
    /// Three in four hit; what misses is put in.
    Mixed,
}

const WORKS: [(Work, &str, &str); 3] = [
    (Work::Get, "get", "get"),
    (Work::Insert, "insert", "insert, full"),
    (Work::Mixed, "mixed", "mixed, 3 in 4 hit"),
];

/// A fast generator: the keys must not cost more than the cache.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn run(peer: &dyn Peer, work: Work, threads: u64, seed: u64, scale: Scale) -> (u64, Duration) {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let mut random =
                    Random((seed << 8 | thread + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                for _ in 0..scale.operations {
                    let number = random.next();
                    match work {
                        Work::Get => {
                            std::hint::black_box(peer.get(number % (scale.entries / 2)));
                        }
                        Work::Insert => peer.insert(number),
                        Work::Mixed => {
                            let key = number % (scale.entries * 4 / 3);
                            if !peer.get(key) {
                                peer.insert(key);
                            }
                        }
                    }
                }
            });
        }
    });
    // Per operation of one thread: flat is what does not contend.
    (scale.operations, start.elapsed())
}

/// Measures all that is wanted.
pub fn measure(scale: Scale, wanted: &Wanted) {
    for (work, short, name) in WORKS {
        if !wanted.work.iter().any(|other| other == short) {
            continue;
        }
        for threads in &wanted.threads {
            let peers: Vec<(&str, Box<dyn Peer>)> = wanted
                .peers
                .iter()
                .filter_map(|name| Some((name.as_str(), make(name, scale.entries)?)))
                .collect();
            for (_, peer) in &peers {
                // An insertion is into a full cache: what fits, is there.
                let filled = if matches!(work, Work::Get) {
                    scale.entries / 2
                } else {
                    scale.entries * 2
                };
                for key in 0..filled {
                    peer.insert(key);
                }
            }
            let mut contenders: Vec<Contender<'_>> = peers
                .iter()
                .map(|(name, peer)| {
                    let mut seed = 1;
                    Contender::new(name, move || {
                        seed += 1;
                        run(&**peer, work, *threads, seed, scale)
                    })
                })
                .collect();
            let title = format!("{name}, {threads} thread(s)");
            compare(&title, scale.rounds, &mut contenders);
        }
    }
}
