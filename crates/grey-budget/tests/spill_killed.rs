//! A program that spills and loads is killed at many points; afterwards every
//! value that can be read is right, and what was flushed is there.
//!
//! The program is this test again, started with a directory in its
//! environment. `GREY_SPILL_KILLS` is how often it is killed (500), and
//! `GREY_SPILL_SEED` where the points begin.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use grey_budget::spill::{SpillPlace, Take};
use grey_budget::{Budget, Bytes, Priority, SpillError, SpillOptions, SpillStore, SpillTags};

const DIRECTORY: &str = "GREY_SPILL_CHILD_DIRECTORY";
const CHILD_SEED: &str = "GREY_SPILL_CHILD_SEED";
const CHILD_FIRST: &str = "GREY_SPILL_CHILD_FIRST";
const KEYS: u64 = 64;

/// The longest that a program lives before it is killed, in microseconds.
const LONGEST_LIFE_US: u64 = 20_000;

/// Kills before a new directory is begun.
const KILLS_PER_DIRECTORY: u64 = 50;

struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }
}

fn number_in(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

/// Key and version say all there is to a value.
fn value(key: u64, version: u64) -> Arc<[u8]> {
    let mut random = Random(key.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (version << 20) | 1);
    let length = if random.next(50) == 0 {
        1_200_000 + random.next(100_000)
    } else {
        random.next(6000)
    };
    let is_text = random.next(2) == 0;
    let mut bytes = Vec::new();
    bytes.extend(key.to_le_bytes());
    bytes.extend(version.to_le_bytes());
    let mut word = 0;
    bytes.extend((0..length).map(|place| {
        if place % 8 == 0 && !(is_text && place % 64 != 0) {
            word = random.next(u64::MAX);
        }
        word.to_le_bytes()[usize::try_from(place % 8).expect("below 8")]
    }));
    bytes.into()
}

fn open(directory: &Path) -> SpillStore {
    let budget = Budget::new(Bytes::from_mib(64)).expect("a budget");
    let component = budget.component("spill").register().expect("a component");
    let options = SpillOptions::new(directory, component)
        .segment(Bytes::from_kib(256))
        .staging(Bytes::from_mib(6))
        .free_floor(Bytes::ZERO);
    SpillStore::open(options).expect("the store opens whatever happened")
}

/// Tells the parent on stdout what it is about to do, and what is done: a
/// version is begun before it is written, and flushed only after.
fn child(directory: &Path) {
    let mut random = Random(number_in(CHILD_SEED, 1) | 1);
    let mut version = number_in(CHILD_FIRST, 1);
    let store = open(directory);
    let mut out = std::io::stdout().lock();
    let mut say = |line: String| {
        let line = format!("@ {line}\n");
        out.write_all(line.as_bytes()).expect("the parent listens");
        out.flush().expect("the parent listens");
    };
    loop {
        let key = random.next(KEYS);
        match random.next(20) {
            0 => {
                let before = version;
                store.flush().expect("the disk works");
                say(format!("flushed {before}"));
            }
            1 | 2 => {
                say(format!("removing {key} {version}"));
                store.remove(&key.to_le_bytes()).expect("the store is open");
                version += 1;
            }
            3 => {
                store
                    .collect_garbage(Bytes::from_kib(64))
                    .expect("the disk works");
            }
            4 => {
                let mut left = random.next(6);
                let loaded = store.load_back(Bytes::from_mib(1), |spilled| {
                    if left == 0 {
                        return Take::Stop;
                    }
                    left -= 1;
                    let key = u64::from_le_bytes(spilled.key.try_into().expect("8 bytes"));
                    let found =
                        u64::from_le_bytes(spilled.value[8..16].try_into().expect("8 bytes"));
                    assert_eq!(spilled.value, value(key, found));
                    say(format!("removing {key} {version}"));
                    version += 1;
                    Take::Taken
                });
                assert_eq!(loaded.expect("the disk works").damaged, 0);
            }
            5..9 => {
                if let Some(read) = store.read(&key.to_le_bytes()).expect("the disk works") {
                    let found = u64::from_le_bytes(read[8..16].try_into().expect("8 bytes"));
                    assert_eq!(read, value(key, found));
                }
            }
            _ => {
                say(format!("writing {key} {version}"));
                let place = usize::try_from(random.next(4)).expect("below 4");
                let tags = SpillTags::new(Priority::ALL[place]);
                store
                    .write(&key.to_le_bytes(), tags, value(key, version))
                    .expect("there is room");
                version += 1;
            }
        }
    }
}

/// What may be in a store: for each key its versions in order, and up to which
/// version everything was flushed.
#[derive(Default)]
struct Told {
    /// The version, and whether it is a value.
    history: HashMap<u64, Vec<(u64, bool)>>,
    flushed: u64,
    next: u64,
}

impl Told {
    fn hear(&mut self, line: &str) {
        // What the test harness prints is no word of the child's.
        let Some((_, line)) = line.split_once("@ ") else {
            return;
        };
        let mut words = line.split(' ');
        let what = words.next().expect("a word");
        let mut number = || -> u64 { words.next().expect("a number").parse().expect("a number") };
        match what {
            "flushed" => self.flushed = number(),
            "writing" | "removing" => {
                let (key, version) = (number(), number());
                let history = self.history.entry(key).or_default();
                history.push((version, what == "writing"));
                self.next = version + 1;
            }
            other => panic!("the child said `{other}`"),
        }
    }

    /// Everything in the store was there before, and nothing that was flushed
    /// is missing. What is found is what the next one begins with.
    fn check(&mut self, store: &SpillStore) -> u64 {
        let mut values = 0;
        for key in 0..KEYS {
            let read = store
                .read(&key.to_le_bytes())
                .unwrap_or_else(|error| panic!("{key}: {error}"));
            let found = read.as_ref().map(|read| {
                let found = u64::from_le_bytes(read[8..16].try_into().expect("8 bytes"));
                assert_eq!(*read, value(key, found), "{key} is wrong");
                found
            });
            values += u64::from(found.is_some());
            let history = self.history.entry(key).or_default();
            // The last that was flushed, and all that came after it.
            let first = history
                .iter()
                .rposition(|(version, _)| *version < self.flushed);
            let possible = &history[first.unwrap_or(0)..];
            let is_possible = match found {
                Some(found) => possible.contains(&(found, true)),
                None => first.is_none() || possible.iter().any(|(_, is_value)| !is_value),
            };
            assert!(is_possible, "{key}: {found:?} is none of {possible:?}");
            *history = vec![found.map_or((0, false), |found| (found, true))];
        }
        assert_eq!(store.len() as u64, values);
        // What was found is on the disk: it must be there the next time.
        self.flushed = self.next;
        values
    }
}

fn kill_once(directory: &Path, told: &mut Told, random: &mut Random) {
    let mut process = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "values_survive_a_kill_at_any_point",
            "--nocapture",
        ])
        .env(DIRECTORY, directory)
        .env(CHILD_SEED, random.next(u64::MAX).to_string())
        .env(CHILD_FIRST, told.next.max(1).to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
    // Its life begins with its first words: before, nothing is going on.
    let mut early = Vec::new();
    for line in lines.by_ref() {
        let line = line.expect("text");
        let is_word = line.contains("@ ");
        early.push(line);
        if is_word {
            break;
        }
    }
    // The rest is read while it lives, so that it never waits for us.
    let rest = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
    // Not a wait for something: the moment of the kill is what is tried.
    std::thread::sleep(Duration::from_micros(random.next(LONGEST_LIFE_US)));
    process.kill().expect("it lives: it never ends by itself");
    let status = process.wait().expect("it was started");
    assert_eq!(status.code(), None, "it ended by itself");
    let rest = rest.join().expect("it only reads");
    for line in early.iter().chain(&rest) {
        told.hear(line);
    }
}

