//! Watching: the controller on its thread, and another that looks at the
//! machine, publishes metrics and writes a line to the log.
//!
//! Never acts on memory: the controller does.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use grey_model::{SystemLevel, Thresholds};

use super::builder::ManagerError;
use super::configured::Watching;
use super::operations::{Inner, MemoryManager, lock};
use super::pressure::PressureThread;
use crate::background::Background;
use crate::controller::{Action, ActionKind, Running};
use crate::metrics::{PublishedMetrics, Totals, publish};
use crate::system_level::SystemLevelWatch;

/// How urgent cleaning up is.
pub(super) const CLEANUP: u8 = 5;

/// The shortest interval: shorter ones would take the processor that the
/// program needs.
pub(super) const LEAST_INTERVAL: Duration = Duration::from_millis(10);

/// What runs while monitoring is on.
pub(super) struct Monitoring {
    pub(super) controller: Running,
    pub(super) watch: Watch,
    /// `None` when nobody tells of pressure.
    pub(super) pressure: Option<PressureThread>,
}

/// The thread that looks at the machine, publishes and logs; the controller
/// has one of its own.
pub(super) struct Watch {
    /// Wakes it; it ends when this is dropped.
    wake: Option<SyncSender<()>>,
    thread: Option<Background>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

/// What the watching thread remembers between two rounds.
struct Rounds {
    level: SystemLevelWatch,
    look_at: Duration,
    log_at: Duration,
    /// More files or queries were held than may be.
    were_too_many: bool,
}

impl Rounds {
    fn new() -> Self {
        Self {
            level: SystemLevelWatch::new(
                Thresholds::of::<SystemLevel>(),
                grey_model::level::DEFAULT_COOLDOWN,
            ),
            look_at: Duration::ZERO,
            log_at: Duration::ZERO,
            were_too_many: false,
        }
    }
}

impl MemoryManager {
    /// Watches from now on: the controller at its own interval, and every
    /// `interval` the machine and the metrics. A line is logged each time, or
    /// as often as the configuration says. Every 10 ms at most, whatever
    /// `interval` is.
    ///
    /// Where `$MEMORY_PRESSURE_WATCH` names somebody who tells of memory
    /// pressure, as systemd sets it, he is listened to: when he tells, the
    /// system counts as high at least for ten seconds, and 5 % of the budget
    /// are given back at once, of what is stale and low, at most once a second.
    /// systemd's `MemoryPressureWatch=off` turns that off, and so does
    /// [`MemoryManagerBuilder::without_pressure_watch`](super::MemoryManagerBuilder::without_pressure_watch).
    ///
    /// # Errors
    /// [`ManagerError::Start`], when no thread can be started.
    pub fn start_monitoring(&self, interval: Duration) -> Result<(), ManagerError> {
        self.stop_monitoring();
        lock(&self.inner.watching).interval = interval;
        let controller = self.inner.controller.start().map_err(ManagerError::Start)?;
        let (wake, woken) = std::sync::mpsc::sync_channel(1);
        let weak = Arc::downgrade(&self.inner);
        let thread = std::thread::Builder::new()
            .name("grey-monitor".to_owned())
            .spawn(move || keep_watching(&weak, &woken))
            .map_err(ManagerError::Start)?;
        let watch = Watch {
            wake: Some(wake),
            thread: Some(Background::new(thread)),
        };
        let replaced = lock(&self.inner.running).replace(Monitoring {
            controller,
            watch,
            pressure: None,
        });
        drop(replaced);
        // Last: what it is told of is for the others to do.
        let mut pressure = PressureThread::start(&self.inner);
        if let Some(running) = &mut *lock(&self.inner.running) {
            std::mem::swap(&mut running.pressure, &mut pressure);
        }
        // Somebody stopped it, or started it anew: not under the lock, which
        // the thread may wait for.
        drop(pressure);
        Ok(())
    }

    /// Has the thread that watches look again, by what holds now.
    pub(super) fn wake_watch(&self) {
        if let Some(running) = &*lock(&self.inner.running)
            && let Some(wake) = &running.watch.wake
        {
            // Full: it is woken already.
            let _ = wake.try_send(());
        }
    }

    /// Has the controller do what is queued, now.
    pub(super) fn wake_controller(&self) {
        if let Some(running) = &*lock(&self.inner.running) {
            running.controller.wake();
        }
    }

    /// Watches no more. May be called from within anything that the manager
    /// calls; what is under way there ends by itself then.
    pub fn stop_monitoring(&self) {
        let running = lock(&self.inner.running).take();
        if let Some(Monitoring {
            controller,
            watch,
            pressure,
        }) = running
        {
            drop(pressure);
            controller.stop();
            drop(watch);
        }
    }

