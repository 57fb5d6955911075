//! A lease: what was set is undone when its time is over, whatever became of
//! the program that set it.
//!
//! The keeper is a small process of its own. It holds no lock while it waits,
//! counts time in suspend as time, and does nothing when there is nothing left
//! to undo. It is one of the last processes that the kernel kills for memory.
//!
//! Never makes a journal again that somebody has removed. When undoing fails
//! for too long, it gives up: the change stays in the journal, where a listing
//! shows it as active with its lease over, and the next plan or rollback of
//! greyctl puts it back first.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use grey_telemetry::Kernel;
use rustix::event::{PollFd, PollFlags, Timespec};
use serde::{Deserialize, Serialize};

use crate::disposable::{DisposableProgram, RootsText};
use crate::executor::{
    Actor, Deadlines, Enforcer, EnforcerOptions, RollbackOutcome, RollbackSelection,
};
use crate::journal::Journal;
use crate::kernel_file::write_kernel_file;
use crate::knob::connect;
use crate::systemd::KeeperService;

/// The keeper looks at the clock and at the journal at least this often: time
/// in suspend is noticed, and a keeper that is not needed any more ends.
const SLICE: Duration = Duration::from_secs(30);
/// How often undoing is tried while the journal is in use or a value cannot
/// be written.
const TRIES: u32 = 30;
/// The pause between two tries.
const PAUSE: Duration = Duration::from_secs(2);
/// The `oom_score_adj` of a keeper.
const RESISTANCE: i32 = -900;
/// How long a keeper may take to say that it is there.
const START: Duration = Duration::from_secs(10);

/// A keeper could not be started.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// A path in the orders is not UTF-8.
    #[error("failed to write the keeper's orders")]
    Orders {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The program could not be started.
    #[error("failed to start `{}` as keeper", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It was started and did not say in time that it is there.
    #[error("the keeper, process {pid}, did not start in time")]
    Silent {
        /// Its pid.
        pid: u32,
    },
}

/// What a keeper is told, as one argument.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KeeperRequest {
    roots: RootsText,
    state_dir: PathBuf,
    executable: PathBuf,
    disposable_argument: String,
    keeper_argument: String,
    user: String,
    plan_id: String,
    until_boottime_milliseconds: u64,
}

/// Starts keepers. The tests put one in its place that only takes notes.
pub(crate) trait KeeperStarter {
    fn start(
        &self,
        kernel: &Kernel,
        options: &EnforcerOptions,
        request: &KeeperRequest,
    ) -> Result<(), KeeperError>;
}

/// Starts our own program as keeper: as a service where systemd runs, as a
/// detached process where it does not.
pub(crate) struct ProcessKeepers;

impl KeeperStarter for ProcessKeepers {
    fn start(
        &self,
        kernel: &Kernel,
        options: &EnforcerOptions,
        request: &KeeperRequest,
    ) -> Result<(), KeeperError> {
        let orders =
            serde_json::to_string(request).map_err(|source| KeeperError::Orders { source })?;
        if start_service(kernel, options, request, &orders) {
            return Ok(());
        }
        start_process(options, &orders)
    }
}

/// Starts a keeper that undoes the plan `plan_id` at `until`, a time of
/// CLOCK_BOOTTIME, and returns when it is there. [`Enforcer::apply`] does this
/// by itself for plans with a lease.
///
/// # Errors
/// [`KeeperError`] when it could not be started.
pub fn spawn_keeper(
    options: &EnforcerOptions,
    plan_id: &str,
    until: Duration,
) -> Result<(), KeeperError> {
    let request = keeper_request(options, plan_id, until)?;
    match Kernel::open(&options.roots) {
        Ok(kernel) => ProcessKeepers.start(&kernel, options, &request),
        Err(_) => {
            let orders =
                serde_json::to_string(&request).map_err(|source| KeeperError::Orders { source })?;
            start_process(options, &orders)
        }
    }
}

