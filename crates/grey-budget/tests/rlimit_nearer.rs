//! A process whose `RLIMIT_AS` is far nearer than its budget goes on: without
//! looking at the limit it would end with `memory allocation failed`.

use std::sync::Arc;
use std::time::Duration;

use grey_budget::cache::CacheBuilder;
use grey_budget::limits::{LimitCalls as _, LinuxCalls, Range};
use grey_budget::{Bytes, LimitKind, MemoryLimits, MemoryManager};

#[test]
fn a_cache_stays_within_an_rlimit_that_is_nearer_than_the_budget() {
    let manager = MemoryManager::new(MemoryLimits::of(Bytes::from_mib(1024))).unwrap();
    let cache = CacheBuilder::new(manager.budget(), "cache", Bytes::from_mib(900))
        .build(|_: &u64, value: &Vec<u8>| Bytes(value.capacity() as u64))
        .unwrap();
    let cache = Arc::new(cache);
    let _registration = manager.controller().register(Arc::<_>::clone(&cache) as _);
    manager.start_monitoring(Duration::from_secs(30)).unwrap();
    // glibc takes 64 MiB of addresses for each thread that allocates.
    let kind = LimitKind::AddressSpace;
    let limit = LinuxCalls.used(kind).unwrap().get() + (512 << 20);
    let hard = LinuxCalls.get(kind).hard;
    let soft = Some(Bytes(limit));
    LinuxCalls.set(kind, Range { soft, hard }).unwrap();
    assert!(manager.check_budget().is_ok() == (limit >= 1 << 30));
    let mut kept = 0;
    for key in 0..2000_u64 {
        // It is refused while the budget is closed; it never ends the program.
        kept += u64::from(cache.insert(key, vec![1; 1 << 20]).is_ok());
    }
    assert!(kept > 100, "{kept}");
    assert!(manager.budget().reserved() < Bytes(limit));
}
