//! How much is asked of whom, in which order, and what the kernel got back.
//!
//! Asks for a computed amount: never "until the resident set falls", which it
//! may not do for a long time, or ever.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use grey_model::{Bytes, Priority};

use super::busy::{Busy, Who};
use super::call::{Called, Caller, Patience};
use super::registry::{Entry, ReclaimerId, Registry};
use super::state::lock;
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimed, Reclaimer, Stop};
use crate::source::MemorySource;

/// How asking one reclaimer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It says that it gave this back.
    Gave(Bytes),
    /// It panicked, with this message.
    Panicked(String),
    /// It had not returned when its time was over.
    Late,
    /// It has not returned from an earlier call.
    Busy,
    /// It could not be called.
    NotCalled(&'static str),
}

impl Outcome {
    /// What went wrong, in words.
    pub(super) fn error(&self, name: &str) -> Option<String> {
        match self {
            Self::Gave(_) => None,
            Self::Panicked(message) => Some(format!("`{name}` panicked: {message}")),
            Self::Late => Some(format!("`{name}` did not return in time")),
            Self::Busy => Some(format!("`{name}` has not returned from an earlier call")),
            Self::NotCalled(why) => Some(format!("`{name}` was not called: {why}")),
        }
    }
}

/// What a round of asking gave.
#[derive(Debug, Clone, Default)]
pub struct Reclamation {
    /// How much was wanted.
    pub target: Bytes,
    /// What the reclaimers say they did, together.
    pub given: Reclaimed,
    /// How each call ended, in the order of the calls.
    pub calls: Vec<(String, ReclaimMode, Outcome)>,
    /// How many reclaimers there were.
    pub candidates: usize,
    /// What the kernel got back: the resident set before the first call less
    /// that after the allocator was purged and had settled. `None` when it
    /// could not be read or was not purged.
    pub freed: Option<Bytes>,
    /// Whether the allocator was purged after.
    pub(super) is_settled: bool,
    /// Who says to have given something.
    pub(super) givers: Vec<ReclaimerId>,
}

impl Reclamation {
    /// What went wrong, in words.
    pub(super) fn errors(&self) -> Vec<String> {
        self.errors_but(|_| false)
    }

    /// What went wrong now: not who was passed over because of an earlier call.
    pub(super) fn failures(&self) -> Vec<String> {
        self.errors_but(|outcome| *outcome == Outcome::Busy)
    }

    /// What went wrong and was not told yet: who is late was told of when its
    /// time was over.
    pub(super) fn news(&self) -> Vec<String> {
        self.errors_but(|outcome| matches!(outcome, Outcome::Late | Outcome::Busy))
    }

    fn errors_but(&self, is_passed_over: impl Fn(&Outcome) -> bool) -> Vec<String> {
        self.calls
            .iter()
            .filter(|(_, _, outcome)| !is_passed_over(outcome))
            .filter_map(|(name, _, outcome)| outcome.error(name))
            .collect()
    }

    pub(super) fn is_late(&self) -> bool {
        self.calls
            .iter()
            .any(|(_, _, outcome)| *outcome == Outcome::Late)
    }
}

/// One pass over the reclaimers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stage {
    /// How.
    pub(super) mode: ReclaimMode,
    /// By rising priority, from this one on.
    from: Priority,
    /// Up to this one.
    pub(super) to: Priority,
    /// Of those alone who know this mode, too.
    also_knows: ReclaimMode,
}

impl Stage {
    /// What is of `to` or lower, the lowest first.
    pub(super) const fn up_to(mode: ReclaimMode, to: Priority) -> Self {
        Self {
            mode,
            from: Priority::Low,
            to,
            also_knows: mode,
        }
    }

    /// The same in one step: earlier stages have asked for what is lower.
    pub(super) const fn at(mode: ReclaimMode, priority: Priority) -> Self {
        Self {
            mode,
            from: priority,
            to: priority,
            also_knows: mode,
        }
    }

    /// Only of those who would be asked by `mode` otherwise.
    pub(super) const fn instead_of(self, mode: ReclaimMode) -> Self {
        Self {
            also_knows: mode,
            ..self
        }
    }

    fn thresholds(self) -> impl Iterator<Item = Priority> {
        let Self { from, to, .. } = self;
        Priority::ALL
            .into_iter()
            .filter(move |step| step.is_evictable() && (from..=to).contains(step))
    }

    fn asks(self, offer: &Offer, threshold: Priority) -> bool {
        offer.priority <= threshold
            && offer.modes.contains(&self.mode)
            && offer.modes.contains(&self.also_knows)
    }
}

/// What stays the same over the calls of a round.
#[derive(Debug, Clone)]
pub(super) struct Round {
    pub(super) target: Bytes,
    pub(super) excluded_projects: Vec<String>,
    /// How large the budget is, and what is reserved of it if that is more.
    pub(super) budget: Bytes,
    pub(super) call_deadline: Duration,
    /// When the allocator is purged after, and the resident set measured.
    pub(super) purge: PurgeAfter,
}

