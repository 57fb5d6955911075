//! Work queue and broadcaster beside the channels of std, crossbeam and tokio:
//! one producer and one consumer, two and two, one item at a time and in
//! batches. Every round moves the same numbers and checks their sum.
//!
//! Never asserts on time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bench_budget::{Contender, compare, timed};
use grey_budget::{Broadcaster, Budget, Bytes, RecvError, WorkQueue};

/// Numbers in a round.
const ITEMS: u64 = 2_000_000;

/// Numbers in a batch.
const BATCH: u64 = 256;

/// Rounds that count.
const ROUNDS: usize = 5;

/// The capacity of every bounded channel.
const CAPACITY: usize = 10_000;

/// How far a sender may be ahead of its subscriber, so that none is missed:
/// below what a broadcaster keeps.
const AHEAD: u64 = 800;

/// How often a subscriber tells how far it is.
const STRIDE: u64 = 64;

fn main() {
    compare(
        "how near the threads are to each other",
        ROUNDS,
        &mut [Contender::new("a number to and fro", to_and_fro)],
    );
    let budget = Budget::new(Bytes::from_mib(1024)).expect("the budget is not empty");
    one_by_one(&budget, 1);
    one_by_one(&budget, 2);
    batched(&budget, 1);
    batched(&budget, 2);
    broadcast(&budget);
}

/// Runs `producers` threads that each send their part, and as many that
/// receive until there is no more and give the sum of what they got.
fn run<S, R>(threads: u64, senders: Vec<S>, receivers: Vec<R>) -> (u64, Duration)
where
    S: FnOnce(std::ops::Range<u64>) + Send,
    R: FnOnce() -> u64 + Send,
{
    let part = ITEMS / threads;
    timed(ITEMS, || {
        let sum: u64 = thread::scope(|scope| {
            let receiving: Vec<_> = receivers
                .into_iter()
                .map(|receive| scope.spawn(receive))
                .collect();
            let sending: Vec<_> = senders
                .into_iter()
                .zip(0..)
                .map(|(send, index)| scope.spawn(move || send(index * part..(index + 1) * part)))
                .collect();
            for sender in sending {
                sender.join().expect("a sender ends");
            }
            receiving
                .into_iter()
                .map(|receiver| receiver.join().expect("a receiver ends"))
                .sum()
        });
        assert_eq!(sum, ITEMS * (ITEMS - 1) / 2);
    })
}

/// One thread answers another through one number that both write: what it costs
/// that two threads share anything. A virtual machine's processors may be near
/// each other now and far apart a minute later, and every table below with them.
fn to_and_fro() -> (u64, Duration) {
    const TURNS: u64 = 100_000;
    let number = AtomicU64::new(0);
    let wait_for = |wanted: u64| {
        let mut looks: u64 = 0;
        while number.load(Ordering::Acquire) != wanted {
            looks += 1;
            if looks % 1_000 == 0 {
                // The other one may wait for this processor.
                thread::yield_now();
            }
        }
    };
    timed(TURNS, || {
        thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 0..TURNS {
                    wait_for(2 * turn + 1);
                    number.store(2 * turn + 2, Ordering::Release);
                }
            });
            for turn in 0..TURNS {
                wait_for(2 * turn);
                number.store(2 * turn + 1, Ordering::Release);
            }
        });
    })
}

/// Closes the queue when the last producer is done.
struct Producer(WorkQueue<u64>, Arc<()>);

impl Drop for Producer {
    fn drop(&mut self) {
        if Arc::strong_count(&self.1) == 1 {
            self.0.close();
        }
    }
}

fn producers(queue: &WorkQueue<u64>, threads: u64) -> Vec<Producer> {
    let alive = Arc::new(());
    (0..threads)
        .map(|_| Producer(queue.clone(), Arc::clone(&alive)))
        .collect()
}

fn one_by_one(budget: &Budget, threads: u64) {
    let component = budget
        .component("queue")
        .register()
        .expect("the name is free");
    let mut contenders = vec![Contender::new("grey WorkQueue", || {
        let queue = WorkQueue::new(component.clone());
        let producers = producers(&queue, threads);
        run(
            threads,
            producers
                .into_iter()
                .map(|producer| {
                    move |part: std::ops::Range<u64>| {
                        for item in part {
                            producer.0.push(item).expect("it is open");
                        }
                    }
                })
                .collect(),
            (0..threads)
                .map(|_| {
                    let queue = queue.clone();
                    move || {
                        let mut sum = 0;
                        while let Ok(item) = queue.pop() {
                            sum += item;
                        }
                        sum
                    }
                })
                .collect(),
        )
    })];
    if threads == 1 {
        contenders.push(Contender::new("std mpsc::sync_channel", || {
            let (sender, receiver) = mpsc::sync_channel::<u64>(CAPACITY);
            run(
                1,
                vec![move |part: std::ops::Range<u64>| {
                    for item in part {
                        sender.send(item).expect("it is open");
                    }
                }],
                vec![move || receiver.iter().sum()],
            )
        }));
        contenders.push(Contender::new("std mpsc::channel (unbounded)", || {
            let (sender, receiver) = mpsc::channel::<u64>();
            run(
                1,
                vec![move |part: std::ops::Range<u64>| {
                    for item in part {
                        sender.send(item).expect("it is open");
                    }
                }],
                vec![move || receiver.iter().sum()],
            )
        }));
        contenders.push(Contender::new("tokio mpsc", || tokio_mpsc(1)));
        contenders.push(Contender::new("tokio mpsc, recv_many(256)", || {
            tokio_mpsc(256)
        }));
    }
    contenders.push(Contender::new("crossbeam-channel bounded", || {
        let (sender, receiver) = crossbeam_channel::bounded::<u64>(CAPACITY);
        let senders: Vec<_> = (0..threads).map(|_| sender.clone()).collect();
        drop(sender);
        run(
            threads,
            senders
                .into_iter()
                .map(|sender| {
                    move |part: std::ops::Range<u64>| {
                        for item in part {
                            sender.send(item).expect("it is open");
                        }
                    }
                })
                .collect(),
            (0..threads)
                .map(|_| {
                    let receiver = receiver.clone();
                    move || receiver.iter().sum()
                })
                .collect(),
        )
    }));
    compare(
        &format!("{threads} to {threads}, one by one"),
        ROUNDS,
        &mut contenders,
    );
}

