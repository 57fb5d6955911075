//! The recorder beside others that look each second, all at once, over the same
//! processes and the same time; then what its history takes and how fast it
//! opens, and how far its PSS is off.
//!
//! Never starts a recorder that writes anywhere but into folders of this run.

mod error_of_pss;
mod peers;
mod size;

use std::time::{Duration, Instant};

use crate::RecorderArguments;
use crate::error::BenchError;
use crate::fleet::Fleet;
use crate::page_out::greyctl_beside_us;
use crate::setup;
use crate::{machine, say};
use peers::{Peer, Used};

/// Before anything is counted, each peer has had this long to begin.
const WARM_UP: Duration = Duration::from_secs(10);

/// Measures, and returns the table.
pub(crate) fn run(arguments: &RecorderArguments) -> Result<String, BenchError> {
    let greyctl = greyctl_beside_us()?;
    let installed = setup::prepare(!arguments.no_install);
    let machine = machine::describe();
    let mut text = format!(
        "{}, {} cores, Linux {}, {}\n",
        machine.cpu, machine.cores, machine.kernel, machine.date
    );
    for &count in &arguments.processes {
        say(&format!("starting {count} processes"));
        let mut fleet = Fleet::start(count)?;
        let state = tempfile::tempdir().map_err(|source| BenchError::Prepare {
            doing: "make a folder for history",
            source,
        })?;
        let mut peers = peers::all(&greyctl, state.path(), installed.python.as_deref());
        let length = Duration::from_secs(arguments.seconds);
        say(&format!("measuring for {length:?}"));
        let used = measure(&mut peers, &mut fleet, length, arguments.changing)?;
        drop(peers);
        let changing = if arguments.changing {
            "changing"
        } else {
            "idle"
        };
        text.push_str(&format!("\n{count} {changing} processes, {length:?}\n"));
        text.push_str(&table(&used));
        text.push_str(&size::measure(&greyctl, state.path())?);
        text.push_str(&error_of_pss::measure(&mut fleet)?);
    }
    Ok(text)
}

/// A peer's name, and what it used or why it did not run.
type Measured = (String, Result<Used, String>);

/// Lets all of them run for `length`; what each used, or why it did not run.
fn measure(
    peers: &mut [Peer],
    fleet: &mut Fleet,
    length: Duration,
    changing: bool,
) -> Result<Vec<Measured>, BenchError> {
    pass(fleet, WARM_UP, changing)?;
    for peer in peers.iter_mut() {
        peer.begin();
    }
    let begun = Instant::now();
    pass(fleet, length, changing)?;
    let lasted = begun.elapsed();
    let used = peers
        .iter_mut()
        .map(|peer| (peer.name.clone(), peer.used(lasted)));
    Ok(used.collect())
}

/// Lets `length` pass, in which processes may change each second.
fn pass(fleet: &mut Fleet, length: Duration, changing: bool) -> Result<(), BenchError> {
    let end = Instant::now() + length;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        if changing {
            fleet.change_some()?;
        }
        std::thread::sleep(left.min(Duration::from_secs(1)));
    }
}

fn table(used: &[(String, Result<Used, String>)]) -> String {
    let ours = used.iter().find_map(|(_, used)| used.as_ref().ok());
    let mut text = format!(
        "{:34} {:>10} {:>10} {:>10} {:>8}\n",
        "", "CPU", "RSS MiB", "peak MiB", "x ours"
    );
    for (name, used) in used {
        match used {
            Ok(used) => {
                let ratio = ours.filter(|ours| ours.cpu_percent > 0.0).map_or_else(
                    || "-".to_owned(),
                    |ours| format!("{:.1}", used.cpu_percent / ours.cpu_percent),
                );
                let mib = |kib: u64| kib as f64 / 1024.0;
                text.push_str(&format!(
                    "{name:34} {:>8.2} % {:>10.1} {:>10.1} {ratio:>8}\n",
                    used.cpu_percent,
                    mib(used.rss_kib),
                    mib(used.peak_kib)
                ));
            }
            Err(reason) => text.push_str(&format!("{name:34} skipped: {reason}\n")),
        }
    }
    text
}