    /// Whether it watches.
    #[must_use]
    pub fn is_monitoring(&self) -> bool {
        lock(&self.inner.running).is_some()
    }
}

/// Looks and logs whenever it is time, until nobody can wake it any more.
fn keep_watching(manager: &Weak<Inner>, woken: &Receiver<()>) {
    let mut rounds = Rounds::new();
    let origin = Instant::now();
    loop {
        let Some(inner) = manager.upgrade() else {
            return;
        };
        inner.round(origin.elapsed(), &mut rounds);
        let pressed = inner.mind_pressure(Instant::now());
        drop(inner);
        let next = rounds.look_at.min(rounds.log_at);
        let wait = next.saturating_sub(origin.elapsed());
        match woken.recv_timeout(pressed.map_or(wait, |left| wait.min(left))) {
            Err(RecvTimeoutError::Timeout) => {}
            // What it looks for, or how often, is another.
            Ok(()) => {
                rounds.look_at = Duration::ZERO;
                rounds.log_at = Duration::ZERO;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Inner {
    /// Does what is due at `now`.
    fn round(&self, now: Duration, rounds: &mut Rounds) {
        let watching = *lock(&self.watching);
        let looks = now >= rounds.look_at;
        if looks {
            rounds.level.set_thresholds(watching.system_thresholds);
            self.mind_counts(&watching, &mut rounds.were_too_many);
            self.watch(now, &mut rounds.level);
            rounds.look_at = now.saturating_add(watching.interval.max(LEAST_INTERVAL));
        }
        let logs = match watching.log_interval {
            Some(_) => now >= rounds.log_at,
            None => looks,
        };
        if logs {
            self.log();
        }
        match watching.log_interval {
            Some(interval) if logs => {
                rounds.log_at = now.saturating_add(interval.max(LEAST_INTERVAL));
            }
            Some(_) => {}
            None => rounds.log_at = rounds.look_at,
        }
    }

    /// The controller, which does it, is told: the budget may be all well while
    /// the machine around it is not.
    fn shrink_caches(&self, level: SystemLevel) {
        let why = format!("the machine is {level}");
        let action = Action::new(ActionKind::Cleanup, why, CLEANUP);
        if let Err(full) = self.controller.enqueue_action(action) {
            tracing::warn!(error = %full, "the caches are not shrunk");
        }
    }

    /// Cleans up when there are more files or queries than may be, once.
    fn mind_counts(&self, watching: &Watching, were_too_many: &mut bool) {
        let counts = self.tracker.counters().counts();
        let (files, queries) = watching.exceeded(&counts);
        let are_too_many = files || queries;
        if are_too_many && !*were_too_many {
            tracing::warn!(
                loaded_files = counts.loaded_files,
                cached_queries = counts.cached_queries,
                "more is held than the configuration allows: cleaning up"
            );
            let why = "more files or queries are held than may be";
            let action = Action::new(ActionKind::Cleanup, why, CLEANUP);
            if let Err(full) = self.controller.enqueue_action(action) {
                tracing::warn!(error = %full, "nothing is cleaned up");
            }
        }
        *were_too_many = are_too_many;
    }

    /// One line in the log.
    fn log(&self) {
        match (self.tracker.get_current_usage(), self.tracker.get_stats()) {
            (Ok(current), Ok(stats)) => tracing::info!(
                %current, peak = %stats.peak, level = %self.controller.level(),
                "memory"
            ),
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, "the memory of this process is not seen");
            }
        }
    }

    /// One look at the machine, and one round of metrics.
    fn watch(&self, now: Duration, level: &mut SystemLevelWatch) {
        let (reading, snapshot) = match (self.tracker.read(), self.tracker.take_snapshot()) {
            (Ok(reading), Ok(snapshot)) => (reading, snapshot),
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, "the memory of this process is not seen");
                return;
            }
        };
        if let Some(transition) = level.observe(now, &reading) {
            self.machine_is(transition.to);
            if transition.from < SystemLevel::High && transition.to >= SystemLevel::High {
                self.shrink_caches(transition.to);
            }
        }
        let statistics = self.controller.statistics();
        let breakdown = self.tracker.breakdown_of(&reading);
        publish(&PublishedMetrics {
            breakdown: &breakdown,
            peak: snapshot.peak,
            limit: Some(self.controller.budget().limit()),
            threads: reading.threads,
            level: self.controller.level(),
            system_level: self.system_level(),
            counts: self.tracker.counters().counts(),
            allocation_rate_per_second: self.tracker.allocation_rate_per_second(),
            totals: Totals {
                allocated: self.tracker.counters().allocated(),
                evictions: statistics.evicted,
                evicted: statistics.given_back,
                spills: statistics.spills,
                spilled: statistics.spilled,
                loaded_back: statistics.loaded_back,
                loaded_back_bytes: statistics.loaded_back_bytes,
                rejections: self.controller.budget().refusals() + self.degradation.rejected(),
                purged: statistics.purged,
            },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::builder::MemoryLimits;
    use super::*;
    use crate::testkit::FakeSource;

    fn due_after(interval: Duration, log_interval: Option<Duration>) -> (Duration, Duration) {
        let manager = MemoryManager::builder(MemoryLimits::of(grey_model::Bytes::from_mib(100)))
            .source(Arc::new(FakeSource::new(grey_model::Bytes::from_mib(1))))
            .build()
            .unwrap();
        {
            let mut watching = lock(&manager.inner.watching);
            watching.interval = interval;
            watching.log_interval = log_interval;
        }
        let mut rounds = Rounds::new();
        manager.inner.round(Duration::from_secs(1), &mut rounds);
        (rounds.look_at, rounds.log_at)
    }

    #[test]
    fn an_interval_of_nothing_does_not_spin() {
        let next = Duration::from_millis(1010);
        assert_eq!(due_after(Duration::ZERO, None), (next, next));
        assert_eq!(
            due_after(Duration::ZERO, Some(Duration::ZERO)),
            (next, next)
        );
    }

    #[test]
    fn looking_and_logging_have_intervals_of_their_own_and_the_longest_is_no_end() {
        let second = Duration::from_secs(1);
        assert_eq!(
            due_after(Duration::MAX, Some(second)),
            (Duration::MAX, 2 * second)
        );
        assert_eq!(
            due_after(second, Some(Duration::MAX)),
            (2 * second, Duration::MAX)
        );
    }
}