/// When a round ends with a purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PurgeAfter {
    /// Never: the kernel need not get anything back.
    Never,
    /// Where somebody gave something.
    WhatWasGiven,
    /// Whatever was given.
    Always,
}

/// The shortest that a call is waited for, unless its deadline is shorter.
const LEAST_PATIENCE: Duration = Duration::from_millis(100);

impl Round {
    /// How long the next call is waited for: half as long after each that was
    /// late, so that many that hang do not keep the others waiting many times
    /// the deadline.
    pub(super) fn patience(&self, done: &Reclamation) -> Duration {
        let late = done
            .calls
            .iter()
            .filter(|(_, _, outcome)| *outcome == Outcome::Late)
            .count();
        let parts = u32::try_from(late)
            .ok()
            .and_then(|late| 2_u32.checked_pow(late))
            .unwrap_or(u32::MAX);
        (self.call_deadline / parts).max(LEAST_PATIENCE.min(self.call_deadline))
    }
}

/// What somebody could give.
struct Offer {
    id: ReclaimerId,
    name: Arc<str>,
    reclaimer: Arc<dyn Reclaimer>,
    priority: Priority,
    modes: Vec<ReclaimMode>,
    /// What it may say yet that it gave: what it said it could give, and no more
    /// than the process or the budget holds.
    left: Cell<Bytes>,
}

impl Offer {
    /// What somebody says that he did, within what can be true.
    fn believed(&self, said: Reclaimed) -> Reclaimed {
        let freed = said.freed.min(self.left.get());
        self.left.set(self.left.get().saturating_sub(freed));
        let mut left = freed;
        let by_project = said.by_project.into_iter().map(|(name, bytes)| {
            let bytes = bytes.min(left);
            left = left.saturating_sub(bytes);
            (name, bytes)
        });
        Reclaimed {
            by_project: by_project.collect(),
            freed,
            // A thing weighs a byte at least.
            entries: said.entries.min(freed.get()),
            spilled: said.spilled.min(freed),
        }
    }
}

/// Asks reclaimers, with all that this needs.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    pub(super) registry: Registry,
    pub(super) caller: Caller,
    pub(super) source: Arc<dyn MemorySource>,
    /// Who has not returned.
    pub(super) busy: Busy,
    /// Who said to have given something of which nobody saw anything. They are
    /// asked, and what they say is not counted.
    pub(super) doubted: Arc<Mutex<BTreeSet<ReclaimerId>>>,
}

impl Asker {
    /// Asks by one stage after the other, in each by rising priority, until
    /// the target is given back.
    pub(super) fn ask(&self, round: &Round, stages: &[Stage]) -> Reclamation {
        let before = self.source.rss().ok();
        let mut done = Reclamation {
            target: round.target,
            ..Reclamation::default()
        };
        let most = before.unwrap_or_default().max(round.budget);
        let offers = self.offers(round, most, &mut done);
        done.candidates = offers.len();
        let doubted = lock(&self.doubted).clone();
        let mut counted = Bytes::ZERO;
        for stage in stages {
            for threshold in stage.thresholds() {
                for offer in &offers {
                    let left = round.target.saturating_sub(counted);
                    if left == Bytes::ZERO {
                        break;
                    }
                    if stage.asks(offer, threshold) {
                        let before = done.given.freed;
                        let is_doubted = doubted.contains(&offer.id);
                        if is_doubted && done.givers.contains(&offer.id) {
                            // Enough from one who may be saying the truth.
                            continue;
                        }
                        self.one(offer, round, (stage.mode, threshold), left, &mut done);
                        if !is_doubted {
                            let gave = done.given.freed.saturating_sub(before);
                            counted = counted.saturating_add(gave);
                        }
                    }
                }
            }
        }
        done.is_settled = match round.purge {
            PurgeAfter::Never => false,
            PurgeAfter::WhatWasGiven => done.given != Reclaimed::default(),
            PurgeAfter::Always => true,
        };
        if done.is_settled {
            done.freed = self.settle(before);
        }
        done
    }

    /// Compares what was said with what was `seen`, by the kernel or by the
    /// budget: who gave is doubted, or believed again.
    pub(super) fn believe(&self, done: &Reclamation, seen: Bytes) {
        let given = done.given.freed;
        let mut doubted = lock(&self.doubted);
        if seen < given.scale(1, 8) {
            doubted.extend(&done.givers);
        } else if seen >= given.scale(4, 5) {
            for giver in &done.givers {
                doubted.remove(giver);
            }
        }
    }

    /// Purges the allocator, and measures against `before`.
    fn settle(&self, before: Option<Bytes>) -> Option<Bytes> {
        match self.source.purge() {
            Ok(purge) => before.map(|before| before.saturating_sub(purge.after)),
            Err(error) => {
                tracing::warn!(%error, "the allocator could not be purged");
                None
            }
        }
    }

