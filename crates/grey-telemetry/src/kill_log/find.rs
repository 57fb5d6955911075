//! Finding pieces of bytes in bytes.
//!
//! Never allocates.

use crate::ascii;

/// Where `needle` first is in `text`.
#[must_use]
pub fn position(text: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(step) = text.get(from..)?.iter().position(|&byte| byte == first) {
        let at = from + step;
        if text[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// Where `needle` last is in `text`.
#[must_use]
pub fn last_position(text: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() || needle.len() > text.len() {
        return None;
    }
    (0..=text.len() - needle.len())
        .rev()
        .find(|&at| text[at..].starts_with(needle))
}

/// What is before and after the first `needle`.
#[must_use]
pub fn split<'text>(text: &'text [u8], needle: &[u8]) -> Option<(&'text [u8], &'text [u8])> {
    let at = position(text, needle)?;
    Some((&text[..at], &text[at + needle.len()..]))
}

/// What is before and after the last `needle`.
#[must_use]
pub fn split_last<'text>(text: &'text [u8], needle: &[u8]) -> Option<(&'text [u8], &'text [u8])> {
    let at = last_position(text, needle)?;
    Some((&text[..at], &text[at + needle.len()..]))
}

/// The digits that `text` begins with, and what follows them.
#[must_use]
pub fn leading_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

/// The number that `text` begins with, and what follows it.
#[must_use]
pub fn leading_number(text: &[u8]) -> Option<(u64, &[u8])> {
    let (digits, rest) = leading_digits(text);
    Some((ascii::parse_u64(digits)?, rest))
}

/// The number right behind the first `key`.
#[must_use]
pub fn number_after(text: &[u8], key: &[u8]) -> Option<u64> {
    Some(leading_number(split(text, key)?.1)?.0)
}

/// The number right behind the first `key`, which may be negative.
#[must_use]
pub fn signed_after(text: &[u8], key: &[u8]) -> Option<i64> {
    let rest = split(text, key)?.1;
    match rest.strip_prefix(b"-") {
        Some(digits) => 0i64.checked_sub_unsigned(leading_number(digits)?.0),
        None => i64::try_from(leading_number(rest)?.0).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_place_are_found() {
        assert_eq!(position(b"aab aab", b"ab"), Some(1));
        assert_eq!(last_position(b"aab aab", b"ab"), Some(5));
        assert_eq!(position(b"aab", b"abc"), None);
        assert_eq!(last_position(b"a", b"abc"), None);
        assert_eq!(position(b"a", b""), None);
    }

    #[test]
    fn a_number_is_read_behind_its_key() {
        assert_eq!(number_after(b"usage 12kB, limit 7kB", b"limit "), Some(7));
        assert_eq!(number_after(b"usage kB", b"usage "), None);
        assert_eq!(number_after(b"n 99999999999999999999", b"n "), None);
        assert_eq!(signed_after(b"adj:-1000 x", b"adj:"), Some(-1000));
        assert_eq!(signed_after(b"adj:--1", b"adj:"), None);
    }
}
