//! Which peers are measured against each other, on what work.
//!
//! Never puts one-shot passes beside repeated ones: what is kept between
//! passes is the whole difference.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::process::Command;
use std::time::Duration;

use grey_telemetry::process::{PssTracker, RssTracker};
use grey_telemetry::{Kernel, Roots};
use rustix::process::{Resource, getrlimit, setrlimit};
use sysinfo::System;

use crate::SnapshotArguments;
use crate::agreement::compare;
use crate::error::BenchError;
use crate::external::External;
use crate::fleet::Fleet;
use crate::inside;
use crate::measure::{Clock, Measured, Row, Spread, run_rounds};
use crate::report::{FleetReport, GroupReport};
use crate::say;
use crate::setup::Peers;

/// smem takes seconds for a pass: it takes part in this many rounds.
const SLOW_ROUNDS: usize = 3;

/// The part of a full pass's CPU time that the tracker gets for a tick.
const TRACKER_SHARE: f64 = 0.052;

const BARE_STATM: &str = "bare C loop, statm";
const BARE_ROLLUP: &str = "bare C loop, smaps_rollup";

/// The peers that stay running.
struct Running {
    bare: RefCell<External>,
    ps: Result<RefCell<External>, String>,
    smem: Result<RefCell<External>, String>,
    python: Result<RefCell<External>, String>,
}

impl Running {
    fn start(peers: &Peers) -> Result<Self, BenchError> {
        let bare_loop = || Command::new(env!("BENCH_BARE_LOOP"));
        let bare = External::start("bare C loop", &mut bare_loop())?;
        let of_command = |found: &Result<(), String>, command: &[&str]| match found {
            Ok(()) => Ok(Ok(RefCell::new(External::start(
                command[0],
                bare_loop().args(command),
            )?))),
            Err(reason) => Ok::<_, BenchError>(Err(reason.clone())),
        };
        let python = match &peers.python {
            Ok(python) => Ok(RefCell::new(External::start(
                "psutil",
                Command::new(python).args(["-c", include_str!("../python/peers.py")]),
            )?)),
            Err(reason) => Err(reason.clone()),
        };
        Ok(Self {
            bare: RefCell::new(bare),
            ps: of_command(&peers.ps, &["ps", "-eo", "pid,rss"])?,
            smem: of_command(&peers.smem, &["smem", "-H", "-c", "pid pss uss"])?,
            python,
        })
    }

    fn bare<'a>(&'a self, name: &str, file: &'a str) -> Row<'a> {
        Row::new(name, move || self.bare.borrow_mut().pass(file))
    }
}

/// A row of a peer that may not be there.
fn row_of<'a>(
    name: &str,
    peer: &'a Result<RefCell<External>, String>,
    request: &'a str,
) -> Row<'a> {
    match peer {
        Ok(peer) => Row::new(name, move || peer.borrow_mut().pass(request)),
        Err(reason) => Row::absent(name, reason),
    }
}

/// Measures everything with `count` processes running.
pub(crate) fn run(
    count: u32,
    arguments: &SnapshotArguments,
    peers: &Peers,
) -> Result<FleetReport, BenchError> {
    allow_descriptors();
    let kernel = Kernel::open(&Roots::default())?;
    let mut fleet = Fleet::start(count)?;
    let running = Running::start(peers)?;
    let rounds = usize::try_from(arguments.rounds).unwrap_or(usize::MAX);
    let mut groups = Vec::new();
    let mut measure = |name: &str, rows| -> Result<(), BenchError> {
        say(&format!("{count} processes: {name}"));
        groups.push(GroupReport::of(name, &run_rounds(rows, rounds, || Ok(()))?));
        Ok(())
    };
    measure("RSS, once", rss_once(&kernel, &running))?;
    let mut trackers = (RssTracker::new(), System::new()?);
    measure(
        "RSS, every tick",
        rss_again(&kernel, &running, &mut trackers),
    )?;
    // Free the kept descriptors before the passes that do not need them.
    drop(trackers);
    say(&format!("{count} processes: PSS and USS, once"));
    let once = run_rounds(memory_once(&kernel, &running), rounds, || Ok(()))?;
    groups.push(GroupReport::of("PSS and USS, once", &once));
    let agreement = match &running.python {
        Ok(psutil) => Some(compare(&kernel, &mut psutil.borrow_mut(), fleet.pids())?),
        Err(_) => None,
    };
    say(&format!("{count} processes: PSS, every tick"));
    let cap = tracker_cap(&once);
    let mut tracker = PssTracker::new(kernel.page_size, RssTracker::new());
    tracker.tick(&kernel.proc, Duration::MAX)?;
    let pids = RefCell::new(BTreeSet::new());
    let rows = memory_again(&kernel, &running, &mut tracker, cap, &pids);
    let again = run_rounds(rows, rounds, || {
        fleet.change_some()?;
        *pids.borrow_mut() = fleet.pids().collect();
        Ok(())
    })?;
    groups.push(GroupReport::of(
        "PSS, every tick, while 2 % change and 0.3 % are replaced",
        &again,
    ));
    Ok(FleetReport {
        processes: count,
        groups,
        agreement,
        start_ups: start_ups(&running),
    })
}