pub(crate) fn keeper_request(
    options: &EnforcerOptions,
    plan_id: &str,
    until: Duration,
) -> Result<KeeperRequest, KeeperError> {
    let request = KeeperRequest {
        roots: RootsText::of(&options.roots),
        state_dir: std::path::absolute(&options.state_dir)
            .unwrap_or_else(|_| options.state_dir.clone()),
        executable: options.disposable.executable.clone(),
        disposable_argument: options.disposable.argument.to_string_lossy().into_owned(),
        keeper_argument: options.keeper_argument.to_string_lossy().into_owned(),
        user: options.actor.user.clone(),
        plan_id: plan_id.to_owned(),
        until_boottime_milliseconds: crate::disposable::milliseconds(until),
    };
    // Paths that are not UTF-8 are found before anything is begun.
    serde_json::to_string(&request)
        .map(|_| request)
        .map_err(|source| KeeperError::Orders { source })
}

fn start_service(
    kernel: &Kernel,
    options: &EnforcerOptions,
    request: &KeeperRequest,
    orders: &str,
) -> bool {
    let (Ok(units), Some(program)) = (connect(kernel), options.disposable.executable.to_str())
    else {
        return false;
    };
    let keeper = KeeperService {
        name: format!("grey-optimizer-lease-{}.service", request.plan_id),
        description: "undoes a change of grey-optimizer when its lease is over".to_owned(),
        arguments: vec![
            program.to_owned(),
            request.keeper_argument.clone(),
            orders.to_owned(),
        ],
    };
    units.start_keeper_service(&keeper).is_ok()
}

fn start_process(options: &EnforcerOptions, orders: &str) -> Result<(), KeeperError> {
    let program = &options.disposable.executable;
    let mut child = Command::new(program)
        .arg(&options.keeper_argument)
        .arg(orders)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|source| KeeperError::Start {
            program: program.clone(),
            source,
        })?;
    let pid = child.id();
    let ready = child.stdout.take().is_some_and(says_ready);
    if ready {
        return Ok(());
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(KeeperError::Silent { pid })
}

fn says_ready(stdout: std::process::ChildStdout) -> bool {
    let mut descriptors = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::IN)];
    let timeout = Timespec::try_from(START).ok();
    let heard = rustix::event::poll(&mut descriptors, timeout.as_ref());
    if !heard.is_ok_and(|count| count > 0) {
        return false;
    }
    let mut line = String::new();
    let read = BufReader::new(stdout.take(16)).read_line(&mut line);
    read.is_ok() && line == READY
}

const READY: &str = "ready\n";

/// The whole of a keeper: `greyctl` calls it for the hidden argument with the
/// argument that follows, and exits with what it returns.
#[must_use]
pub fn keeper_main(orders: &str) -> ExitCode {
    let Ok(request) = serde_json::from_str::<KeeperRequest>(orders) else {
        return ExitCode::FAILURE;
    };
    // Fails when we lead a session already, as a service does: then there is
    // no terminal either.
    let _ = rustix::process::setsid();
    if let Ok(kernel) = Kernel::open(&request.roots.roots()) {
        resist_being_killed(&kernel, std::process::id());
    }
    let mut stdout = std::io::stdout();
    let _ = stdout
        .write_all(READY.as_bytes())
        .and_then(|()| stdout.flush());
    keep(&request)
}

fn keep(request: &KeeperRequest) -> ExitCode {
    let until = Duration::from_millis(request.until_boottime_milliseconds);
    loop {
        let left = until.saturating_sub(boottime());
        if left.is_zero() {
            break;
        }
        if is_removed(&request.state_dir) || is_over(request) {
            return ExitCode::SUCCESS;
        }
        sleep_boottime(left.min(SLICE));
    }
    undo(request)
}

/// As a keeper that is a service has it from systemd. Without the permission,
/// it stays as it is; so does a value that protects it more.
fn resist_being_killed(kernel: &Kernel, pid: u32) {
    const FILE: &str = "oom_score_adj";
    let Ok(directory) = kernel.proc.open_directory(Path::new(&pid.to_string())) else {
        return;
    };
    let mut buffer = Vec::new();
    let now = directory
        .read(FILE, &mut buffer)
        .ok()
        .and_then(|text| std::str::from_utf8(text).ok()?.trim().parse::<i32>().ok());
    if now.is_some_and(|now| now > RESISTANCE) {
        let value = RESISTANCE.to_string();
        let _ = write_kernel_file(directory.as_fd(), Path::new(FILE), value.as_bytes());
    }
}

