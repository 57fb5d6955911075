//! What is followed over time: a bounded series for each process and group, and
//! for each kind of memory of a control group; and what the leak rule says of
//! those that grow.
//!
//! Decides nothing itself: the rule is `grey_policy::leak`. Never judges more
//! in one look than its bound; who was judged longest ago comes first.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use grey_model::{Bytes, LeakVerdict, TracePoint};
use grey_policy::leak::{LeakRule, judge};
use grey_telemetry::cgroup::CgroupGrowth;

use super::series::Series;
use super::shot::{Key, Moved, Trend, What};

/// Who has grown by less than this is not judged.
const WORTH_JUDGING: Bytes = Bytes::from_mib(1);

/// How many are judged in one look.
pub(super) const JUDGED_AT_ONCE: usize = 16;

/// One kind of memory.
#[derive(Debug, Default)]
struct Kind {
    what: What,
    series: Series,
    verdict: Option<LeakVerdict>,
    judged_at: Option<Duration>,
}

#[derive(Debug, Default)]
struct Entry {
    kinds: Vec<Kind>,
    seen: u64,
}

impl Kind {
    fn of(what: What) -> Self {
        Self {
            what,
            ..Self::default()
        }
    }

    /// How far the latest reading is from the first, and whether it grew.
    fn moved(&self) -> (u64, bool) {
        match (self.series.first(), self.series.latest()) {
            (Some(first), Some(latest)) => {
                let (first, latest) = (first.amount.0, latest.amount.0);
                (latest.abs_diff(first), latest > first)
            }
            _ => (0, false),
        }
    }
}

impl Entry {
    fn kind(&mut self, what: What) -> &mut Kind {
        let place = self.kinds.iter().position(|kind| kind.what == what);
        let place = place.unwrap_or_else(|| {
            self.kinds.push(Kind::of(what));
            self.kinds.len() - 1
        });
        &mut self.kinds[place]
    }

    /// Those that the latest reading had: what is told no more is of the past.
    fn told(&self) -> impl Iterator<Item = &Kind> {
        let at = |kind: &Kind| kind.series.latest().map(|latest| latest.at);
        let latest = self.kinds.iter().filter_map(at).max();
        self.kinds.iter().filter(move |kind| at(kind) == latest)
    }

    /// The one with the worst verdict; of several, that moved most.
    fn worst(&self) -> Option<&Kind> {
        let judged = self.told().filter(|kind| kind.verdict.is_some());
        judged.min_by_key(|kind| (kind.verdict, Reverse(kind.moved().0)))
    }
}

/// Everything that is followed.
#[derive(Debug, Default)]
pub(super) struct Follow {
    entries: HashMap<Key, Entry>,
    look: u64,
    keeps: bool,
}

impl Follow {
    /// A new look begins. Of one that does not keep its readings, only those of
    /// what is new are kept: readings are to be evenly apart.
    pub(super) fn begin(&mut self, keeps: bool) {
        self.look += 1;
        self.keeps = keeps;
    }

    /// Takes a reading.
    pub(super) fn take(&mut self, key: Key, point: TracePoint) {
        self.take_kinds(key, [(What::default(), point)]);
    }

    /// Takes the readings of several kinds of memory, of one moment.
    pub(super) fn take_kinds(
        &mut self,
        key: Key,
        points: impl IntoIterator<Item = (What, TracePoint)>,
    ) {
        let entry = self.entries.entry(key).or_default();
        entry.seen = self.look;
        for (what, point) in points {
            let kind = entry.kind(what);
            if self.keeps || kind.series.latest().is_none() {
                kind.series.push(point);
            }
        }
    }

    /// Takes what of a control group can leak.
    pub(super) fn take_cgroup(&mut self, at: Duration, growth: CgroupGrowth) {
        let life = growth.id.0;
        // What the kernel takes back by itself may grow.
        let amounts = growth.amounts().filter(|(of, _)| !of.is_taken_back());
        let points = amounts.map(|(of, amount)| {
            let point = TracePoint { at, amount, life };
            (What::Kind(of), point)
        });
        self.take_kinds(Key::Cgroup(growth.path), points);
    }

    /// How `key` changes.
    pub(super) fn trend(&self, key: &Key) -> Trend {
        let Some(entry) = self.entries.get(key) else {
            return Trend::default();
        };
        let changes = entry.told().filter_map(|kind| kind.series.per_minute());
        let worst = entry.worst();
        Trend {
            per_minute: changes.reduce(i64::saturating_add),
            verdict: worst.and_then(|kind| kind.verdict),
            of: worst.map_or_else(What::default, |kind| kind.what),
        }
    }

