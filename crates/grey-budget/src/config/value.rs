//! Texts become values: one function for each kind of value that a key has.
//!
//! Knows no key and reads nothing.

use std::path::PathBuf;
use std::time::Duration;

use grey_model::{Bytes, Priority};

use super::error::ValueError;

/// The most of anything that is counted.
const MOST_COUNT: u64 = 1_000_000_000;

/// The longest interval: a year.
const MOST_SECONDS: u64 = 365 * 24 * 3600;

/// The most MB (of 2^20 bytes) that 64 bits of bytes can say.
const MOST_MEGABYTES: u64 = u64::MAX >> 20;

fn positive(text: &str, most: u64) -> Result<u64, ValueError> {
    let digits = text.trim();
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    if let Some(negative) = digits.strip_prefix('-') {
        let is_number = !negative.is_empty() && negative.bytes().all(|byte| byte.is_ascii_digit());
        return Err(if is_number {
            ValueError::NotPositive
        } else {
            ValueError::NotWhole
        });
    }
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ValueError::NotWhole);
    }
    match digits.parse() {
        Ok(0) => Err(ValueError::NotPositive),
        Ok(number) if number <= most => Ok(number),
        _ => Err(ValueError::TooLarge { most }),
    }
}

/// A number of MB of 2^20 bytes, above 0.
pub(super) fn megabytes(text: &str) -> Result<Bytes, ValueError> {
    positive(text, MOST_MEGABYTES).map(Bytes::from_mib)
}

/// A number of things, above 0.
pub(super) fn count(text: &str) -> Result<usize, ValueError> {
    let number = positive(text, MOST_COUNT)?;
    usize::try_from(number).map_err(|_| ValueError::TooLarge { most: MOST_COUNT })
}

/// A number of seconds, above 0.
pub(super) fn seconds(text: &str) -> Result<Duration, ValueError> {
    positive(text, MOST_SECONDS).map(Duration::from_secs)
}

/// A fraction of a whole. Whether it can be a threshold is
/// [`Thresholds`](grey_model::Thresholds)'s to say.
pub(super) fn fraction(text: &str) -> Result<f64, ValueError> {
    text.trim().parse().map_err(|_| ValueError::NotANumber)
}

/// A percentage, as a fraction.
pub(super) fn percentage(text: &str) -> Result<f64, ValueError> {
    fraction(text).map(|percent| percent / 100.0)
}

/// `true` or `false`; variables are often `1` or `0`, `yes` or `no`, `on` or
/// `off`.
pub(super) fn flag(text: &str) -> Result<bool, ValueError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(ValueError::NotAFlag),
    }
}

/// One of the four priorities, in any case of letters.
pub(super) fn priority(text: &str) -> Result<Priority, ValueError> {
    text.parse()
        .map_err(|source| ValueError::NotAPriority { source })
}

/// An absolute path, or one below `home`.
pub(super) fn directory(text: &str, home: Option<&str>) -> Result<PathBuf, ValueError> {
    let path = match text.strip_prefix("~/") {
        Some(below) => {
            let home = home.filter(|home| home.starts_with('/'));
            PathBuf::from(home.ok_or(ValueError::NoHome)?).join(below)
        }
        None => PathBuf::from(text),
    };
    if !path.is_absolute() {
        return Err(ValueError::RelativePath);
    }
    Ok(path)
}
