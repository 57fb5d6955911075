//! When what was spilled comes back, and how much of it: once the level has
//! been normal for a while, up to a headroom below the soft level's end, in
//! slices, on a thread beside the controller's.
//!
//! Never loads so much that the next level is near, never while another round
//! is under way, and never past a rise of the level.

mod hold;
mod loading;

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use grey_model::{Bytes, Level, Priority, Thresholds};

pub(crate) use self::hold::Hold;
pub(super) use self::loading::Loading;
use super::busy::Who;
use super::reclaim::{Asker, Outcome};
use super::registry::Entry;
use super::run::Controller;
use super::settings::ControllerSettings;
use super::state::{Inner, lock};
use crate::load_back::{LoadBackEnd, LoadBackRation, LoadBackReport};

/// So far below the end of the soft level loading back ends, as a fraction of
/// the whole: what is loaded must not be what is evicted next.
pub const LOAD_BACK_HEADROOM: f64 = 0.05;

/// One time of loading back.
#[derive(Debug)]
struct Round {
    controller: Weak<Inner>,
    generation: u64,
    /// The process whose thread does it.
    process: u32,
    rests: bool,
    stopped: Mutex<Stopped>,
}

#[derive(Debug, Default)]
struct Stopped {
    end: Option<LoadBackEnd>,
    /// What is given out now.
    ration: Option<Arc<LoadBackRation>>,
}

impl Round {
    /// Ends it; the first reason stays.
    fn stop(&self, end: LoadBackEnd) {
        let ration = {
            let mut stopped = lock(&self.stopped);
            stopped.end.get_or_insert(end);
            stopped.ration.take()
        };
        if let Some(ration) = ration {
            ration.finish(end);
        }
    }

    fn end(&self) -> Option<LoadBackEnd> {
        lock(&self.stopped).end
    }

    /// How much may be loaded now.
    fn judge(&self) -> Result<Bytes, LoadBackEnd> {
        if let Some(end) = self.end() {
            return Err(end);
        }
        self.inner()?.room_to_load_back(self.generation)
    }

    /// A ration for one call, which asks this round at each slice.
    fn ration(self: &Arc<Self>, time: Duration) -> Arc<LoadBackRation> {
        let round = Arc::clone(self);
        let until = super::run::later(time);
        let judge = Box::new(move || round.judge());
        let ration = Arc::new(LoadBackRation::judged(judge, until, self.rests));
        let end = {
            let mut stopped = lock(&self.stopped);
            stopped.ration = Some(Arc::clone(&ration));
            stopped.end
        };
        if let Some(end) = end {
            ration.finish(end);
        }
        ration
    }
}

/// What one part did when it was asked to load back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Did {
    /// Everything that it has and can place.
    All,
    /// Something found no room below the headroom.
    WasRefused,
    /// It panicked, is late, or had nothing when its time was over.
    Failed,
}

/// Ends a round however it ends, with a panic too.
struct Under<'a> {
    round: &'a Round,
    end: LoadBackEnd,
}

impl Drop for Under<'_> {
    fn drop(&mut self) {
        if let Some(inner) = self.round.controller.upgrade() {
            inner.loading.finish(self.end, inner.clock.now());
        }
    }
}

impl Controller {
    /// Loads back now what the reclaimers spilled, in this thread: what is dear
    /// first, of what is equally dear what was spilled last, as far as it is free
    /// below [`LOAD_BACK_HEADROOM`] under the soft level's end, and only while
    /// the level is normal. What finds no room stays on disk. Happens by itself
    /// once the level has been normal for the cooldown, if
    /// [`ControllerSettings::loads_back`] says so.
    pub fn load_back_now(&self) -> LoadBackReport {
        let round = self.new_round(false);
        match self.inner.loading.begin(Arc::clone(&round)) {
            Ok(()) => round.run(),
            Err(end) => LoadBackReport {
                end,
                ..LoadBackReport::default()
            },
        }
    }

    /// Nothing is loaded back until it is released again.
    pub(crate) fn hold_load_back(&self, hold: Hold) {
        self.inner.loading.hold(hold);
    }

    pub(crate) fn release_load_back(&self, hold: Hold) {
        self.inner.loading.release(hold);
    }

    /// Ends what is being loaded back, and waits for it.
    pub(crate) fn end_load_back(&self) {
        self.inner.loading.stop_and_wait(LoadBackEnd::Stopped);
    }

