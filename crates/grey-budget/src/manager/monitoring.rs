//! Watching: the controller on its thread, and another that looks at the
//! machine, publishes metrics and writes a line to the log.
//!
//! Never acts on memory: the controller does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use grey_model::{SystemLevel, Thresholds};

use super::builder::ManagerError;
use super::operations::{Inner, MemoryManager, lock};
use crate::background::Background;
use crate::controller::{Action, ActionKind, Running};
use crate::metrics::{PublishedMetrics, Totals, publish};
use crate::system_level::SystemLevelWatch;

/// How urgent cleaning up is.
const CLEANUP: u8 = 5;

/// What runs while monitoring is on.
pub(super) struct Monitoring {
    pub(super) controller: Running,
    pub(super) watch: Watch,
}

/// The thread that looks at the machine, publishes and logs; the controller
/// has one of its own.
pub(super) struct Watch {
    stop: std::sync::mpsc::SyncSender<()>,
    thread: Option<Background>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.stop.try_send(());
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

impl MemoryManager {
    /// Watches from now on: the controller at its own interval, and every
    /// `interval` the machine, the metrics and a line in the log.
    ///
    /// # Errors
    /// [`ManagerError::Start`], when no thread can be started.
    pub fn start_monitoring(&self, interval: Duration) -> Result<(), ManagerError> {
        self.stop_monitoring();
        let controller = self.inner.controller.start().map_err(ManagerError::Start)?;
        let (stop, stopped) = std::sync::mpsc::sync_channel(1);
        let weak = Arc::downgrade(&self.inner);
        let thread = std::thread::Builder::new()
            .name("grey-monitor".to_owned())
            .spawn(move || {
                let mut level = SystemLevelWatch::new(
                    Thresholds::of::<SystemLevel>(),
                    grey_model::level::DEFAULT_COOLDOWN,
                );
                let origin = Instant::now();
                loop {
                    let Some(inner) = weak.upgrade() else { return };
                    inner.watch(origin.elapsed(), &mut level);
                    drop(inner);
                    match stopped.recv_timeout(interval) {
                        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                        Ok(()) | Err(_) => return,
                    }
                }
            })
            .map_err(ManagerError::Start)?;
        let watch = Watch {
            stop,
            thread: Some(Background::new(thread)),
        };
        let replaced = lock(&self.inner.running).replace(Monitoring { controller, watch });
        drop(replaced);
        Ok(())
    }

    /// Watches no more.
    pub fn stop_monitoring(&self) {
        let running = lock(&self.inner.running).take();
        if let Some(Monitoring { controller, watch }) = running {
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

impl Inner {
    /// The controller, which does it, is told: the budget may be all well while
    /// the machine around it is not.
    fn shrink_caches(&self, level: SystemLevel) {
        let why = format!("the machine is {level}");
        let action = Action::new(ActionKind::Cleanup, why, CLEANUP);
        if let Err(full) = self.controller.enqueue_action(action) {
            tracing::warn!(error = %full, "the caches are not shrunk");
        }
    }

    /// One look at the machine, one line in the log, one round of metrics.
    fn watch(&self, now: Duration, level: &mut SystemLevelWatch) {
        let (reading, snapshot) = match (self.tracker.read(), self.tracker.take_snapshot()) {
            (Ok(reading), Ok(snapshot)) => (reading, snapshot),
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%error, "the memory of this process is not seen");
                return;
            }
        };
        if let Some(transition) = level.observe(now, &reading) {
            self.degradation.set_level(transition.to);
            if transition.from < SystemLevel::High && transition.to >= SystemLevel::High {
                self.shrink_caches(transition.to);
            }
        }
        tracing::info!(
            current = %reading.rss, peak = %snapshot.peak, level = %self.controller.level(),
            "memory"
        );
        let statistics = self.controller.statistics();
        let breakdown = self.tracker.breakdown_of(&reading);
        publish(&PublishedMetrics {
            breakdown: &breakdown,
            peak: snapshot.peak,
            limit: Some(self.controller.budget().limit()),
            threads: reading.threads,
            level: self.controller.level(),
            system_level: level.current(),
            counts: self.tracker.counters().counts(),
            allocation_rate_per_second: self.tracker.allocation_rate_per_second(),
            totals: Totals {
                allocated: self.tracker.counters().allocated(),
                evictions: statistics.evicted,
                evicted: statistics.given_back,
                spills: statistics.spills,
                spilled: statistics.spilled,
                rejections: self.controller.budget().shortage().0 + self.degradation.rejected(),
                purged: statistics.purged,
            },
        });
    }
}
