//! With mimalloc: what is freed stays resident, and a purge gives it back for
//! real.

mod keep_and_purge;

use grey_budget::AllocatorKind;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[test]
fn what_is_freed_stays_resident_until_it_is_purged() {
    // A release build of mimalloc does not count what the program holds.
    keep_and_purge::check(AllocatorKind::Mimalloc, keep_and_purge::HeapIs::Unknown);
}
