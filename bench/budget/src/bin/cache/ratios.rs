//! How many of the requests of a trace hit, at equal bytes.
//!
//! The first column is the cache, the others its peers with the same weight
//! for every entry. The last, `quick +`, is quick_cache with as many more
//! entries as it has room for when what an entry takes beside its value counts
//! too: ours carries more there.
//!
//! Never asserts.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use grey_budget::cache::Cache;

use crate::peers::{Peer, WEIGHT, make};
use crate::traces::{Trace, generated, read, recorded};

/// A cache holds one in so many of the keys of a trace.
const PARTS: [u64; 4] = [128, 32, 8, 3];

/// The peers, in the order of the columns.
const PEERS: [&str; 5] = ["grey-budget", "quick_cache", "moka", "foyer", "LRU"];

/// Measures the generated traces, and the recorded ones of a folder.
pub fn measure(directory: &Path) {
    let mut worst: Option<(f64, String)> = None;
    for trace in generated() {
        table(&trace, &mut worst);
    }
    for path in recorded(directory) {
        match read(&path) {
            Ok(trace) => table(&trace, &mut worst),
            Err(error) => println!("\n{}: {error}", path.display()),
        }
    }
    if let Some((behind, place)) = worst {
        println!("\nmost behind quick_cache with the same weights: {behind:.2} points, {place}");
    }
}

/// How many entries bare quick_cache has room for where ours has `entries`,
/// with values of [`WEIGHT`] bytes on the heap.
fn entries_by_bytes(entries: u64) -> u64 {
    type Value = Arc<[u8]>;
    let ours = WEIGHT + Cache::<u64, Value>::ENTRY_OVERHEAD.get();
    // As ours is computed: links, and the places of keys that were dropped.
    let bare = WEIGHT + (size_of::<(u64, Value)>() as u64 + 24) * 3 / 2;
    entries * ours / bare
}

fn table(trace: &Trace, worst: &mut Option<(f64, String)>) {
    let distinct = trace.keys.iter().collect::<HashSet<_>>().len() as u64;
    println!(
        "\nhit ratio in percent, {}, {} requests of {distinct} keys",
        trace.name,
        trace.keys.len()
    );
    print!("{:>10}", "entries");
    for peer in PEERS.iter().chain(&["quick +"]) {
        print!(" {peer:>12}");
    }
    println!();
    for part in PARTS {
        let entries = (distinct / part).max(64);
        let mut ratios: Vec<f64> = PEERS
            .iter()
            .map(|peer| ratio(peer, entries, &trace.keys))
            .collect();
        let behind = ratios[1] - ratios[0];
        if worst.as_ref().is_none_or(|(most, _)| behind > *most) {
            *worst = Some((behind, format!("{}, {entries} entries", trace.name)));
        }
        ratios.push(ratio("quick_cache", entries_by_bytes(entries), &trace.keys));
        print!("{entries:>10}");
        for ratio in ratios {
            print!(" {ratio:>12.2}");
        }
        println!();
    }
}

fn ratio(peer: &str, entries: u64, keys: &[u64]) -> f64 {
    let peer = make(peer, entries).expect("a peer that is known");
    hit_ratio(&*peer, keys)
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
