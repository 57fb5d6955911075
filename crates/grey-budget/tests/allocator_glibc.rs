//! With glibc's allocator: what is freed stays resident, and a purge gives it
//! back for real.

mod keep_and_purge;

use grey_budget::AllocatorKind;

#[test]
fn what_is_freed_stays_resident_until_it_is_purged() {
    keep_and_purge::check(AllocatorKind::Glibc, keep_and_purge::HeapIs::Exact);
}
