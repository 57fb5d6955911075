//! Lines of the form `Key:   123 kB`, which `status` and `smaps_rollup` share.
//!
//! Never accepts another unit: the kernel has printed `kB`, and meant 1024
//! bytes, since these files exist.

use grey_model::Bytes;

use crate::ascii::{lines, parse_u64, words};

/// The lines as key and what follows the colon; other lines are passed over.
pub(super) fn keyed_lines(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines(text).filter_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        Some((&line[..colon], &line[colon + 1..]))
    })
}

/// The amount in `   123 kB`.
pub(super) fn parse_kib(value: &[u8]) -> Option<Bytes> {
    let mut words = words(value);
    let number = parse_u64(words.next()?)?;
    let ends_well = words.next() == Some(b"kB") && words.next().is_none();
    ends_well.then(|| Bytes::from_kib(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_unit_is_accepted() {
        assert_eq!(parse_kib(b"\t     112 kB"), Some(Bytes(112 * 1024)));
        for value in [&b""[..], b" kB", b" 12", b" 12 MB", b" 12 kB x", b" -1 kB"] {
            assert_eq!(parse_kib(value), None, "{}", value.escape_ascii());
        }
    }
}
