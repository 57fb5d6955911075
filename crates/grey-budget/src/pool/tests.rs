//! Facts about the account of a pool.

use super::*;
use crate::budget::Budget;

fn account(limit: Bytes) -> (Budget, PoolAccountBuilder) {
    let budget = Budget::new(limit).unwrap();
    let component = budget.component("database").register().unwrap();
    let builder = PoolAccount::builder(component);
    (budget, builder)
}

#[test]
fn each_connection_is_charged_until_it_is_closed() {
    let (budget, builder) = account(Bytes::from_mib(100));
    let pool = builder
        .bytes_per_connection(Bytes::from_mib(2))
        .build()
        .unwrap();
    let open: Vec<_> = (0..10).map(|_| pool.open().unwrap()).collect();
    assert_eq!(budget.reserved(), Bytes::from_mib(20));
    drop(open);
    assert_eq!(budget.reserved(), Bytes::ZERO);
    let statistics = pool.statistics();
    assert_eq!((statistics.open, statistics.peak_open), (0, 10));
    assert_eq!((statistics.opened, statistics.closed), (10, 10));
}

#[test]
fn a_51st_connection_is_refused() {
    let (_budget, builder) = account(Bytes::from_mib(100));
    let pool = builder.build().unwrap();
    assert_eq!(pool.connections(), 10..=50);
    let mut open: Vec<_> = (0..50).map(|_| pool.open().unwrap()).collect();
    assert!(matches!(
        pool.open(),
        Err(PoolError::Full {
            open: 50,
            most: 50,
            ..
        })
    ));
    open.pop();
    assert!(pool.open().is_ok());
    assert_eq!(pool.statistics().refused, 1);
}

#[test]
fn a_connection_without_memory_is_refused_and_not_counted() {
    let (_budget, builder) = account(Bytes::from_mib(3));
    let pool = builder
        .bytes_per_connection(Bytes::from_mib(2))
        .build()
        .unwrap();
    let _open = pool.open().unwrap();
    assert!(matches!(pool.open(), Err(PoolError::Refused { .. })));
    let statistics = pool.statistics();
    assert_eq!((statistics.open, statistics.refused), (1, 1));
}

#[test]
fn connections_leak_above_twice_the_size() {
    let (_budget, builder) = account(Bytes::from_mib(100));
    let pool = builder.size(20).build().unwrap();
    let mut open: Vec<_> = (0..20).map(|_| pool.open().unwrap()).collect();
    assert_eq!(pool.health(), PoolHealth::Normal);
    open.extend((20..40).map(|_| pool.open().unwrap()));
    assert_eq!(pool.health(), PoolHealth::Oversized);
    open.push(pool.open().unwrap());
    assert_eq!(pool.health(), PoolHealth::Leaking);
    assert_eq!(pool.statistics().leaks, 1);
    open.truncate(5);
    assert_eq!(pool.health(), PoolHealth::Normal);
}

#[test]
fn a_connection_that_is_there_already_is_counted_above_every_limit() {
    let (budget, builder) = account(Bytes::from_mib(2));
    let pool = builder.connections(1..=2).build().unwrap();
    let adopted: Vec<_> = (0..5).map(|_| pool.adopt()).collect();
    assert_eq!(budget.reserved(), Bytes::from_mib(5));
    assert_eq!(pool.health(), PoolHealth::Leaking);
    drop(adopted);
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

#[test]
fn what_nobody_uses_above_the_fewest_may_be_closed() {
    let (_budget, builder) = account(Bytes::from_mib(100));
    let pool = builder.connections(3..=10).build().unwrap();
    assert_eq!(pool.missing(), 3);
    let _open: Vec<_> = (0..8).map(|_| pool.open().unwrap()).collect();
    assert_eq!((pool.missing(), pool.closable()), (0, 5));
    let used: Vec<_> = (0..6).map(|_| pool.checkout()).collect();
    assert_eq!((pool.statistics().in_use, pool.closable()), (6, 2));
    drop(used);
    let statistics = pool.statistics();
    assert_eq!(
        (
            statistics.in_use,
            statistics.peak_in_use,
            statistics.checkouts
        ),
        (0, 6, 6)
    );
}

#[test]
fn a_pool_of_none_is_refused() {
    let build = |range: RangeInclusive<u64>, size: u64| {
        let (_budget, builder) = account(Bytes::from_mib(1));
        builder.connections(range).size(size).build().is_ok()
    };
    assert!(build(0..=1, 1));
    assert!(!build(0..=0, 1));
    assert!(!build(RangeInclusive::new(5, 4), 1));
    assert!(!build(1..=4, 0));
}
