//! Facts about the broadcaster: capacity, age, positions, lag, charging.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use grey_model::Bytes;

use super::*;
use crate::budget::Budget;

/// A clock that is moved by hand.
#[derive(Debug, Default)]
struct HandClock(AtomicU64);

impl HandClock {
    fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.now()
    }
}

fn component() -> (Budget, Component) {
    let budget = Budget::new(Bytes::from_mib(1)).unwrap();
    let component = budget.component("events").register().unwrap();
    (budget, component)
}

/// What an event takes of the budget beside its weight.
const EACH: u64 = Broadcaster::<u64>::EVENT_OVERHEAD.get();

#[test]
fn every_subscriber_sees_every_event_from_its_own_position_on() {
    let (_budget, component) = component();
    let broadcaster = Broadcaster::new(component);
    let mut early = broadcaster.subscribe();
    broadcaster.send(1).unwrap();
    let mut late = broadcaster.subscribe();
    let mut from_oldest = broadcaster.subscribe_from_oldest();
    broadcaster.send(2).unwrap();
    assert_eq!((*early.recv().unwrap(), *early.recv().unwrap()), (1, 2));
    assert_eq!(*late.recv().unwrap(), 2);
    assert_eq!(*from_oldest.recv().unwrap(), 1);
    assert_eq!(late.try_recv(), Err(RecvError::Empty));
}

#[test]
fn a_slow_subscriber_is_told_how_many_of_1_000_and_more_it_missed() {
    let (_budget, component) = component();
    let broadcaster = Broadcaster::new(component);
    let mut slow = broadcaster.subscribe();
    for event in 0..1_007 {
        broadcaster.send(event).unwrap();
    }
    assert_eq!(broadcaster.len(), 1_000);
    assert_eq!(slow.behind(), 1_007);
    assert_eq!(slow.recv(), Err(RecvError::Lagged(7)));
    assert_eq!(*slow.recv().unwrap(), 7);
    assert_eq!(slow.missed(), 7);
}

#[test]
fn an_event_that_went_after_it_was_looked_up_is_missed_all_the_same() {
    let (_budget, component) = component();
    let broadcaster = Broadcaster::builder(component).capacity(4).build();
    let mut slow = broadcaster.subscribe();
    for event in 0..4 {
        broadcaster.send(event).unwrap();
    }
    assert_eq!(*slow.recv().unwrap(), 0);
    for event in 4..10 {
        broadcaster.send(event).unwrap();
    }
    assert_eq!(slow.recv(), Err(RecvError::Lagged(5)));
    assert_eq!(*slow.recv().unwrap(), 6);
}

#[test]
fn an_event_is_gone_after_60_seconds_looked_up_or_not() {
    let (_budget, component) = component();
    let clock = Arc::new(HandClock::default());
    let broadcaster = Broadcaster::builder(component)
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .build();
    let mut idle = broadcaster.subscribe();
    let mut busy = broadcaster.subscribe();
    for event in 0..3 {
        broadcaster.send(event).unwrap();
    }
    assert_eq!(*busy.recv().unwrap(), 0);
    clock.pass(59);
    broadcaster.send(3).unwrap();
    assert_eq!(*busy.recv().unwrap(), 1);
    clock.pass(1);
    assert_eq!(busy.recv(), Err(RecvError::Lagged(1)));
    assert_eq!(*busy.recv().unwrap(), 3);
    assert_eq!(idle.recv(), Err(RecvError::Lagged(3)));
    assert_eq!(broadcaster.len(), 1);
}

#[test]
fn the_oldest_go_when_bytes_run_out_here_or_in_the_budget() {
    let (budget, component) = component();
    let other = budget.component("other").register().unwrap();
    let broadcaster = Broadcaster::builder(component)
        .max_bytes(Bytes(1_000))
        .weigher(|_: &u64| Bytes(300))
        .build();
    for event in 0..5 {
        broadcaster.send(event).unwrap();
    }
    assert_eq!((broadcaster.len(), broadcaster.bytes()), (3, Bytes(900)));
    let rest = budget.limit().get() - budget.committed().get();
    let _held = other.reserve(Bytes(rest)).unwrap();
    // What is reserved already is used again.
    broadcaster.send(5).unwrap();
    let mut all = broadcaster.subscribe_from_oldest();
    assert_eq!(*all.recv().unwrap(), 3);
}

