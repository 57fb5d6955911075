//! What programs pass on and remember: a work queue, a broadcaster, a log and
//! embeddings, which come and go while they are used, and whose weighers,
//! compaction, wakers and items panic now and then.
//!
//! Each item follows from its number, and each that was made must be dropped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use grey_budget::broadcast::{Broadcaster, Event, RecvError, Subscriber};
use grey_budget::embeddings::EmbeddingsCache;
use grey_budget::queue::WorkQueue;
use grey_budget::rolling_log::RollingLog;
use grey_budget::{Budget, Bytes, Component, Controller, Reclaimer, Registration};

use super::Random;

/// How many numbers an embedding has.
const DIMENSIONS: usize = 32;

/// How many items are alive.
static ALIVE: AtomicU64 = AtomicU64::new(0);

/// Something that a program passes on.
struct Item {
    number: u64,
    bytes: Vec<u8>,
    /// Its drop panics.
    is_fragile: bool,
}

impl Item {
    fn new(random: &mut Random) -> Self {
        ALIVE.fetch_add(1, Ordering::SeqCst);
        let number = random.next();
        let length = usize::try_from(number % 2_000).unwrap();
        Self {
            number,
            bytes: vec![number.to_le_bytes()[7]; length],
            is_fragile: number.is_multiple_of(50),
        }
    }

    fn check(&self) {
        assert_eq!(self.bytes.len() as u64, self.number % 2_000);
        let byte = self.number.to_le_bytes()[7];
        assert!(self.bytes.iter().all(|found| *found == byte));
    }

    /// It was handed out whole; from now on it does not panic.
    fn received(mut self) {
        self.check();
        self.is_fragile = false;
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::SeqCst);
        let panics = self.is_fragile && !std::thread::panicking();
        assert!(!panics, "a panic while an item is dropped");
    }
}

fn weigh(item: &Item) -> Bytes {
    assert!(!item.number.is_multiple_of(61), "a panic while weighing");
    Bytes((size_of::<Item>() + item.bytes.capacity()) as u64)
}

/// The newest half stands for all.
fn newest(items: &[Arc<Item>]) -> Vec<Item> {
    let mut random = Random(items.len() as u64 | 1);
    assert!(!items.len().is_multiple_of(7), "a panic while compacting");
    items[items.len() / 2..]
        .iter()
        .map(|_| Item::new(&mut random))
        .collect()
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a panic while waking");
    }
}

/// What there is now of each.
#[derive(Clone)]
struct Now {
    queue: WorkQueue<Item>,
    events: Broadcaster<Item>,
    log: Arc<RollingLog<Item>>,
    embeddings: Arc<EmbeddingsCache<u64>>,
    _registered: Arc<[Registration]>,
}

pub(super) struct Streams {
    budget: Budget,
    components: [Component; 3],
    controller: Controller,
    now: Mutex<Now>,
    made: AtomicU64,
    /// Items, events, operations and embeddings that were found again.
    found: [AtomicU64; 4],
}

/// Anew, in the place of what there was.
fn make(
    budget: &Budget,
    components: &[Component; 3],
    controller: &Controller,
    number: u64,
) -> Option<Now> {
    let [queue, events, log] = components.each_ref().map(Component::clone);
    let embeddings = EmbeddingsCache::<u64>::builder(budget, &format!("embeddings {number}"))
        .entries(200)
        .dimensions(DIMENSIONS)
        .build()
        .ok()?;
    let queue = WorkQueue::builder(queue)
        .max_items(300)
        .max_bytes(Bytes::from_kib(300))
        .weigher(weigh)
        .build();
    let events = Broadcaster::builder(events)
        .capacity(200)
        .ttl(Duration::from_millis(50))
        .weigher(weigh)
        .build();
    let log = RollingLog::builder(log)
        .max_operations(100)
        .compact_with(newest)
        .weigher(weigh)
        .build();
    let (log, embeddings) = (Arc::new(log), Arc::new(embeddings));
    let parts: [Arc<dyn Reclaimer>; 4] = [
        Arc::new(queue.clone()),
        Arc::new(events.clone()),
        Arc::<RollingLog<Item>>::clone(&log),
        Arc::<EmbeddingsCache<u64>>::clone(&embeddings),
    ];
    let registered = parts.map(|part| controller.register(part));
    Some(Now {
        queue,
        events,
        log,
        embeddings,
        _registered: Arc::from(registered.into_iter().collect::<Vec<_>>()),
    })
}

impl Streams {
    pub(super) fn new(
        budget: &Budget,
        components: [Component; 3],
        controller: &Controller,
    ) -> Self {
        let now = make(budget, &components, controller, 0).unwrap();
        Self {
            budget: budget.clone(),
            components,
            controller: controller.clone(),
            now: Mutex::new(now),
            made: AtomicU64::new(1),
            found: Default::default(),
        }
    }

    fn now(&self) -> Now {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.clone()
    }