/// Tasks on a runtime of two workers, as tokio's users have it.
fn tokio_mpsc(batch: usize) -> (u64, Duration) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("the runtime starts");
    timed(ITEMS, || {
        runtime.block_on(async {
            let (sender, mut receiver) = tokio::sync::mpsc::channel::<u64>(CAPACITY);
            let sending = tokio::spawn(async move {
                for item in 0..ITEMS {
                    sender.send(item).await.expect("it is open");
                }
            });
            let receiving = tokio::spawn(async move {
                let mut sum: u64 = 0;
                let mut items = Vec::with_capacity(batch);
                while receiver.recv_many(&mut items, batch).await > 0 {
                    sum += items.drain(..).sum::<u64>();
                }
                sum
            });
            sending.await.expect("the sender ends");
            let sum = receiving.await.expect("the receiver ends");
            assert_eq!(sum, ITEMS * (ITEMS - 1) / 2);
        });
    })
}

fn batched(budget: &Budget, threads: u64) {
    let component = budget
        .component("queue")
        .register()
        .expect("the name is free");
    let mut contenders = vec![Contender::new("grey push_many, pop_many", || {
        let queue = WorkQueue::new(component.clone());
        let producers = producers(&queue, threads);
        run(
            threads,
            producers
                .into_iter()
                .map(|producer| {
                    move |part: std::ops::Range<u64>| {
                        let mut items = Vec::new();
                        for start in part.clone().step_by(BATCH as usize) {
                            items.extend(start..(start + BATCH).min(part.end));
                            producer.0.push_many(&mut items).expect("it is open");
                        }
                    }
                })
                .collect(),
            (0..threads)
                .map(|_| {
                    let queue = queue.clone();
                    move || {
                        let mut sum = 0;
                        let mut items = Vec::new();
                        while queue.pop_many(&mut items, 1024).is_ok() {
                            sum += items.drain(..).sum::<u64>();
                        }
                        sum
                    }
                })
                .collect(),
        )
    })];
    contenders.push(Contender::new("crossbeam-channel of Vec(256)", || {
        let (sender, receiver) = crossbeam_channel::bounded::<Vec<u64>>(CAPACITY / 256);
        let senders: Vec<_> = (0..threads).map(|_| sender.clone()).collect();
        drop(sender);
        run(
            threads,
            senders
                .into_iter()
                .map(|sender| {
                    move |part: std::ops::Range<u64>| {
                        for start in part.clone().step_by(BATCH as usize) {
                            let items = (start..(start + BATCH).min(part.end)).collect();
                            sender.send(items).expect("it is open");
                        }
                    }
                })
                .collect(),
            (0..threads)
                .map(|_| {
                    let receiver = receiver.clone();
                    move || receiver.iter().flatten().sum()
                })
                .collect(),
        )
    }));
    compare(
        &format!("{threads} to {threads}, in batches of {BATCH}"),
        ROUNDS,
        &mut contenders,
    );
}

/// One sender, one subscriber; the sender lets the subscriber keep up, so that
/// every event is received by both.
fn broadcast(budget: &Budget) {
    let component = budget
        .component("events")
        .register()
        .expect("the name is free");
    let mut contenders = [
        Contender::new("grey Broadcaster", || {
            let broadcaster = Broadcaster::new(component.clone());
            let mut subscriber = broadcaster.subscribe();
            events(
                |event| broadcaster.send(event).expect("it is open"),
                || loop {
                    match subscriber.recv() {
                        Ok(event) => return *event,
                        Err(RecvError::Lagged(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                },
            )
        }),
        Contender::new("tokio broadcast", || {
            let (sender, mut receiver) = tokio::sync::broadcast::channel::<u64>(1024);
            events(
                |event| {
                    sender.send(event).expect("it is open");
                },
                || receiver.blocking_recv().expect("it keeps up"),
            )
        }),
    ];
    compare("broadcast, 1 to 1, nothing missed", ROUNDS, &mut contenders);
}

fn events(send: impl Fn(u64), mut receive: impl FnMut() -> u64 + Send) -> (u64, Duration) {
    let received = AtomicU64::new(0);
    timed(ITEMS, || {
        thread::scope(|scope| {
            let received = &received;
            let receiving = scope.spawn(move || {
                let mut sum = 0;
                for count in 1..=ITEMS {
                    sum += receive();
                    if count % STRIDE == 0 {
                        received.store(count, Ordering::Relaxed);
                    }
                }
                sum
            });
            for event in 0..ITEMS {
                while event % STRIDE == 0 && event - received.load(Ordering::Relaxed) > AHEAD {
                    thread::yield_now();
                }
                send(event);
            }
            let sum = receiving.join().expect("the subscriber ends");
            assert_eq!(sum, ITEMS * (ITEMS - 1) / 2);
        });
    })
}
