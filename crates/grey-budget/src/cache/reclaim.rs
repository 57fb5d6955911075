//! Giving memory back when the budget asks: how much is computed before, low
//! goes before medium before high, and critical and pinned stay.
//!
//! Within a priority goes first what was not used for longest (in steps of
//! twice the time), then what is cheapest to make again for each byte, then
//! what is older. Nothing is dropped, written or copied under a lock.

use std::cmp::Reverse;
use std::hash::Hash;
use std::sync::atomic::Ordering;
use std::time::Instant;

use grey_model::{Bytes, Priority};

use super::account::{SpillSide, count};
use super::capacity::CLASSES;
use super::core::{Cache, Inner, KEPT};
use super::slot::{NEVER, Slot, TICK_MS};
use crate::load_back::{LoadBackRation, LoadBackReport};
use crate::reclaimer::{ReclaimMode, ReclaimRequest, Reclaimed, Reclaimer, Stop};

/// How many entries are chosen at once: what choosing them takes is bounded.
const CHUNK: usize = 1 << 16;

/// The clock and `stop` are looked at once in so many entries.
const LOOK_EVERY: usize = 64;

/// After so many writes in a row that fail, no more are tried.
const MOST_FAILURES: usize = 8;

/// Ages by doubling, from 0 ticks to all of them.
const AGES: usize = 33;

/// Costs for each byte by doubling: the exponents of an `f32`.
const COSTS: usize = 256;

/// One entry that may go.
struct Candidate<K> {
    key: K,
    id: u64,
    weight: u64,
    project: u32,
    rank: Rank,
}

/// What goes first is smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    bucket: usize,
    cost: u32,
    younger: Reverse<u32>,
}

impl Rank {
    pub(super) fn of<V>(slot: &Slot<V>, tick: u32) -> Self {
        let age = tick.saturating_sub(slot.touched());
        let doubled = usize::try_from(u32::BITS - age.leading_zeros()).unwrap_or_default();
        #[expect(
            clippy::cast_precision_loss,
            reason = "the order of costs needs no more than a float has"
        )]
        let for_each_byte = slot.cost() / slot.weight() as f32;
        // Of floats that are not negative, the bits order as the values do.
        let cost = for_each_byte.to_bits();
        let exponent = usize::try_from(cost >> 23).unwrap_or_default() % COSTS;
        Self {
            bucket: (AGES - 1 - doubled) * COSTS + exponent,
            cost,
            younger: Reverse(age),
        }
    }
}

/// What one call is about, and how far it is.
struct Work<'a> {
    request: &'a ReclaimRequest,
    stop: &'a Stop,
    wanted: u64,
    tick: u32,
    projects: ProjectFilter,
    done: Reclaimed,
    by_project: Vec<(u32, u64)>,
    handled: usize,
}

/// Projects whose things stay, by number.
struct ProjectFilter(Vec<u32>);

impl ProjectFilter {
    fn lets_go(&self, project: u32) -> bool {
        project == 0 || !self.0.contains(&project)
    }
}

impl Work<'_> {
    fn missing(&self) -> u64 {
        self.wanted.saturating_sub(self.done.freed.get())
    }

    /// Whether the call should end, wanted or not.
    fn is_over(&mut self) -> bool {
        self.handled += 1;
        self.handled.is_multiple_of(LOOK_EVERY)
            && (self.stop.is_asked() || Instant::now() >= self.request.deadline)
    }

    fn took(&mut self, project: u32, weight: u64, spilled: bool) {
        self.done.freed = self.done.freed.saturating_add(Bytes(weight));
        self.done.entries += 1;
        if spilled {
            self.done.spilled = self.done.spilled.saturating_add(Bytes(weight));
        }
        if project == 0 {
            return;
        }
        match self
            .by_project
            .iter_mut()
            .find(|(other, _)| *other == project)
        {
            Some((_, bytes)) => *bytes += weight,
            None => self.by_project.push((project, weight)),
        }
    }
}

/// How a pass over one class ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Nothing is left that may go.
    Empty,
    /// There may be more.
    More,
    /// The call is over.
    Over,
}

