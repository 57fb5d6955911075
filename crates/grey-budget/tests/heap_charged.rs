//! What a queue, a channel, a broadcaster and a log of small things charge to the
//! budget beside what the heap grew by, as glibc tells it.
//!
//! One test to a program, and one after the other: the heap is the whole process's.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use grey_budget::channel::bounded_bytes;
use grey_budget::{
    Broadcaster, Budget, Bytes, Component, FullPolicy, MemorySource, ProcessSource, RollingLog,
    WorkQueue,
};

/// From so many things on it is looked, so that quanta do not matter, and up to
/// so many: by then every list has doubled a few times.
const FIRST: u64 = 100_000;
const LAST: u64 = 400_000;

/// More than any of them takes.
const ALL: Bytes = Bytes::from_mib(256);

/// What a part may keep of the heap for nothing once it is empty.
const KEPT: u64 = 128 << 10;

struct Measured {
    source: ProcessSource,
    budget: Budget,
    before: u64,
}

impl Measured {
    fn new() -> (Self, Component) {
        let budget = Budget::new(ALL).unwrap();
        let component = budget.component("part").register().unwrap();
        let mut this = Self {
            source: ProcessSource::new().unwrap(),
            budget,
            before: 0,
        };
        this.before = this.heap();
        (this, component)
    }

    fn heap(&self) -> u64 {
        self.source.read().unwrap().heap_allocated.unwrap().get()
    }

    fn grown(&self) -> u64 {
        self.heap().saturating_sub(self.before)
    }

    /// Adds one thing after the other, and looks again and again.
    fn charge_follows_heap(&self, mut add: impl FnMut(u64)) {
        let mut next = FIRST;
        for count in 1..=LAST {
            add(count);
            if count == next {
                next += next / 10;
                let (heap, charged) = (self.grown(), self.budget.reserved().get());
                let percent = charged * 100 / heap;
                assert!(
                    (80..=125).contains(&percent),
                    "{charged} are charged for {heap} with {count}: {percent} %"
                );
            }
        }
    }

    fn is_empty(&self) {
        assert_eq!(self.budget.reserved(), Bytes::ZERO);
        let grown = self.grown();
        assert!(grown <= KEPT, "{grown}");
    }
}

fn a_queue_charges_what_its_items_take() {
    let (measured, component) = Measured::new();
    let queue = WorkQueue::builder(component).max_items(LAST).build();
    measured.charge_follows_heap(|number| queue.push(number).unwrap());
    let mut popped = 0_u64;
    while queue.try_pop().is_ok() {
        popped += 1;
    }
    assert_eq!(popped, LAST);
    measured.is_empty();
}

fn a_queue_whose_items_come_and_go_charges_what_they_take() {
    let (measured, component) = Measured::new();
    let queue = WorkQueue::builder(component)
        .max_items(LAST + 3)
        .weigher(|_: &u64| Bytes(8))
        .when_full(FullPolicy::Reject)
        .build();
    measured.charge_follows_heap(|number| {
        queue.push_many(&mut vec![number; 3]).unwrap();
        // So that both of its ends have some.
        queue.pop().unwrap();
        queue.pop().unwrap();
    });
    let mut items = Vec::new();
    while queue.try_pop_many(&mut items, 1_000) > 0 {
        items.clear();
    }
    drop(items);
    measured.is_empty();
}

fn a_channel_charges_what_its_messages_take() {
    let (measured, component) = Measured::new();
    let (sender, receiver) = bounded_bytes(component, ALL, |_: &u8| Bytes(1));
    measured.charge_follows_heap(|_| sender.send(7).unwrap());
    drop((sender, receiver));
    measured.is_empty();
}

fn a_broadcaster_charges_what_its_events_take() {
    let (measured, component) = Measured::new();
    let events = Broadcaster::builder(component)
        .capacity(usize::try_from(LAST).unwrap())
        .build();
    measured.charge_follows_heap(|number| events.send(number).unwrap());
    drop(events);
    measured.is_empty();
}

fn a_broadcaster_whose_events_are_received_one_by_one_charges_what_they_take() {
    let (measured, component) = Measured::new();
    let events = Broadcaster::builder(component)
        .capacity(usize::try_from(LAST).unwrap())
        .build();
    let mut receives = events.subscribe();
    measured.charge_follows_heap(|number| {
        events.send(number).unwrap();
        assert_eq!(*receives.recv().unwrap(), number);
    });
    drop((events, receives));
    measured.is_empty();
}

fn a_broadcaster_whose_larger_events_are_received_by_twos_charges_what_they_take() {
    let (measured, component) = Measured::new();
    let events = Broadcaster::builder(component)
        .capacity(usize::try_from(LAST).unwrap())
        .max_bytes(ALL)
        .build();
    let mut receives = events.subscribe();
    measured.charge_follows_heap(|number| {
        events.send([number; 15]).unwrap();
        if number % 2 == 0 {
            assert_eq!(receives.recv().unwrap()[0], number - 1);
            assert_eq!(receives.recv().unwrap()[0], number);
        }
    });
}

fn a_full_broadcaster_with_a_weigher_charges_what_its_events_take() {
    let (measured, component) = Measured::new();
    let events = Broadcaster::builder(component)
        .capacity(usize::try_from(FIRST).unwrap() - 1)
        .weigher(|_: &u64| Bytes(8))
        .build();
    measured.charge_follows_heap(|number| events.send(number).unwrap());
    drop(events);
    measured.is_empty();
}

fn a_log_charges_what_its_operations_take_and_nothing_for_what_was_compacted() {
    let (measured, component) = Measured::new();
    let most = usize::try_from(LAST).unwrap();
    let log = RollingLog::builder(component)
        .max_operations(most)
        .compact_after(most + 1)
        .compact_with(|_: &[_]| Vec::new())
        .build();
    measured.charge_follows_heap(|number| log.append(number).unwrap());
    assert!(log.compact_now());
    let quanta = Bytes::from_kib(128);
    assert!(measured.budget.reserved() <= quanta);
    assert!(measured.grown() <= KEPT, "{}", measured.grown());
    drop(log);
    measured.is_empty();
}

fn a_full_log_charges_what_its_operations_take() {
    let (measured, component) = Measured::new();
    let log = RollingLog::builder(component)
        .max_operations(usize::try_from(FIRST).unwrap() - 1)
        .build();
    measured.charge_follows_heap(|number| log.append(number).unwrap());
}

#[test]
fn what_is_charged_is_what_the_heap_grew_by() {
    a_queue_charges_what_its_items_take();
    a_queue_whose_items_come_and_go_charges_what_they_take();
    a_channel_charges_what_its_messages_take();
    a_broadcaster_charges_what_its_events_take();
    a_broadcaster_whose_events_are_received_one_by_one_charges_what_they_take();
    a_broadcaster_whose_larger_events_are_received_by_twos_charges_what_they_take();
    a_full_broadcaster_with_a_weigher_charges_what_its_events_take();
    a_log_charges_what_its_operations_take_and_nothing_for_what_was_compacted();
    a_full_log_charges_what_its_operations_take();
}
