//! Ending in good order: stop watching, take nothing new, let what is in flight
//! end, save, close. Each step has its share of the time, and each piece of a
//! step its share of that: none can keep the next from running.
//!
//! Never ends the process by itself, but for a second signal: `main` returns
//! [`Shutdown::exit_code`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::clock::instant_after;

/// How long after its time a piece may still say why it is not done.
const GRACE: Duration = Duration::from_secs(1);

/// How often what was added meanwhile is done by the same run.
const MOST_PASSES: usize = 8;

/// What a program ends with that was shut down because its memory was
/// critical: `EX_TEMPFAIL` of `sysexits.h`, "start me again".
pub const EXIT_MEMORY_CRITICAL: u8 = 75;

/// Why the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ShutdownReason {
    /// Somebody asked for it.
    Requested,
    /// A signal: its number.
    Signal(i32),
    /// Memory was critical and the program is set to end then.
    MemoryCritical,
}

/// What is done in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShutdownStep {
    /// Stop the controller and other watchers.
    StopMonitoring,
    /// Wait for what is in flight.
    Drain,
    /// Save what the next start can use.
    Persist,
    /// Close files and connections.
    Close,
}

/// How long each step may take.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ShutdownSettings {
    /// For stopping watchers.
    pub stop: Duration,
    /// For what is in flight.
    pub drain: Duration,
    /// For saving.
    pub persist: Duration,
    /// For closing.
    pub close: Duration,
}

impl Default for ShutdownSettings {
    fn default() -> Self {
        Self {
            stop: Duration::from_secs(5),
            drain: Duration::from_secs(30),
            persist: Duration::from_secs(30),
            close: Duration::from_secs(5),
        }
    }
}

impl ShutdownSettings {
    const fn of(&self, step: ShutdownStep) -> Duration {
        match step {
            ShutdownStep::StopMonitoring => self.stop,
            ShutdownStep::Drain => self.drain,
            ShutdownStep::Persist => self.persist,
            ShutdownStep::Close => self.close,
        }
    }
}

/// How one piece of the shutdown ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StepOutcome {
    /// Done.
    Done,
    /// It said why it could not.
    Failed(String),
    /// It panicked.
    Panicked,
    /// Its time was over; it may still run.
    TimedOut,
}

/// What a shutdown did, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Each piece, and how it ended.
    pub steps: Vec<(ShutdownStep, String, StepOutcome)>,
}

impl ShutdownReport {
    /// Whether every piece is done.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.steps
            .iter()
            .all(|(_, _, outcome)| *outcome == StepOutcome::Done)
    }
}

type Work = Box<dyn FnOnce(Instant) -> Result<(), String> + Send>;

struct Piece {
    step: ShutdownStep,
    name: String,
    work: Work,
}

/// Who sleeps elsewhere and goes on when the end is asked for.
pub(crate) trait Sleeper: Send + Sync {
    /// The end was asked for. Called outside of the shutdown's lock.
    fn wake(&self);
}

#[derive(Default)]
struct State {
    sleepers: Vec<Weak<dyn Sleeper>>,
    reason: Option<ShutdownReason>,
    pieces: Vec<Piece>,
    /// What was done so far.
    report: ShutdownReport,
    running: bool,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

/// The end of the program, as something to ask for, to wait for and to take
/// part in. Clones are handles to the same.
#[derive(Clone, Default)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Shutdown {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Shutdown")
            .field("reason", &self.reason())
            .finish_non_exhaustive()
    }
}

impl Shutdown {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the end. The first reason stays.
    pub fn request(&self, reason: ShutdownReason) {
        let mut state = self.state();
        if state.reason.is_none() {
            state.reason = Some(reason);
            tracing::info!(?reason, "shutting down");
        }
        let sleepers = state.sleepers.clone();
        drop(state);
        self.inner.changed.notify_all();
        for sleeper in sleepers.iter().filter_map(Weak::upgrade) {
            sleeper.wake();
        }
    }

    /// `sleeper` is woken when the end is asked for, as long as it lives.
    pub(crate) fn wakes(&self, sleeper: Weak<dyn Sleeper>) {
        let mut state = self.state();
        state.sleepers.retain(|sleeper| sleeper.strong_count() > 0);
        state.sleepers.push(sleeper);
    }

