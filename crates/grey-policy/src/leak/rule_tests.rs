//! The numbers and the words of a verdict, on traces made by hand. How often
//! verdicts are right is in `tests/leak_traces`.

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

/// A reading every five seconds.
fn trace(amounts: impl IntoIterator<Item = u64>) -> Trace {
    lives(amounts.into_iter().map(|amount| (amount, 0)))
}

fn lives(readings: impl IntoIterator<Item = (u64, u64)>) -> Trace {
    let mut trace = Trace::new();
    trace.extend(
        (0..)
            .zip(readings)
            .map(|(index, (amount, life))| TracePoint {
                at: Duration::from_secs(5 * index),
                amount: Bytes(amount),
                life,
            }),
    );
    trace
}

fn judged(trace: &Trace) -> LeakJudgement {
    judge(trace, &LeakRule::default(), None)
}

fn close(found: Option<f64>, expected: f64) -> bool {
    found.is_some_and(|found| (found - expected).abs() <= 1e-6 * expected.abs().max(1.0))
}

#[test]
fn a_leak_is_told_with_its_numbers() {
    let leak = trace((0..=24).map(|index| (100 + 2 * index) * MIB));
    let judgement = judge(&leak, &LeakRule::default(), Some(Bytes(40 * MIB)));
    assert_eq!(judgement.verdict, LeakVerdict::Leak);
    assert_eq!(judgement.growth_bytes, Some(48 << 20));
    assert!(close(judgement.growth_percent, 48.0), "{judgement:?}");
    let slope = 2.0 * 1_048_576.0 / 5.0;
    assert!(close(judgement.slope_bytes_per_second, slope));
    assert!(close(judgement.exhausts_in_seconds, 100.0), "{judgement:?}");
    assert!(judgement.confidence.is_some_and(|sure| sure > 0.99));
    assert!(close(Some(judgement.window_seconds), 120.0));
    assert_eq!(judgement.needs_seconds, None);
}

#[test]
fn without_headroom_nobody_says_when_it_is_full() {
    let leak = trace((0..=24).map(|index| (100 + 2 * index) * MIB));
    assert_eq!(judged(&leak).exhausts_in_seconds, None);
    let flat = judge(&trace([MIB; 20]), &LeakRule::default(), Some(Bytes(MIB)));
    assert_eq!(flat.exhausts_in_seconds, None);
}

#[test]
fn what_is_over_is_no_leak() {
    let leak = trace((0..=24).map(|index| (100 + 2 * index) * MIB));
    let judgement = judge_ended(&leak, &LeakRule::default());
    assert_eq!(judgement.verdict, LeakVerdict::Growing);
    assert_eq!(judgement.growth_bytes, Some(48 << 20));
    let flat = judge_ended(&trace([MIB; 20]), &LeakRule::default());
    assert_eq!(flat.verdict, LeakVerdict::Stable);
}

#[test]
fn a_window_too_short_says_how_long_it_takes() {
    let short = judged(&trace((0..4).map(|index| (100 + 50 * index) * MIB)));
    assert_eq!(short.verdict, LeakVerdict::TooShort);
    assert_eq!(short.growth_bytes, Some(150 << 20));
    assert_eq!(short.slope_bytes_per_second, None);
    assert_eq!(short.confidence, None);
    assert!(close(short.needs_seconds, 35.0), "{short:?}");
    let enough = judged(&trace((0..8).map(|index| (100 + 50 * index) * MIB)));
    assert_eq!(enough.verdict, LeakVerdict::Leak);
    assert!(close(judged(&Trace::new()).needs_seconds, 30.0));
}

#[test]
fn many_readings_in_a_short_time_are_too_short_as_well() {
    let mut hasty = Trace::new();
    hasty.extend((0..200).map(|index| TracePoint {
        at: Duration::from_millis(100 * index),
        amount: Bytes((100 + index) * MIB),
        life: 0,
    }));
    assert_eq!(judged(&hasty).verdict, LeakVerdict::TooShort);
}

#[test]
fn both_thresholds_must_be_reached() {
    // 24 MiB in two minutes of 10 GiB: under 10 %, even if it goes on.
    let large = judged(&trace((0..=24).map(|index| (10_240 + index) * MIB)));
    assert_ne!(large.verdict, LeakVerdict::Leak, "{large:?}");
    // 48 % of 100 KiB is nothing.
    let small = judged(&trace((0..=24).map(|index| (100 + 2 * index) * 1024)));
    assert_eq!(small.verdict, LeakVerdict::Stable, "{small:?}");
    let lower = LeakRule {
        minimum_growth: Bytes(10 * 1024),
        ..LeakRule::default()
    };
    let judgement = judge(
        &trace((0..=24).map(|index| (100 + 2 * index) * 1024)),
        &lower,
        None,
    );
    assert_eq!(judgement.verdict, LeakVerdict::Leak);
}

#[test]
fn slow_growth_is_growing_and_says_how_long_to_look() {
    // 0.6 MiB a minute of 60 MiB: 10 MiB take 1000 s, a quarter of that is
    // looked at to see it coming.
    let slow = judged(&trace((0..=24).map(|index| 60 * MIB + index * MIB / 20)));
    assert_eq!(slow.verdict, LeakVerdict::Growing, "{slow:?}");
    assert!(
        slow.needs_seconds
            .is_some_and(|needs| (needs - 250.0).abs() < 5.0),
        "{slow:?}"
    );
    let longer = judged(&trace((0..=52).map(|index| 60 * MIB + index * MIB / 20)));
    assert_eq!(longer.verdict, LeakVerdict::Leak, "{longer:?}");
}

