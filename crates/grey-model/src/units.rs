//! Units as types: bytes, pages, the page size, percentages.
//!
//! Never converts pages to bytes without a page size, and never wraps: every
//! sum saturates and every difference says when it would be negative.

use std::fmt;
use std::iter::Sum;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An amount of memory in bytes.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// No bytes.
    pub const ZERO: Self = Self(0);

    /// `count` KiB (1024 bytes), the unit that the kernel prints as "kB".
    #[must_use]
    pub const fn from_kib(count: u64) -> Self {
        Self(count.saturating_mul(1024))
    }

    /// `count` MiB (1024 KiB).
    #[must_use]
    pub const fn from_mib(count: u64) -> Self {
        Self(count.saturating_mul(1024 * 1024))
    }

    /// The plain number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Sum that stops at the largest value instead of wrapping.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Difference that stops at zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `self - other` with its sign, clamped to the range of `i64`.
    #[must_use]
    pub fn signed_difference(self, other: Self) -> i64 {
        let difference = i128::from(self.0) - i128::from(other.0);
        i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
    }

    /// `self * numerator / denominator`, computed wide and rounded down.
    /// A zero denominator gives the largest value.
    #[must_use]
    pub fn scale(self, numerator: u64, denominator: u64) -> Self {
        if denominator == 0 {
            return Self(u64::MAX);
        }
        let wide = u128::from(self.0) * u128::from(numerator) / u128::from(denominator);
        Self(u64::try_from(wide).unwrap_or(u64::MAX))
    }

    /// This share of `whole`; `None` when `whole` is zero.
    #[must_use]
    pub fn percent_of(self, whole: Self) -> Option<Percent> {
        #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
        (whole.0 != 0).then(|| Percent(self.0 as f64 * 100.0 / whole.0 as f64))
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::ZERO, Self::saturating_add)
    }
}

/// Prints in binary units with one decimal: `512 B`, `1.5 GiB`.
impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return formatter.pad(&format!("{} B", self.0));
        }
        #[expect(clippy::cast_precision_loss, reason = "one decimal for people")]
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        // 1023.95 would be printed as "1024.0": the next unit reads better.
        while value >= 1023.95 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        formatter.pad(&format!("{value:.1} {}", UNITS[unit]))
    }
}

/// A size that people typed could not be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseSizeError {
    /// The text has no digits where a number must be.
    #[error("`{text}` is not a size")]
    NotANumber {
        /// What was typed.
        text: String,
    },
    /// The text ends in a unit that is not known.
    #[error("`{text}` has the unknown unit `{unit}`")]
    UnknownUnit {
        /// What was typed.
        text: String,
        /// The part after the number.
        unit: String,
    },
    /// The size is larger than 2^64 - 1 bytes.
    #[error("`{text}` is larger than this machine can address")]
    Overflow {
        /// What was typed.
        text: String,
    },
}

/// Reads `1048576`, `512K`, `100M`, `1.5G`, `64MiB`, `2 GB`. The letters mean
/// powers of 1024, as in cgroup files and systemd units.
///
/// # Errors
/// [`ParseSizeError`] for anything else; a sign, an exponent, and more than
/// nine decimals are not sizes.
impl FromStr for Bytes {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        let number_end = trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(number_end);
        let not_a_number = || ParseSizeError::NotANumber {
            text: text.to_owned(),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.len() > 9 || fraction.contains('.') {
            return Err(not_a_number());
        }
        if number.ends_with('.') {
            return Err(not_a_number());
        }
        let factor = unit_factor(unit.trim()).ok_or_else(|| ParseSizeError::UnknownUnit {
            text: text.to_owned(),
            unit: unit.trim().to_owned(),
        })?;
        let overflow = || ParseSizeError::Overflow {
            text: text.to_owned(),
        };
        let whole: u64 = whole.parse().map_err(|_| overflow())?;
        let mut bytes = u128::from(whole) * u128::from(factor);
        if !fraction.is_empty() {
            let digits: u64 = fraction.parse().map_err(|_| not_a_number())?;
            let places = u32::try_from(fraction.len()).map_err(|_| not_a_number())?;
            bytes += u128::from(digits) * u128::from(factor) / 10u128.pow(places);
        }
        u64::try_from(bytes).map(Self).map_err(|_| overflow())
    }
}

