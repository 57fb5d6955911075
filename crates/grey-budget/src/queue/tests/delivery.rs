//! Facts about delivery: each item once and in order, whoever pushes and pops.
//!
//! Never about speed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use grey_model::Bytes;

use super::kit::{PATIENCE, component, queue_of};
use crate::queue::{PopError, WorkQueue};

fn stress(producers: u64, consumers: u64, items: u64, queue: &WorkQueue<u64>) {
    let seen: Vec<AtomicUsize> = (0..producers * items)
        .map(|_| AtomicUsize::new(0))
        .collect();
    let left = AtomicU64::new(producers);
    thread::scope(|scope| {
        for producer in 0..producers {
            let left = &left;
            scope.spawn(move || {
                let mut batch = Vec::new();
                for item in producer * items..(producer + 1) * items {
                    match item % 3 {
                        0 => queue.push(item).unwrap(),
                        1 => queue.push_timeout(item, PATIENCE).unwrap(),
                        _ => batch.push(item),
                    }
                    if batch.len() == 50 {
                        queue.push_many(&mut batch).unwrap();
                    }
                }
                queue.push_many(&mut batch).unwrap();
                if left.fetch_sub(1, Ordering::SeqCst) == 1 {
                    queue.close();
                }
            });
        }
        for consumer in 0..consumers {
            let seen = &seen;
            scope.spawn(move || {
                let mut batch = Vec::new();
                loop {
                    let popped = if consumer % 2 == 0 {
                        queue.pop().map(|item| batch.push(item))
                    } else {
                        queue.pop_many(&mut batch, 20).map(|_| ())
                    };
                    for item in batch.drain(..) {
                        let index = usize::try_from(item).unwrap();
                        seen[index].fetch_add(1, Ordering::SeqCst);
                    }
                    assert!(queue.len() <= queue.max_items());
                    if popped == Err(PopError::Closed) {
                        return;
                    }
                }
            });
        }
    });
    assert!(seen.iter().all(|seen| seen.load(Ordering::SeqCst) == 1));
}

#[test]
fn every_item_is_delivered_once_whoever_pushes_and_pops() {
    for (producers, consumers, limit) in
        [(1, 1, 1), (2, 2, 3), (4, 1, 100), (1, 4, 100), (4, 4, 16)]
    {
        let (budget, queue) = queue_of(limit);
        stress(producers, consumers, 3_000, &queue);
        assert_eq!(queue.len(), 0);
        drop(queue);
        assert_eq!(budget.reserved(), Bytes::ZERO);
    }
}

#[test]
fn every_item_is_delivered_once_though_memory_is_short() {
    let (budget, component) = component(Bytes::from_kib(64));
    let other = budget.component("other").register().unwrap();
    let queue = WorkQueue::builder(component)
        .weigher(|_: &u64| Bytes(2_000))
        .build();
    let done = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while done.load(Ordering::SeqCst) == 0 {
                let _held = other.reserve(Bytes(50_000));
                thread::yield_now();
            }
        });
        stress(2, 2, 1_500, &queue);
        done.store(1, Ordering::SeqCst);
    });
    drop(queue);
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[test]
fn tasks_push_and_pop_and_lose_nothing_when_they_are_cancelled() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let (budget, queue) = queue_of(3);
    let total = 3_000_u64;
    let sum = runtime.block_on(async {
        let producer = queue.clone();
        let pushing = tokio::spawn(async move {
            for item in 0..total {
                let mut item = Some(item);
                while let Some(again) = item.take() {
                    let mut push = producer.push_async(again);
                    if tokio::time::timeout(Duration::from_micros(1), &mut push)
                        .await
                        .is_err()
                    {
                        item = push.take_item();
                    }
                }
            }
            producer.close();
        });
        let mut popping = Vec::new();
        for _ in 0..3 {
            let consumer = queue.clone();
            popping.push(tokio::spawn(async move {
                let mut sum = 0;
                loop {
                    let pop = consumer.pop_async();
                    match tokio::time::timeout(Duration::from_micros(1), pop).await {
                        Ok(Ok(item)) => sum += item + 1,
                        Ok(Err(_)) => return sum,
                        Err(_) => {}
                    }
                }
            }));
        }
        pushing.await.unwrap();
        let mut sum = 0;
        for popping in popping {
            sum += popping.await.unwrap();
        }
        sum
    });
    assert_eq!(sum, total * (total + 1) / 2);
    drop(queue);
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[test]
fn each_producer_finds_its_items_in_its_own_order() {
    let (_budget, queue) = queue_of(32);
    thread::scope(|scope| {
        for producer in 0..3_u64 {
            let queue = &queue;
            scope.spawn(move || {
                for number in 0..2_000 {
                    queue.push(producer * 1_000_000 + number).unwrap();
                }
            });
        }
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for _ in 0..6_000 {
            let item = queue.pop_timeout(PATIENCE).unwrap();
            let before = last.insert(item / 1_000_000, item);
            assert!(before.is_none_or(|before| before < item));
        }
    });
}
