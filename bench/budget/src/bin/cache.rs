//! The cache beside bare quick_cache, moka, foyer and a plain LRU: time to get
//! and to insert, and hit ratio at equal bytes on recorded traces.
//!
//! `cargo run --release --features cache --bin cache -- [traces] [--no-speed]
//! [--no-ratios] [--entries=100000] [--operations=1000000]`, where `traces` is a directory with `OLTP.lis.zst` and `P3.lis.zst`. Never
//! asserts.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bench_budget::{Contender, compare};
use grey_budget::cache::{Cache, CacheBuilder};
use grey_budget::{Budget, Bytes};

/// What every entry weighs, in every cache.
const WEIGHT: u64 = 512;
/// How many entries fit, if the command line does not say.
const ENTRIES: u64 = 100_000;
/// Operations of a thread in a round, if the command line does not say.
const OPERATIONS: u64 = 1_000_000;
const ROUNDS: usize = 7;

/// What is measured of a cache.
trait Peer: Sync {
    fn get(&self, key: u64) -> bool;
    fn insert(&self, key: u64);
}

struct Ours(Cache<u64, u64>);

impl Ours {
    fn new(entries: u64, weight: u64) -> Self {
        let capacity = Bytes(entries * weight);
        // A cache is a part of a program's budget: a GiB here.
        let limit = Bytes::from_mib(1024).max(Bytes(2 * entries * weight));
        let budget = Budget::new(limit).expect("more than nothing");
        let heap = weight - Cache::<u64, u64>::ENTRY_OVERHEAD.get();
        let cache = CacheBuilder::new(&budget, "bench", capacity)
            .expected_entries(entries)
            .largest_value(Bytes(weight))
            .build(move |_, _| Bytes(heap))
            .expect("the name is free");
        Self(cache)
    }
}

impl Peer for Ours {
    fn get(&self, key: u64) -> bool {
        self.0.get(&key).is_some()
    }
    fn insert(&self, key: u64) {
        let _taken = self.0.insert(key, key);
    }
}

#[derive(Clone)]
struct Weight(u64);

impl quick_cache::Weighter<u64, u64> for Weight {
    fn weight(&self, _: &u64, _: &u64) -> u64 {
        self.0
    }
}

struct Quick(quick_cache::sync::Cache<u64, u64, Weight>);

impl Quick {
    fn new(entries: u64, weight: u64) -> Self {
        let items = usize::try_from(entries).expect("64 bits");
        Self(quick_cache::sync::Cache::with_weighter(
            items,
            entries * weight,
            Weight(weight),
        ))
    }
}

impl Peer for Quick {
    fn get(&self, key: u64) -> bool {
        self.0.get(&key).is_some()
    }
    fn insert(&self, key: u64) {
        self.0.insert(key, key);
    }
}

struct Moka(moka::sync::Cache<u64, u64>);

impl Moka {
    fn new(entries: u64, weight: u64) -> Self {
        let each = u32::try_from(weight).expect("a small weight");
        Self(
            moka::sync::Cache::builder()
                .max_capacity(entries * weight)
                .weigher(move |_, _| each)
                .build(),
        )
    }
}

impl Peer for Moka {
    fn get(&self, key: u64) -> bool {
        self.0.get(&key).is_some()
    }
    fn insert(&self, key: u64) {
        self.0.insert(key, key);
    }
}

struct Foyer(foyer::Cache<u64, u64>);

impl Foyer {
    fn new(entries: u64, weight: u64) -> Self {
        let capacity = usize::try_from(entries * weight).expect("64 bits");
        let each = usize::try_from(weight).expect("64 bits");
        Self(
            foyer::CacheBuilder::new(capacity)
                .with_weighter(move |_: &u64, _: &u64| each)
                .build(),
        )
    }
}

impl Peer for Foyer {
    fn get(&self, key: u64) -> bool {
        self.0.get(&key).is_some()
    }
    fn insert(&self, key: u64) {
        self.0.insert(key, key);
    }
}

/// The plainest: least recently used, one lock. For its ratio alone.
struct Lru {
    entries: usize,
    state: Mutex<LruState>,
}

#[derive(Default)]
struct LruState {
    tick: u64,
    used: HashMap<u64, u64>,
    order: BTreeMap<u64, u64>,
}

impl Lru {
    fn new(entries: u64) -> Self {
        Self {
            entries: usize::try_from(entries).expect("64 bits"),
            state: Mutex::default(),
        }
    }
}