    fn new_round(&self, rests: bool) -> Arc<Round> {
        Arc::new(Round {
            controller: Arc::downgrade(&self.inner),
            generation: self.generation(),
            process: std::process::id(),
            rests,
            stopped: Mutex::default(),
        })
    }

    /// At each tick: ends a round when the level is not normal, and begins one
    /// when it has been for long enough.
    pub(super) fn mind_load_back(
        &self,
        now: Duration,
        level: Level,
        settings: &ControllerSettings,
    ) {
        let loading = &self.inner.loading;
        let round = {
            let mut state = lock(&loading.state);
            if level > Level::Normal {
                state.is_wanted = true;
            }
            let is_calm = level == Level::Normal && settings.loads_back && state.held == 0;
            if is_calm {
                let since = *state.calm_since.get_or_insert(now);
                let is_due = state.is_wanted
                    && now.saturating_sub(since) >= settings.cooldown
                    && state.not_before.is_none_or(|at| now >= at);
                if !is_due || state.running().is_some() {
                    return;
                }
                None
            } else {
                (state.calm_since, state.not_before) = (None, None);
                state.failures = 0;
                match state.running() {
                    Some(round) => Some(Arc::clone(round)),
                    None => return,
                }
            }
        };
        match round {
            Some(round) if level > Level::Normal => round.stop(LoadBackEnd::Pressure),
            // One that was asked for goes on when it is only switched off.
            Some(round) if round.rests => round.stop(LoadBackEnd::Stopped),
            Some(_) => {}
            None => self.begin_load_back(),
        }
    }

    fn begin_load_back(&self) {
        let round = self.new_round(true);
        if self.inner.loading.begin(Arc::clone(&round)).is_err() {
            return;
        }
        let started = std::thread::Builder::new()
            .name("grey-load-back".to_owned())
            .spawn({
                let round = Arc::clone(&round);
                move || {
                    // What it did is counted, and told to the log.
                    let _ = round.run();
                }
            });
        if let Err(error) = started {
            tracing::warn!(%error, "what was spilled is not loaded back");
            let now = self.inner.clock.now();
            self.inner.loading.finish(LoadBackEnd::Failed, now);
        }
    }
}

impl Inner {
    /// How much may be loaded back now, in a round that began under
    /// `generation`.
    fn room_to_load_back(&self, generation: u64) -> Result<Bytes, LoadBackEnd> {
        let Some((rss, rlimits)) = self.said() else {
            return Err(LoadBackEnd::NoRoom);
        };
        let line = line_of(&lock(&self.settings).thresholds);
        // Somebody waits for what is free.
        if self.budget.waiters().0 > 0 {
            return Err(LoadBackEnd::NoRoom);
        }
        let (reserved, limit) = (self.budget.reserved(), self.budget.limit());
        let mut state = lock(&self.state);
        if state.levels.current() != Level::Normal || state.levels.generation() != generation {
            return Err(LoadBackEnd::Pressure);
        }
        let uses = state.uses((reserved, limit), (rss, &rlimits), Bytes::ZERO);
        let room = |(used, whole): (Bytes, Bytes)| whole.scale(line, 10_000).saturating_sub(used);
        let least = uses.into_iter().map(room).min().unwrap_or_default();
        Ok(least)
    }

    fn count_loaded(&self, done: &LoadBackReport) {
        let statistics = &mut lock(&self.state).statistics;
        statistics.loaded_back += done.values();
        statistics.loaded_back_bytes = statistics.loaded_back_bytes.saturating_add(done.bytes());
        statistics.load_back_failures += done.damaged;
    }
}

/// The controller is kept for as long as each step needs it, and no longer: with
/// its last handle the round ends.
impl Round {
    fn inner(&self) -> Result<Arc<Inner>, LoadBackEnd> {
        self.controller.upgrade().ok_or(LoadBackEnd::Stopped)
    }

