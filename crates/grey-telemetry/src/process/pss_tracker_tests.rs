//! Tests of `pss_tracker.rs`, on imitations of /proc and on the real one.
//!
//! Never part of the product.

use std::cell::Cell;
use std::time::Instant;

use grey_model::Pages;
use proptest::prelude::*;

use super::super::imitation::{Imitation, Waiting};
use super::super::smaps_rollup::SmapsRollup;
use super::super::statm::Statm;
use super::*;

fn page() -> PageSize {
    PageSize::new(4096).unwrap()
}

fn tracker() -> PssTracker {
    PssTracker::new(page(), RssTracker::with_bound(100))
}

fn pss(tracker: &PssTracker, pid: u32) -> Option<u64> {
    let mut processes = tracker.processes().iter();
    let process = processes.find(|process| process.pid == pid)?;
    process.pss(page()).map(|bytes| bytes.get() / 1024)
}

#[test]
fn without_a_cap_everything_is_read() {
    let tree = Imitation::new();
    for pid in 1..=20 {
        tree.statm(pid, 10, 5);
        tree.rollup(pid, 30, 20, 20);
    }
    tree.write(21, "statm", "0 0 0 0 0 0 0\n");
    let mut tracker = tracker();
    let tick = tracker.tick(&tree.proc(), Duration::MAX).unwrap();
    assert_eq!((tick.read, tick.never_read), (20, 0));
    assert_eq!(tracker.estimated_pss(), Bytes::from_kib(20 * 30));
}

#[test]
fn without_time_nothing_is_read_and_what_moved_is_carried_on() {
    let tree = Imitation::new();
    tree.statm(1, 100, 50);
    tree.rollup(1, 300, 200, 200);
    let mut tracker = tracker();
    tracker.tick(&tree.proc(), Duration::MAX).unwrap();
    // 10 anonymous pages more count in full, 20 shared ones by half: the 100
    // KiB of PSS that are not anonymous are half of the 200 KiB mapped.
    tree.statm(1, 130, 70);
    tree.rollup(1, 999, 999, 999);
    let tick = tracker.tick(&tree.proc(), Duration::ZERO).unwrap();
    assert_eq!(tick.read, 0);
    assert_eq!(pss(&tracker, 1), Some(300 + 40 + 40));
    tree.statm(1, 10, 5);
    tracker.tick(&tree.proc(), Duration::ZERO).unwrap();
    assert_eq!(pss(&tracker, 1), Some(300 - 45 * 4 - 90));
}

fn uss(tracker: &PssTracker) -> Option<Bytes> {
    tracker.processes()[0].uss(page())
}

#[test]
fn what_moved_before_it_was_read_is_not_counted_twice() {
    // It grows, and it shrinks, between its `statm` and its `smaps_rollup`; all
    // of it is anonymous and its own.
    for (before, pages) in [(100, 500), (500, 100)] {
        let tree = Imitation::new();
        tree.statm(1, before, 0);
        let mut tracker = tracker();
        tracker.observe(&tree.proc()).unwrap();
        tree.statm(1, pages, 0);
        tree.rollup(1, 4 * pages, 4 * pages, 4 * pages);
        tracker.measure(&tree.proc(), Duration::MAX, &|_| true);
        let all = Bytes::from_kib(4 * pages);
        let seen = |tracker: &PssTracker| {
            let rss = tracker.processes()[0].statm().resident.bytes(page());
            (rss, pss(tracker, 1).map(Bytes::from_kib), uss(tracker))
        };
        assert_eq!(seen(&tracker), (all, Some(all), Some(all)));
        // Nothing has moved since.
        tracker.tick(&tree.proc(), Duration::ZERO).unwrap();
        assert_eq!(seen(&tracker), (all, Some(all), Some(all)));
    }
}

#[test]
fn uss_is_carried_on_by_what_is_anonymous() {
    let tree = Imitation::new();
    tree.statm(1, 100, 50);
    tree.rollup(1, 300, 200, 210);
    let mut tracker = tracker();
    tracker.tick(&tree.proc(), Duration::MAX).unwrap();
    assert_eq!(uss(&tracker), Some(Bytes::from_kib(210)));
    // 10 anonymous pages more, and 20 shared ones.
    tree.statm(1, 130, 70);
    tracker.tick(&tree.proc(), Duration::ZERO).unwrap();
    assert_eq!(uss(&tracker), Some(Bytes::from_kib(250)));
    tree.statm(1, 60, 50);
    tracker.tick(&tree.proc(), Duration::ZERO).unwrap();
    assert_eq!(uss(&tracker), Some(Bytes::from_kib(50)));
}

