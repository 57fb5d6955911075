//! `/sys/kernel/mm/lru_gen/enabled`: the multi-generational LRU.
//!
//! Never turns it on or off.

use grey_model::Reading;

use crate::roots::Kernel;
use crate::sys::NO_SYSFS;

/// Where it is, below sysfs.
pub const ENABLED: &str = "kernel/mm/lru_gen/enabled";

/// Reads the mask of what of it is on. Absent before 6.1, and where it was not
/// built in.
#[must_use]
pub fn read_lru_gen(kernel: &Kernel, buffer: &mut Vec<u8>) -> Reading<u64> {
    match &kernel.sys {
        Some(sys) => sys.look(ENABLED, buffer, parse_mask),
        None => Reading::Unknown(NO_SYSFS.to_owned()),
    }
}

/// A mask such as `0x0007`.
#[must_use]
pub fn parse_mask(text: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(text.trim_ascii().strip_prefix(b"0x")?).ok()?;
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_hexadecimal() {
        assert_eq!(parse_mask(b"0x0007\n"), Some(7));
        assert_eq!(parse_mask(b"0x001f\n"), Some(31));
        for text in [&b"7\n"[..], b"0x\n", b"0x+7", b"0xg", b"", b"\xff"] {
            assert_eq!(parse_mask(text), None, "{text:?}");
        }
    }
}
