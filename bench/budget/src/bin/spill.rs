//! Values out to the disk and back: our store beside a bare append-only log
//! with the same codec, fjall, redb, sled and a file for each key; on
//! records of text and on embeddings; then cold reads at random, and what the
//! heap grows by while a store spills.
//!
//! The log is the least that can be done: it encodes each record, checks it
//! with a checksum, and keeps the offsets in a vector. What a disk gives for
//! cold reads is told by bare loops of preads of the same files. `GREY_BENCH_MIB`
//! is how much is written (64); with `GREY_BENCH_PEERS=0` fjall, redb, sled,
//! foyer and a file a key are left out.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bench_budget::{Contender, compare, median, timed};
use grey_budget::spill::{Compression, Take};
use grey_budget::{Budget, Bytes, SpillOptions, SpillStore, SpillTags};

/// Counts what the heap holds.
struct Counting;

static HELD: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

// SAFETY: every call is passed on to the system's allocator. WHY: only an
// allocator sees the heap.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size() as i64, Ordering::Relaxed) + layout.size() as i64;
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's promise. WHY: see above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promise. WHY: see above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: usize = 3;

fn text(seed: u64) -> Arc<[u8]> {
    const WORDS: [&str; 16] = [
        "memory", "budget", "spill", "segment", "reader", "writer", "index", "query", "the", "of",
        "a", "is", "file", "line", "error", "value",
    ];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(2760);
    while out.len() < 2700 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend(WORDS[(state % 16) as usize].as_bytes());
        match state >> 60 {
            0 => out.extend((state >> 20).to_string().as_bytes()),
            _ => out.push(b' '),
        }
    }
    out.truncate(2700);
    out.into()
}

fn embedding(seed: u64) -> Arc<[u8]> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..768)
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f32 / 8_388_608.0 - 1.0).to_le_bytes()
        })
        .collect()
}

fn key(number: usize) -> [u8; 8] {
    (number as u64).to_le_bytes()
}

fn fresh(base: &Path, name: &str) -> PathBuf {
    let path = base.join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a directory");
    path
}

fn store(path: &Path, entries: usize, compression: Compression) -> SpillStore {
    let budget = Budget::new(Bytes::from_mib(1024)).expect("a budget");
    let component = budget.component("spill").register().expect("a component");
    SpillStore::open(
        SpillOptions::new(path, component)
            .quota(Bytes::from_mib(2048))
            .expected_entries(entries)
            .compression(compression),
    )
    .expect("a store")
}

/// The bare log.
struct Log {
    file: File,
    buffer: Vec<u8>,
    written: u64,
    places: Vec<(u64, u32)>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Log {
    fn new(path: &Path, compresses: bool) -> Self {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path.join("log"))
            .expect("a file");
        Self {
            file,
            buffer: Vec::with_capacity(1 << 20),
            written: 0,
            places: Vec::new(),
            zstd: compresses.then(|| zstd::bulk::Compressor::new(1).expect("zstd")),
        }
    }

    fn put(&mut self, value: &[u8]) {
        let compressed = self
            .zstd
            .as_mut()
            .map(|zstd| zstd.compress(value).expect("it compresses"));
        let stored = compressed.as_deref().unwrap_or(value);
        let at = self.written + self.buffer.len() as u64;
        self.places.push((at, stored.len() as u32));
        let checksum = crc32fast::hash(stored);
        self.buffer.extend(checksum.to_le_bytes());
        self.buffer.extend(stored);
        if self.buffer.len() > (1 << 20) - 8192 {
            self.write();
        }
    }

    fn write(&mut self) {
        self.file.write_all(&self.buffer).expect("room");
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
    }

    fn get(
        &self,
        place: usize,
        scratch: &mut Vec<u8>,
        zstd: &mut zstd::bulk::Decompressor<'_>,
        length: usize,
    ) -> Arc<[u8]> {
        let (at, stored) = self.places[place];
        scratch.resize(stored as usize + 4, 0);
        self.file.read_exact_at(scratch, at).expect("it is there");
        assert_eq!(crc32fast::hash(&scratch[4..]).to_le_bytes(), scratch[..4]);
        if self.zstd.is_some() {
            return zstd.decompress(&scratch[4..], length).expect("whole").into();
        }
        Arc::from(&scratch[4..])
    }
}