    /// Who is there, by rising priority; among equals who holds the most. Nobody
    /// is believed to have given more than `bound`.
    fn offers(&self, round: &Round, bound: Bytes, done: &mut Reclamation) -> Vec<Offer> {
        let mut offers = Vec::new();
        let registered = self.registry.all();
        let ids: BTreeSet<_> = registered.iter().map(|entry| entry.id).collect();
        self.busy.keep(|who| match who {
            Who::Reclaimer(id) => ids.contains(&id),
            Who::Callback(_) => true,
            // Have no reserved place.
            Who::Work(_) | Who::LoadBack(_) => false,
        });
        lock(&self.doubted).retain(|id| ids.contains(id));
        for entry in registered {
            let Entry {
                id,
                name,
                reclaimer,
                ..
            } = entry;
            let asked = Arc::clone(&reclaimer);
            let question = move || {
                let modes = asked.modes().to_vec();
                let said: Vec<Bytes> = modes.iter().map(|mode| asked.reclaimable(*mode)).collect();
                (asked.priority(), modes, said)
            };
            let who = (Who::Reclaimer(id), &name);
            match self.call(who, "ask", round.patience(done), question) {
                Ok((priority, modes, said)) => {
                    let most = said.iter().copied().max().unwrap_or_default();
                    // What goes by one mode may not be what goes by another.
                    let all = said.into_iter().fold(Bytes::ZERO, Bytes::saturating_add);
                    if priority.is_evictable() && most > Bytes::ZERO {
                        offers.push((
                            most,
                            Offer {
                                id,
                                name,
                                reclaimer,
                                priority,
                                modes,
                                left: Cell::new(all.min(bound)),
                            },
                        ));
                    }
                }
                Err(outcome) => {
                    done.calls
                        .push((name.to_string(), ReclaimMode::Trim, outcome));
                }
            }
        }
        offers.sort_by(|(most, a), (other, b)| a.priority.cmp(&b.priority).then(other.cmp(most)));
        offers.into_iter().map(|(_, offer)| offer).collect()
    }

    fn one(
        &self,
        offer: &Offer,
        round: &Round,
        (mode, threshold): (ReclaimMode, Priority),
        left: Bytes,
        done: &mut Reclamation,
    ) {
        let patience = round.patience(done);
        let request = ReclaimRequest {
            target: left,
            mode,
            threshold,
            excluded_projects: round.excluded_projects.clone(),
            deadline: super::run::later(patience),
        };
        let reclaimer = Arc::clone(&offer.reclaimer);
        let stop = Arc::new(Stop::new());
        let asked = Arc::clone(&stop);
        let who = Who::Reclaimer(offer.id);
        let called = self.call((who, &offer.name), "reclaim", patience, move || {
            reclaimer.reclaim(&request, &asked)
        });
        if called.is_ok() {
            self.busy.prove(who);
        }
        let outcome = match called.map(|said| offer.believed(said)) {
            Ok(given) if given == Reclaimed::default() => return,
            Ok(given) => {
                let freed = given.freed;
                done.given.add(given);
                done.givers.push(offer.id);
                Outcome::Gave(freed)
            }
            Err(outcome) => {
                stop.ask();
                outcome
            }
        };
        done.calls.push((offer.name.to_string(), mode, outcome));
    }

    /// Calls one, unless it has not returned from before.
    pub(super) fn call<T: Send + 'static>(
        &self,
        who: (Who, &Arc<str>),
        what: &str,
        deadline: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Outcome> {
        self.call_unless(who, what, (deadline, None), (), work)
    }

    /// The same, waiting no longer once the patience is over. What is `kept` is
    /// dropped when it has come back and that is known.
    pub(super) fn call_unless<T: Send + 'static>(
        &self,
        (who, name): (Who, &Arc<str>),
        what: &str,
        patience: Patience<'_>,
        kept: impl Send + 'static,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Outcome> {
        if !self.busy.begin(who, name) {
            return Err(Outcome::Busy);
        }
        let busy = self.busy.clone();
        let is_of_an_action = matches!(who, Who::Reclaimer(_) | Who::Work(_));
        let inside = move || {
            INSIDE.set(is_of_an_action);
            work()
        };
        let is_proven = self.busy.is_proven(who);
        let called = self
            .caller
            .call(what, is_proven, patience, inside, move || {
                busy.end(who);
                drop(kept);
            });
        match called {
            Called::Returned(value) => Ok(value),
            Called::Panicked(message) => Err(Outcome::Panicked(message)),
            Called::Late => {
                self.busy.is_late(who);
                Err(Outcome::Late)
            }
            Called::NotMade(why) => {
                self.busy.end(who);
                Err(Outcome::NotCalled(why))
            }
        }
    }
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs a reclaimer, or work of the program's own, for a
/// controller: it must not wait for a controller then.
pub(super) fn is_inside_an_action() -> bool {
    INSIDE.get()
}
