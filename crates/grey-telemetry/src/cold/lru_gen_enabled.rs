//! Whether the kernel keeps generations, of what [`crate::sys::lru_gen`] reads.
//!
//! Never takes a kernel that has them and does not use them for one that does.

use crate::sys::lru_gen::parse_mask;

/// Which parts of the generations are on.
///
/// # Kernel
/// `/sys/kernel/mm/lru_gen/enabled`, since 6.1: bit 0 the generations, bit 1
/// marks of use taken away in batches while page tables are walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aging {
    /// Pages are kept in generations. Where it is off, the lists are there and
    /// empty.
    pub on: bool,
    /// Aging walks the page tables, so that it finds every use.
    pub walks: bool,
}

/// Reads the file, a hexadecimal number.
#[must_use]
pub fn parse_enabled(text: &[u8]) -> Option<Aging> {
    let bits = parse_mask(text)?;
    Some(Aging {
        on: bits & 1 != 0,
        walks: bits & 2 != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_told_apart() {
        let aging = |on, walks| Some(Aging { on, walks });
        assert_eq!(parse_enabled(b"0x0007\n"), aging(true, true));
        assert_eq!(parse_enabled(b"0x0001\n"), aging(true, false));
        assert_eq!(parse_enabled(b"0x0000\n"), aging(false, false));
    }

    #[test]
    fn anything_else_is_unknown() {
        for text in [&b""[..], b"7", b"0x", b"0x+7", b"y\n"] {
            assert_eq!(parse_enabled(text), None, "{}", text.escape_ascii());
        }
    }
}
