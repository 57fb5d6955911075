//! `/sys/kernel/mm/lru_gen/enabled`: whether the kernel keeps generations.
//!
//! Never takes a kernel that has them and does not use them for one that does.

/// Where it is, below sysfs.
pub const ENABLED: &str = "kernel/mm/lru_gen/enabled";

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
    let digits = str::from_utf8(text.trim_ascii()).ok()?.strip_prefix("0x")?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let bits = u32::from_str_radix(digits, 16).ok()?;
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
        for text in [&b""[..], b"7", b"0x", b"0x+7", b"0x10000000000", b"y\n"] {
            assert_eq!(parse_enabled(text), None, "{}", text.escape_ascii());
        }
    }
}