fn rss_once<'a>(kernel: &'a Kernel, running: &'a Running) -> Vec<Row<'a>> {
    let rows = [
        running.bare(BARE_STATM, "statm"),
        Row::new("grey-telemetry", || inside::rss_once(kernel)).with_target(Clock::Cpu, 1.1),
        Row::new("procfs crate", inside::procfs_crate),
        row_of("ps -eo pid,rss (whole command)", &running.ps, "command"),
        row_of("psutil, new processes", &running.python, "rss_once"),
        Row::new("sysinfo crate, new system", || {
            Ok(inside::sysinfo_crate(&mut System::new()?))
        }),
    ];
    rows.into_iter().map(Row::warmed).collect()
}

fn rss_again<'a>(
    kernel: &'a Kernel,
    running: &'a Running,
    (tracker, system): &'a mut (RssTracker, System),
) -> Vec<Row<'a>> {
    let rows = [
        running.bare(BARE_STATM, "statm"),
        Row::new("grey-telemetry, kept descriptors", || {
            inside::rss_again(kernel, tracker)
        })
        .with_target(Clock::Cpu, 0.7),
        row_of("psutil, kept processes", &running.python, "rss_again"),
        Row::new("sysinfo crate, kept system", || {
            Ok(inside::sysinfo_crate(system))
        }),
    ];
    rows.into_iter().map(Row::warmed).collect()
}

fn memory_once<'a>(kernel: &'a Kernel, running: &'a Running) -> Vec<Row<'a>> {
    let two = NonZeroUsize::MIN.saturating_add(1);
    let smem_inside = match &running.smem {
        Ok(_) => row_of("smem (inside Python)", &running.python, "smem"),
        Err(reason) => Row::absent("smem (inside Python)", reason),
    };
    vec![
        running.bare(BARE_ROLLUP, "smaps_rollup"),
        Row::new("grey-telemetry, one thread", || {
            inside::memory_once(kernel, NonZeroUsize::MIN)
        })
        .with_target(Clock::Cpu, 1.02),
        Row::new("grey-telemetry, two threads", move || {
            inside::memory_once(kernel, two)
        })
        .with_target(Clock::Wall, 0.6),
        row_of("psutil, memory_full_info", &running.python, "full_once"),
        smem_inside.for_rounds(SLOW_ROUNDS),
        row_of("smem (whole command)", &running.smem, "command").for_rounds(SLOW_ROUNDS),
    ]
}

fn memory_again<'a>(
    kernel: &'a Kernel,
    running: &'a Running,
    tracker: &'a mut PssTracker,
    cap: Duration,
    pids: &'a RefCell<BTreeSet<u32>>,
) -> Vec<Row<'a>> {
    vec![
        running.bare(BARE_ROLLUP, "smaps_rollup"),
        Row::new("grey-telemetry, what changed", move || {
            inside::pss_again(kernel, tracker, cap, &pids.borrow())
        })
        .with_target(Clock::Cpu, 0.06),
        row_of("psutil, kept processes", &running.python, "full_again"),
    ]
}

/// The CPU time that the tracker gets: a share of what the bare loop took.
fn tracker_cap(once: &[Measured]) -> Duration {
    let bare = once.iter().find(|row| row.name == BARE_ROLLUP);
    let cpu =
        bare.and_then(|row| Spread::of(row.samples.iter().map(|sample| sample.cpu.as_secs_f64())));
    Duration::from_secs_f64(cpu.map_or(0.0, |cpu| cpu.median * TRACKER_SHARE))
}

fn start_ups(running: &Running) -> Vec<(String, Duration)> {
    let bare = ("bare C loop".to_owned(), running.bare.borrow().start_up);
    let python = running.python.as_ref().ok().map(|python| {
        let python = python.borrow();
        let name = format!("Python with psutil {}", python.version);
        (name, python.start_up)
    });
    std::iter::once(bare).chain(python).collect()
}

/// Kept descriptors need more than the usual soft limit of 1,024.
fn allow_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it fails, the tracker keeps fewer.
    let _ = setrlimit(Resource::Nofile, limit);
}
