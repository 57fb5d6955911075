//! What is followed over time: a bounded series for each process, group and
//! control group, and what the leak rule says of those that grow.
//!
//! Decides nothing itself: the rule is `grey_policy::leak`. Never judges more
//! in one look than its bound; who was judged longest ago comes first.

use std::collections::HashMap;
use std::time::Duration;

use grey_model::{Bytes, LeakVerdict, TracePoint};
use grey_policy::leak::{LeakRule, judge};

use super::series::Series;
use super::shot::{Key, Trend};

/// Who has grown by less than this is not judged.
const WORTH_JUDGING: Bytes = Bytes::from_mib(1);

/// How many are judged in one look.
pub(super) const JUDGED_AT_ONCE: usize = 16;

#[derive(Debug, Default)]
struct Entry {
    series: Series,
    verdict: Option<LeakVerdict>,
    judged_at: Option<Duration>,
    unjudged: bool,
    seen: u64,
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
        let entry = self.entries.entry(key).or_default();
        entry.seen = self.look;
        if self.keeps || entry.series.latest().is_none() {
            entry.series.push(point);
        }
    }

    /// Takes a reading of something that the leak rule is not made for.
    pub(super) fn take_unjudged(&mut self, key: Key, point: TracePoint) {
        self.take(key.clone(), point);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.unjudged = true;
        }
    }

    /// How `key` changes.
    pub(super) fn trend(&self, key: &Key) -> Trend {
        let Some(entry) = self.entries.get(key) else {
            return Trend::default();
        };
        Trend {
            per_minute: entry.series.per_minute(),
            verdict: entry.verdict,
        }
    }

    /// The readings of `key`, and over what time.
    pub(super) fn readings(&self, key: &Key) -> (Vec<u64>, Duration) {
        let Some(entry) = self.entries.get(key) else {
            return (Vec::new(), Duration::ZERO);
        };
        let trace = entry.series.trace();
        let amounts = trace.points().iter().map(|point| point.amount.0);
        (amounts.collect(), trace.span())
    }

    /// The lives that the readings of `key` are of.
    #[cfg(test)]
    pub(super) fn lives(&self, key: &Key) -> Vec<u64> {
        let trace = self.entries.get(key).map(|entry| entry.series.trace());
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
        let mut growing: Vec<&mut Entry> = Vec::new();
        for entry in self.entries.values_mut() {
            match has_grown(&entry.series) && !entry.unjudged {
                true => growing.push(entry),
                false => entry.verdict = None,
            }
        }
        growing.sort_unstable_by_key(|entry| entry.judged_at);
        for entry in growing.into_iter().take(most) {
            let judgement = judge(&entry.series.trace(), &LeakRule::default(), None);
            entry.verdict = Some(judgement.verdict);
            entry.judged_at = entry.series.latest().map(|latest| latest.at);
        }
    }
}

fn has_grown(series: &Series) -> bool {
    match (series.first(), series.latest()) {
        (Some(first), Some(latest)) => latest.amount >= first.amount.saturating_add(WORTH_JUDGING),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use grey_model::ProcessId;

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
        assert_eq!(follow.readings(&key(1)).0.len(), 0);
    }

    #[test]
    fn a_look_that_keeps_nothing_forgets_nobody() {
        let mut follow = Follow::default();
        follow.begin(true);
        watch(&mut follow, 1, |_| 1);
        let before = follow.readings(&key(1)).0.len();
        follow.begin(false);
        let late = TracePoint {
            at: Duration::from_secs(500),
            amount: Bytes(1),
            life: 1,
        };
        follow.take(key(1), late);
        follow.take(key(2), late);
        follow.forget_gone(|_| true);
        assert_eq!(follow.readings(&key(1)).0.len(), before);
        assert_eq!(follow.readings(&key(2)).0.len(), 1);
    }

    #[test]
    fn what_was_not_looked_at_is_kept() {
        let mut follow = Follow::default();
        follow.begin(true);
        watch(&mut follow, 1, |_| 1);
        follow.begin(true);
        follow.forget_gone(|key| matches!(key, Key::Cgroup(_)));
        assert!(!follow.readings(&key(1)).0.is_empty());
    }
}