    /// Whether somebody has asked.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.state().reason.is_some()
    }

    /// Why the program ends.
    #[must_use]
    pub fn reason(&self) -> Option<ShutdownReason> {
        self.state().reason
    }

    /// What `main` should return: 0 when somebody asked, 128 and the number of
    /// a signal, [`EXIT_MEMORY_CRITICAL`].
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.reason() {
            None | Some(ShutdownReason::Requested) => 0,
            Some(ShutdownReason::Signal(number)) => u8::try_from(128 + number).unwrap_or(u8::MAX),
            Some(ShutdownReason::MemoryCritical) => EXIT_MEMORY_CRITICAL,
        }
    }

    /// Waits until somebody asks; `None` when nobody has after `timeout`.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> Option<ShutdownReason> {
        let until = instant_after(timeout);
        let mut state = self.state();
        while state.reason.is_none() {
            let left = until.checked_duration_since(Instant::now())?;
            state = self
                .inner
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.reason
    }

    /// `work` is done at `step`, with the instant at which it should be over.
    /// Within a step, in the order of this call; one that takes more than its
    /// share of what is left of the step's time (the half, when one more comes
    /// after it) goes on beside the next. What is added while [`Self::run`] runs
    /// is done by that; what is added after, by the next.
    pub fn at(
        &self,
        step: ShutdownStep,
        name: &str,
        work: impl FnOnce(Instant) -> Result<(), String> + Send + 'static,
    ) {
        self.state().pieces.push(Piece {
            step,
            name: name.to_owned(),
            work: Box::new(work),
        });
    }

    /// The first SIGTERM or SIGINT asks for the end; a second one ends the
    /// process at once, with 128 and its number, whatever is under way.
    ///
    /// # Errors
    /// The system's, when a handler cannot be installed.
    pub fn on_signals(&self) -> Result<SignalWatch, std::io::Error> {
        let armed = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            // In this order: the first signal finds it unarmed, and arms it.
            let code = 128 + signal;
            signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(&armed))?;
            signal_hook::flag::register(signal, Arc::clone(&armed))?;
        }
        let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
        let handle = signals.handle();
        let shutdown = self.clone();
        let thread = thread::Builder::new()
            .name("grey-signals".to_owned())
            .spawn(move || {
                for signal in signals.forever() {
                    shutdown.request(ShutdownReason::Signal(signal));
                }
            })?;
        Ok(SignalWatch {
            handle,
            thread: Some(crate::background::Background::new(thread)),
        })
    }

    /// Ends in good order: does each piece that was added, once. Whoever calls
    /// meanwhile waits; whoever calls after has what was added since done. The
    /// report has the pieces of every run so far. Asks for the end if nobody has.
    pub fn run(&self, settings: &ShutdownSettings) -> ShutdownReport {
        self.request(ShutdownReason::Requested);
        let mut state = self.state();
        while state.running {
            state = self
                .inner
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.running = true;
        for _ in 0..MOST_PASSES {
            let pieces = std::mem::take(&mut state.pieces);
            if pieces.is_empty() {
                break;
            }
            drop(state);
            let done = run_pieces(pieces, settings);
            state = self.state();
            state.report.steps.extend(done);
        }
        state.running = false;
        let report = state.report.clone();
        drop(state);
        self.inner.changed.notify_all();
        report
    }
}

type Done = (ShutdownStep, String, StepOutcome);

/// Does all pieces, step by step.
fn run_pieces(mut pieces: Vec<Piece>, settings: &ShutdownSettings) -> Vec<Done> {
    // A stable sort: within a step they stay in order.
    pieces.sort_by_key(|piece| piece.step);
    let mut done = Vec::with_capacity(pieces.len());
    for of_step in pieces.chunk_by_mut(|one, next| one.step == next.step) {
        let until = instant_after(settings.of(of_step[0].step));
        done.extend(run_step(of_step, until));
    }
    done
}

/// Does the pieces of one step. Who takes more than its share of the time is
/// left to itself until all have begun, and looked after again at the end.
fn run_step(pieces: &mut [Piece], until: Instant) -> Vec<Done> {
    let count = pieces.len();
    let mut begun = Vec::with_capacity(count);
    for (place, piece) in pieces.iter_mut().enumerate() {
        let work = std::mem::replace(&mut piece.work, Box::new(|_| Ok(())));
        let started = Started::begin(work, until);
        let left = until.saturating_duration_since(Instant::now());
        let share = u32::try_from(count - place).map_or(Duration::ZERO, |after| left / after);
        begun.push((piece, started.wait(share)));
    }
    let late = instant_plus(until, GRACE);
    let mut done = Vec::with_capacity(count);
    for (piece, answer) in begun {
        let outcome = match answer {
            Ok(outcome) => outcome,
            Err(started) => started
                .wait(late.saturating_duration_since(Instant::now()))
                .unwrap_or(StepOutcome::TimedOut),
        };
        if outcome != StepOutcome::Done {
            tracing::warn!(
                piece = piece.name,
                ?outcome,
                "a step of the shutdown is not done"
            );
        }
        done.push((piece.step, std::mem::take(&mut piece.name), outcome));
    }
    done
}

fn instant_plus(instant: Instant, more: Duration) -> Instant {
    instant.checked_add(more).unwrap_or(instant)
}

/// A piece on a thread of its own.
enum Started {
    Running(Receiver<thread::Result<Result<(), String>>>),
    Not(String),
}

impl Started {
    fn begin(work: Work, until: Instant) -> Self {
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        let started = thread::Builder::new()
            .name("grey-shutdown".to_owned())
            .spawn(move || {
                let result = catch_unwind(AssertUnwindSafe(|| work(until)));
                // Nobody listens any more when it was late.
                let _ = answer.send(result);
            });
        match started {
            Ok(_) => Self::Running(answered),
            Err(error) => Self::Not(format!("no thread could be started: {error}")),
        }
    }

    /// How it ended; itself when it has not after `patience`.
    fn wait(self, patience: Duration) -> Result<StepOutcome, Self> {
        let answered = match self {
            Self::Running(answered) => answered,
            Self::Not(why) => return Ok(StepOutcome::Failed(why)),
        };
        match answered.recv_timeout(patience) {
            Ok(Ok(Ok(()))) => Ok(StepOutcome::Done),
            Ok(Ok(Err(why))) => Ok(StepOutcome::Failed(why)),
            Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => Ok(StepOutcome::Panicked),
            Err(RecvTimeoutError::Timeout) => Err(Self::Running(answered)),
        }
    }
}

/// Watches for signals until dropped. What a second signal does stays.
#[derive(Debug)]
#[must_use = "signals are watched for as long as this lives"]
pub struct SignalWatch {
    handle: signal_hook::iterator::Handle,
    thread: Option<crate::background::Background>,
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
