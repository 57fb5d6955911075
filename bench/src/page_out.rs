//! Page-out to zram: greyctl's step beside a bare `process_madvise` loop over
//! the same memory of the same process, in turns.
//!
//! Never pages out anything but the process that it has started.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::PageOutArguments;
use crate::error::BenchError;
use crate::machine;
use crate::measure::Spread;
use crate::zram::ZramSwap;

/// Of what is paged out, this share at least must be in swap afterwards, in
/// percent: otherwise something else was measured.
const LEAST_PERCENT: u64 = 95;

/// What one round has measured.
struct Round {
    bare: Duration,
    step: Duration,
    whole: Duration,
}

/// Measures, and returns the table.
pub(crate) fn run(arguments: &PageOutArguments) -> Result<String, BenchError> {
    let greyctl = greyctl_beside_us()?;
    let state = tempfile::tempdir().map_err(|source| BenchError::Prepare {
        doing: "make a state directory",
        source,
    })?;
    let swap = ZramSwap::start(arguments.mebibytes.saturating_mul(2))?;
    let compressor = swap.compressor();
    let mut owner = Owner::start(arguments.mebibytes)?;
    let mut rounds = Vec::new();
    for round in 0..arguments.rounds {
        let mut turn = Round {
            bare: Duration::ZERO,
            step: Duration::ZERO,
            whole: Duration::ZERO,
        };
        // Whoever is first in one round is second in the next.
        for ours in [round % 2 == 0, round % 2 != 0] {
            owner.touch()?;
            if ours {
                (turn.step, turn.whole) = page_out_with(&greyctl, &state, owner.pid())?;
            } else {
                turn.bare = page_out_bare(owner.pid())?;
            }
            owner.check_swapped(arguments.mebibytes)?;
        }
        rounds.push(turn);
    }
    drop(owner);
    drop(swap);
    Ok(table(arguments.mebibytes, &compressor, &rounds))
}

fn table(mebibytes: u64, compressor: &str, rounds: &[Round]) -> String {
    let machine = machine::describe();
    let mut text = format!(
        "{}, {} cores, Linux {}, {}\n{mebibytes} MiB, half of it random, to zram with \
         {compressor}; {} rounds; speed as a share of the bare loop's\n",
        machine.cpu,
        machine.cores,
        machine.kernel,
        machine.date,
        rounds.len()
    );
    let mut row = |name: &str, time: &dyn Fn(&Round) -> Duration| {
        let seconds = Spread::of(rounds.iter().map(|round| time(round).as_secs_f64()));
        let shares = rounds
            .iter()
            .filter(|round| !time(round).is_zero())
            .map(|round| round.bare.as_secs_f64() / time(round).as_secs_f64());
        if let (Some(seconds), Some(share)) = (seconds, Spread::of(shares)) {
            text.push_str(&format!(
                "{name:32} {:.3} s  {:.3} ({:.3} to {:.3})\n",
                seconds.median, share.median, share.min, share.max
            ));
        }
    };
    row("bare process_madvise loop", &|round| round.bare);
    row("greyctl, the step itself", &|round| round.step);
    row("greyctl, with plan and report", &|round| round.whole);
    text
}

fn page_out_bare(pid: u32) -> Result<Duration, BenchError> {
    const PROGRAM: &str = "page_out_loop";
    let output = Command::new(env!("BENCH_PAGE_OUT_LOOP"))
        .arg(pid.to_string())
        .stdin(Stdio::null())
        .output()
        .map_err(|source| start_error(PROGRAM, source))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .map(Duration::from_nanos)
        .map_err(|_| answer_error(PROGRAM, pid, &text))
}

/// The time of the step as greyctl reports it, and the whole run's.
fn page_out_with(
    greyctl: &PathBuf,
    state: &tempfile::TempDir,
    pid: u32,
) -> Result<(Duration, Duration), BenchError> {
    let started = Instant::now();
    let output = Command::new(greyctl)
        .args(["memory-enforce", "--json", "--page-out", "--observe", "0s"])
        .arg("--target")
        .arg(format!("pid:{pid}"))
        .arg("--state-dir")
        .arg(state.path().join("state"))
        .stdin(Stdio::null())
        .output()
        .map_err(|source| start_error("greyctl", source))?;
    let whole = started.elapsed();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let took = document["effects"][0]["took_milliseconds"].as_u64();
    match took {
        Some(took) if output.status.success() => Ok((Duration::from_millis(took), whole)),
        _ => Err(answer_error(
            "greyctl",
            pid,
            &String::from_utf8_lossy(&output.stderr),
        )),
    }
}

/// The greyctl that was built together with this program.
pub(crate) fn greyctl_beside_us() -> Result<PathBuf, BenchError> {
    let us = std::env::current_exe().map_err(|source| BenchError::Prepare {
        doing: "find the path of this program",
        source,
    })?;
    let greyctl = us.with_file_name("greyctl");
    if greyctl.exists() {
        return Ok(greyctl);
    }
    Err(start_error(
        "greyctl",
        std::io::Error::new(
            std::io::ErrorKind::NotFound,
            "build it first: cargo build --release --bin greyctl",
        ),
    ))
}

fn start_error(program: &str, source: std::io::Error) -> BenchError {
    BenchError::Start {
        program: program.to_owned(),
        source,
    }
}

fn answer_error(peer: &str, pid: u32, answer: &str) -> BenchError {
    BenchError::Peer {
        peer: peer.to_owned(),
        request: format!("page out {pid}"),
        answer: answer.trim().to_owned(),
    }
}

/// The process whose memory goes out; it ends with us.
struct Owner {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Owner {
    fn start(mebibytes: u64) -> Result<Self, BenchError> {
        const PROGRAM: &str = "memory_owner";
        let mut child = Command::new(env!("BENCH_MEMORY_OWNER"))
            .arg(mebibytes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| start_error(PROGRAM, source))?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(answer_error(PROGRAM, child.id(), ""));
        };
        let mut owner = Self {
            child,
            requests,
            answers: BufReader::new(answers),
        };
        owner.await_ready()?;
        Ok(owner)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it write to every page, and waits until it has.
    fn touch(&mut self) -> Result<(), BenchError> {
        let pid = self.pid();
        writeln!(self.requests, "touch")
            .map_err(|error| answer_error("memory_owner", pid, &error.to_string()))?;
        self.await_ready()
    }

    fn await_ready(&mut self) -> Result<(), BenchError> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        if read.is_ok() && line == "ready\n" {
            return Ok(());
        }
        Err(answer_error("memory_owner", self.pid(), &line))
    }

    /// Whether what was to go out is out.
    fn check_swapped(&self, mebibytes: u64) -> Result<(), BenchError> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmSwap:"));
        let kib = line
            .and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
            .unwrap_or(0);
        if kib.saturating_mul(100) >= mebibytes.saturating_mul(1024 * LEAST_PERCENT) {
            return Ok(());
        }
        let answer = format!("{kib} KiB of {mebibytes} MiB went to swap");
        Err(answer_error("the kernel", self.pid(), &answer))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