impl<K, V> Inner<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn stale_ticks(&self) -> u32 {
        let ticks = self.settings.stale_after.as_millis() / u128::from(TICK_MS);
        u32::try_from(ticks).unwrap_or(NEVER)
    }

    /// Drops what is expired, in whatever class: nobody can read it any more.
    fn drop_expired(&self, work: &mut Work<'_>) -> Pass {
        if !self.has_ttl.load(Ordering::Relaxed) {
            return Pass::Empty;
        }
        for class in 0..=KEPT {
            loop {
                let mut expired = Vec::new();
                let tick = work.tick;
                self.visit(class, |key, slot| {
                    if slot.is_expired(tick) && expired.len() < CHUNK {
                        expired.push((key.clone(), slot.id(), slot.project()));
                    }
                });
                let full = expired.len() == CHUNK;
                for (key, id, project) in expired {
                    if let Some(weight) = self.remove_exact(class, &key, id) {
                        count(&self.account.counters().expired);
                        work.took(project, weight, false);
                    }
                    if work.is_over() {
                        return Pass::Over;
                    }
                }
                if !full {
                    break;
                }
            }
        }
        Pass::Empty
    }

    /// Takes what goes first out of a class, until enough is free.
    fn take_from(&self, class: usize, work: &mut Work<'_>, unused_for: u32) -> Pass {
        while work.missing() > 0 {
            let candidates = self.choose(class, work, unused_for);
            let before = work.done.entries;
            match self.take_chosen(class, candidates, work) {
                Pass::More if work.done.entries > before => {}
                Pass::Over => return Pass::Over,
                _ => return Pass::Empty,
            }
        }
        Pass::Over
    }

    /// The entries of a class that go first, as many as are needed or as may
    /// be chosen at once, in order.
    fn choose(&self, class: usize, work: &Work<'_>, unused_for: u32) -> Vec<Candidate<K>> {
        let tick = work.tick;
        let may_go = |slot: &Slot<V>| {
            tick.saturating_sub(slot.touched()) >= unused_for
                && work.projects.lets_go(slot.project())
        };
        let mut weights = vec![0_u64; AGES * COSTS];
        self.visit(class, |_, slot| {
            if may_go(slot) {
                weights[Rank::of(slot, tick).bucket] += slot.weight();
            }
        });
        let mut sum = 0_u64;
        let last = weights
            .iter()
            .position(|weight| {
                sum = sum.saturating_add(*weight);
                sum >= work.missing()
            })
            .unwrap_or(AGES * COSTS);
        let mut chosen: Vec<Candidate<K>> = Vec::new();
        self.visit(class, |key, slot| {
            if chosen.len() >= CHUNK || !may_go(slot) {
                return;
            }
            let rank = Rank::of(slot, tick);
            if rank.bucket <= last {
                chosen.push(Candidate {
                    key: key.clone(),
                    id: slot.id(),
                    weight: slot.weight(),
                    project: slot.project(),
                    rank,
                });
            }
        });
        chosen.sort_unstable_by_key(|candidate| candidate.rank);
        let mut sum = 0_u64;
        let needed = chosen
            .iter()
            .position(|candidate| {
                sum = sum.saturating_add(candidate.weight);
                sum >= work.missing()
            })
            .map_or(chosen.len(), |last| last + 1);
        chosen.truncate(needed);
        chosen
    }

    fn take_chosen(&self, class: usize, chosen: Vec<Candidate<K>>, work: &mut Work<'_>) -> Pass {
        let mode = work.request.mode;
        let spill = self.account.spill.as_ref().filter(|spill| match mode {
            ReclaimMode::Spill => true,
            // What is stale may still be asked for.
            ReclaimMode::Trim => spill.on_evict,
            ReclaimMode::Unload | ReclaimMode::Evict => false,
        });
        let mut failures = 0;
        for candidate in chosen {
            if work.is_over() {
                return Pass::Over;
            }
            let mut is_written = false;
            if let Some(spill) = spill.filter(|_| failures < MOST_FAILURES) {
                is_written = self.write_candidate(spill, class, &candidate);
                failures = if is_written { 0 } else { failures + 1 };
            }
            if mode == ReclaimMode::Spill && !is_written {
                if failures >= MOST_FAILURES {
                    return Pass::Over;
                }
                continue;
            }
            let Some(weight) = self.remove_exact(class, &candidate.key, candidate.id) else {
                continue;
            };
            if !is_written {
                count(&self.account.counters().evictions);
            }
            work.took(candidate.project, weight, is_written);
        }
        Pass::More
    }

    /// Notes that number `id` goes to the target; whether it is still what its
    /// key has. Who removed or replaced it before that note did not know of it.
    pub(super) fn leaves_unchanged(&self, hash: u64, key: &K, id: u64) -> bool {
        self.account.away.leave(hash, id);
        let is_there = self.peek(key).is_some_and(|(_, slot)| slot.id() == id);
        if !is_there {
            self.account.away.abandon(hash, id);
        }
        is_there
    }

    /// Writes an entry that is still in memory, and can be read all the while.
    fn write_candidate(
        &self,
        spill: &SpillSide<K, V>,
        class: usize,
        candidate: &Candidate<K>,
    ) -> bool {
        let Some((_, slot)) = self
            .peek(&candidate.key)
            .filter(|(found, slot)| *found == class && slot.id() == candidate.id)
        else {
            return false;
        };
        let hash = self.account.hash(&candidate.key);
        if !self.leaves_unchanged(hash, &candidate.key, candidate.id) {
            return false;
        }
        self.account
            .write(spill, hash, &candidate.key, &slot)
            .is_some()
    }

    fn reclaim(&self, request: &ReclaimRequest, stop: &Stop) -> Reclaimed {
        let knows = match request.mode {
            ReclaimMode::Trim | ReclaimMode::Evict => true,
            ReclaimMode::Unload => self.settings.reloadable,
            ReclaimMode::Spill => self.account.spill.is_some(),
        };
        if !knows {
            return Reclaimed::default();
        }
        // What others are freeing now is as good as free.
        let wanted = request.target.get();
        let credit = self.reclaiming.fetch_add(wanted, Ordering::SeqCst);
        let wanted = wanted.saturating_sub(credit);
        let _reclaiming = Reclaiming(&self.reclaiming, request.target.get());
        let mut work = Work {
            request,
            stop,
            wanted,
            tick: self.account.look_at_clock(),
            projects: ProjectFilter(
                request
                    .excluded_projects
                    .iter()
                    .filter_map(|name| self.project_number(name))
                    .collect(),
            ),
            done: Reclaimed::default(),
            by_project: Vec::new(),
            handled: 0,
        };
        if wanted > 0 && self.drop_expired(&mut work) != Pass::Over {
            self.take_in_order(&mut work);
        }
        self.freeze_lower();
        for (project, bytes) in work.by_project {
            if let Some(name) = self.account.project_name(project) {
                work.done.add_project(&name, Bytes(bytes));
            }
        }
        work.done
    }

    fn take_in_order(&self, work: &mut Work<'_>) {
        let unused_for = match work.request.mode {
            ReclaimMode::Trim => self.stale_ticks(),
            ReclaimMode::Unload | ReclaimMode::Spill | ReclaimMode::Evict => 0,
        };
        for priority in Priority::ALL.into_iter().take(CLASSES) {
            if !work.request.may_take(priority, None) {
                continue;
            }
            if self.take_from(priority.index(), work, unused_for) == Pass::Over {
                return;
            }
        }
    }
}