    /// Loads back, one priority after the other, and counts.
    fn run(self: &Arc<Self>) -> LoadBackReport {
        let mut under = Under {
            round: self,
            end: LoadBackEnd::Stopped,
        };
        let mut report = LoadBackReport::default();
        report.end = match self.by_priority(&mut report) {
            Ok(end) | Err(end) => end,
        };
        under.end = report.end;
        if report.values() > 0 || report.damaged > 0 {
            tracing::info!(
                values = report.values(), bytes = %report.bytes(), left = report.left,
                damaged = report.damaged, end = ?report.end,
                "what was spilled is loaded back"
            );
        }
        if report.values() > 0
            && let Ok(inner) = self.inner()
        {
            lock(&inner.state).statistics.load_backs += 1;
        }
        drop(under);
        report
    }

    /// How it ended when all were asked, or why not all were.
    fn by_priority(
        self: &Arc<Self>,
        report: &mut LoadBackReport,
    ) -> Result<LoadBackEnd, LoadBackEnd> {
        let mut end = LoadBackEnd::Done;
        let asker = self.inner()?.asker.clone();
        let mut entries = asker.registry.all();
        entries.retain(|entry| entry.loads_back);
        for priority in Priority::ALL.into_iter().rev() {
            let mut was_refused = false;
            for entry in &entries {
                match self.one(&asker, priority, entry, report)? {
                    Did::All => {}
                    Did::WasRefused => was_refused = true,
                    Did::Failed => end = LoadBackEnd::Failed,
                }
            }
            if was_refused {
                // What is less dear does not take its place.
                return Err(LoadBackEnd::NoRoom);
            }
        }
        Ok(end)
    }

    /// Has one load back, again when its time was over.
    fn one(
        self: &Arc<Self>,
        asker: &Asker,
        priority: Priority,
        entry: &Entry,
        report: &mut LoadBackReport,
    ) -> Result<Did, LoadBackEnd> {
        loop {
            if self.judge()? == Bytes::ZERO {
                return Err(LoadBackEnd::NoRoom);
            }
            let deadline = lock(&self.inner()?.settings).call_deadline;
            let ration = self.ration(deadline / 2);
            let (reclaimer, given) = (Arc::clone(&entry.reclaimer), Arc::clone(&ration));
            let gives_up = || self.end().is_some();
            let called = asker.call_unless(
                (Who::LoadBack(entry.id), &entry.name),
                "load back",
                (deadline, Some(&gives_up)),
                (),
                move || reclaimer.load_back(priority, &given),
            );
            let end = ration.end();
            // Whoever is late loads nothing more.
            ration.finish(LoadBackEnd::Stopped);
            // It asks this round, which would keep it, and itself, for ever.
            lock(&self.stopped).ration = None;
            let done = match called {
                Ok(done) => done,
                Err(outcome) => {
                    self.failed(&entry.name, &outcome);
                    return self.end().map_or(Ok(Did::Failed), Err);
                }
            };
            if let Ok(inner) = self.inner() {
                inner.count_loaded(&done);
            }
            report.add(&done);
            match end {
                // Again at once, unless it only reads what is not its own.
                Some(LoadBackEnd::TimeOver) if done.values() > 0 => {}
                Some(LoadBackEnd::TimeOver) => return Ok(Did::Failed),
                None if ration.was_refused() => return Ok(Did::WasRefused),
                None => return Ok(Did::All),
                Some(end) => return Err(end),
            }
        }
    }

    fn failed(&self, name: &str, outcome: &Outcome) {
        if let Outcome::Panicked(message) = outcome {
            tracing::error!(message, name, "loading back panicked");
            if let Ok(inner) = self.inner() {
                lock(&inner.state).statistics.load_back_failures += 1;
            }
        }
    }
}

/// Up to where memory is filled again, in hundredths of a percent.
fn line_of(thresholds: &Thresholds) -> u64 {
    let exit = thresholds.steps()[0].exit;
    let line = (exit - LOAD_BACK_HEADROOM).max(exit / 2.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a checked threshold lies between 0 and 1"
    )]
    let hundredths = (line * 10_000.0) as u64;
    hundredths
}

#[cfg(test)]
mod tests {
    use super::*;
    use grey_model::Threshold;

    #[test]
    fn loading_back_ends_below_the_end_of_the_soft_level() {
        assert_eq!(line_of(&Thresholds::of::<Level>()), 7200);
        let low = [0.04, 0.5, 0.9].map(|enter| Threshold {
            enter,
            exit: enter / 2.0,
        });
        let low = Thresholds::new::<Level>(low).unwrap();
        assert_eq!(line_of(&low), 100);
    }
}
