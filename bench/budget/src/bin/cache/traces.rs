//! The traces: generated ones, which anybody has, and recorded ones from a
//! folder.
//!
//! A recorded trace is a text file `*.lis` or `*.lis.zst` (zstd). A line is
//! `first_block number_of_blocks ...`; a request touches each of its blocks in
//! turn. So are those of "ARC: A Self-Tuning, Low Overhead Replacement Cache"
//! (Megiddo and Modha, USENIX FAST 2003). The folder is `--traces=`, or
//! `GREY_BENCH_TRACES`, or `.cache/traces` in the repository.
//!
//! Never makes two different traces of one name.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Requests of a generated trace.
const REQUESTS: usize = 2_000_000;
/// Keys that are asked for again and again.
const KEYS: usize = 200_000;

/// Keys, in the order in which they are asked for.
pub struct Trace {
    pub name: String,
    pub keys: Vec<u64>,
}

/// Where recorded traces are, if the command line does not say.
pub fn directory() -> PathBuf {
    std::env::var_os("GREY_BENCH_TRACES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/traces"),
        PathBuf::from,
    )
}

/// All traces of a folder, by name. Says so when there are none.
pub fn recorded(directory: &Path) -> Vec<PathBuf> {
    let is_trace = |path: &PathBuf| {
        let name = path.to_string_lossy();
        name.ends_with(".lis") || name.ends_with(".lis.zst")
    };
    let found = std::fs::read_dir(directory).map(|entries| {
        let mut paths: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(is_trace)
            .collect();
        paths.sort();
        paths
    });
    let paths = found.unwrap_or_else(|error| {
        println!("\n{}: {error}", directory.display());
        Vec::new()
    });
    if paths.is_empty() {
        println!(
            "no recorded traces (*.lis, *.lis.zst) in {}: generated ones alone. \
             Another folder: GREY_BENCH_TRACES, or --traces=DIRECTORY",
            directory.display()
        );
    }
    paths
}

/// Reads a recorded trace: every block that every request touches.
pub fn read(path: &Path) -> std::io::Result<Trace> {
    let file = File::open(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let reader: Box<dyn Read> = if name.ends_with(".zst") {
        Box::new(zstd::stream::Decoder::new(file)?)
    } else {
        Box::new(file)
    };
    let mut keys = Vec::new();
    for line in BufReader::new(reader).lines() {
        let line = line?;
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
        if let (Some(Ok(first)), Some(Ok(count))) = (numbers.next(), numbers.next()) {
            keys.extend(first..first.saturating_add(count));
        }
    }
    Ok(Trace {
        name: name.into_owned(),
        keys,
    })
}

/// One generated trace after the other, so that one alone is in memory.
pub fn generated() -> impl Iterator<Item = Trace> {
    let makers: [fn() -> Trace; 4] = [zipf, zipf_and_scans, drifting, loops];
    makers.into_iter().map(|make| make())
}

/// Random numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below 1.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Ranks of which the n-th is drawn in proportion to 1 / n^exponent.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(ranks: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let sums: Vec<f64> = (1..=ranks)
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        Self(sums.into_iter().map(|part| part / sum).collect())
    }

    fn draw(&self, random: &mut Random) -> usize {
        let part = random.part();
        self.0
            .partition_point(|sum| *sum < part)
            .min(self.0.len() - 1)
    }
}

/// The key of a rank: ranks that are near each other are not.
fn key(rank: usize) -> u64 {
    (rank as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn zipf() -> Trace {
    let (zipf, mut random) = (Zipf::new(KEYS, 0.9), Random(1));
    Trace {
        name: "generated: Zipf 0.9".to_owned(),
        keys: (0..REQUESTS).map(|_| key(zipf.draw(&mut random))).collect(),
    }
}

/// One fifth of the requests are scans of keys that never come again.
fn zipf_and_scans() -> Trace {
    const SCAN: usize = 20_000;
    let (zipf, mut random) = (Zipf::new(KEYS, 0.9), Random(2));
    let mut keys = Vec::with_capacity(REQUESTS);
    let mut scanned = KEYS;
    while keys.len() < REQUESTS {
        keys.extend((0..4 * SCAN).map(|_| key(zipf.draw(&mut random))));
        keys.extend((scanned..scanned + SCAN).map(key));
        scanned += SCAN;
    }
    Trace {
        name: "generated: Zipf 0.9 with scans".to_owned(),
        keys,
    }
}

/// What is asked for most becomes something else, ten times.
fn drifting() -> Trace {
    let (zipf, mut random) = (Zipf::new(KEYS, 0.9), Random(3));
    let keys = (0..REQUESTS)
        .map(|turn| {
            let moved = turn / (REQUESTS / 10) * (KEYS / 10);
            key((zipf.draw(&mut random) + moved) % KEYS)
        })
        .collect();
    Trace {
        name: "generated: Zipf 0.9, drifting".to_owned(),
        keys,
    }
}

/// Loops of different lengths, which break what keeps the last used.
fn loops() -> Trace {
    let mut random = Random(4);
    let mut keys = Vec::with_capacity(REQUESTS);
    while keys.len() < REQUESTS {
        let length = 1_000 << (random.next() % 6);
        let first = (random.next() % 4) as usize * 50_000;
        for _ in 0..3 {
            keys.extend((first..first + length).map(key));
        }
    }
    Trace {
        name: "generated: loops".to_owned(),
        keys,
    }
}
