//! With jemalloc: what is freed stays resident, and a purge gives it back for
//! real.

mod keep_and_purge;

use grey_budget::AllocatorKind;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[test]
fn what_is_freed_stays_resident_until_it_is_purged() {
    keep_and_purge::check(AllocatorKind::Jemalloc, keep_and_purge::HeapIs::Exact);
}