    /// The readings of `key`: of the kind that is marked, else of the one that
    /// moved most.
    pub(super) fn moved(&self, key: &Key) -> Moved {
        let Some(entry) = self.entries.get(key) else {
            return Moved::default();
        };
        let is_marked = |kind: &&Kind| kind.verdict.is_some_and(LeakVerdict::grows);
        // Of several that moved as much, the first.
        let most = || entry.told().min_by_key(|kind| Reverse(kind.moved().0));
        let Some(kind) = entry.worst().filter(is_marked).or_else(most) else {
            return Moved::default();
        };
        Moved {
            trace: kind.series.trace(),
            trend: Trend {
                per_minute: kind.series.per_minute(),
                verdict: kind.verdict,
                of: kind.what,
            },
        }
    }

    /// The lives that the readings of `key` are of.
    #[cfg(test)]
    pub(super) fn lives(&self, key: &Key) -> Vec<u64> {
        let kinds = self.entries.get(key).map(|entry| &entry.kinds[0]);
        let trace = kinds.map(|kind| kind.series.trace());
        let points = trace.iter().flat_map(grey_model::Trace::points);
        points.map(|point| point.life).collect()
    }

    /// Forgets those of a kind that was looked at and that are there no more.
    pub(super) fn forget_gone(&mut self, looked_at: impl Fn(&Key) -> bool) {
        let look = self.look;
        self.entries
            .retain(|key, entry| entry.seen == look || !looked_at(key));
    }

    /// Judges at most `most` of those that have grown.
    pub(super) fn judge(&mut self, most: usize) {
        let mut growing: Vec<&mut Kind> = Vec::new();
        let entries = self.entries.values_mut();
        for kind in entries.flat_map(|entry| &mut entry.kinds) {
            // Of a whole usage, cache would look like a leak.
            match has_grown(kind) && kind.what != What::Usage {
                true => growing.push(kind),
                false => kind.verdict = None,
            }
        }
        growing.sort_unstable_by_key(|kind| kind.judged_at);
        for kind in growing.into_iter().take(most) {
            let judgement = judge(&kind.series.trace(), &LeakRule::default(), None);
            kind.verdict = Some(judgement.verdict);
            kind.judged_at = kind.series.latest().map(|latest| latest.at);
        }
    }
}

fn has_grown(kind: &Kind) -> bool {
    let (by, up) = kind.moved();
    up && by >= WORTH_JUDGING.0
}

#[cfg(test)]
mod tests {
    use grey_model::{CgroupPath, GrowthOf, ProcessId};

    use super::*;

    fn key(pid: u32) -> Key {
        Key::Process(ProcessId {
            pid,
            start_time_ticks: 1,
        })
    }

    fn watch(follow: &mut Follow, pid: u32, amount: impl Fn(u64) -> u64) {
        for second in 0..120 {
            let point = TracePoint {
                at: Duration::from_secs(second),
                amount: Bytes(amount(second)),
                life: 1,
            };
            follow.take(key(pid), point);
        }
    }

    #[test]
    fn what_grows_steadily_is_marked_and_what_stays_is_not() {
        let mut follow = Follow::default();
        follow.begin(true);
        watch(&mut follow, 1, |second| (100 + second) << 20);
        watch(&mut follow, 2, |_| 100 << 20);
        follow.judge(JUDGED_AT_ONCE);
        assert_eq!(follow.trend(&key(1)).verdict, Some(LeakVerdict::Leak));
        assert_eq!(follow.trend(&key(1)).per_minute, Some(60 << 20));
        assert_eq!(follow.trend(&key(2)).verdict, None);
        assert_eq!(follow.trend(&key(2)).per_minute, Some(0));
    }

    /// Two minutes of a control group that holds so many MiB of each kind.
    fn watch_group(amounts: impl Fn(u64) -> [(GrowthOf, u64); 3]) -> (Follow, Key) {
        let mut follow = Follow::default();
        follow.begin(true);
        let key = Key::Cgroup(CgroupPath::new(b"/web").unwrap());
        for second in 0..120 {
            let points = amounts(second).map(|(of, amount)| {
                let point = TracePoint {
                    at: Duration::from_secs(second),
                    amount: Bytes::from_mib(amount),
                    life: 1,
                };
                (What::Kind(of), point)
            });
            follow.take_kinds(key.clone(), points);
        }
        follow.judge(JUDGED_AT_ONCE);
        (follow, key)
    }

