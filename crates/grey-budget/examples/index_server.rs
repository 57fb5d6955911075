//! An indexer: loads files, keeps an index of their words and the answers to
//! queries, spills what it cannot hold, saves its state and starts warm. With
//! `--unprotected` it keeps everything that it ever read.
//!
//! The limit counts address space, of which glibc takes 64 MiB for each thread
//! that allocates: the resident set stays far below it.
//!
//! ```text
//! cargo run --release -p grey-budget --example index_server -- --limit 192M
//! cargo run --release -p grey-budget --example index_server -- --limit 192M   # starts warm
//! cargo run --release -p grey-budget --example index_server -- --limit 192M --unprotected
//! ```

mod program;

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use grey_budget::cache::{Cache, CacheBuilder, EntryOptions, PostcardCodec};
use grey_budget::spill::{SpillOptions, SpillStore};
use grey_budget::{
    Budget, Bytes, Controller, ControllerSettings, Priority, ProcessSource, Reclaimer, Restored,
    SavedProject, SavedState, Shutdown, ShutdownSettings, ShutdownStep,
};
use program::{Anything, Numbers, Options, report, text, told};

/// Projects that the files belong to; the first is the one being worked on.
const PROJECTS: [(&str, Priority); 3] = [
    ("core-api", Priority::High),
    ("web", Priority::Medium),
    ("legacy-code", Priority::Low),
];

/// Reads a file of 64 to 192 KiB.
fn read_file(number: u64) -> Vec<u8> {
    let length = 65_536 + Numbers(number.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1).below(131_072);
    text(number, usize::try_from(length).unwrap_or(65_536))
}

/// A query: how many lines of a file have this word.
fn answer(file: &[u8], word: &[u8]) -> u64 {
    let lines = file.split(|byte| *byte == b'\n');
    let hits = lines.filter(|line| line.windows(word.len()).any(|window| window == word));
    u64::try_from(hits.count()).unwrap_or(u64::MAX)
}

fn main() -> ExitCode {
    told(run().map(|()| ExitCode::SUCCESS))
}

fn run() -> Result<(), Anything> {
    let options = Options::read(2_000)?;
    if options.unprotected {
        unprotected(&options)
    } else {
        protected(&options)
    }
}

type Files = Cache<u64, Vec<u8>>;
type Queries = Cache<(u64, String), u64>;

fn weigh(value: &Vec<u8>) -> Bytes {
    Bytes(u64::try_from(value.capacity()).unwrap_or(u64::MAX))
}

