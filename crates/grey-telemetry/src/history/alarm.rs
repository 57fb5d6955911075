//! When the ring is worth keeping: memory pressure spikes, or somebody was
//! killed.
//!
//! Never reads a clock or a file: it judges what the ring holds.

use std::time::Duration;

use grey_model::SystemField;

use super::dump::DumpReason;
use super::ring::Ring;

/// The time over which pressure is judged.
const WINDOW: Duration = Duration::from_secs(1);

/// In so many percent of it some task stalled: a spike.
const SPIKE_PERCENT: u64 = 20;

/// After a dump for pressure, none for so long: the ring holds as much.
const QUIET: Duration = Duration::from_secs(60);

/// After a dump for a kill, none for so long: kills come in rows.
const QUIET_AFTER_KILL: Duration = Duration::from_secs(10);

/// Judges a ring after each reading.
#[derive(Debug, Default)]
pub struct Alarm {
    kills: Option<u64>,
    /// When the last dump of each reason was made, in milliseconds since boot.
    for_pressure: Option<u64>,
    for_kill: Option<u64>,
    /// A kill that came too soon after the last is not forgotten.
    kill_waits: bool,
}

impl Alarm {
    /// Whether the ring should be kept now, and why. A reason that was given
    /// counts as done.
    pub fn judge(&mut self, ring: &Ring) -> Option<DumpReason> {
        if let Some((kills, now)) = ring.newest(SystemField::OomKills) {
            self.kill_waits |= self.kills.is_some_and(|before| kills > before);
            self.kills = Some(kills);
            if self.kill_waits && is_quiet(self.for_kill, now, QUIET_AFTER_KILL) {
                self.kill_waits = false;
                self.for_kill = Some(now);
                return Some(DumpReason::OomKill);
            }
        }
        let (stalled, now) = ring.newest(SystemField::PressureSome)?;
        let window = milliseconds(WINDOW);
        let from = now.saturating_sub(window);
        let (before, then) = ring.oldest_since(SystemField::PressureSome, from)?;
        let stalled_us = stalled.saturating_sub(before);
        // Of less than half of the window nothing is judged: one long stall
        // that is told late would be 100 % of an instant.
        let is_long_enough = now.saturating_sub(then) >= window / 2;
        let is_spike = stalled_us >= window * 1000 * SPIKE_PERCENT / 100;
        if is_long_enough && is_spike && is_quiet(self.for_pressure, now, QUIET) {
            self.for_pressure = Some(now);
            return Some(DumpReason::Pressure);
        }
        None
    }
}

fn is_quiet(last: Option<u64>, now: u64, quiet: Duration) -> bool {
    last.is_none_or(|last| now.saturating_sub(last) >= milliseconds(quiet))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use grey_model::SystemValues;

    use super::*;

    /// A ring and its alarm, fed each 100 ms.
    struct Fed {
        ring: Ring,
        alarm: Alarm,
        now: u64,
        stalled: u64,
    }

    impl Fed {
        fn new() -> Self {
            Self {
                ring: Ring::new(100),
                alarm: Alarm::default(),
                now: 1_000_000,
                stalled: 77,
            }
        }

        /// So many readings with so many microseconds stalled in each; what
        /// was judged.
        fn feed(&mut self, readings: u32, stalled: u64, kills: Option<u64>) -> Vec<DumpReason> {
            let mut judged = Vec::new();
            for _ in 0..readings {
                self.now += 100;
                self.stalled += stalled;
                let values = SystemValues::default()
                    .with(SystemField::PressureSome, Some(self.stalled))
                    .with(SystemField::OomKills, kills);
                self.ring.push_at(0, self.now, &values);
                judged.extend(self.alarm.judge(&self.ring));
            }
            judged
        }
    }

    #[test]
    fn a_fifth_of_a_second_stalled_is_a_spike_and_less_is_none() {
        let mut fed = Fed::new();
        assert_eq!(fed.feed(50, 19_000, None), []);
        assert_eq!(fed.feed(50, 21_000, None), [DumpReason::Pressure]);
    }

    #[test]
    fn pressure_that_stays_is_one_dump_a_minute() {
        let mut fed = Fed::new();
        assert_eq!(fed.feed(1205, 90_000, None).len(), 2);
    }

    #[test]
    fn what_was_before_the_first_reading_is_no_alarm() {
        let mut fed = Fed::new();
        assert_eq!(fed.feed(1, 60_000_000, Some(12)), []);
        assert_eq!(fed.feed(30, 0, Some(12)), []);
    }

    #[test]
    fn a_kill_is_seen_also_when_counters_are_read_now_and_then() {
        let mut fed = Fed::new();
        assert_eq!(fed.feed(1, 0, Some(3)), []);
        assert_eq!(fed.feed(4, 0, None), []);
        assert_eq!(fed.feed(1, 0, Some(4)), [DumpReason::OomKill]);
    }

    #[test]
    fn kills_in_a_row_are_told_twice_at_most_in_ten_seconds_and_none_is_forgotten() {
        let mut fed = Fed::new();
        fed.feed(1, 0, Some(0));
        assert_eq!(fed.feed(1, 0, Some(1)).len(), 1);
        assert_eq!(fed.feed(20, 0, Some(9)), []);
        assert_eq!(fed.feed(90, 0, Some(9)), [DumpReason::OomKill]);
    }
}
