//! Lets items gather at one end before the other end takes them.
//!
//! Never locks, and never waits when nothing comes.

use super::core::Core;
use crate::sync::Ordering;

/// How many items make an exchange of the boxes worth while; how often at most
/// and how long at once a consumer lets them gather.
const GATHERED: u64 = 64;
const MOST_GATHERS: u32 = 32;
const GATHER_SPINS: u32 = 6;

impl<T> Core<T> {
    /// Lets the inbox fill while somebody fills it: to exchange the boxes for
    /// an item or two would have both ends wait for each other all the time.
    /// Ends as soon as nothing comes any more.
    pub(crate) fn gather(&self) {
        if cfg!(grey_loom) {
            return;
        }
        let popped = self.popped[0].load(Ordering::Acquire);
        let mut before = self.pushed.load(Ordering::Acquire);
        for _ in 0..MOST_GATHERS {
            if before == popped || before.wrapping_sub(popped) >= GATHERED {
                return;
            }
            for _ in 0..GATHER_SPINS {
                std::hint::spin_loop();
            }
            let now = self.pushed.load(Ordering::Acquire);
            if now == before {
                return;
            }
            before = now;
        }
    }
}