/// Out and back of each peer, in turns.
fn out_and_back(base: &Path, title: &str, values: &[Arc<[u8]>], compresses: bool) {
    let count = values.len();
    let length = values[0].len();
    let compression = if compresses { Compression::Zstd } else { Compression::None };
    let mut log_zstd = zstd::bulk::Decompressor::new().expect("zstd");
    let total = 2 * count as u64;
    let mut kept_by_foyer = count;
    let mut contenders = vec![
        Contender::new("bare log", || {
            let path = fresh(base, "log");
            timed(total, || {
                let mut log = Log::new(&path, compresses);
                values.iter().for_each(|value| log.put(value));
                log.write();
                let mut scratch = Vec::new();
                for place in 0..count {
                    black_box(log.get(place, &mut scratch, &mut log_zstd, length));
                }
            })
        }),
        Contender::new("SpillStore, written and load_back", || {
            let path = fresh(base, "ours");
            let store = store(&path, count, compression);
            timed(total, || {
                for (number, value) in values.iter().enumerate() {
                    store.write(&key(number), SpillTags::default(), Arc::clone(value)).expect("room");
                }
                let mut back = 0;
                store.load_back(Bytes(u64::MAX), |spilled| {
                    back += 1;
                    black_box(spilled.value);
                    Take::Left
                }).expect("whole");
                assert_eq!(back, count);
            })
        }),
        Contender::new("SpillStore, read by key", || {
            let path = fresh(base, "ours");
            let store = store(&path, count, compression);
            timed(total, || {
                for (number, value) in values.iter().enumerate() {
                    store.write(&key(number), SpillTags::default(), Arc::clone(value)).expect("room");
                }
                for number in 0..count {
                    black_box(store.read(&key(number)).expect("whole").expect("there"));
                }
            })
        }),
        Contender::new("fjall", || {
            let path = fresh(base, "fjall");
            let database = fjall::Database::builder(&path).open().expect("fjall");
            let tree = database.keyspace("a", fjall::KeyspaceCreateOptions::default).expect("fjall");
            timed(total, || {
                for (number, value) in values.iter().enumerate() {
                    tree.insert(key(number), &value[..]).expect("room");
                }
                for number in 0..count {
                    black_box(tree.get(key(number)).expect("whole").expect("there"));
                }
            })
        }),
        Contender::new("redb", || {
            const TABLE: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("a");
            let path = fresh(base, "redb");
            let database = redb::Database::create(path.join("a")).expect("redb");
            timed(total, || {
                for (turn, part) in values.chunks(4096).enumerate() {
                    let mut write = database.begin_write().expect("redb");
                    write.set_durability(redb::Durability::None).expect("redb");
                    {
                        let mut table = write.open_table(TABLE).expect("redb");
                        for (number, value) in part.iter().enumerate() {
                            table.insert((turn * 4096 + number) as u64, &value[..]).expect("room");
                        }
                    }
                    write.commit().expect("room");
                }
                use redb::ReadableDatabase;
                let read = database.begin_read().expect("redb");
                let table = read.open_table(TABLE).expect("redb");
                for number in 0..count {
                    let value = table.get(number as u64).expect("whole").expect("there");
                    black_box(Arc::<[u8]>::from(value.value()));
                }
            })
        }),
        Contender::new("sled", || {
            let path = fresh(base, "sled");
            let database: sled::Db<1024> = sled::Config::new().path(&path).open().expect("sled");
            timed(total, || {
                for (number, value) in values.iter().enumerate() {
                    database.insert(key(number), &value[..]).expect("room");
                }
                for number in 0..count {
                    black_box(database.get(key(number)).expect("whole").expect("there"));
                }
            })
        }),
        Contender::new("foyer", || {
            let path = fresh(base, "foyer");
            let (took, found) = foyer_out_and_back(&path, values, compresses);
            kept_by_foyer = kept_by_foyer.min(found);
            (total, took)
        }),
        Contender::new("a file for each key", || {
            let path = fresh(base, "files");
            timed(total, || {
                for (number, value) in values.iter().enumerate() {
                    std::fs::write(path.join(number.to_string()), value).expect("room");
                }
                for number in 0..count {
                    black_box(std::fs::read(path.join(number.to_string())).expect("there"));
                }
            })
        }),
    ];
    if std::env::var_os("GREY_BENCH_PEERS").is_some_and(|wanted| wanted == "0") {
        contenders.truncate(3);
    }
    compare(title, ROUNDS, &mut contenders);
    drop(contenders);
    println!("foyer still had {kept_by_foyer} of {count}: it drops what it cannot write in time");
}