fn unit_factor(unit: &str) -> Option<u64> {
    let lower = unit.to_ascii_lowercase();
    let prefix = lower
        .strip_suffix("ib")
        .or_else(|| lower.strip_suffix('b'))
        .unwrap_or(&lower);
    // "ib" alone is no unit.
    if lower == "ib" {
        return None;
    }
    let shift = match prefix {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    Some(1 << shift)
}

/// A number of pages; becomes [`Bytes`] only with a [`PageSize`].
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Pages(pub u64);

impl Pages {
    /// The bytes that these pages hold.
    #[must_use]
    pub const fn bytes(self, size: PageSize) -> Bytes {
        Bytes(self.0.saturating_mul(size.0.get()))
    }
}

/// The machine's base page size in bytes (4 KiB, 16 KiB, 64 KiB).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize(NonZeroU64);

impl PageSize {
    /// A page size, when `bytes` is a power of two of at least 4096.
    #[must_use]
    pub const fn new(bytes: u64) -> Option<Self> {
        if bytes < 4096 || !bytes.is_power_of_two() {
            return None;
        }
        match NonZeroU64::new(bytes) {
            Some(size) => Some(Self(size)),
            None => None,
        }
    }

    /// The size in bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// How many whole pages `bytes` holds.
    #[must_use]
    pub const fn pages_in(self, bytes: Bytes) -> Pages {
        Pages(bytes.0 / self.0.get())
    }
}

/// A share in percent; 100 is the whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Percent(pub f64);

impl fmt::Display for Percent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{:.1} %", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("512K", 512 << 10),
            ("100M", 100 << 20),
            ("1.5G", 3 << 29),
            ("64MiB", 64 << 20),
            (" 2 GB ", 2 << 30),
            ("1b", 1),
            ("0.5k", 512),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in [
            "",
            "M",
            "-1M",
            "1e9",
            "1..5G",
            "1.",
            ".5G",
            "max",
            "1.0000000001G",
            "1.2.3",
        ] {
            let parsed: Result<Bytes, _> = text.parse();
            assert!(parsed.is_err(), "{text} became {parsed:?}");
        }
        assert!(matches!(
            "1 XB".parse::<Bytes>(),
            Err(ParseSizeError::UnknownUnit { .. })
        ));
        assert!(matches!(
            "1ib".parse::<Bytes>(),
            Err(ParseSizeError::UnknownUnit { .. })
        ));
    }

    #[test]
    fn a_size_beyond_64_bits_overflows_instead_of_wrapping() {
        for text in [
            "18446744073709551616",
            "16777216T",
            "99999999999999999999999P",
        ] {
            assert!(
                matches!(text.parse::<Bytes>(), Err(ParseSizeError::Overflow { .. })),
                "{text}"
            );
        }
        assert_eq!("18446744073709551615".parse(), Ok(Bytes(u64::MAX)));
    }

    #[test]
    fn bytes_print_in_the_unit_that_reads_best() {
        assert_eq!(Bytes(1023).to_string(), "1023 B");
        assert_eq!(Bytes(1024).to_string(), "1.0 KiB");
        assert_eq!(Bytes(1024 * 1024 - 1).to_string(), "1.0 MiB");
        assert_eq!(Bytes(u64::MAX).to_string(), "16.0 EiB");
    }

    #[test]
    fn a_page_size_is_a_power_of_two() {
        assert!(PageSize::new(0).is_none());
        assert!(PageSize::new(5000).is_none());
        assert_eq!(PageSize::new(65536).map(PageSize::get), Some(65536));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _ = text.parse::<Bytes>();
        }

        #[test]
        fn whole_bytes_survive_a_round_trip(bytes: u64) {
            prop_assert_eq!(bytes.to_string().parse(), Ok(Bytes(bytes)));
        }

        #[test]
        fn scaling_never_exceeds_the_whole(bytes: u64, part in 0u64..=1000) {
            prop_assert!(Bytes(bytes).scale(part, 1000) <= Bytes(bytes));
        }
    }
}
