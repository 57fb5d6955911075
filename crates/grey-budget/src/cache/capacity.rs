//! Who of the priorities may fill how much of the cache: each may fill all of
//! it; when the whole is full, what goes first makes room.
//!
//! Only numbers; never evicts.

/// The priorities that may be evicted, each with a capacity of its own.
pub(super) const CLASSES: usize = 3;

/// Room is made in steps of this part of the whole.
const STEPS: u64 = 256;

/// A priority that pushes out its own is let grow again when this part of the
/// whole is free.
const FREE_PARTS: u64 = 64;

/// How large each priority may be.
#[derive(Debug, Clone)]
pub(super) struct Grants {
    /// What it may hold when the budget is open, and what it may hold now.
    wanted: u64,
    total: u64,
    /// What it held when the budget closed.
    frozen: Option<u64>,
    /// The most that a priority may be given.
    limits: [u64; CLASSES],
    /// Of a priority that made room: what it was left with.
    tight: [Option<u64>; CLASSES],
    /// Held by what is critical or pinned.
    kept: u64,
}

impl Grants {
    pub(super) const fn new(total: u64) -> Self {
        Self {
            wanted: total,
            total,
            frozen: None,
            limits: [u64::MAX; CLASSES],
            tight: [None; CLASSES],
            kept: 0,
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
    pub(super) fn freeze(&mut self, held: u64) {
        self.frozen = Some(self.frozen.unwrap_or(u64::MAX).min(held));
        self.set_total(self.wanted);
    }

    /// The whole is what is wanted.
    pub(super) fn thaw(&mut self) {
        self.frozen = None;
        self.set_total(self.wanted);
    }

    /// Makes the whole larger or smaller.
    pub(super) fn set_total(&mut self, total: u64) {
        self.wanted = total;
        self.total = total.min(self.frozen.unwrap_or(u64::MAX));
    }

    /// Bounds a priority.
    pub(super) const fn set_limit(&mut self, class: usize, limit: u64) {
        self.limits[class] = limit;
    }

    /// What all that may be evicted may hold together.
    pub(super) const fn evictable(&self) -> u64 {
        self.total.saturating_sub(self.kept)
    }

    /// How large a priority may be now. Together they may be given more than
    /// there is: the whole is looked after by [`victims`].
    pub(super) fn given(&self, class: usize) -> u64 {
        self.tight[class]
            .unwrap_or(u64::MAX)
            .min(self.limits[class])
            .min(self.evictable())
    }

    /// A priority made room, and fills no more than `left` again.
    pub(super) const fn tighten(&mut self, class: usize, left: u64) {
        self.tight[class] = Some(left);
    }

    /// A priority may fill all again.
    pub(super) const fn loosen(&mut self, class: usize) {
        self.tight[class] = None;
    }

    /// One bit for each priority that made room.
    pub(super) fn tight(&self) -> u8 {
        (0..CLASSES)
            .filter(|class| self.tight[*class].is_some())
            .fold(0, |bits, class| bits | 1 << class)
    }

    /// How much more than needed is made room of at once.
    pub(super) const fn step(&self) -> u64 {
        self.total / STEPS
    }

    /// Whether so much is free that a priority that pushes out its own should
    /// grow in place of that.
    pub(super) const fn is_roomy(&self, free: u64) -> bool {
        free > self.total / FREE_PARTS
    }

    /// Makes room for what is kept. `false` when it would be more than is
    /// wanted: a closed budget takes nothing new that would be kept, and what
    /// is held already may become kept.
    pub(super) const fn keep(&mut self, bytes: u64) -> bool {
        let kept = self.kept.saturating_add(bytes);
        if kept > self.wanted {
            return false;
        }
        self.kept = kept;
        true
    }

    /// Notes what is kept although there may be no room for it.
    pub(super) const fn keep_anyway(&mut self, bytes: u64) {
        self.kept = self.kept.saturating_add(bytes);
    }

    /// What was kept is not any more.
    pub(super) const fn unkeep(&mut self, bytes: u64) {
        self.kept = self.kept.saturating_sub(bytes);
    }
}

/// How much each priority gives, so that `over` is free and up to `step` more:
/// low before medium before high, and none that goes later than the one whose
/// value comes in (`most` is how many may be asked). `None` when all they hold,
/// which is `used`, is not enough.
pub(super) fn victims(
    most: usize,
    over: u64,
    step: u64,
    used: [u64; CLASSES],
) -> Option<[u64; CLASSES]> {
    let mut gives = [0; CLASSES];
    let (mut missing, mut last) = (over, 0);
    for class in (0..most.min(CLASSES)).filter(|class| used[*class] > 0) {
        if missing == 0 {
            break;
        }
        gives[class] = used[class].min(missing);
        missing -= gives[class];
        last = class;
    }
    if missing > 0 {
        return None;
    }
    gives[last] = used[last].min(gives[last].saturating_add(step));
    Some(gives)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOW: usize = 0;
    const HIGH: usize = 2;

    #[test]
    fn low_gives_before_medium_and_none_that_goes_later_gives() {
        assert_eq!(victims(3, 50, 10, [100, 100, 100]), Some([60, 0, 0]));
        assert_eq!(victims(3, 150, 10, [100, 100, 100]), Some([100, 60, 0]));
        assert_eq!(victims(1, 50, 100, [100, 100, 100]), Some([100, 0, 0]));
        assert_eq!(victims(2, 201, 0, [100, 100, 100]), None);
        assert_eq!(victims(3, 5, 10, [0, 0, 100]), Some([0, 0, 15]));
    }

    #[test]
    fn a_limit_and_what_is_kept_bound_what_a_priority_is_given() {
        let mut grants = Grants::new(6400);
        assert_eq!(grants.given(LOW), 6400);
        grants.set_limit(HIGH, 150);
        assert_eq!(grants.given(HIGH), 150);
        assert!(grants.keep(6000));
        assert_eq!(grants.given(LOW), 400);
        grants.tighten(LOW, 300);
        assert_eq!((grants.given(LOW), grants.tight()), (300, 1));
        grants.loosen(LOW);
        assert_eq!((grants.given(LOW), grants.tight()), (400, 0));
    }

    #[test]
    fn what_is_kept_is_bounded_by_what_is_wanted_and_not_by_what_was_frozen() {
        let mut grants = Grants::new(6400);
        grants.freeze(100);
        assert!(grants.keep(6000));
        assert_eq!(grants.evictable(), 0);
        assert!(!grants.keep(401));
        assert!(grants.keep(400));
    }

    proptest! {
        #[test]
        fn who_gives_gives_enough_and_nothing_before_what_goes_first_is_gone(
            most in 1_usize..=CLASSES,
            over in 0_u64..400,
            step in 0_u64..50,
            used in prop::array::uniform3(0_u64..150),
        ) {
            let may: u64 = used[..most].iter().sum();
            let Some(gives) = victims(most, over, step, used) else {
                prop_assert!(may < over);
                return Ok(());
            };
            let sum: u64 = gives.iter().sum();
            prop_assert!(sum >= over && sum <= over + step);
            for class in 0..CLASSES {
                prop_assert!(gives[class] <= used[class]);
                prop_assert!(class < most || gives[class] == 0);
                prop_assert!(gives[class] == 0 || gives[..class] == used[..class]);
            }
        }
    }
}
