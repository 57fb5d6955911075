//! Values of systemd's properties, between D-Bus and our own types.
//!
//! Pure; asks nobody.

use grey_model::{Bytes, KnobValue, MemoryLimit};
use zbus::{OwnedVariant, Variant};

use super::error::SystemdError;

/// How systemd says "no limit" in a number of bytes.
const INFINITY: u64 = u64::MAX;
/// How it says so in files and on its command line.
const INFINITY_WORD: &str = "infinity";

/// A limit as the kernel would print it.
pub(super) const fn limit_of(bytes: u64) -> MemoryLimit {
    match bytes {
        INFINITY => MemoryLimit::Max,
        bytes => MemoryLimit::Bytes(Bytes(bytes)),
    }
}

/// A limit as it is journaled and shown.
pub(super) fn value_of(bytes: u64) -> KnobValue {
    KnobValue(match bytes {
        INFINITY => INFINITY_WORD.to_owned(),
        bytes => bytes.to_string(),
    })
}

/// The number that stands for a journaled limit. The largest number is not
/// taken: it would silently mean "no limit".
pub(super) fn bytes_of(value: &KnobValue) -> Result<u64, SystemdError> {
    if value.0 == INFINITY_WORD {
        return Ok(INFINITY);
    }
    let digits = !value.0.is_empty() && value.0.bytes().all(|byte| byte.is_ascii_digit());
    match value.0.parse() {
        Ok(bytes) if digits && bytes != INFINITY => Ok(bytes),
        _ => Err(SystemdError::InvalidValue {
            value: value.0.clone(),
        }),
    }
}

/// A number of bytes.
pub(super) fn number(variant: &OwnedVariant) -> Option<u64> {
    match &**variant {
        Variant::U64(number) => Some(*number),
        _ => None,
    }
}

/// A word.
pub(super) fn word(variant: &OwnedVariant) -> Option<&str> {
    match &**variant {
        Variant::Str(word) => Some(word.as_str()),
        _ => None,
    }
}

/// Yes or no.
pub(super) fn flag(variant: &OwnedVariant) -> Option<bool> {
    match &**variant {
        Variant::Bool(flag) => Some(*flag),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(text: &str) -> KnobValue {
        KnobValue(text.to_owned())
    }

    #[test]
    fn no_limit_is_a_word_and_never_a_number() {
        assert_eq!(value_of(u64::MAX), value("infinity"));
        assert_eq!(limit_of(u64::MAX), MemoryLimit::Max);
        assert_eq!(bytes_of(&value("infinity")).unwrap(), u64::MAX);
        assert!(bytes_of(&value("18446744073709551615")).is_err());
    }

    #[test]
    fn values_that_are_no_limit_are_refused() {
        for text in ["", "max", "-1", "+1", "1M", " 1", "18446744073709551616"] {
            assert!(bytes_of(&value(text)).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_limit_survives_the_journal(bytes: u64) {
            prop_assert_eq!(bytes_of(&value_of(bytes)).unwrap(), bytes);
        }
    }
}