#[test]
fn a_process_that_was_never_read_is_unknown_and_not_zero() {
    let tree = Imitation::new();
    tree.statm(1, 100, 50);
    tree.rollup(1, 300, 200, 200);
    let mut tracker = tracker();
    let tick = tracker.tick(&tree.proc(), Duration::ZERO).unwrap();
    assert_eq!(tick.never_read, 1);
    assert_eq!(pss(&tracker, 1), None);
    assert!(tracker.processes()[0].read_at().is_none());
    // In the sum it counts as those that were read do: half of what is shared.
    tree.statm(2, 0, 0);
    tracker.tick(&tree.proc(), Duration::MAX).unwrap();
    tree.statm(3, 30, 20);
    tree.rollup(3, 1, 1, 1);
    tracker.tick(&tree.proc(), Duration::ZERO).unwrap();
    assert_eq!(tracker.estimated_pss(), Bytes::from_kib(300 + 40 + 40));
}

#[test]
fn what_changed_comes_before_what_is_old() {
    let tree = Imitation::new();
    for pid in 1..=9 {
        tree.statm(pid, 1, 0);
        tree.rollup(pid, 4, 4, 4);
    }
    let mut tracker = tracker();
    tracker.tick(&tree.proc(), Duration::MAX).unwrap();
    tree.statm(5, 2, 0);
    tree.statm(6, 3, 0);
    tracker.take_over_for_test(&tree.proc());
    let order: Vec<u32> = tracker
        .changed
        .iter()
        .map(|&index| tracker.processes[index].pid)
        .collect();
    assert_eq!(order, [6, 5], "the most changed first");
    let ages: Vec<_> = tracker
        .by_age
        .iter()
        .map(|&index| tracker.processes[index].read_at())
        .collect();
    assert_eq!(ages.len(), 9);
    assert!(ages.is_sorted(), "the oldest first");
}

#[test]
fn unchanged_processes_are_read_again_in_turn() {
    let tree = Imitation::new();
    for pid in 1..=3 {
        tree.statm(pid, 2, 1);
        tree.rollup(pid, 4, 4, 4);
    }
    let mut tracker = tracker();
    tracker.tick(&tree.proc(), Duration::MAX).unwrap();
    // PSS rises without a change of statm: a sharer has gone.
    for pid in 1..=3 {
        tree.rollup(pid, 8, 4, 4);
    }
    // The `statm` alone take more than the cap: still one gets its turn. Each
    // reading makes it the youngest, so that three ticks reach all three.
    for read in 1..=3 {
        let cap = tracker.dearest() + Duration::from_nanos(1);
        let tick = tracker.tick(&tree.proc(), cap).unwrap();
        assert!(tick.read >= 1, "tick {read}");
    }
    assert_eq!(tracker.estimated_pss(), Bytes::from_kib(24));
}

#[test]
fn a_new_process_is_read_however_small_the_cap() {
    let tree = Imitation::new();
    tree.statm(1, 1, 0);
    tree.rollup(1, 4, 4, 4);
    let mut tracker = tracker();
    tracker.tick(&tree.proc(), Duration::MAX).unwrap();
    tree.statm(2, 1, 0);
    tree.rollup(2, 4, 4, 4);
    let cap = tracker.dearest() + Duration::from_nanos(1);
    let tick = tracker.tick(&tree.proc(), cap).unwrap();
    assert_eq!(tick.never_read, 0);
    assert_eq!(pss(&tracker, 2), Some(4));
}

#[test]
fn one_that_never_fits_is_named_and_holds_up_nobody() {
    let tree = Imitation::new();
    tree.statm(1, u64::MAX / 4096, 0);
    tree.rollup(1, 4, 4, 4);
    tree.statm(2, 1, 0);
    tree.rollup(2, 4, 4, 4);
    let mut tracker = tracker();
    let hour = Duration::from_secs(3600);
    let tick = tracker.tick(&tree.proc(), hour).unwrap();
    assert_eq!((tick.read, tick.too_large, tick.never_read), (1, 1, 1));
    assert_eq!(tick.out_of_reach, 1, "its PSS stays unknown");
    assert_eq!(pss(&tracker, 2), Some(4));
}