/// Whether there is no journal any more: then nobody knows what to undo. One
/// that cannot be looked at may come back.
fn is_removed(state_dir: &Path) -> bool {
    std::fs::symlink_metadata(state_dir.join("journal"))
        .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Whether the plan has begun and nothing of it is left. While it has no
/// record of a change yet, it may still be at its first step.
fn is_over(request: &KeeperRequest) -> bool {
    let Ok(ledger) = Journal::read_ledger(&request.state_dir) else {
        return false;
    };
    let mut any = false;
    for change in ledger.changes() {
        if change.plan_id == request.plan_id {
            any = true;
            if change.is_open() {
                return false;
            }
        }
    }
    // Its steps may not be done: only when nobody holds the journal is it.
    any && !Journal::is_in_use(&request.state_dir)
}

fn actor(request: &KeeperRequest) -> Actor {
    Actor {
        user: request.user.clone(),
        program: "lease keeper".to_owned(),
        pid: std::process::id(),
    }
}

fn undo(request: &KeeperRequest) -> ExitCode {
    let options = EnforcerOptions {
        roots: request.roots.roots(),
        state_dir: request.state_dir.clone(),
        actor: actor(request),
        disposable: DisposableProgram {
            executable: request.executable.clone(),
            argument: request.disposable_argument.clone().into(),
        },
        keeper_argument: request.keeper_argument.clone().into(),
        deadlines: Deadlines::default(),
    };
    let selection = RollbackSelection::Plan(request.plan_id.clone());
    for _ in 0..TRIES {
        // Opening the journal would make it again.
        if is_removed(&request.state_dir) {
            return ExitCode::SUCCESS;
        }
        let tried = Instant::now();
        let report = Enforcer::open(options.clone())
            .map(|mut enforcer| enforcer.rollback(&selection, false));
        if let Ok(Ok(report)) = report {
            let failed = report
                .items
                .iter()
                .any(|item| matches!(item.outcome, RollbackOutcome::Failed(_)));
            if !failed {
                return ExitCode::SUCCESS;
            }
        }
        sleep_boottime(PAUSE.saturating_sub(tried.elapsed()));
    }
    ExitCode::FAILURE
}

/// The time since boot, suspend included.
pub(crate) fn boottime() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(now).unwrap_or_default()
}

fn sleep_boottime(time: Duration) {
    if let Ok(request) = rustix::thread::Timespec::try_from(time) {
        let _ =
            rustix::thread::clock_nanosleep_relative(rustix::thread::ClockId::Boottime, &request);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use grey_telemetry::Roots;

    use super::*;

    /// A tree in which we have this `oom_score_adj`.
    fn tree(score: &str) -> (tempfile::TempDir, Roots) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let own = root.join("proc").join(std::process::id().to_string());
        fs::create_dir_all(&own).unwrap();
        fs::create_dir_all(root.join("sys")).unwrap();
        fs::write(own.join("oom_score_adj"), score).unwrap();
        let roots = Roots {
            procfs: root.join("proc"),
            sysfs: root.join("sys"),
            cgroupfs: root.join("cgroup"),
            systemd: root.join("systemd"),
        };
        (directory, roots)
    }

    #[test]
    fn a_keeper_is_among_the_last_to_be_killed() {
        for (score, expected) in [("0\n", "-900\n"), ("-950\n", "-950\n")] {
            let (_directory, roots) = tree(score);
            let kernel = Kernel::open(&roots).unwrap();
            resist_being_killed(&kernel, std::process::id());
            let file = format!("{}/oom_score_adj", std::process::id());
            // A regular file keeps what is behind the bytes that were written.
            let text = fs::read_to_string(roots.procfs.join(file)).unwrap();
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_keeper_whose_journal_was_removed_ends_and_makes_no_other() {
        let (directory, roots) = tree("0\n");
        let state_dir = directory.path().join("state");
        let request = |until: u64| KeeperRequest {
            roots: RootsText::of(&roots),
            state_dir: state_dir.clone(),
            executable: "/nonexistent".into(),
            disposable_argument: "kernel-write".to_owned(),
            keeper_argument: "lease-keeper".to_owned(),
            user: "tester".to_owned(),
            plan_id: "p".to_owned(),
            until_boottime_milliseconds: until,
        };
        for until in [0, u64::MAX] {
            let order = request(until);
            assert_eq!(keep(&order), ExitCode::SUCCESS);
            assert!(!state_dir.exists());
        }
    }
}