/// Foyer's block engine with next to no memory, so that all goes to disk.
/// How long it took, and how many values it still had.
fn foyer_out_and_back(path: &Path, values: &[Arc<[u8]>], compresses: bool) -> (Duration, usize) {
    use foyer::{BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder};
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let device = FsDeviceBuilder::new(path)
            .with_capacity(1 << 30)
            .build()
            .expect("a device");
        let engine = BlockEngineConfig::new(device)
            .with_flushers(2)
            .with_buffer_pool_size(256 << 20)
            .with_submit_queue_size_threshold(512 << 20);
        let cache: HybridCache<u64, Vec<u8>> = HybridCacheBuilder::new()
            .with_policy(foyer::HybridCachePolicy::WriteOnInsertion)
            .memory(64 << 10)
            .with_weighter(|_: &u64, value: &Vec<u8>| value.len())
            .storage()
            .with_engine_config(engine)
            .with_compression(if compresses {
                foyer::Compression::Zstd
            } else {
                foyer::Compression::None
            })
            .build()
            .await
            .expect("foyer");
        let start = Instant::now();
        for (number, value) in values.iter().enumerate() {
            cache.insert(number as u64, value.to_vec());
        }
        cache.storage().wait().await;
        let mut found = 0;
        for number in 0..values.len() {
            if let Some(entry) = cache.get(&(number as u64)).await.expect("whole") {
                found += 1;
                black_box(entry.value());
            }
        }
        let took = start.elapsed();
        cache.close().await.expect("it closes");
        (took, found)
    })
}

/// Drops the pages of every file in a directory.
fn drop_pages(path: &Path) {
    for entry in std::fs::read_dir(path).expect("there") {
        let file = File::open(entry.expect("there").path()).expect("there");
        file.sync_all().expect("it syncs");
        // `dd` knows how to advise the kernel; a benchmark needs no binding.
        let advised = std::process::Command::new("dd")
            .args(["if=/dev/stdin", "iflag=nocache", "count=0", "status=none"])
            .stdin(file.try_clone().expect("a copy"))
            .status()
            .expect("dd");
        assert!(advised.success(), "{}", file.as_raw_fd());
    }
}

/// How many of a bare loop's preads are in flight at once.
const IN_FLIGHT: [usize; 4] = [1, 4, 16, 64];

/// Megabytes a second that a bare loop of preads gets of the store's own files:
/// so many threads, each with its part of the places, in their order or not.
fn bare_reads(path: &Path, values: usize, length: usize, threads: usize, sorted: bool) -> f64 {
    let mut files: Vec<File> = std::fs::read_dir(path)
        .expect("there")
        .map(|entry| File::open(entry.expect("there").path()).expect("there"))
        .collect();
    let size = |file: &File| file.metadata().expect("open").len();
    // The segments: whatever is long.
    files.retain(|file| size(file) > (1 << 20));
    let total: u64 = files.iter().map(size).sum();
    let record = total / values as u64;
    let mut places: Vec<(usize, u64)> = (0..COLD)
        .map(|turn| {
            let mut at = (turn.wrapping_mul(7919) % values) as u64 * record;
            let mut file = 0;
            while at >= size(&files[file]) {
                at -= size(&files[file]);
                file += 1;
            }
            (file, at)
        })
        .collect();
    if sorted {
        places.sort_unstable();
    }
    drop_pages(path);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for part in places.chunks(places.len().div_ceil(threads)) {
            let files = &files;
            scope.spawn(move || {
                let mut buffer = vec![0; length];
                for (file, at) in part {
                    black_box(files[*file].read_at(&mut buffer, *at).expect("it is there"));
                }
            });
        }
    });
    (COLD * length) as f64 / start.elapsed().as_secs_f64() / 1e6
}

