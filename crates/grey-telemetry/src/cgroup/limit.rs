//! `memory.min`, `memory.low`, `memory.high`, `memory.max`, `memory.swap.max`:
//! files that hold one limit or protection.
//!
//! Never takes a number that does not fit for "no limit".

use grey_model::{Bytes, MemoryLimit};

use crate::ascii;
use crate::read::KernelDirectory;

/// `max`, or a number of bytes.
#[must_use]
pub fn parse_limit(text: &[u8]) -> Option<MemoryLimit> {
    match text.trim_ascii() {
        b"max" => Some(MemoryLimit::Max),
        number => ascii::parse_u64(number).map(|bytes| MemoryLimit::Bytes(Bytes(bytes))),
    }
}

/// Reads the limit in `name`. `None` where the file is missing or unreadable.
pub(crate) fn read_limit(
    cgroup: &KernelDirectory,
    name: &str,
    buffer: &mut Vec<u8>,
) -> Option<MemoryLimit> {
    cgroup.read(name, buffer).ok().and_then(parse_limit)
}

/// The strictest of those that are known.
pub(crate) fn strictest(
    limits: impl IntoIterator<Item = Option<MemoryLimit>>,
) -> Option<MemoryLimit> {
    limits.into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_max_or_bytes() {
        assert_eq!(parse_limit(b"max\n"), Some(MemoryLimit::Max));
        assert_eq!(
            parse_limit(b"4096\n"),
            Some(MemoryLimit::Bytes(Bytes(4096)))
        );
        assert_eq!(parse_limit(b"0\n"), Some(MemoryLimit::Bytes(Bytes(0))));
        assert_eq!(parse_limit(b"-1\n"), None);
        assert_eq!(parse_limit(b"18446744073709551616\n"), None);
        assert_eq!(parse_limit(b""), None);
    }

    #[test]
    fn an_unreadable_limit_is_not_the_absence_of_one() {
        assert_eq!(strictest([None, None]), None);
        assert_eq!(
            strictest([None, Some(MemoryLimit::Max)]),
            Some(MemoryLimit::Max)
        );
        let bytes = MemoryLimit::Bytes(Bytes(7));
        assert_eq!(
            strictest([Some(MemoryLimit::Max), Some(bytes)]),
            Some(bytes)
        );
    }
}