#[test]
fn one_that_grew_too_large_does_not_stop_the_turns_of_others() {
    let tree = Imitation::new();
    for pid in [1, 2] {
        tree.statm(pid, 2, 1);
        tree.rollup(pid, 4, 4, 4);
    }
    let mut tracker = tracker();
    tracker.tick(&tree.proc(), Duration::MAX).unwrap();
    tree.statm(1, u64::MAX / 4096, 0);
    tree.rollup(2, 8, 4, 4);
    let hour = Duration::from_secs(3600);
    let tick = tracker.tick(&tree.proc(), hour).unwrap();
    assert_eq!((tick.read, tick.too_large), (1, 1));
    assert_eq!(tick.out_of_reach, 0, "what was read is carried on");
    assert_eq!(pss(&tracker, 2), Some(8));
}

#[test]
fn the_successor_under_a_pid_inherits_no_reading() {
    let tree = Imitation::new();
    let mut first = Waiting::start();
    let second = Waiting::start();
    let link = tree.path().join("77");
    let point_to = |child: &Waiting| {
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(format!("/proc/{}", child.pid()), &link).unwrap();
    };
    point_to(&first);
    let mut tracker = tracker();
    tracker.tick(&tree.proc(), Duration::MAX).unwrap();
    assert!(pss(&tracker, 77).is_some());
    first.end();
    point_to(&second);
    let tick = tracker.tick(&tree.proc(), Duration::ZERO).unwrap();
    assert_eq!(tick.never_read, 1);
    assert_eq!(pss(&tracker, 77), None);
}

#[test]
fn a_process_that_goes_is_forgotten() {
    let tree = Imitation::new();
    tree.statm(1, 1, 0);
    tree.rollup(1, 4, 4, 4);
    let mut tracker = tracker();
    tracker.tick(&tree.proc(), Duration::MAX).unwrap();
    tree.remove(1);
    let tick = tracker.tick(&tree.proc(), Duration::MAX).unwrap();
    assert_eq!((tick.rss.vanished, tick.read), (1, 0));
    assert_eq!(tracker.estimated_pss(), Bytes::ZERO);
    assert!(tracker.processes().is_empty());
}

#[test]
fn a_real_tick_without_a_cap_knows_us() {
    let proc = KernelDirectory::open(std::path::Path::new("/proc")).unwrap();
    let mut tracker = tracker();
    tracker.tick(&proc, Duration::MAX).unwrap();
    assert!(pss(&tracker, std::process::id()).unwrap() > 0);
}

impl PssTracker {
    /// What the process that takes longest is expected to take.
    fn dearest(&self) -> Duration {
        let all = self.processes.iter();
        all.map(|process| self.reader.expected(process))
            .max()
            .unwrap()
    }

    fn take_over_for_test(&mut self, proc: &KernelDirectory) {
        self.rss.tick(proc).unwrap();
        self.take_over();
        self.choose(Duration::MAX, &|_| true);
    }
}

/// Any number, and more often one as processes have it: up to 16 GiB in this
/// unit.
fn amount(unit: u64) -> impl Strategy<Value = u64> {
    let usual = 0..(16_u64 << 30) / unit;
    prop_oneof![any::<u64>(), usual.clone(), usual.clone(), usual]
}

fn any_statm() -> impl Strategy<Value = Statm> {
    let pages = || amount(4096);
    (pages(), pages(), pages()).prop_map(|(size, resident, shared)| Statm {
        size: Pages(size),
        resident: Pages(resident),
        shared: Pages(shared),
    })
}

/// A process that was read as `then` and is `now`.
fn tracked(then: Statm, now: Statm, rollup: SmapsRollup) -> TrackedPss {
    let at = Instant::now();
    let took = Duration::ZERO;
    TrackedPss {
        pid: 1,
        serial: 1,
        now,
        reading: Some(Reading {
            at,
            statm: then,
            rollup,
            took,
        }),
        denied: false,
        failed: false,
        waits_since: at,
    }
}

proptest! {
    #[test]
    fn no_numbers_make_the_estimate_panic_or_more_than_is_resident(
        then in any_statm(), now in any_statm(), pss in amount(1), anon: Option<u64>,
        private in amount(1), huge in proptest::option::of(amount(1)),
    ) {
        let rollup = SmapsRollup {
            pss: Some(Bytes(pss)),
            pss_anon: anon.map(Bytes),
            private_clean: Some(Bytes::ZERO),
            private_dirty: Some(Bytes(private)),
            private_hugetlb: huge.map(Bytes),
            ..SmapsRollup::default()
        };
        let process = tracked(then, now, rollup);
        let _ = process.due_at();
        let _ = process.pages_moved();
        let resident = now.resident.bytes(page());
        prop_assert!(process.pss(page()).unwrap() <= resident);
        let huge = Bytes(huge.unwrap_or_default());
        prop_assert!(process.uss(page()).unwrap() <= resident.saturating_add(huge));
    }

    #[test]
    fn what_did_not_move_is_what_was_read(statm in any_statm(), pss in amount(1)) {
        let pss = Bytes(pss).min(statm.resident.bytes(page()));
        let rollup = SmapsRollup { pss: Some(pss), ..SmapsRollup::default() };
        prop_assert_eq!(tracked(statm, statm, rollup).pss(page()), Some(pss));
    }
}

