//! Facts about evictions of which the kernel sees nothing: when they are tried
//! again, when no more, and what is not taken for one.

use super::between_ticks::keeping;
use super::*;
use crate::controller::state::Pause;

/// Ticks `times` times, each after `milliseconds`.
fn ticks(rig: &Rig, times: u32, milliseconds: u64) {
    for _ in 0..times {
        rig.clock.advance(milliseconds);
        rig.controller.tick();
    }
}

/// The kernel gets `count` MiB of what the allocator kept.
fn give_back(rig: &Rig, count: u64) {
    rig.process.kept.fetch_sub(count * MIB, Ordering::SeqCst);
}

#[test]
fn over_the_limit_it_is_tried_at_each_tick_and_then_no_more() {
    let (rig, held) = keeping(800, 1005);
    ticks(&rig, 1, 100);
    let first = held.count();
    assert!(first < 800);
    ticks(&rig, 2, 100);
    let third = held.count();
    assert!(third <= first - 300, "{third} of {first}");
    assert_eq!(rig.controller.statistics().futile_pauses, 1);
    ticks(&rig, 50, 100);
    assert_eq!(held.count(), third);
}

#[test]
fn below_the_limit_it_is_tried_once_a_second() {
    // The rest is so near to the limit that nothing kept counts as free.
    let (rig, held) = keeping(800, 995);
    ticks(&rig, 1, 100);
    let first = held.count();
    ticks(&rig, 9, 100);
    assert_eq!(held.count(), first);
    ticks(&rig, 1, 100);
    assert!(held.count() < first);
}

#[test]
fn while_nothing_is_evicted_the_allocator_is_purged_less_and_less_often() {
    let (rig, held) = keeping(800, 1005);
    ticks(&rig, 3, 100);
    assert_eq!(rig.controller.statistics().futile_pauses, 1);
    let (count, purges) = (held.count(), rig.process.purges.load(Ordering::SeqCst));
    ticks(&rig, 20, 1000);
    // After 1, 2, 4 and 8 seconds.
    let purged = rig.process.purges.load(Ordering::SeqCst) - purges;
    assert!((4..=5).contains(&purged), "{purged}");
    assert_eq!(held.count(), count);
}

#[test]
fn a_pause_ends_when_what_was_given_back_shows_after_all() {
    let (rig, held) = keeping(800, 1005);
    ticks(&rig, 3, 100);
    assert_eq!(rig.controller.statistics().futile_pauses, 1);
    let count = held.count();
    // Less than an eighth of it may be anybody's.
    give_back(&rig, (800 - count) / 8 - 2);
    ticks(&rig, 1, 100);
    rig.process.used.fetch_add(50 * MIB, Ordering::SeqCst);
    ticks(&rig, 12, 100);
    assert_eq!(held.count(), count);
    give_back(&rig, 60);
    ticks(&rig, 1, 100);
    rig.process.used.fetch_add(60 * MIB, Ordering::SeqCst);
    ticks(&rig, 12, 100);
    assert!(held.count() < count);
}

#[test]
fn what_others_take_at_once_is_neither_free_nor_in_vain() {
    let (rig, held) = keeping(800, 830);
    held.is_taken_again.store(true, Ordering::SeqCst);
    rig.fill(830);
    for _ in 0..20 {
        let tick = rig.controller.tick();
        assert_eq!(tick.level, Level::Soft);
        assert_eq!(tick.used, mib(830), "nothing of it is free");
        rig.clock.advance(1000);
    }
    assert!(held.taken_again() >= 20 * 50);
    assert_eq!(held.count(), 800);
    assert_eq!(rig.controller.statistics().futile_pauses, 0);
}

/// Says that it gave a byte, and gives nothing.
struct Tiny;

impl Reclaimer for Tiny {
    fn name(&self) -> &'static str {
        "tiny"
    }

    fn priority(&self) -> Priority {
        Priority::Low
    }

    fn modes(&self) -> &[ReclaimMode] {
        &[ReclaimMode::Evict]
    }

    fn reclaimable(&self, _mode: ReclaimMode) -> Bytes {
        mib(1)
    }

    fn reclaim(&self, _request: &ReclaimRequest, _stop: &Stop) -> Reclaimed {
        Reclaimed {
            freed: Bytes(1),
            entries: 1,
            ..Reclaimed::default()
        }
    }
}

#[test]
fn a_byte_of_which_nobody_saw_anything_has_not_helped() {
    let mut rig = rig();
    rig.fill(985);
    rig.register(&Arc::new(Tiny));
    ticks(&rig, 100, 100);
    let purges = rig.process.purges.load(Ordering::SeqCst);
    assert!(purges <= 10, "{purges} in ten seconds");
}

#[test]
fn a_pause_after_gifts_of_a_byte_does_not_end_by_itself() {
    let pause = Pause {
        until: Duration::MAX,
        resident: mib(500),
        given: Bytes(3),
    };
    assert!(!pause.was_wrong(mib(500)));
    assert!(pause.was_wrong(mib(499)));
}
