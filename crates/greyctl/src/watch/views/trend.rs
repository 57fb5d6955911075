//! How something moved: in a sentence, and drawn.
//!
//! Pure. The whole trace is drawn on any width; what hardly moves is drawn
//! level, whatever its scale would make of it.

use grey_model::{Trace, roughly};

use super::super::look::Look;
use super::super::series::RATE_FROM;
use super::super::shot::Moved;
use crate::diagnose::machine::signed;

/// A drawing is so wide at the most.
const WIDEST: usize = 60;

/// The height of a drawing is at least this part of the most in it: one of a hundred.
const FLATTEST: f64 = 0.01;

/// The whole trace as one line of at most `width`.
pub(super) fn drawn(trace: &Trace, width: usize, look: Look) -> String {
    let values = folded(trace, width.min(WIDEST));
    let low = values.iter().copied().fold(f64::MAX, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    let height = (high - low).max(high * FLATTEST);
    look.levels(values.iter().map(|value| (value - low) / height))
}

/// The means of equal parts of the time, no more than there are readings; where
/// nothing was read in one, it is as it was before.
fn folded(trace: &Trace, width: usize) -> Vec<f64> {
    let points = trace.points();
    let (Some(first), parts) = (points.first(), width.min(points.len())) else {
        return Vec::new();
    };
    let span = trace.span().as_nanos() + 1;
    let mut sums = vec![(0.0, 0_u32); parts];
    for point in points {
        let since = point.at.saturating_sub(first.at).as_nanos();
        let part = usize::try_from(since * parts as u128 / span).unwrap_or_default();
        if let Some((sum, count)) = sums.get_mut(part) {
            #[expect(clippy::cast_precision_loss, reason = "a drawing")]
            let amount = point.amount.0 as f64;
            *sum += amount;
            *count += 1;
        }
    }
    let means = sums.into_iter().scan(0.0, |mean, (sum, count)| {
        if count > 0 {
            *mean = sum / f64::from(count);
        }
        Some(*mean)
    });
    means.collect()
}

/// Which kind of memory: from the first reading to the last, what lay beyond both, and the rate once
/// there was time for one.
pub(super) fn sentence(moved: &Moved) -> String {
    let trend = moved.trend;
    let amounts = || moved.trace.points().iter().map(|point| point.amount);
    let first = amounts().next().unwrap_or_default();
    let last = amounts().next_back().unwrap_or_default();
    let least = amounts().min().unwrap_or_default();
    let most = amounts().max().unwrap_or_default();
    let span = moved.trace.span();
    let mut text = format!(
        "{}, from {first} to {last} in {}",
        trend.of.label(),
        roughly(span)
    );
    if least < first.min(last) {
        text.push_str(&format!(", least {}", least));
    }
    if most > first.max(last) {
        text.push_str(&format!(", most {}", most));
    }
    match trend.per_minute {
        _ if span < RATE_FROM => text.push_str(", too short for a rate"),
        Some(change) if change > 0 => text.push_str(&format!(", +{} a minute", signed(change))),
        Some(change) => text.push_str(&format!(", {} a minute", signed(change))),
        None => {}
    }
    if let Some(verdict) = trend.verdict {
        text.push_str(&format!(", {verdict}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use grey_model::{Bytes, GrowthOf, LeakVerdict, TracePoint};

    use super::*;
    use crate::watch::shot::{Trend, What};

    const COLORLESS: Look = Look {
        color: false,
        unicode: false,
    };

    /// Readings that are evenly apart.
    fn trace(seconds: u64, amounts: impl IntoIterator<Item = Bytes>) -> Trace {
        let amounts: Vec<Bytes> = amounts.into_iter().collect();
        let gaps = amounts.len().saturating_sub(1).max(1) as u64;
        let mut trace = Trace::new();
        trace.extend((0..).zip(amounts).map(|(number, amount)| TracePoint {
            at: Duration::from_millis(seconds * 1000 * number / gaps),
            amount,
            life: 1,
        }));
        trace
    }

    fn told(seconds: u64, mebibytes: &[u64], trend: Trend) -> String {
        let trace = trace(seconds, mebibytes.iter().copied().map(Bytes::from_mib));
        sentence(&Moved { trace, trend })
    }

    /// The levels, 0 to 7, of a trace that is drawn on `width`.
    fn levels(trace: &Trace, width: usize) -> Vec<usize> {
        let drawn = drawn(trace, width, COLORLESS);
        let level = |glyph: char| "_.:-=+*#".chars().position(|other| other == glyph);
        drawn.chars().map(|glyph| level(glyph).unwrap()).collect()
    }

    #[test]
    fn a_trend_goes_from_the_first_reading_to_the_last_and_what_lay_beyond_is_told() {
        let falling = Trend {
            per_minute: Some(-(6 << 20)),
            verdict: Some(LeakVerdict::Stable),
            ..Trend::default()
        };
        assert_eq!(
            told(60, &[9, 2, 7, 3], falling),
            "anonymous and swap, from 9.0 MiB to 3.0 MiB in 1m, least 2.0 MiB, -6.0 MiB a minute, \
             stable"
        );
        assert_eq!(
            told(60, &[3, 8, 4], Trend::default()),
            "anonymous and swap, from 3.0 MiB to 4.0 MiB in 1m, most 8.0 MiB"
        );
    }

    #[test]
    fn the_kind_that_moved_is_named() {
        let of_tmpfs = Trend {
            verdict: Some(LeakVerdict::Leak),
            of: What::Kind(GrowthOf::Shmem),
            ..Trend::default()
        };
        assert_eq!(
            told(60, &[1, 4], of_tmpfs),
            "tmpfs and shared, from 1.0 MiB to 4.0 MiB in 1m, leak"
        );
    }

    #[test]
    fn of_a_few_seconds_no_rate_is_told() {
        let growing = Trend {
            per_minute: Some(6 << 20),
            ..Trend::default()
        };
        assert_eq!(
            told(29, &[1, 4], growing),
            "anonymous and swap, from 1.0 MiB to 4.0 MiB in 29s, too short for a rate"
        );
        assert_eq!(
            told(30, &[1, 4], growing),
            "anonymous and swap, from 1.0 MiB to 4.0 MiB in 30s, +6.0 MiB a minute"
        );
    }

    #[test]
    fn the_whole_trace_is_drawn_however_many_readings_there_are() {
        // Tenfold; the second half alone only doubles nearly.
        let grown = trace(120, (0..=120).map(|step| Bytes(1000 + step * 75)));
        for width in [20, 60, 200] {
            let levels = levels(&grown, width);
            assert_eq!(levels.len(), width.min(60));
            assert!(levels.is_sorted(), "{levels:?}");
            assert_eq!((levels[0], levels[width.min(60) / 2]), (0, 4), "{levels:?}");
            assert_eq!(levels.last(), Some(&7));
        }
        assert_eq!(levels(&trace(1, [Bytes(1), Bytes(9)]), 60), [0, 7]);
        assert_eq!(drawn(&grown, 0, COLORLESS), "");
    }

    #[test]
    fn readings_lie_where_their_time_is() {
        // Level for a minute, looked at twice; then nine looks in a second.
        let mut uneven = trace(60, [Bytes(100), Bytes(100)]);
        uneven.extend((1..10).map(|tenth| TracePoint {
            at: Duration::from_millis(60_000 + tenth * 100),
            amount: Bytes(200),
            life: 1,
        }));
        let levels = levels(&uneven, 60);
        assert_eq!(levels, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn what_stays_is_drawn_level() {
        let page = 4096;
        let flat = trace(60, (0..60).map(|step| Bytes((300 << 20) + step % 9 * page)));
        assert_eq!(levels(&flat, 60), [0; 60]);
        // A hundredth is the whole height, half of that is half of it.
        for (growth, top) in [(200, 7), (100, 7), (50, 4)] {
            let amounts = (0..60).map(|step| Bytes(990_000 + 100 * growth * step / 59));
            let levels = levels(&trace(60, amounts), 60);
            assert_eq!((levels[0], levels[59]), (0, top), "{growth}");
        }
        assert_eq!(levels(&trace(1, [Bytes(0), Bytes(0)]), 60), [0, 0]);
    }
}