/// How many values are read cold.
const COLD: usize = 4096;

fn cold(base: &Path, values: &[Arc<[u8]>]) {
    let count = values.len();
    let path = fresh(base, "ours");
    let store = store(&path, count, Compression::None);
    for (number, value) in values.iter().enumerate() {
        store.write(&key(number), SpillTags::default(), Arc::clone(value)).expect("room");
    }
    store.flush().expect("room");
    let wanted: Vec<_> = (0..COLD).map(|turn: usize| key(turn.wrapping_mul(7919) % count)).collect();
    let keys: Vec<&[u8]> = wanted.iter().map(|key| &key[..]).collect();
    let length = values[0].len();
    let rate = |took: Duration| (keys.len() * length) as f64 / took.as_secs_f64() / 1e6;
    let (mut alone, mut several) = (Vec::new(), Vec::new());
    let mut bare = vec![Vec::new(); 2 * IN_FLIGHT.len()];
    for _ in 0..COLD_ROUNDS {
        drop_pages(&path);
        let start = Instant::now();
        for key in &keys {
            black_box(store.read(key).expect("whole"));
        }
        alone.push(rate(start.elapsed()));
        drop_pages(&path);
        let start = Instant::now();
        for read in store.read_many(&keys).expect("whole") {
            black_box(read.expect("whole"));
        }
        several.push(rate(start.elapsed()));
        for (place, threads) in IN_FLIGHT.iter().enumerate() {
            for (sorted, rates) in bare[2 * place..2 * place + 2].iter_mut().enumerate() {
                rates.push(bare_reads(&path, count, length, *threads, sorted == 1));
            }
        }
    }
    println!("\ncold random reads of {length} bytes, MB/s (median of {COLD_ROUNDS} rounds)");
    println!("SpillStore, one at a time: {:.0}", median(&mut alone));
    let several = median(&mut several);
    println!("SpillStore, several in flight: {several:.0}");
    let mut best: f64 = 0.0;
    for (place, threads) in IN_FLIGHT.iter().enumerate() {
        let [random, sorted] = [0, 1].map(|order| median(&mut bare[2 * place + order]));
        println!("bare preads, {threads} in flight: {random:.0}, in the order of the disk {sorted:.0}");
        best = best.max(random).max(sorted);
    }
    println!("several in flight, over the best bare loop: {:.2}", several / best);
}

/// Rounds of cold reads.
const COLD_ROUNDS: usize = 5;

fn heap(base: &Path, values: &[Arc<[u8]>]) {
    let before = HELD.load(Ordering::Relaxed);
    let store = store(&fresh(base, "ours"), values.len(), Compression::Zstd);
    let opened = HELD.load(Ordering::Relaxed);
    PEAK.store(opened, Ordering::Relaxed);
    for (number, value) in values.iter().enumerate() {
        store.write(&key(number), SpillTags::default(), Arc::clone(value)).expect("room");
    }
    store.flush().expect("room");
    let peak = PEAK.load(Ordering::Relaxed);
    println!(
        "\nheap: {} KiB when opened (index of {} KiB in it), at most {} KiB more while spilling; staging buffer 8192 KiB",
        (opened - before) / 1024,
        store.statistics().index.get() / 1024,
        (peak - opened) / 1024
    );
}

fn main() {
    let mib: usize = std::env::var("GREY_BENCH_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(64);
    let base = std::env::temp_dir().join(format!("grey-bench-spill-{}", std::process::id()));
    let count = mib * (1 << 20) / 2700;
    let texts: Vec<_> = (0..count as u64).map(text).collect();
    heap(&base, &texts);
    out_and_back(&base, "text of 2.7 KB, zstd", &texts, true);
    out_and_back(&base, "text of 2.7 KB, as it is", &texts, false);
    let embeddings: Vec<_> = (0..count as u64).map(embedding).collect();
    out_and_back(&base, "embeddings of 768 x f32, as they are", &embeddings, false);
    cold(&base, &embeddings);
    let _ = std::fs::remove_dir_all(&base);
}