    #[test]
    fn each_kind_of_memory_is_judged_on_its_own_and_the_worst_is_told() {
        let (follow, key) = watch_group(|second| {
            [
                (GrowthOf::Anonymous, 900 - second * 2),
                (GrowthOf::Shmem, 100 + second),
                (GrowthOf::Kernel, 7),
            ]
        });
        let trend = follow.trend(&key);
        let of = What::Kind(GrowthOf::Shmem);
        assert_eq!((trend.verdict, trend.of), (Some(LeakVerdict::Leak), of));
        // Of all of them; what is opened tells the one.
        assert_eq!(trend.per_minute, Some(-(60 << 20)));
        let moved = follow.moved(&key);
        assert_eq!(
            (moved.trend.of, moved.trend.per_minute),
            (of, Some(60 << 20))
        );
        assert_eq!(moved.trace.points()[0].amount, Bytes::from_mib(100));
    }

    #[test]
    fn of_two_with_the_same_verdict_the_one_that_grew_more_is_told() {
        let (follow, key) = watch_group(|second| {
            [
                (GrowthOf::Anonymous, 100 + second),
                (GrowthOf::Shmem, 100),
                (GrowthOf::Slab, 100 + second * 2),
            ]
        });
        assert_eq!(follow.trend(&key).of, What::Kind(GrowthOf::Slab));
        assert_eq!(follow.trend(&key).per_minute, Some(180 << 20));
    }

    #[test]
    fn where_nothing_is_marked_what_moved_most_is_told() {
        let (follow, key) = watch_group(|second| {
            [
                (GrowthOf::Anonymous, 100),
                (GrowthOf::Shmem, 400 - second),
                (GrowthOf::Slab, 100 - second / 2),
            ]
        });
        assert_eq!(follow.trend(&key).verdict, None);
        assert_eq!(follow.moved(&key).trend.of, What::Kind(GrowthOf::Shmem));
    }

    #[test]
    fn what_is_told_no_more_is_no_change_of_now() {
        let (mut follow, key) = watch_group(|second| {
            [
                (GrowthOf::Anonymous, 100),
                (GrowthOf::Shmem, 100 + second),
                (GrowthOf::Slab, 100),
            ]
        });
        let point = TracePoint {
            at: Duration::from_secs(121),
            amount: Bytes::from_mib(100),
            life: 1,
        };
        follow.take(key.clone(), point);
        let trend = follow.trend(&key);
        assert_eq!((trend.per_minute, trend.verdict), (Some(0), None));
    }

    #[test]
    fn everybody_that_grows_gets_a_turn() {
        let mut follow = Follow::default();
        follow.begin(true);
        for pid in 0..5 {
            watch(&mut follow, pid, |second| (100 + second) << 20);
        }
        for _ in 0..3 {
            follow.judge(2);
        }
        let judged = (0..5).filter(|&pid| follow.trend(&key(pid)).verdict.is_some());
        assert_eq!(judged.count(), 5);
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let mut follow = Follow::default();
        follow.begin(true);
        watch(&mut follow, 1, |_| 1);
        follow.begin(true);
        follow.forget_gone(|_| true);
        assert_eq!(follow.moved(&key(1)).trace.points().len(), 0);
    }

    #[test]
    fn a_look_that_keeps_nothing_forgets_nobody() {
        let mut follow = Follow::default();
        follow.begin(true);
        watch(&mut follow, 1, |_| 1);
        let before = follow.moved(&key(1)).trace.points().len();
        follow.begin(false);
        let late = TracePoint {
            at: Duration::from_secs(500),
            amount: Bytes(1),
            life: 1,
        };
        follow.take(key(1), late);
        follow.take(key(2), late);
        follow.forget_gone(|_| true);
        assert_eq!(follow.moved(&key(1)).trace.points().len(), before);
        assert_eq!(follow.moved(&key(2)).trace.points().len(), 1);
    }

    #[test]
    fn what_was_not_looked_at_is_kept() {
        let mut follow = Follow::default();
        follow.begin(true);
        watch(&mut follow, 1, |_| 1);
        follow.begin(true);
        follow.forget_gone(|key| matches!(key, Key::Cgroup(_)));
        assert!(!follow.moved(&key(1)).trace.points().is_empty());
    }
}
