//! Whole numbers in few bytes: 7 bits each, small ones in one byte.
//!
//! Never reads past the end, and never takes a number that does not fit 64 bits.

/// The most bytes of a number.
const LONGEST: usize = 10;

/// Appends `value`.
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or_default();
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Takes a number off the front of `bytes`; `None` when there is none.
pub(super) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().enumerate().take(LONGEST) {
        let part = u64::from(byte & 0x7f);
        let shift = u32::try_from(index).ok()? * 7;
        let shifted = part.checked_shl(shift)?;
        if shifted >> shift != part {
            return None;
        }
        value |= shifted;
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

/// Appends the step from `before` to `now`, either way, which wraps around.
pub(super) fn put_step(out: &mut Vec<u8>, before: u64, now: u64) {
    let step = now.wrapping_sub(before).cast_signed();
    // Small steps either way become small numbers.
    put(out, ((step << 1) ^ (step >> 63)).cast_unsigned());
}

/// Takes a step off the front of `bytes`, and gives where it leads from `before`.
pub(super) fn take_step(bytes: &mut &[u8], before: u64) -> Option<u64> {
    let folded = take(bytes)?;
    let step = (folded >> 1) ^ (folded & 1).wrapping_neg();
    Some(before.wrapping_add(step))
}

/// Appends `bytes` with their length before them.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes bytes with their length off the front, at most `most`.
pub(super) fn take_bytes<'bytes>(bytes: &mut &'bytes [u8], most: usize) -> Option<&'bytes [u8]> {
    let length = usize::try_from(take(bytes)?)
        .ok()
        .filter(|&length| length <= most)?;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_that_needs_more_than_64_bits_is_none() {
        for bytes in [&[0xff; 9][..], &[0xff; 11], &[0x80; 10], &[]] {
            assert_eq!(take(&mut &*bytes), None, "{bytes:?}");
        }
        let mut largest = Vec::new();
        put(&mut largest, u64::MAX);
        assert_eq!(take(&mut largest.as_slice()), Some(u64::MAX));
        *largest.last_mut().unwrap() = 2;
        assert_eq!(take(&mut largest.as_slice()), None);
    }

    proptest! {
        #[test]
        fn numbers_and_steps_come_back(before: u64, now: u64) {
            let mut out = Vec::new();
            put(&mut out, now);
            put_step(&mut out, before, now);
            let mut bytes = out.as_slice();
            prop_assert_eq!(take(&mut bytes), Some(now));
            prop_assert_eq!(take_step(&mut bytes, before), Some(now));
            prop_assert!(bytes.is_empty());
        }

        #[test]
        fn small_steps_take_one_byte(before: u64, step in 0_u64..63) {
            let mut out = Vec::new();
            put_step(&mut out, before, before.wrapping_add(step));
            put_step(&mut out, before, before.wrapping_sub(step));
            prop_assert_eq!(out.len(), 2);
        }
    }
}
