//! The few ways in which kernel files write numbers, read without allocation.
//!
//! No function here panics, and none accepts a number that does not fit.

use std::borrow::Cow;

/// An unsigned decimal number that fills `text` completely.
#[must_use]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// A decimal number with an optional minus sign that fills `text` completely.
#[must_use]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"-") {
        Some(digits) => 0i64.checked_sub_unsigned(parse_u64(digits)?),
        None => i64::try_from(parse_u64(text)?).ok(),
    }
}

/// The lines of a file, without their newlines.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
}

/// The words of a line, split at spaces and tabs.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b' ' || byte == b'\t')
        .filter(|word| !word.is_empty())
}

/// `key value` pairs, one a line, such as `memory.stat` and `vmstat`; lines
/// that are not such a pair are passed over.
pub fn key_values(text: &[u8]) -> impl Iterator<Item = (&[u8], u64)> {
    lines(text).filter_map(|line| {
        let space = line.iter().position(|&byte| byte == b' ')?;
        Some((&line[..space], parse_u64(line[space + 1..].trim_ascii())?))
    })
}

/// A file that is one number and a newline.
#[must_use]
pub fn single_u64(text: &[u8]) -> Option<u64> {
    parse_u64(text.trim_ascii())
}

/// A file that is one number, which may be negative, and a newline.
#[must_use]
pub fn single_i64(text: &[u8]) -> Option<i64> {
    parse_i64(text.trim_ascii())
}

/// The chosen word of a list such as `[none] scan-time`; where the list is a
/// single word without brackets, that word.
#[must_use]
pub fn chosen_word(text: &[u8]) -> Option<&[u8]> {
    let mut all = words(text.trim_ascii());
    if let Some(inner) = words(text.trim_ascii())
        .find_map(|word| word.strip_prefix(b"[").and_then(|w| w.strip_suffix(b"]")))
    {
        return Some(inner);
    }
    all.next().filter(|_| all.next().is_none())
}

/// A number with at most nine decimals, such as `0.21`, as PSI prints it.
#[must_use]
pub fn parse_decimal(text: &[u8]) -> Option<f64> {
    let dot = text.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = match dot {
        Some(dot) => (&text[..dot], &text[dot + 1..]),
        None => (text, &b"0"[..]),
    };
    if whole.len() > 9 || fraction.len() > 9 {
        return None;
    }
    let whole = u32::try_from(parse_u64(whole)?).ok()?;
    let digits = u32::try_from(parse_u64(fraction)?).ok()?;
    let places = i32::try_from(fraction.len()).ok()?;
    Some(f64::from(whole) + f64::from(digits) / 10f64.powi(places))
}

/// Text that was cut, without the line that is not whole.
#[must_use]
pub fn whole_lines(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|&byte| byte == b'\n');
    &text[..end.map_or(0, |end| end + 1)]
}

/// `text` with each backslash and the three bytes behind it replaced by the
/// byte that `decode` makes of the three. What it makes nothing of stays.
#[must_use]
pub fn unescape(text: &[u8], decode: fn(&[u8; 3]) -> Option<u8>) -> Cow<'_, [u8]> {
    if !text.contains(&b'\\') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after.first_chunk().and_then(decode);
        match (byte, escaped) {
            (b'\\', Some(escaped)) => {
                out.push(escaped);
                rest = &after[3..];
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    Cow::Owned(out)
}

/// The byte of `ooo`, for [`unescape`]: paths in `/proc/swaps`.
#[must_use]
pub fn octal(digits: &[u8; 3]) -> Option<u8> {
    let value = digits.iter().try_fold(0u32, |number, &byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 8).then(|| number * 8 + u32::from(digit))
    })?;
    u8::try_from(value).ok()
}

/// The byte of `xNN`, for [`unescape`]: the kernel's log.
#[must_use]
pub fn hexadecimal(digits: &[u8; 3]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let [b'x', high, low] = *digits else {
        return None;
    };
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_looks_like_an_escape_stays() {
        let kmsg = |text| unescape(text, hexadecimal).into_owned();
        assert_eq!(kmsg(b"a\\xg1 \\x1 \\"), b"a\\xg1 \\x1 \\");
        assert_eq!(kmsg(b"a\\x5cb"), b"a\\b");
        let swaps = |text| unescape(text, octal).into_owned();
        assert_eq!(swaps(b"a\\9x\\777\\04"), b"a\\9x\\777\\04");
        assert_eq!(swaps(b"a\\040b"), b"a b");
    }

    #[test]
    fn a_line_that_was_cut_is_left_out() {
        assert_eq!(whole_lines(b"a 1\nb 2\nc"), b"a 1\nb 2\n");
        assert_eq!(whole_lines(b"a 1"), b"");
    }

    #[test]
    fn numbers_must_fill_the_text_and_fit() {
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b""), None);
        assert_eq!(parse_u64(b"12x"), None);
        assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_i64(b"9223372036854775808"), None);
        assert_eq!(parse_i64(b"-"), None);
    }

    #[test]
    fn lines_that_are_no_pair_are_passed_over() {
        let pairs: Vec<_> = key_values(b"anon 12\nbroken\nfile x\n\nshmem 0").collect();
        assert_eq!(pairs, [(&b"anon"[..], 12), (&b"shmem"[..], 0)]);
    }

    #[test]
    fn the_chosen_word_is_the_one_in_brackets() {
        assert_eq!(chosen_word(b"[none] scan-time\n"), Some(&b"none"[..]));
        assert_eq!(chosen_word(b"lzo [lz4] zstd\n"), Some(&b"lz4"[..]));
        assert_eq!(chosen_word(b"lz4\n"), Some(&b"lz4"[..]));
        assert_eq!(chosen_word(b"lzo lz4\n"), None);
        assert_eq!(chosen_word(b"\n"), None);
    }

    #[test]
    fn decimals_are_read_exactly_and_bounded() {
        assert_eq!(
            parse_decimal(b"12.50").map(f64::to_bits),
            Some(12.5f64.to_bits())
        );
        assert_eq!(parse_decimal(b"7").map(f64::to_bits), Some(7f64.to_bits()));
        for text in [
            &b"."[..],
            b"1.",
            b".5",
            b"-1.0",
            b"1e3",
            b"1.0000000001",
            b"9999999999.0",
        ] {
            assert_eq!(parse_decimal(text), None, "{text:?}");
        }
    }
}
