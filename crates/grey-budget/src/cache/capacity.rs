//! Who of the priorities may fill how much of the cache: what nobody uses goes
//! to whoever needs it, and what goes later takes from what goes first.
//!
//! Only numbers; never evicts.

use grey_model::Priority;

/// The priorities that may be evicted, each with a capacity of its own.
pub(super) const CLASSES: usize = 3;

/// Room is moved in steps of this part of the whole.
const STEPS: u64 = 32;

/// A priority in use keeps at least this part of the whole.
const LEAST_PARTS: u64 = 64;

/// How the capacity is given to the priorities.
#[derive(Debug, Clone)]
pub(super) struct Grants {
    /// What it may hold when the budget is open, and what it may hold now.
    wanted: u64,
    total: u64,
    /// What it held when the budget closed.
    frozen: Option<u64>,
    /// The most that a priority may be given.
    limits: [u64; CLASSES],
    given: [u64; CLASSES],
    /// Held by what is critical or pinned.
    kept: u64,
    /// Taken from one and not yet given to another.
    moving: u64,
}

/// Room that goes from one priority to another, or (`from` is `None`) was free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) from: Option<usize>,
    pub(super) bytes: u64,
}

impl Grants {
    /// All to medium, until others come.
    pub(super) fn new(total: u64) -> Self {
        let mut given = [0; CLASSES];
        given[Priority::Medium.index()] = total;
        Self {
            wanted: total,
            total,
            frozen: None,
            limits: [u64::MAX; CLASSES],
            given,
            kept: 0,
            moving: 0,
        }
    }

    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// What the whole may hold when the budget is open.
    pub(super) const fn wanted(&self) -> u64 {
        self.wanted
    }

    /// The whole becomes no more than is `held`, until [`Self::thaw`].
    pub(super) fn freeze(&mut self, held: u64, sole: Option<usize>) {
        self.frozen = Some(self.frozen.unwrap_or(u64::MAX).min(held));
        self.set_total(self.wanted, sole);
    }

    /// The whole is what is wanted.
    pub(super) fn thaw(&mut self, sole: Option<usize>) {
        self.frozen = None;
        self.set_total(self.wanted, sole);
    }

    pub(super) const fn given(&self, class: usize) -> u64 {
        self.given[class]
    }

    fn free(&self) -> u64 {
        let given = self.given.iter().copied().fold(0, u64::saturating_add);
        self.total
            .saturating_sub(given)
            .saturating_sub(self.kept)
            .saturating_sub(self.moving)
    }

    /// Where the next room for `class` comes from, and how much: what is free,
    /// what others do not use, what goes before it. Not given yet.
    pub(super) fn plan(&self, class: usize, need: u64, used: [u64; CLASSES]) -> Option<Move> {
        let step = (self.total / STEPS).max(need);
        let may = self.limits[class]
            .min(self.total)
            .saturating_sub(self.given[class]);
        let wanted = step.min(may);
        if wanted == 0 {
            return None;
        }
        let free = self.free();
        if free > 0 {
            let bytes = free.min(wanted);
            return Some(Move { from: None, bytes });
        }
        let unused = (0..CLASSES)
            .filter(|other| *other != class)
            .map(|other| (self.given[other].saturating_sub(used[other]), other))
            .max();
        if let Some((unused, other)) = unused.filter(|(unused, _)| *unused >= wanted) {
            let bytes = self.takeable(other).min(unused).min(wanted);
            if bytes > 0 {
                return Some(Move {
                    from: Some(other),
                    bytes,
                });
            }
        }
        (0..class).find_map(|lower| {
            let bytes = self.takeable(lower).min(wanted);
            (bytes > 0).then_some(Move {
                from: Some(lower),
                bytes,
            })
        })
    }

    /// What may be taken of a priority: not its last bit, since a class that
    /// was emptied forgets what it has seen.
    fn takeable(&self, class: usize) -> u64 {
        self.given[class].saturating_sub(self.total / LEAST_PARTS)
    }

    /// Takes what is to be moved from whoever has it. Nobody else gets it.
    pub(super) fn take(&mut self, change: Move) -> u64 {
        let bytes = match change.from {
            Some(class) => {
                let bytes = change.bytes.min(self.given[class]);
                self.given[class] -= bytes;
                bytes
            }
            None => change.bytes.min(self.free()),
        };
        self.moving += bytes;
        bytes
    }

    /// Gives `bytes` that were taken to `class`, as far as they still fit.
    pub(super) fn give(&mut self, class: usize, bytes: u64) {
        self.moving = self.moving.saturating_sub(bytes);
        self.grow(class, bytes);
    }

    fn grow(&mut self, class: usize, bytes: u64) {
        let bytes = bytes.min(self.free());
        self.given[class] = self.given[class].saturating_add(bytes);
    }

    /// Makes the whole larger or smaller: low shrinks first. What is new is
    /// free, or medium's when nothing else is `in_use`.
    pub(super) fn set_total(&mut self, total: u64, sole: Option<usize>) {
        self.wanted = total;
        self.total = total.min(self.frozen.unwrap_or(u64::MAX));
        self.fit();
        if let Some(sole) = sole {
            let free = self
                .free()
                .min(self.limits[sole].saturating_sub(self.given[sole]));
            self.grow(sole, free);
        }
    }

