//! `/proc/PID/oom_score` and `oom_score_adj`: whom the kernel would kill first.
//!
//! Never ranks; it only reads the kernel's own numbers.

use crate::ascii::parse_i64;

/// The kernel's judgement, 0 to 2000; `None` when the file holds no such
/// number.
///
/// # Kernel
/// `/proc/PID/oom_score`. Up to 1000 before 5.9.
#[must_use]
pub fn parse_oom_score(text: &[u8]) -> Option<i32> {
    in_range(text, 0, 2000)
}

/// The correction that somebody has set, -1000 to 1000; -1000 means that the
/// kernel never kills it.
///
/// # Kernel
/// `/proc/PID/oom_score_adj`.
#[must_use]
pub fn parse_oom_score_adj(text: &[u8]) -> Option<i32> {
    in_range(text, -1000, 1000)
}

fn in_range(text: &[u8], lowest: i32, highest: i32) -> Option<i32> {
    let number = i32::try_from(parse_i64(text.trim_ascii())?).ok()?;
    (lowest..=highest).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_kernels_range_is_read() {
        assert_eq!(parse_oom_score(b"666\n"), Some(666));
        assert_eq!(parse_oom_score_adj(b"-1000\n"), Some(-1000));
    }

    #[test]
    fn what_the_kernel_never_prints_is_nothing() {
        for text in [&b""[..], b"\n", b"-1", b"2001", b"x", b"1 2"] {
            assert_eq!(parse_oom_score(text), None, "{}", text.escape_ascii());
        }
        assert_eq!(parse_oom_score_adj(b"-1001"), None);
    }

    proptest! {
        #[test]
        fn no_input_panics(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (parse_oom_score(&text), parse_oom_score_adj(&text));
        }
    }
}
