//! Pressure that is told from outside, by systemd's protocol: the service
//! manager, the kernel or a container manager says that memory is short, and
//! the program gives some back at once, whatever its own budget says.
//!
//! Never believes that it is short for longer than [`HOLD`] after it was told.

use std::ffi::OsStr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use grey_model::SystemLevel;

use super::monitoring::CLEANUP;
use super::operations::{Inner, MemoryManager, lock};
use crate::background::Background;
use crate::controller::{Action, ActionKind, Hold};
use crate::pressure_watch::{PressureWatch, PressureWatchError};

/// How long memory counts as short after it was told, if nothing more is: the
/// kernel tells again within its window, which is 2 s.
const HOLD: Duration = Duration::from_secs(10);

/// Relief is begun at most so often, however often it is told.
const RELIEF: Duration = Duration::from_secs(1);

/// Who tells of pressure.
#[derive(Debug, Clone)]
pub(super) enum PressureFrom {
    /// Whom `$MEMORY_PRESSURE_WATCH` names, if it names anybody.
    Environment,
    At {
        path: PathBuf,
        trigger: Vec<u8>,
    },
    Nobody,
}

impl PressureFrom {
    fn open(&self) -> Result<Option<PressureWatch>, PressureWatchError> {
        match self {
            Self::Environment => PressureWatch::from_environment(),
            Self::At { path, trigger } => PressureWatch::open(path, trigger).map(Some),
            Self::Nobody => PressureWatch::from_values(None::<&OsStr>, None),
        }
    }
}

/// What is known of the machine, and of what was told.
#[derive(Debug)]
pub(super) struct Pressure {
    /// What the machine's own numbers say.
    machine: SystemLevel,
    until: Option<Instant>,
    relieved: Option<Instant>,
}

impl Default for Pressure {
    fn default() -> Self {
        Self {
            machine: SystemLevel::Normal,
            until: None,
            relieved: None,
        }
    }
}

impl Pressure {
    fn level(&self) -> SystemLevel {
        match self.until {
            Some(_) => self.machine.max(SystemLevel::High),
            None => self.machine,
        }
    }
}

/// The thread that is told.
pub(super) struct PressureThread {
    /// It ends when this is closed.
    wake: Option<UnixStream>,
    thread: Option<Background>,
}

impl Drop for PressureThread {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

impl PressureThread {
    /// Listens, if there is anybody to listen to. What cannot be watched is
    /// told to the log: the program runs without it as well.
    pub(super) fn start(inner: &Arc<Inner>) -> Option<Self> {
        let watch = match inner.pressure_from.open() {
            Ok(Some(watch)) => watch,
            Ok(None) => return None,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    hint = error.hint(),
                    "memory pressure is not watched"
                );
                return None;
            }
        };
        Self::listening(watch, inner)
            .inspect_err(|error| tracing::warn!(%error, "memory pressure is not watched"))
            .ok()
    }

    fn listening(watch: PressureWatch, inner: &Arc<Inner>) -> std::io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        let weak = Arc::downgrade(inner);
        let thread = std::thread::Builder::new()
            .name("grey-pressure".to_owned())
            .spawn(move || listen(watch, &woken, &weak))?;
        Ok(Self {
            wake: Some(wake),
            thread: Some(Background::new(thread)),
        })
    }
}

/// Until it is woken, nobody tells any more, or the manager is gone.
fn listen(mut watch: PressureWatch, woken: &UnixStream, manager: &Weak<Inner>) {
    loop {
        match watch.wait_unless(woken) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "memory pressure is not watched any more"
                );
                return;
            }
        }
        let Some(inner) = manager.upgrade() else {
            return;
        };
        MemoryManager { inner }.memory_is_short(Instant::now());
    }
}

impl MemoryManager {
    /// Somebody told that memory is short.
    pub(super) fn memory_is_short(&self, now: Instant) {
        let inner = &self.inner;
        let relieves = {
            let mut pressure = lock(&inner.pressure);
            pressure.until = now.checked_add(HOLD);
            let last = pressure.relieved;
            let relieves = last.is_none_or(|last| now.saturating_duration_since(last) >= RELIEF);
            if relieves {
                pressure.relieved = Some(now);
            }
            relieves
        };
        inner.degrade();
        if relieves {
            tracing::warn!("memory pressure is told from outside: giving some back");
            let action = Action::new(ActionKind::Cleanup, "memory pressure was told", CLEANUP);
            match inner.controller.enqueue_action(action) {
                Ok(_) => self.wake_controller(),
                Err(full) => tracing::warn!(error = %full, "nothing is given back"),
            }
        }
        // It looks at the machine, and then waits for the end of this.
        self.wake_watch();
    }
}

impl Inner {
    /// The machine's own numbers say this.
    pub(super) fn machine_is(&self, level: SystemLevel) {
        lock(&self.pressure).machine = level;
        self.degrade();
    }

    /// What is told and what is seen, together.
    pub(super) fn system_level(&self) -> SystemLevel {
        lock(&self.pressure).level()
    }

    /// When it is over that memory counts as short, and for how long it still
    /// does if it is not.
    pub(super) fn mind_pressure(&self, now: Instant) -> Option<Duration> {
        {
            let mut pressure = lock(&self.pressure);
            let left = pressure.until?.checked_duration_since(now);
            if let Some(left) = left.filter(|left| !left.is_zero()) {
                return Some(left);
            }
            pressure.until = None;
        }
        self.degrade();
        None
    }

    /// Degrades by what holds now. Two threads may be at it: the last word is
    /// of what holds then.
    fn degrade(&self) {
        loop {
            let level = self.system_level();
            self.degradation.set_level(level);
            if level >= SystemLevel::High {
                self.controller.hold_load_back(Hold::Machine);
            } else {
                self.controller.release_load_back(Hold::Machine);
            }
            if self.system_level() == level {
                return;
            }
        }
    }
}