#[test]
fn a_closed_one_that_is_full_keeps_what_it_has() {
    let (_budget, component) = component();
    let broadcaster = Broadcaster::builder(component).capacity(2).build();
    broadcaster.send(1).unwrap();
    broadcaster.send(2).unwrap();
    let mut all = broadcaster.subscribe_from_oldest();
    broadcaster.close();
    assert!(matches!(
        broadcaster.send(3),
        Err(BroadcastError::Closed { .. })
    ));
    assert_eq!((*all.recv().unwrap(), *all.recv().unwrap()), (1, 2));
}

#[test]
fn nothing_goes_for_an_event_that_finds_no_room_even_so() {
    let (budget, component) = component();
    let broadcaster = Broadcaster::builder(component)
        .weigher(|event: &u64| Bytes(*event))
        .build();
    broadcaster.send(100).unwrap();
    let other = budget.component("other").register().unwrap();
    let rest = budget.limit().get() - budget.committed().get();
    let _held = other.reserve(Bytes(rest)).unwrap();
    let more_than_is_charged = budget.committed().get() / 2;
    assert!(matches!(
        broadcaster.send(more_than_is_charged),
        Err(BroadcastError::Refused { .. })
    ));
    assert_eq!(broadcaster.len(), 1);
}

#[test]
fn an_event_is_given_back_when_there_is_no_memory_for_it_alone() {
    let (budget, component) = component();
    let other = budget.component("other").register().unwrap();
    let _held = other.reserve(budget.limit()).unwrap();
    let broadcaster = Broadcaster::new(component);
    match broadcaster.send("event") {
        Err(BroadcastError::Refused { event, .. }) => assert_eq!(*event, "event"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn trimming_removes_what_is_expired_and_evicting_the_oldest() {
    let (budget, component) = component();
    let clock = Arc::new(HandClock::default());
    let broadcaster = Broadcaster::builder(component)
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .weigher(|_: &u64| Bytes(10_000 - EACH))
        .build();
    for event in 0..10 {
        broadcaster.send(event).unwrap();
        clock.pass(10);
    }
    // At 100 s what was sent at 40 s is 60 s old; what was older went while
    // sending.
    let stop = Stop::new();
    let trim = ReclaimRequest::new(Bytes(1), ReclaimMode::Trim);
    let expected = broadcaster.reclaimable(ReclaimMode::Trim);
    let trimmed = broadcaster.reclaim(&trim, &stop);
    assert_eq!((trimmed.entries, trimmed.freed), (1, expected));
    assert_eq!(budget.reserved(), Bytes(50_000));
    let evict = ReclaimRequest::new(Bytes(15_000), ReclaimMode::Evict);
    let evicted = broadcaster.reclaim(&evict, &stop);
    assert_eq!((evicted.entries, evicted.freed), (2, Bytes(20_000)));
    assert_eq!(budget.reserved(), Bytes(30_000));
    drop(broadcaster);
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[test]
fn what_is_expired_gives_its_charge_back_to_who_only_reads() {
    type Read = fn(&Broadcaster<u64>, &mut Subscriber<u64>);
    let reads: [Read; 5] = [
        |broadcaster, _| assert_eq!(broadcaster.len(), 0),
        |broadcaster, _| assert_eq!(broadcaster.bytes(), Bytes::ZERO),
        |broadcaster, _| assert!(broadcaster.is_empty()),
        |_, behind| assert_eq!(behind.try_recv(), Err(RecvError::Lagged(80))),
        |broadcaster, _| {
            let mut late = broadcaster.subscribe_from_oldest();
            assert_eq!(late.try_recv(), Err(RecvError::Empty));
        },
    ];
    for read in reads {
        let (budget, component) = component();
        let clock = Arc::new(HandClock::default());
        let broadcaster = Broadcaster::builder(component)
            .clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .max_bytes(Bytes(800_000))
            .weigher(|_: &u64| Bytes(10_000 - EACH))
            .build();
        let mut behind = broadcaster.subscribe();
        for event in 0..80 {
            broadcaster.send(event).unwrap();
        }
        clock.pass(59);
        assert_eq!(broadcaster.bytes(), Bytes(80 * (10_000 - EACH)));
        clock.pass(1);
        assert!(budget.reserved() >= Bytes(800_000));
        read(&broadcaster, &mut behind);
        // A quantum stays for what is sent next.
        assert_eq!(budget.reserved(), Bytes(50_000));
        broadcaster.send(80).unwrap();
        assert_eq!(*broadcaster.subscribe_from_oldest().recv().unwrap(), 80);
        assert_eq!(budget.reserved(), Bytes(50_000));
    }
}

#[test]
fn what_is_expired_makes_room_for_a_large_event_in_a_full_budget() {
    let (budget, component) = component();
    let other = budget.component("other").register().unwrap();
    let clock = Arc::new(HandClock::default());
    let broadcaster = Broadcaster::builder(component)
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .max_bytes(Bytes(800_000))
        .weigher(|weight: &u64| Bytes(*weight))
        .build();
    for _ in 0..80 {
        broadcaster.send(10_000).unwrap();
    }
    budget.settle();
    let _held = other.reserve(other.available()).unwrap();
    clock.pass(60);
    broadcaster.send(700_000).unwrap();
    assert_eq!(broadcaster.len(), 1);
}

#[test]
fn closing_wakes_who_waits_once_all_was_received() {
    let (_budget, component) = component();
    let broadcaster = Broadcaster::new(component);
    let mut subscriber = broadcaster.subscribe();
    broadcaster.send(1).unwrap();
    thread::scope(|scope| {
        let receiving = scope.spawn(|| (*subscriber.recv().unwrap(), subscriber.recv().err()));
        broadcaster.close();
        assert_eq!(receiving.join().unwrap(), (1, Some(RecvError::Closed)));
    });
    assert!(matches!(
        broadcaster.send(2),
        Err(BroadcastError::Closed { .. })
    ));
}

#[test]
fn every_event_is_received_or_counted_as_missed() {
    let (budget, component) = component();
    let broadcaster = Broadcaster::builder(component).capacity(50).build();
    thread::scope(|scope| {
        for _ in 0..3 {
            let mut subscriber = broadcaster.subscribe();
            scope.spawn(move || {
                let (mut received, mut missed, mut last) = (0, 0, None);
                loop {
                    match subscriber.recv() {
                        Ok(event) => {
                            assert!(last.is_none_or(|last| last < *event));
                            last = Some(*event);
                            received += 1;
                        }
                        Err(RecvError::Lagged(count)) => missed += count,
                        Err(error) => {
                            assert_eq!(error, RecvError::Closed);
                            break;
                        }
                    }
                }
                assert_eq!(received + missed, 20_000);
            });
        }
        for event in 0..20_000_u64 {
            broadcaster.send(event).unwrap();
        }
        broadcaster.close();
    });
    drop(broadcaster);
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[test]
fn many_are_received_at_once_in_their_order() {
    let (_budget, component) = component();
    let broadcaster = Broadcaster::new(component);
    let mut subscriber = broadcaster.subscribe();
    for event in 0..100 {
        broadcaster.send(event).unwrap();
    }
    let mut events = Vec::new();
    assert_eq!(subscriber.try_recv_many(&mut events, 60), Ok(60));
    assert_eq!(subscriber.try_recv_many(&mut events, 60), Ok(40));
    assert!(events.iter().map(|event| **event).eq(0..100));
    assert_eq!(
        subscriber.try_recv_many(&mut events, 1),
        Err(RecvError::Empty)
    );
}

#[tokio::test]
async fn a_task_that_gives_up_waiting_misses_nothing() {
    let (_budget, component) = component();
    let broadcaster = Broadcaster::new(component);
    let mut subscriber = broadcaster.subscribe();
    let waited = tokio::time::timeout(Duration::from_millis(1), subscriber.recv_async()).await;
    assert!(waited.is_err());
    broadcaster.send(1).unwrap();
    assert_eq!(*subscriber.recv_async().await.unwrap(), 1);
}

#[test]
fn who_waits_is_told_when_the_last_broadcaster_is_dropped() {
    let (_budget, component) = component();
    let broadcaster = Broadcaster::<u64>::new(component);
    let other = broadcaster.clone();
    let mut subscriber = broadcaster.subscribe();
    let mut late = broadcaster.subscribe();
    let patience = Duration::from_secs(20);
    let waiting = thread::spawn(move || subscriber.recv_timeout(patience));
    drop(broadcaster);
    other.send(7).unwrap();
    assert_eq!(waiting.join().unwrap().map(|event| *event), Ok(7));
    let mut waits = late.clone();
    let waiting = thread::spawn(move || {
        let first = waits.recv_timeout(patience).map(|event| *event);
        (first, waits.recv_timeout(patience).map(|event| *event))
    });
    drop(other);
    assert_eq!(waiting.join().unwrap(), (Ok(7), Err(RecvError::Closed)));
    assert_eq!(*late.try_recv().unwrap(), 7, "what is kept is received");
    assert_eq!(late.try_recv().unwrap_err(), RecvError::Closed);
}

/// Counts how many of it were dropped.
struct Counted(Arc<AtomicU64>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn an_event_that_makes_room_is_dropped_by_the_time_the_new_one_is_sent() {
    let (_budget, component) = component();
    let broadcaster = Broadcaster::builder(component).capacity(100).build();
    let dropped = Arc::new(AtomicU64::new(0));
    for sent in 1..=250 {
        let sending = broadcaster.send(Counted(Arc::clone(&dropped)));
        assert!(sending.is_ok());
        let gone = 250_u64.min(sent).saturating_sub(100);
        assert_eq!(dropped.load(Ordering::SeqCst), gone);
    }
    drop(broadcaster);
    assert_eq!(dropped.load(Ordering::SeqCst), 250);
}

#[test]
fn an_event_that_somebody_keeps_is_not_written_over() {
    let (_budget, component) = component();
    let broadcaster = Broadcaster::builder(component).capacity(1).build();
    let mut subscriber = broadcaster.subscribe();
    broadcaster.send(1).unwrap();
    let kept = subscriber.recv().unwrap();
    for event in 2..5 {
        broadcaster.send(event).unwrap();
    }
    assert_eq!(*kept, 1);
    assert_eq!(subscriber.recv().unwrap_err(), RecvError::Lagged(2));
    assert_eq!(*subscriber.recv().unwrap(), 4);
}

#[test]
fn an_event_of_the_largest_weight_is_refused_and_others_are_kept_after_it() {
    let (_budget, component) = component();
    let broadcaster = Broadcaster::builder(component)
        .max_bytes(Bytes(u64::MAX))
        .weigher(|weight: &u64| Bytes(*weight))
        .build();
    broadcaster.send(100).unwrap();
    let refused = broadcaster.send(u64::MAX);
    assert!(
        matches!(refused, Err(BroadcastError::Refused { .. })),
        "{refused:?}"
    );
    broadcaster.send(200).unwrap();
    assert_eq!((broadcaster.len(), broadcaster.bytes()), (1, Bytes(200)));
}

/// Every kind of block: plain events, some dozen together; and events that have
/// something to drop, each alone.
fn every_event_arrives<T: Send + Sync + PartialEq + fmt::Debug>(make: fn(u64) -> T) {
    let (budget, component) = component();
    let broadcaster = Broadcaster::builder(component).capacity(400).build();
    let mut steady = broadcaster.subscribe();
    let mut held = Vec::new();
    let mut sent = 0;
    // Groups of each size, so that blocks end everywhere.
    for group in 1..=70 {
        for _ in 0..group {
            broadcaster.send(make(sent)).unwrap();
            sent += 1;
        }
        let mut from_oldest = broadcaster.subscribe_from_oldest();
        for number in sent.saturating_sub(400)..sent {
            assert_eq!(*from_oldest.try_recv().unwrap(), make(number));
        }
        assert_eq!(from_oldest.try_recv(), Err(RecvError::Empty));
        // A part by ones and a part at once.
        for _ in 0..group / 3 {
            held.push(steady.try_recv().unwrap());
        }
        let rest = group - group / 3;
        assert_eq!(steady.try_recv_many(&mut held, 1_000), Ok(rest));
        assert_eq!(steady.behind(), 0);
    }
    drop((broadcaster, steady));
    assert_eq!(budget.reserved(), Bytes::ZERO);
    // What is kept is not written over.
    assert_eq!(held.len() as u64, sent);
    for (number, event) in (0..).zip(&held) {
        assert_eq!(**event, make(number));
    }
}

#[test]
fn every_plain_event_arrives_however_the_blocks_end() {
    every_event_arrives(|number| number);
}

#[test]
fn every_event_with_something_to_drop_arrives() {
    every_event_arrives(|number| number.to_string());
}

#[test]
fn every_event_without_a_size_arrives() {
    every_event_arrives(|_| ());
}

#[test]
fn an_event_that_expires_within_a_block_at_hand_is_missed() {
    let (_budget, component) = component();
    let clock = Arc::new(HandClock::default());
    let broadcaster = Broadcaster::builder(component)
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .build();
    let mut subscriber = broadcaster.subscribe();
    for event in 0..10 {
        broadcaster.send(event).unwrap();
        clock.pass(1);
    }
    assert_eq!(*subscriber.try_recv().unwrap(), 0);
    // Now those of 0 to 5 s are 60 s old and more.
    clock.pass(55);
    assert_eq!(subscriber.try_recv(), Err(RecvError::Lagged(5)));
    assert_eq!(*subscriber.try_recv().unwrap(), 6);
}

#[test]
fn events_of_different_weight_are_counted_one_by_one() {
    let (_budget, component) = component();
    let broadcaster = Broadcaster::builder(component)
        .max_bytes(Bytes(10_000))
        .weigher(|weight: &u64| Bytes(*weight))
        .build();
    for weight in [4_000, 3_000, 2_000, 1_000] {
        broadcaster.send(weight).unwrap();
    }
    assert_eq!(broadcaster.bytes(), Bytes(10_000));
    broadcaster.send(5_000).unwrap();
    // 4,000 and 3,000 made room.
    assert_eq!((broadcaster.len(), broadcaster.bytes()), (3, Bytes(8_000)));
}

#[test]
fn trimming_tells_what_expired_in_the_midst_of_a_block() {
    let (budget, component) = component();
    let clock = Arc::new(HandClock::default());
    let broadcaster = Broadcaster::builder(component)
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .build();
    for event in 0..100_u64 {
        broadcaster.send(event).unwrap();
        clock.pass(1);
    }
    // Sent at 41 s and later. Sending has removed what expired at 99 s.
    assert_eq!(broadcaster.bytes(), Bytes(59 * 8));
    clock.pass(10);
    let trim = ReclaimRequest::new(Bytes(1), ReclaimMode::Trim);
    let expected = broadcaster.reclaimable(ReclaimMode::Trim);
    let trimmed = broadcaster.reclaim(&trim, &Stop::new());
    assert_eq!((trimmed.entries, trimmed.freed), (10, expected));
    assert_eq!(broadcaster.bytes(), Bytes(49 * 8));
    // The block in whose midst they are is there whole: three of 32, and four
    // events that are in none yet.
    let block = 32 * 16 + 16 + 48 + 32;
    assert_eq!(budget.reserved(), Bytes(2 * block + 4 * (8 + EACH)));
}

#[test]
fn one_plain_event_that_somebody_keeps_keeps_no_more_than_its_block() {
    let (_budget, component) = component();
    let broadcaster = Broadcaster::builder(component).build();
    let mut subscriber = broadcaster.subscribe();
    for event in 0..100_u64 {
        broadcaster.send(event).unwrap();
    }
    let first = subscriber.try_recv().unwrap();
    let block = first.block_bytes();
    assert!(block <= 4 << 10, "{block}");
    // One that came alone lies alone.
    while subscriber.try_recv().is_ok() {}
    broadcaster.send(100).unwrap();
    assert_eq!(subscriber.try_recv().unwrap().block_bytes(), 16);
}

#[test]
fn no_block_has_more_room_than_its_events_are_charged_for() {
    let (_budget, component) = component();
    let broadcaster = Broadcaster::<u64>::builder(component).capacity(256).build();
    let mut subscriber = broadcaster.subscribe();
    let mut receive = |count| {
        for event in 0..count {
            broadcaster.send(event).unwrap();
        }
        std::iter::from_fn(|| subscriber.try_recv().ok())
            .map(|event| event.block_bytes())
            .max()
    };
    // Blocks that are received before they are full, and are used again.
    for _ in 0..100 {
        for count in [31, 64, 17] {
            assert!(receive(count) <= Some(32 * 16));
        }
    }
    for event in 0..20 {
        broadcaster.send(event).unwrap();
    }
    let trim = ReclaimRequest::new(Bytes(1), ReclaimMode::Trim);
    broadcaster.reclaim(&trim, &Stop::new());
    assert_eq!(receive(12), Some(32 * 16));
}

#[test]
fn what_was_reserved_for_an_event_is_given_back_if_it_closed_meanwhile() {
    let (budget, component) = component();
    let broadcaster = Broadcaster::<u64>::new(component);
    broadcaster.close();
    // As if it had been open when the event was sent.
    let sent = broadcaster.send_with_quantum(7, 8, &mut Gone::default());
    assert!(matches!(sent, Err(BroadcastError::Closed { event, .. }) if *event == 7));
    assert_eq!(budget.reserved(), Bytes::ZERO);
}
