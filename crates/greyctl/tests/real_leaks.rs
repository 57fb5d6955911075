//! Real programs beside each other: one leaks, one collects its garbage, one
//! ends meanwhile, one is restarted, one leaks memory that it shares.
//!
//! Touches only processes that it started. This program is its own helper:
//! started with one of the words of [`play_a_part`], it plays that part instead
//! of testing.
#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test, which is what it is for"
)]

use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use serde_json::Value;

/// Readings are this far apart.
const INTERVAL: &str = "500ms";
/// A window in which the collector falls several times.
const WINDOW: &str = "40s";
/// A helper ends by itself after this, whatever happens to the tests.
const LONGEST_LIFE: Duration = Duration::from_secs(300);
/// So long lives the one that ends, and the first life of the one that is
/// restarted.
const SHORT_LIFE: Duration = Duration::from_secs(8);
/// How long a helper lives, in seconds. Not on the command line: that is the
/// same before a restart and after it.
const LIFE: &str = "REAL_LEAKS_LIFE_SECONDS";
/// A helper does something this often.
const STEP: Duration = Duration::from_millis(100);

const MIB: usize = 1 << 20;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let [_, part] = words.as_slice()
        && play_a_part(part)
    {
        return ExitCode::SUCCESS;
    }
    let tests: [Test; 6] = [
        ("a_program_that_leaks_is_found", leaking),
        (
            "a_program_that_leaks_shared_memory_is_found_by_that",
            sharing,
        ),
        ("a_program_that_collects_its_garbage_is_no_leak", collecting),
        ("a_program_that_ends_meanwhile_is_told_so", ending),
        (
            "a_program_that_is_restarted_is_one_with_two_lives",
            restarted,
        ),
        ("a_leak_ends_with_the_exit_code_of_a_threshold", exit_code),
    ];
    let trials = tests
        .into_iter()
        .map(|(name, test)| Trial::test(name, move || test(&SEEN).map_err(Failed::from)))
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A test's name, which is a fact, and the test.
type Test = (&'static str, fn(&Seen) -> Result<(), String>);

/// What one run of greyctl saw of all of them.
struct Seen {
    exit: Option<i32>,
    document: Value,
    leaking: u32,
    sharing: u32,
    collecting: u32,
    ending: u32,
    before_restart: u32,
    after_restart: u32,
}

static SEEN: LazyLock<Seen> = LazyLock::new(|| {
    let (mut leaking, mut collecting) =
        (start("leak", LONGEST_LIFE), start("collect", LONGEST_LIFE));
    let mut sharing = start("share", LONGEST_LIFE);
    let (mut ending, mut first) = (start("end", SHORT_LIFE), start("restart", SHORT_LIFE));
    let mut command = Command::new(env!("CARGO_BIN_EXE_greyctl"));
    command
        .args(["memory-diagnose", "--json", "--detect-leaks"])
        .args(["--for", WINDOW, "--interval", INTERVAL]);
    for child in [&leaking, &sharing, &collecting, &ending, &first] {
        command.args(["--target", &child.id().to_string()]);
    }
    let greyctl = command
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Both end by themselves, long before the window does.
    first.wait().unwrap();
    let mut second = start("restart", LONGEST_LIFE);
    ending.wait().unwrap();
    let ran = greyctl.wait_with_output().unwrap();
    let after_restart = second.id();
    for child in [&mut leaking, &mut sharing, &mut collecting, &mut second] {
        // One that has ended by itself cannot be killed.
        let _ = child.kill();
        child.wait().unwrap();
    }
    let document = serde_json::from_slice(&ran.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&ran.stderr)));
    Seen {
        exit: ran.status.code(),
        document,
        leaking: leaking.id(),
        sharing: sharing.id(),
        collecting: collecting.id(),
        ending: ending.id(),
        before_restart: first.id(),
        after_restart,
    }
});

impl Seen {
    fn of(&self, pid: u32) -> Option<&Value> {
        self.of_kind(pid, "anonymous")
    }

    fn of_kind(&self, pid: u32, of: &str) -> Option<&Value> {
        let leaks = self.document["leaks"].as_array().unwrap();
        (leaks.iter()).find(|leak| leak["pid"] == pid && leak["of"] == of)
    }
}