#[test]
fn growth_never_counts_across_a_restart() {
    let small = (0..12).map(|_| (100 * MIB, 7));
    let large = (0..12).map(|_| (300 * MIB, 8));
    let judgement = judged(&lives(small.chain(large)));
    assert_eq!(judgement.verdict, LeakVerdict::Stable, "{judgement:?}");
    assert_eq!(judgement.restarts, 1);
    assert_eq!(judgement.growth_bytes, Some(0));
    assert!(close(Some(judgement.window_seconds), 55.0));
}

#[test]
fn counts_have_thresholds_of_their_own() {
    let dying = trace((0..=24).map(|index| 50 + 10 * index));
    assert_eq!(judged(&dying).verdict, LeakVerdict::Stable);
    let judgement = judge(&dying, &LeakRule::for_counts(), None);
    assert_eq!(judgement.verdict, LeakVerdict::Leak);
    assert_eq!(judgement.growth_bytes, Some(240));
}

#[test]
fn a_rising_floor_leaks_and_a_level_one_does_not() {
    let teeth = |rise: u64| {
        trace((0..72).map(move |index| (100 + rise * (index / 12) + 10 * (index % 12)) * MIB))
    };
    let collector = judged(&teeth(0));
    assert_eq!(collector.verdict, LeakVerdict::Sawtooth);
    assert_eq!(collector.growth_bytes, Some(0));
    let twice = judged(&trace((0..30).map(|index| (100 + 10 * (index % 10)) * MIB)));
    assert_eq!(twice.verdict, LeakVerdict::Sawtooth);
    assert_eq!(twice.growth_bytes, Some(0));
    let leak = judged(&teeth(30));
    assert_eq!(leak.verdict, LeakVerdict::Leak, "{leak:?}");
    // The floor, not the teeth: from the first low point to the last.
    assert_eq!(leak.growth_bytes, Some(120 << 20));
}

#[test]
fn what_comes_to_rest_is_a_warm_up_and_what_jumps_a_step() {
    let warm = judged(&trace(
        (0..40).map(|index| (100 + 10 * u64::min(index, 12)) * MIB),
    ));
    assert_eq!(warm.verdict, LeakVerdict::WarmUp);
    // From the level of the first few readings, not from the very first.
    assert_eq!(warm.growth_bytes, Some(105 << 20));
    let step = judged(&trace(
        (0..40).map(|index| if index < 20 { 100 } else { 180 } * MIB),
    ));
    assert_eq!(step.verdict, LeakVerdict::Step);
    assert_eq!(step.growth_bytes, Some(80 << 20));
}

#[test]
fn what_slows_down_is_at_rest_below_a_quarter_of_its_pace() {
    let slows_to = |pace: u64| {
        let amount = move |index: u64| 100 + 20 * index.min(20) + pace * index.saturating_sub(20);
        judge(
            &trace((0..40).map(|index| amount(index) * MIB)),
            &LeakRule::default(),
            Some(Bytes(100 * MIB)),
        )
    };
    let rests = slows_to(4);
    assert_eq!(rests.verdict, LeakVerdict::WarmUp, "{rests:?}");
    assert!(
        rests
            .slope_bytes_per_second
            .is_some_and(|slope| slope > 0.0)
    );
    assert_eq!(rests.exhausts_in_seconds, None);
    let slower = slows_to(8);
    assert_eq!(slower.verdict, LeakVerdict::Growing, "{slower:?}");
    assert!(slower.exhausts_in_seconds.is_some());
    assert_eq!(slows_to(14).verdict, LeakVerdict::Leak);
}

#[test]
fn growth_from_nothing_has_no_percent() {
    let judgement = judged(&trace((0..40).map(|index| index * 4 * MIB)));
    assert_eq!(judgement.verdict, LeakVerdict::Leak);
    assert_eq!(judgement.growth_percent, None);
}

#[test]
fn the_shortest_window_has_enough_readings_in_it() {
    assert_eq!(
        shortest_window(Duration::from_secs(1)),
        Duration::from_secs(30)
    );
    assert_eq!(
        shortest_window(Duration::from_secs(60)),
        Duration::from_secs(420)
    );
}

proptest! {
    #[test]
    fn no_trace_panics_and_every_number_is_one(
        readings in proptest::collection::vec((any::<u64>(), 0..3_u64, 1..100_000_u64), 0..80),
        headroom: Option<u64>,
    ) {
        let mut clock = Duration::ZERO;
        let mut trace = Trace::new();
        for (amount, life, milliseconds) in readings {
            clock += Duration::from_millis(milliseconds);
            trace.push(TracePoint { at: clock, amount: Bytes(amount), life });
        }
        let judgement = judge(&trace, &LeakRule::default(), headroom.map(Bytes));
        for number in [
            judgement.growth_percent,
            judgement.slope_bytes_per_second,
            judgement.exhausts_in_seconds,
            judgement.needs_seconds,
        ].into_iter().flatten() {
            prop_assert!(number.is_finite());
        }
        prop_assert!(judgement.confidence.is_none_or(|sure| (0.0..=1.0).contains(&sure)));
    }
}