    /// Bounds a priority.
    pub(super) fn set_limit(&mut self, class: usize, limit: u64, sole: Option<usize>) {
        self.limits[class] = limit;
        self.given[class] = self.given[class].min(limit);
        self.set_total(self.wanted, sole);
    }

    /// Makes room for what is kept, from what goes first. `false` when what
    /// may be evicted is not enough. Bounded by what is wanted: a closed budget
    /// takes nothing new that would be kept, and what is held already may
    /// become kept.
    pub(super) fn keep(&mut self, bytes: u64) -> bool {
        let kept = self.kept.saturating_add(bytes);
        if kept > self.wanted {
            return false;
        }
        self.kept = kept;
        self.fit();
        true
    }

    /// Notes what is kept although there may be no room for it.
    pub(super) fn keep_anyway(&mut self, bytes: u64) {
        self.kept = self.kept.saturating_add(bytes);
        self.fit();
    }

    /// What was kept is not any more. The room is free, or `sole`'s.
    pub(super) fn unkeep(&mut self, bytes: u64, sole: Option<usize>) {
        self.kept = self.kept.saturating_sub(bytes);
        self.set_total(self.wanted, sole);
    }

    /// Shrinks low, then medium, then high, until all fits.
    fn fit(&mut self) {
        for class in 0..CLASSES {
            let given = self.given.iter().copied().fold(0, u64::saturating_add);
            let over = given.saturating_add(self.kept).saturating_sub(self.total);
            self.given[class] = self.given[class].saturating_sub(over);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOW: usize = 0;
    const MEDIUM: usize = 1;
    const HIGH: usize = 2;

    fn moved(grants: &mut Grants, class: usize, need: u64, used: [u64; CLASSES]) -> Option<Move> {
        let plan = grants.plan(class, need, used)?;
        let bytes = grants.take(plan);
        grants.give(class, bytes);
        Some(plan)
    }

    #[test]
    fn what_nobody_uses_is_taken_before_what_somebody_uses() {
        let mut grants = Grants::new(6400);
        let plan = moved(&mut grants, HIGH, 100, [0, 1000, 0]).unwrap();
        assert_eq!(
            plan,
            Move {
                from: Some(MEDIUM),
                bytes: 200
            }
        );
        assert_eq!(grants.given, [0, 6200, 200]);
    }

    #[test]
    fn high_takes_from_low_before_it_takes_from_medium() {
        let mut grants = Grants::new(6400);
        grants.given = [3200, 3200, 0];
        let plan = moved(&mut grants, HIGH, 100, [3200, 3200, 0]).unwrap();
        assert_eq!(plan.from, Some(LOW));
        grants.given = [100, 6300, 0];
        let plan = moved(&mut grants, HIGH, 100, [100, 6300, 0]).unwrap();
        assert_eq!(plan.from, Some(MEDIUM), "low keeps a 64th");
    }

    #[test]
    fn low_takes_from_nobody_who_uses_it() {
        let mut grants = Grants::new(6400);
        assert_eq!(moved(&mut grants, LOW, 100, [0, 6400, 0]), None);
    }

    #[test]
    fn a_limit_bounds_what_a_priority_is_given() {
        let mut grants = Grants::new(6400);
        grants.set_limit(HIGH, 150, None);
        for _ in 0..10 {
            let used = [0, 0, grants.given[HIGH]];
            moved(&mut grants, HIGH, 100, used);
        }
        assert_eq!(grants.given[HIGH], 150);
        grants.set_limit(MEDIUM, 1000, None);
        assert_eq!(grants.given[MEDIUM], 1000);
    }

    #[test]
    fn what_is_kept_is_bounded_by_what_is_wanted_and_not_by_what_was_frozen() {
        let mut grants = Grants::new(6400);
        grants.freeze(100, None);
        assert!(grants.keep(6000));
        assert_eq!(grants.given, [0; CLASSES]);
        assert!(!grants.keep(401));
        assert!(grants.keep(400));
    }

    proptest! {
        #[test]
        fn the_whole_is_never_given_twice(
            steps in prop::collection::vec((0usize..3, 0u64..3000, 0u8..5), 1..60),
        ) {
            let mut grants = Grants::new(10_000);
            let mut kept = 0;
            for (class, bytes, what) in steps {
                match what {
                    0 => grants.set_total(bytes * 5, None),
                    1 => grants.set_limit(class, bytes, Some(MEDIUM)),
                    2 => if grants.keep(bytes) { kept += bytes },
                    3 => { grants.unkeep(bytes.min(kept), None); kept -= bytes.min(kept) }
                    _ => { let used = grants.given; moved(&mut grants, class, bytes, used); }
                }
                let given: u64 = grants.given.iter().sum();
                prop_assert!(given + kept <= grants.total.max(kept), "{grants:?}");
            }
        }
    }
}