fn expect(holds: bool, seen: impl std::fmt::Debug) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(format!("{seen:#?}"))
    }
}

fn leaking(seen: &Seen) -> Result<(), String> {
    let leak = seen.of(seen.leaking);
    let fits = leak.is_some_and(|leak| {
        // It grows by about 2.5 MiB a second; a busy machine slows it down.
        let slope = leak["slope_bytes_per_second"].as_f64().unwrap_or_default();
        leak["verdict"] == "leak"
            && leak["growth_bytes"].as_u64() > Some(20 << 20)
            && (300_000.0..4_000_000.0).contains(&slope)
            && leak["exhausts_in_seconds"].as_f64() > Some(0.0)
    });
    expect(fits, leak)
}

fn sharing(seen: &Seen) -> Result<(), String> {
    let own = seen.of(seen.sharing);
    let calm = own.is_some_and(|leak| leak["verdict"] == "stable");
    let leak = seen.of_kind(seen.sharing, "shmem");
    let fits = leak.is_some_and(|leak| {
        leak["verdict"] == "leak" && leak["growth_bytes"].as_u64() > Some(20 << 20)
    });
    expect(calm && fits, (own, leak))
}

fn collecting(seen: &Seen) -> Result<(), String> {
    let leak = seen.of(seen.collecting);
    expect(leak.is_some_and(|leak| leak["verdict"] == "sawtooth"), leak)
}

fn ending(seen: &Seen) -> Result<(), String> {
    let leak = seen.of(seen.ending);
    let fits = leak.is_some_and(|leak| leak["ended"] == true && leak["verdict"] == "too-short");
    expect(fits, leak)
}

fn restarted(seen: &Seen) -> Result<(), String> {
    let leak = seen.of(seen.after_restart);
    let fits = leak.is_some_and(|leak| {
        leak["restarts"] == 1 && leak["ended"] == false && leak["verdict"] != "leak"
    });
    expect(fits && seen.of(seen.before_restart).is_none(), leak)
}

fn exit_code(seen: &Seen) -> Result<(), String> {
    expect(seen.exit == Some(3), seen.exit)
}

fn start(part: &str, life: Duration) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .arg(part)
        .env(LIFE, life.as_secs().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Plays the program that `part` names; false when there is none of that name.
fn play_a_part(part: &str) -> bool {
    let started = Instant::now();
    // Larger than any threshold of the allocator: it comes from the kernel and
    // goes back to it at once.
    let room = || Vec::with_capacity(64 * MIB);
    let mut held: Vec<Vec<u8>> = vec![room()];
    touch(&mut held[0], 20 * MIB);
    let step = match part {
        "leak" | "share" => MIB / 4,
        "collect" => MIB / 2,
        "end" | "restart" => 0,
        _ => return false,
    };
    let seconds = std::env::var(LIFE).ok().and_then(|life| life.parse().ok());
    let life = seconds.map_or(LONGEST_LIFE, Duration::from_secs);
    while started.elapsed() < life {
        if part == "share" {
            share(step);
        } else if held.last().is_none_or(|last| last.len() + step > 60 * MIB) {
            held.push(room());
        }
        if part == "collect" && held[0].len() > 40 * MIB {
            held[0] = room();
            touch(&mut held[0], 20 * MIB);
        }
        if part != "share"
            && let Some(last) = held.last_mut()
        {
            let more = last.len() + step;
            touch(last, more);
        }
        // Not to wait for anything: this is how fast it grows.
        std::thread::sleep(STEP);
    }
    true
}

/// Writes to every page up to `length`, so that the kernel has to give it.
fn touch(memory: &mut Vec<u8>, length: usize) {
    memory.resize(length.min(memory.capacity()), 1);
    std::hint::black_box(memory);
}

/// Maps so much more memory that children would share, and touches it.
#[expect(unsafe_code, reason = "no safe interface maps shared anonymous memory")]
fn share(length: usize) {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::SHARED | MapFlags::POPULATE;
    // SAFETY: a new mapping at an address that the kernel chooses; nobody uses it.
    // WHY: this is the memory that the test is about.
    unsafe { mmap_anonymous(std::ptr::null_mut(), length, protection, flags) }.unwrap();
}