#[test]
fn only_what_is_chosen_is_read() {
    let tree = Imitation::new();
    for pid in 1..=4 {
        tree.statm(pid, 100, 50);
        tree.rollup(pid, 300, 200, 200);
    }
    let mut tracker = tracker();
    tracker.observe(&tree.proc()).unwrap();
    let tick = tracker.measure(&tree.proc(), Duration::MAX, &|process| process.pid % 2 == 0);
    assert_eq!(tick.read, 2);
    assert_eq!(pss(&tracker, 2), Some(300));
    assert_eq!(pss(&tracker, 3), None);
}

#[test]
fn a_tracker_that_saves_reads_only_what_moved_much_or_is_old() {
    let tree = Imitation::new();
    for pid in 1..=3 {
        tree.statm(pid, 6400, 50);
        tree.rollup(pid, 300, 200, 200);
    }
    let long = Duration::from_secs(3600);
    let mut tracker = tracker().rereads_after(long);
    assert_eq!(tracker.tick(&tree.proc(), long).unwrap().read, 3);
    tree.statm(1, 6400 + 64, 50);
    tree.statm(2, 6400 + 320, 50);
    assert_eq!(tracker.tick(&tree.proc(), long).unwrap().read, 1);
    let mut tracker = tracker.rereads_after(Duration::ZERO);
    assert_eq!(tracker.tick(&tree.proc(), long).unwrap().read, 3);
}

/// A tree with a process of 1 GiB (9 ms and a quarter more by what is expected
/// before anything was measured) and two small ones.
fn one_dear() -> Imitation {
    let tree = Imitation::new();
    tree.statm(1, GIB, 0);
    tree.rollup(1, 4 * GIB, 4 * GIB, 4 * GIB);
    for pid in [2, 3] {
        tree.statm(pid, 1, 0);
        tree.rollup(pid, 4, 4, 4);
    }
    tree
}

const GIB: u64 = 1 << 18;

/// A tick's time; what is read of an imitation takes a small part of it, so
/// that half of it or more is saved while one waits.
const CAP: Duration = Duration::from_millis(5);

/// How many ticks it takes until `pid` is known; `None` after `most`.
fn ticks_until_known(
    tracker: &mut PssTracker,
    tree: &Imitation,
    pid: u32,
    most: u32,
) -> Option<u32> {
    (1..=most).find(|_| {
        tracker.tick(&tree.proc(), CAP).unwrap();
        pss(tracker, pid).is_some()
    })
}

#[test]
fn one_that_takes_longer_than_a_tick_is_read_when_enough_was_saved() {
    let tree = one_dear();
    let mut tracker = tracker();
    let tick = tracker.tick(&tree.proc(), CAP).unwrap();
    assert_eq!((pss(&tracker, 1), pss(&tracker, 2)), (None, Some(4)));
    assert_eq!((tick.never_read, tick.out_of_reach), (1, 0));
    assert_eq!(tick.waiting, 1);
    let more = ticks_until_known(&mut tracker, &tree, 1, 200).unwrap();
    // 9 ms and a quarter more, at less than 5 ms a tick: not before the third.
    assert!(more >= 2, "{more}");
    assert_eq!(pss(&tracker, 1), Some(4 * GIB));
    assert!(tracker.processes()[0].read_at().is_some(), "it has its age");
}

#[test]
fn nothing_is_read_that_was_not_saved_for() {
    let tree = one_dear();
    let mut tracker = tracker();
    for _ in 0..50 {
        tracker.savings = Savings::default();
        tracker.tick(&tree.proc(), CAP).unwrap();
        assert_eq!(pss(&tracker, 1), None);
    }
}

/// Clocks that go on by a step at each look, so that each reading takes one
/// however busy the machine is.
const STEPPING: Clocks = Clocks {
    cpu: || {
        TIME.set(TIME.get() + STEP);
        TIME.get()
    },
    wall: || BEGIN.with(|begin| *begin) + TIME.get(),
};