#[test]
fn values_survive_a_kill_at_any_point() {
    if let Ok(directory) = std::env::var(DIRECTORY) {
        return child(Path::new(&directory));
    }
    let kills = number_in("GREY_SPILL_KILLS", 500);
    let seed = number_in("GREY_SPILL_SEED", 0x5eed);
    let mut random = Random(seed | 1);
    let mut left = kills;
    let (mut found, mut torn) = (0, 0);
    while left > 0 {
        let directory = tempfile::tempdir().expect("a directory");
        let mut told = Told::default();
        for _ in 0..left.min(KILLS_PER_DIRECTORY) {
            kill_once(directory.path(), &mut told, &mut random);
            let store = open(directory.path());
            assert!(
                store.recovery().damaged.is_empty(),
                "a kill damages nothing"
            );
            assert!(store.recovery().set_aside.is_empty());
            assert_eq!(store.recovery().distrusted, 0);
            torn += store.recovery().torn.get();
            found += told.check(&store);
        }
        left -= left.min(KILLS_PER_DIRECTORY);
    }
    println!("{kills} kills, {found} values found, {torn} torn bytes cut (seed {seed})");
    assert!(found > 0, "the test shows something");
}

#[test]
fn a_child_must_not_use_the_store_of_its_parent() {
    if std::env::var(DIRECTORY).is_ok() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    store
        .write(b"a", SpillTags::default(), Arc::from(&b"1"[..]))
        .expect("there is room");
    store.flush().expect("the disk works");
    let owner = std::process::id();
    let refuses = |outcome: Result<(), SpillError>| matches!(outcome, Err(SpillError::Forked { owner: named }) if named == owner);
    #[expect(unsafe_code, reason = "std has no fork, and a fork is what is tried")]
    // SAFETY: the child calls what refuses before any lock, and ends without
    // running anything of the parent's. WHY: there is no safe fork.
    let (pid, status) = unsafe {
        let pid = libc::fork();
        if pid == 0 {
            let is_refused = refuses(store.write(b"a", SpillTags::default(), Arc::from(&b"2"[..])))
                && refuses(store.flush())
                && refuses(store.read(b"a").map(drop))
                && refuses(store.remove(b"a").map(drop))
                && store.is_empty();
            drop(store);
            libc::_exit(if is_refused { 0 } else { 1 });
        }
        let mut status = 0;
        libc::waitpid(pid, &raw mut status, 0);
        (pid, status)
    };
    assert!(pid > 0);
    assert_eq!(status, 0, "the child was refused everything");
    assert_eq!(store.place(b"a").expect("ours"), Some(SpillPlace::Disk));
    assert_eq!(store.read(b"a").expect("ours").as_deref(), Some(&b"1"[..]));
    store
        .write(b"b", SpillTags::default(), Arc::from(&b"2"[..]))
        .expect("the child's end left the store as it was");
    store.flush().expect("the disk works");
}