    /// All anew; who waits for the old ones is told.
    fn make_anew(&self) {
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        let Some(new) = make(&self.budget, &self.components, &self.controller, number) else {
            return;
        };
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *now, new);
        drop(now);
        old.queue.close();
        old.events.close();
    }

    /// Each was used, and nothing is left of any.
    pub(super) fn end(self) {
        let found = self
            .found
            .each_ref()
            .map(|found| found.load(Ordering::SeqCst));
        assert!(found.iter().all(|found| *found > 0), "{found:?}");
        assert!(
            self.made.load(Ordering::SeqCst) > 1,
            "nothing was made anew"
        );
        let components = self.components.clone();
        drop(self);
        // Somebody may just be asked for the last time.
        super::wait_for(|| ALIVE.load(Ordering::SeqCst) == 0);
        for component in components {
            assert_eq!(component.reserved(), Bytes::ZERO, "{}", component.name());
        }
    }
}

/// What one thread has of them.
#[derive(Default)]
pub(super) struct Ends {
    subscriber: Option<Subscriber<Item>>,
    kept: Vec<Event<Item>>,
}

impl Ends {
    /// One operation on one of them; a panic of the program's goes no further.
    pub(super) fn step(&mut self, streams: &Streams, random: &mut Random) {
        if random.one_in(400) {
            streams.make_anew();
        }
        let now = streams.now();
        let part = usize::try_from(random.next() % 4).unwrap();
        let used = catch_unwind(AssertUnwindSafe(|| match part {
            0 => use_queue(&now.queue, random),
            1 => self.use_events(&now.events, random),
            2 => use_log(&now.log, random),
            _ => use_embeddings(&now.embeddings, random),
        }));
        match used {
            Ok(found) => {
                streams.found[part].fetch_add(found, Ordering::SeqCst);
            }
            Err(thrown) => {
                let text = thrown.downcast_ref::<&str>().copied();
                let text = text.or(thrown.downcast_ref::<String>().map(String::as_str));
                let is_meant = text.is_some_and(|text| text.starts_with("a panic while"));
                assert!(is_meant, "{text:?}");
            }
        }
    }

    /// Some of what is kept panics.
    pub(super) fn end(self) {
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(self)));
    }

    fn use_events(&mut self, events: &Broadcaster<Item>, random: &mut Random) -> u64 {
        if random.one_in(2) {
            drop(events.send(Item::new(random)));
            return 0;
        }
        let subscriber = self.subscriber.get_or_insert_with(|| events.subscribe());
        let before = self.kept.len();
        match subscriber.try_recv_many(&mut self.kept, 10) {
            Err(RecvError::Closed) => self.subscriber = None,
            Err(RecvError::Empty | RecvError::Lagged(_)) | Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
        let found = self.kept[before..].iter();
        let found = found.map(|event| event.check()).count() as u64;
        if self.kept.len() > 30 {
            // One by one: some of them panic.
            while let Some(event) = self.kept.pop() {
                let _panicked = catch_unwind(AssertUnwindSafe(|| drop(event)));
            }
        }
        found
    }
}

fn use_queue(queue: &WorkQueue<Item>, random: &mut Random) -> u64 {
    let short = Duration::from_micros(random.next() % 500);
    let mut context = Context::from_waker(Waker::noop());
    let panics = Waker::from(Arc::new(Panics));
    if random.one_in(10) {
        context = Context::from_waker(&panics);
    }
    let mut popped = Vec::new();
    match random.next() % 8 {
        0 | 1 => drop(queue.try_push(Item::new(random))),
        2 => drop(queue.push_timeout(Item::new(random), short)),
        3 => {
            let mut push = queue.push_async(Item::new(random));
            drop(Pin::new(&mut push).poll(&mut context));
        }
        4 => {
            let count = random.next() % 20;
            let mut items: Vec<_> = (0..count).map(|_| Item::new(random)).collect();
            drop(queue.push_many(&mut items));
            for item in items {
                item.received();
            }
        }
        5 => popped.extend(queue.pop_timeout(short)),
        6 => {
            let mut pop = queue.pop_async();
            if let std::task::Poll::Ready(Ok(item)) = Pin::new(&mut pop).poll(&mut context) {
                popped.push(item);
            }
        }
        _ => {
            queue.try_pop_many(&mut popped, 20);
        }
    }
    popped.into_iter().map(Item::received).count() as u64
}

fn use_log(log: &RollingLog<Item>, random: &mut Random) -> u64 {
    if random.one_in(20) {
        let operations = log.operations();
        operations.iter().for_each(|item| item.check());
        let found = operations.len() as u64;
        for operation in operations {
            let _panicked = catch_unwind(AssertUnwindSafe(|| drop(operation)));
        }
        return found;
    }
    drop(log.append(Item::new(random)));
    0
}

fn use_embeddings(embeddings: &EmbeddingsCache<u64>, random: &mut Random) -> u64 {
    let key = random.next() % 500;
    let first = f32::from(u8::try_from(key % 250).unwrap());
    if random.one_in(2) {
        // Without room it is not kept.
        let _refused = embeddings.insert(key, &[first; DIMENSIONS]);
        return 0;
    }
    let Some(found) = embeddings.get(&key) else {
        return 0;
    };
    assert_eq!(found, [first; DIMENSIONS]);
    1
}
