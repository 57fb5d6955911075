//! Lets things gather at one end of a queue before the other end takes them.
//!
//! Never locks, and never waits when nothing comes.

/// How often at most it is looked whether there are more.
const MOST_LOOKS: u32 = 8;

/// How long it is not looked at first, and at most: each look takes the counter
/// away from whoever counts, who then has to fetch it back from another
/// processor's cache, so the next one is when enough should be there.
const FIRST_SPINS: u64 = 48;
const MOST_SPINS: u64 = 512;

/// Waits while somebody fills the other end quickly: to meet for a thing or two
/// would have both ends wait for each other all the time. `count` tells how many
/// there are, and `wanted` is how many make it worth while. Ends as soon as
/// nothing comes any more, after some 50 us at most.
#[inline]
pub(crate) fn gather(wanted: u64, count: impl Fn() -> u64) {
    if cfg!(grey_loom) {
        return;
    }
    let mut before = count();
    if before == 0 {
        return;
    }
    let mut spins = FIRST_SPINS;
    for _ in 0..MOST_LOOKS {
        if before >= wanted {
            return;
        }
        for _ in 0..spins {
            std::hint::spin_loop();
        }
        let now = count();
        let came = now.saturating_sub(before);
        if came == 0 {
            return;
        }
        let missing = wanted.saturating_sub(now);
        spins = (spins.saturating_mul(missing) / came).clamp(1, MOST_SPINS);
        before = now;
    }
}
