//! Facts about a level that lasts: what goes, how often, and what is written
//! down of it.

use super::*;

#[test]
fn the_soft_level_takes_what_is_medium_where_nothing_is_low() {
    let mut rig = rig();
    let (medium, high) = (
        rig.pieces("medium", Priority::Medium, 300),
        rig.pieces("high", Priority::High, 100),
    );
    rig.fill(800);
    let tick = rig.controller.tick();
    assert_eq!(tick.level, Level::Soft);
    assert_eq!(tick.results[0].freed, Some(mib(50)));
    assert_eq!((medium.held(), high.held()), (250, 100));
}

#[test]
fn the_soft_level_takes_all_that_is_low_before_anything_that_is_medium() {
    let mut rig = rig();
    let parts = [
        rig.pieces("medium", Priority::Medium, 300),
        rig.pieces("low", Priority::Low, 30),
    ];
    rig.fill(800);
    rig.controller.tick();
    assert_eq!(parts.map(|part| part.held()), [280, 0]);
}

#[test]
fn the_soft_level_leaves_what_is_high() {
    let mut rig = rig();
    let high = rig.pieces("high", Priority::High, 800);
    for _ in 0..50 {
        assert_eq!(rig.controller.tick().level, Level::Soft);
        rig.clock.advance(1000);
    }
    assert_eq!(high.held(), 800);
}

#[test]
fn the_soft_level_has_written_to_disk_what_would_be_dropped() {
    let mut rig = rig();
    let with = |name, modes| Pieces::with(&rig.process, name, Priority::Medium, 100, modes);
    let spiller = with("cache", &[ReclaimMode::Spill, ReclaimMode::Evict]);
    // Would give nothing at this level if it could not write.
    let writer = with("writer", &[ReclaimMode::Spill]);
    rig.register(&spiller);
    rig.register(&writer);
    rig.fill(800);
    rig.controller.tick();
    assert_eq!(spiller.calls(), [(ReclaimMode::Spill, mib(50))]);
    assert_eq!(writer.calls(), []);
}

#[test]
fn a_level_at_which_nobody_gives_purges_less_and_less_often() {
    let mut rig = rig();
    rig.pieces("high", Priority::High, 800);
    let purges = || rig.process.purges.load(Ordering::SeqCst);
    let for_seconds = |seconds: u64| {
        let before = purges();
        for _ in 0..seconds {
            assert_eq!(rig.controller.tick().level, Level::Soft);
            rig.clock.advance(1000);
        }
        purges() - before
    };
    // After 1, 2, 4, 8, 16, 32 and then 60 seconds each.
    assert_eq!(for_seconds(64), 7);
    assert_eq!(for_seconds(600), 10);
    assert!(rig.controller.history().is_empty());
    // A higher level begins anew.
    rig.fill(930);
    let before = purges();
    rig.controller.tick();
    assert_eq!(purges(), before + 1);
}

#[test]
fn what_can_be_evicted_again_is_evicted_and_purged_at_once() {
    let mut rig = rig();
    let cache = rig.pieces("cache", Priority::Low, 50);
    rig.fill(830);
    for _ in 0..100 {
        rig.controller.tick();
        rig.clock.advance(1000);
    }
    let (purges, history) = (
        rig.process.purges.load(Ordering::SeqCst),
        rig.controller.history().len(),
    );
    assert_eq!((cache.held(), history), (0, 1));
    cache.held.store(10, Ordering::SeqCst);
    let tick = rig.controller.tick();
    assert_eq!(tick.results[0].freed, Some(mib(10)));
    assert_eq!(rig.process.purges.load(Ordering::SeqCst), purges + 1);
    assert_eq!(rig.controller.history().len(), history + 1);
    // What the allocator keeps may be more again.
    rig.clock.advance(1000);
    assert_eq!(rig.controller.tick().results[0].freed, Some(Bytes::ZERO));
}

#[test]
fn an_emergency_that_goes_on_is_answered_at_each_tick() {
    let mut rig = rig();
    let cache = rig.pieces("cache", Priority::Medium, 600);
    rig.fill(985);
    rig.controller.tick();
    // 40 MiB in each tenth of a second, and nobody is told.
    while cache.held() >= 150 {
        rig.process.used.fetch_add(40 * MIB, Ordering::SeqCst);
        rig.clock.advance(100);
        rig.controller.tick();
        let resident = rig.process.resident();
        assert!(resident < mib(980), "{resident} with {}", cache.held());
    }
}