impl Peer for Lru {
    fn get(&self, key: u64) -> bool {
        let state = &mut *self.state.lock().expect("nobody panics");
        state.tick += 1;
        let Some(used) = state.used.get_mut(&key) else {
            return false;
        };
        state.order.remove(used);
        *used = state.tick;
        state.order.insert(state.tick, key);
        true
    }
    fn insert(&self, key: u64) {
        let state = &mut *self.state.lock().expect("nobody panics");
        state.tick += 1;
        if state.used.len() >= self.entries
            && let Some((_, oldest)) = state.order.pop_first()
        {
            state.used.remove(&oldest);
        }
        state.used.insert(key, state.tick);
        state.order.insert(state.tick, key);
    }
}

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

/// How much is done.
#[derive(Clone, Copy)]
struct Scale {
    entries: u64,
    operations: u64,
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

fn speed(scale: Scale) {
    for (work, name) in [
        (Work::Get, "get"),
        (Work::Insert, "insert, full"),
        (Work::Mixed, "mixed, 3 in 4 hit"),
    ] {
        for threads in [1, 2] {
            let peers: Vec<(&str, Box<dyn Peer>)> = vec![
                ("quick_cache", Box::new(Quick::new(scale.entries, WEIGHT))),
                ("grey-budget", Box::new(Ours::new(scale.entries, WEIGHT))),
                ("moka", Box::new(Moka::new(scale.entries, WEIGHT))),
                ("foyer", Box::new(Foyer::new(scale.entries, WEIGHT))),
            ];
            for (_, peer) in &peers {
                for key in 0..scale.entries / 2 {
                    peer.insert(key);
                }
            }
            let mut contenders: Vec<Contender<'_>> = peers
                .iter()
                .map(|(name, peer)| {
                    let mut seed = 1;
                    Contender::new(name, move || {
                        seed += 1;
                        run(&**peer, work, threads, seed, scale)
                    })
                })
                .collect();
            let title = format!("{name}, {threads} thread(s)");
            compare(&title, ROUNDS, &mut contenders);
        }
    }
}

/// The keys of a trace, in order: every block that every request touches.
fn read_trace(path: &Path) -> std::io::Result<Vec<u64>> {
    let file = std::fs::File::open(path)?;
    let lines = BufReader::new(zstd::stream::Decoder::new(file)?).lines();
    let mut keys = Vec::new();
    for line in lines {
        let line = line?;
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
        if let (Some(Ok(first)), Some(Ok(count))) = (numbers.next(), numbers.next()) {
            keys.extend(first..first + count);
        }
    }
    Ok(keys)
}

fn hit_ratio(peer: &dyn Peer, keys: &[u64]) -> f64 {
    let mut hits = 0_u64;
    for key in keys {
        if peer.get(*key) {
            hits += 1;
        } else {
            peer.insert(*key);
        }
    }
    hits as f64 * 100.0 / keys.len().max(1) as f64
}

fn ratios(directory: &Path) {
    for (trace, sizes) in [
        ("OLTP.lis.zst", [1_000, 5_000, 15_000]),
        ("P3.lis.zst", [20_000, 80_000, 200_000]),
    ] {
        let path = directory.join(trace);
        let keys = match read_trace(&path) {
            Ok(keys) => keys,
            Err(error) => {
                println!("{}: {error}", path.display());
                continue;
            }
        };
        println!("\nhit ratio in percent, {trace}, {} requests", keys.len());
        println!(
            "{:>10} {:>12} {:>12} {:>8} {:>8} {:>8}",
            "entries", "grey-budget", "quick_cache", "moka", "foyer", "LRU"
        );
        for entries in sizes {
            let peers: [Box<dyn Peer>; 5] = [
                Box::new(Ours::new(entries, WEIGHT)),
                Box::new(Quick::new(entries, WEIGHT)),
                Box::new(Moka::new(entries, WEIGHT)),
                Box::new(Foyer::new(entries, WEIGHT)),
                Box::new(Lru::new(entries)),
            ];
            let ratios = peers.map(|peer| hit_ratio(&*peer, &keys));
            println!(
                "{entries:>10} {:>12.2} {:>12.2} {:>8.2} {:>8.2} {:>8.2}",
                ratios[0], ratios[1], ratios[2], ratios[3], ratios[4]
            );
        }
    }
}

fn main() {
    let (flags, paths): (Vec<String>, Vec<String>) = std::env::args()
        .skip(1)
        .partition(|argument| argument.starts_with("--"));
    if !flags.iter().any(|flag| flag == "--no-speed") {
        let number = |name: &str, otherwise| {
            flags
                .iter()
                .find_map(|flag| flag.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
                .unwrap_or(otherwise)
        };
        speed(Scale {
            entries: number("--entries", ENTRIES),
            operations: number("--operations", OPERATIONS),
        });
    }
    if flags.iter().any(|flag| flag == "--no-ratios") {
        return;
    }
    let directory = paths
        .first()
        .map_or_else(|| PathBuf::from("../shared/traces"), PathBuf::from);
    ratios(&directory);
}