impl<K: Hash + Eq, V: Clone> Inner<K, V> {
    /// The number of a project that was named before.
    pub(super) fn project_number(&self, name: &str) -> Option<u32> {
        let projects = self
            .account
            .projects
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let place = projects.iter().position(|other| **other == *name)?;
        u32::try_from(place + 1).ok()
    }
}

/// Takes its share off when the call is over, or panics.
struct Reclaiming<'a>(&'a std::sync::atomic::AtomicU64, u64);

impl Drop for Reclaiming<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::SeqCst);
    }
}

impl<K, V> Reclaimer for Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn name(&self) -> &str {
        &self.inner.settings.name
    }

    /// The lowest that it holds, and not below what the whole cache was said
    /// to be.
    fn priority(&self) -> Priority {
        let inner = &*self.inner;
        let held = |priority: &Priority| inner.weight_of(priority.index()) > 0;
        let lowest = Priority::ALL.into_iter().take(CLASSES).find(held);
        inner.settings.priority.max(lowest.unwrap_or(Priority::Low))
    }

    /// For [`ReclaimMode::Trim`] an upper bound: what is expired or stale is
    /// only known once it is looked for.
    fn reclaimable(&self, mode: ReclaimMode) -> Bytes {
        let inner = &*self.inner;
        let tick = inner.account.look_at_clock();
        let may = match mode {
            ReclaimMode::Trim => {
                inner.has_ttl.load(Ordering::Relaxed) || tick > inner.stale_ticks()
            }
            ReclaimMode::Unload => inner.settings.reloadable,
            ReclaimMode::Spill => inner.account.spill.is_some(),
            ReclaimMode::Evict => true,
        };
        if !may {
            return Bytes::ZERO;
        }
        let held: u64 = (0..CLASSES).map(|class| inner.weight_of(class)).sum();
        Bytes(held.saturating_sub(inner.reclaiming.load(Ordering::Relaxed)))
    }

    fn reclaim(&self, request: &ReclaimRequest, stop: &Stop) -> Reclaimed {
        self.inner.reclaim(request, stop)
    }

    fn loads_back(&self) -> bool {
        Self::loads_back(self)
    }

    fn load_back(&self, priority: Priority, ration: &LoadBackRation) -> LoadBackReport {
        self.inner.load_back(priority, ration)
    }

    fn modes(&self) -> &[ReclaimMode] {
        use ReclaimMode::{Evict, Spill, Trim, Unload};
        let spills = self.inner.account.spill.is_some();
        match (self.inner.settings.reloadable, spills) {
            (false, false) => &[Trim, Evict],
            (false, true) => &[Trim, Spill, Evict],
            (true, false) => &[Trim, Unload, Evict],
            (true, true) => &[Trim, Unload, Spill, Evict],
        }
    }
}