fn protected(options: &Options) -> Result<(), Anything> {
    std::fs::create_dir_all(&options.directory)?;
    let budget = Budget::new(options.budget)?;
    let source = Arc::new(ProcessSource::new()?);
    let controller = Controller::new(budget.clone(), source, ControllerSettings::default());
    let store = SpillStore::open(
        SpillOptions::new(
            options.directory.join("spill"),
            budget.component("spill").register()?,
        )
        .free_floor(Bytes::ZERO)
        .quota(Bytes::from_mib(512)),
    )?;
    let files: Arc<Files> = Arc::new(
        CacheBuilder::new(&budget, "loaded_content", options.budget.scale(40, 100))
            .spill(Arc::new(store.clone()), PostcardCodec)
            .build(|_: &u64, value: &Vec<u8>| weigh(value))?,
    );
    let queries: Arc<Queries> = Arc::new(
        CacheBuilder::new(&budget, "query_cache", options.budget.scale(10, 100)).build(
            |key: &(u64, String), _: &u64| Bytes(u64::try_from(key.1.capacity()).unwrap_or(0)),
        )?,
    );
    let _registrations = [
        controller.register(Arc::<Files>::clone(&files) as Arc<dyn Reclaimer>),
        controller.register(Arc::<Queries>::clone(&queries) as Arc<dyn Reclaimer>),
    ];
    let running = controller.start()?;
    let state = options.directory.join("cache_state.json");
    let warm = match SavedState::restore(&state) {
        Restored::State(saved) => restore(&files, &saved),
        _ => 0,
    };
    let projects = PROJECTS.map(|(name, _)| files.project(name));
    let mut numbers = Numbers(42);
    let mut wrong = 0;
    for number in 0..options.items {
        let place = usize::try_from(number % 3)?;
        let entry = EntryOptions::new().priority(PROJECTS[place].1);
        let entry = match &projects[place] {
            Ok(project) => entry.project(*project),
            Err(_) => entry,
        };
        if !files.contains(&number) {
            let _ = files.insert_with(number, read_file(number), entry);
        }
        // Old files are asked for as well: from memory, from disk, or read again.
        let asked = numbers.below(number + 1);
        let word = format!("memory{}", numbers.below(100));
        let key = (asked, word.clone());
        let file = || files.get_or_insert_with(&asked, EntryOptions::new(), || read_file(asked));
        let found = queries.get_or_insert_with(&key, EntryOptions::new(), || {
            answer(&file(), word.as_bytes())
        });
        if number % 64 == 0 && found != answer(&read_file(asked), word.as_bytes()) {
            wrong += 1;
        }
    }
    let shutdown = Shutdown::new();
    let kept = Arc::<Files>::clone(&files);
    shutdown.at(ShutdownStep::StopMonitoring, "controller", move |_| {
        running.stop();
        Ok(())
    });
    let spilled = store.clone();
    shutdown.at(ShutdownStep::Persist, "cache", move |until| {
        save(&kept, &spilled, &state, until).map_err(|error| error.to_string())
    });
    let ended = shutdown.run(&ShutdownSettings::default());
    if wrong > 0 || !ended.is_complete() {
        return Err(format!("{wrong} wrong answers; {ended:?}").into());
    }
    let stats = files.stats();
    report(
        "index_server",
        &[
            ("files", options.items),
            ("warm", warm),
            ("hits", stats.hits),
            ("misses", stats.misses),
            ("spills", stats.spills),
            ("on_disk_bytes", store.bytes_on_disk().get()),
        ],
    )
}

/// Tells the cache which files lie on disk: each is read when it is asked for.
fn restore(files: &Files, saved: &SavedState) -> u64 {
    let names = saved
        .projects
        .values()
        .flat_map(|project| &project.loaded_files);
    let mut restored = 0;
    for number in names.filter_map(|name| name.parse::<u64>().ok()) {
        files.insert_spilled(&number);
        restored += 1;
    }
    restored
}

/// Writes what is dearest to disk, and which files that were.
fn save(
    files: &Files,
    store: &SpillStore,
    path: &std::path::Path,
    until: std::time::Instant,
) -> Result<(), Anything> {
    let limit = grey_budget::cache::PersistLimit {
        bytes: Bytes::from_mib(64),
        time: until.saturating_duration_since(std::time::Instant::now()) / 2,
    };
    let mut projects: BTreeMap<String, SavedProject> = BTreeMap::new();
    let now = SystemTime::now();
    let seconds = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    for entry in files.entries_for_persistence(limit) {
        let name = PROJECTS[usize::try_from(entry.key % 3)?].0;
        let project = projects.entry(name.to_owned()).or_default();
        project.loaded_files.push(entry.key.to_string());
        project.last_accessed = seconds.as_secs_f64();
    }
    files.persist(limit);
    store.flush()?;
    SavedState::new(now, projects).save(path)?;
    Ok(())
}

/// The same, and nothing is ever dropped.
fn unprotected(options: &Options) -> Result<(), Anything> {
    let mut files: HashMap<u64, Vec<u8>> = HashMap::new();
    let mut queries: HashMap<(u64, String), u64> = HashMap::new();
    let mut numbers = Numbers(42);
    for number in 0..options.items {
        files.insert(number, read_file(number));
        let asked = numbers.below(number + 1);
        let word = format!("memory{}", numbers.below(100));
        let file = files.entry(asked).or_insert_with(|| read_file(asked));
        let found = answer(file, word.as_bytes());
        queries.insert((asked, word), found);
    }
    report(
        "index_server",
        &[
            ("files", options.items),
            ("answers", u64::try_from(queries.len())?),
        ],
    )
}
