//! Lets things gather at one end of a queue before the other end takes them.
//!
//! Never locks, and never waits when nothing comes.

/// How many make it worth while for both ends to meet.
const GATHERED: u64 = 256;

/// How often at most it is looked whether there are more.
const MOST_LOOKS: u32 = 32;

/// How long it is not looked: each look takes the counter away from whoever
/// counts, who then has to fetch it back from another processor's cache.
const SPINS_BETWEEN: u32 = 48;

/// Waits while somebody fills the other end quickly: to meet for a thing or two
/// would have both ends wait for each other all the time. `count` tells how many
/// there are. Ends as soon as nothing comes any more, after some 40 us at most.
#[inline]
pub(crate) fn gather(count: impl Fn() -> u64) {
    if cfg!(grey_loom) {
        return;
    }
    let mut before = count();
    if before == 0 {
        return;
    }
    for _ in 0..MOST_LOOKS {
        if before >= GATHERED {
            return;
        }
        for _ in 0..SPINS_BETWEEN {
            std::hint::spin_loop();
        }
        let now = count();
        if now == before {
            return;
        }
        before = now;
    }
}
