//! Says beforehand when swapping out will gain little: memory that zram keeps
//! about as large as it was is not freed by moving it there.
//!
//! Never refuses for that: what is in zram now says little for sure about what
//! comes next.

use grey_model::{Bytes, PreflightFacts, SwapKind};

use crate::plan::Draft;

/// Less than this in zram says nothing about how memory compresses.
const LEAST_TO_JUDGE_BY: Bytes = Bytes::from_mib(16);
/// From this share on, stored pages take nearly what they took before, in percent.
const POOR_PERCENT: u64 = 75;

/// Warns when the swap that there is compresses badly.
pub(crate) fn warn_of_poor_ratio(facts: &PreflightFacts, draft: &mut Draft) {
    let is_swap = |name: &str| {
        facts.swap_devices.iter().any(|device| {
            device.kind == SwapKind::Zram
                && device.used < device.total
                && device.path.as_bytes().strip_prefix(b"/dev/") == Some(name.as_bytes())
        })
    };
    let devices = || facts.zram.iter().filter(|zram| is_swap(&zram.name));
    let original: Bytes = devices().map(|zram| zram.original).sum();
    let used: Bytes = devices().map(|zram| zram.memory_used).sum();
    if original >= LEAST_TO_JUDGE_BY && used >= original.scale(POOR_PERCENT, 100) {
        draft.warn(format!(
            "zram keeps {original} of pages in {used} of memory: what goes there too may gain \
             the machine little"
        ));
    }
}