const STEP: Duration = Duration::from_micros(10);

thread_local! {
    static BEGIN: Instant = Instant::now();
    static TIME: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

#[test]
fn the_small_ones_leave_a_part_to_the_one_that_waits() {
    let tree = one_dear();
    // Ever more to read than fits: without a part set aside nothing is left.
    for pid in 4..2000 {
        tree.statm(pid, 1, 0);
        tree.rollup(pid, 4, 4, 4);
    }
    let mut tracker = PssTracker::new(page(), RssTracker::with_bound(4096));
    tracker.clocks = STEPPING;
    tracker.observe(&tree.proc()).unwrap();
    // A hundred readings.
    let cap = 100 * STEP;
    let saved = |tracker: &mut PssTracker| {
        tracker.savings = Savings::default();
        tracker.measure(&tree.proc(), cap, &|_| true);
        tracker.savings.saved()
    };
    let part = saved(&mut tracker);
    assert!(part > cap * 9 / 20 && part < cap * 11 / 20, "{part:?}");
    // Nobody waits: nothing need be left.
    tracker.processes[0].denied = true;
    let rest = saved(&mut tracker);
    assert!(rest < cap / 20, "{rest:?}");
}

#[test]
fn those_that_are_dear_are_read_one_a_tick_in_the_order_in_which_they_are_due() {
    let tree = one_dear();
    for (pid, gib) in [(4, 3), (5, 2)] {
        tree.statm(pid, gib * GIB, 0);
        tree.rollup(pid, 4 * gib * GIB, 4, 4);
    }
    let mut tracker = tracker();
    let mut order = Vec::new();
    for _ in 0..10 {
        // Enough for any of them, and for all of them.
        tracker.savings = Savings::default();
        tracker.savings.settle(Savings::most(CAP), Duration::ZERO);
        // As dear as if nothing had been measured.
        tracker.reader.large = Cost::default();
        let before = order.len();
        tracker.tick(&tree.proc(), CAP).unwrap();
        for pid in [1, 4, 5] {
            if pss(&tracker, pid).is_some() && !order.contains(&pid) {
                order.push(pid);
            }
        }
        assert!(order.len() <= before + 1, "one a tick");
    }
    assert_eq!(order, [1, 5, 4], "seen at once: the cheapest first");
}

#[test]
fn what_is_dear_is_due_the_earlier_the_more_it_changed() {
    let statm = |resident| Statm {
        size: Pages(GIB),
        resident: Pages(resident),
        shared: Pages(0),
    };
    let after = |moved: Option<u64>| {
        let then = statm(GIB - moved.unwrap_or_default());
        let mut process = tracked(then, statm(GIB), SmapsRollup::default());
        process.reading = process.reading.filter(|_| moved.is_some());
        process.due_at() - process.waits_since
    };
    assert_eq!(after(None), Duration::ZERO, "never read: at once");
    assert_eq!(after(Some(0)), Duration::from_secs(30));
    assert_eq!(after(Some(GIB / 64)), Duration::from_secs(30));
    assert_eq!(after(Some(GIB / 16)), Duration::from_millis(7_500));
    assert!(after(Some(GIB)) < Duration::from_millis(500));
}

#[test]
fn one_that_can_never_be_read_does_not_hold_up_the_next() {
    let tree = one_dear();
    // The cheaper of two, which comes first, and has no file to read.
    tree.statm(4, GIB / 2 + GIB / 4, 0);
    let mut tracker = tracker();
    assert!(ticks_until_known(&mut tracker, &tree, 1, 400).is_some());
    assert_eq!(pss(&tracker, 4), None);
    let tick = tracker.tick(&tree.proc(), CAP).unwrap();
    assert_eq!((tick.never_read, tick.waiting), (1, 0), "there is no hope");
}

#[test]
fn what_a_process_took_itself_counts_when_it_was_less() {
    let tree = one_dear();
    let mut tracker = tracker();
    tracker.tick(&tree.proc(), Duration::MAX).unwrap();
    // As huge pages do: all of 1 GiB in a millisecond, others a hundred times
    // dearer.
    let own = Duration::from_millis(1);
    tracker.processes[0].reading.as_mut().unwrap().took = own;
    tracker.reader.large = Cost {
        pages: GIB,
        spent: 100 * own,
    };
    let expected = tracker.reader.expected(&tracker.processes[0]);
    assert_eq!(
        expected,
        own * 5 / 4 + Duration::from_nanos(NANOSECONDS_PER_READING)
    );
}
