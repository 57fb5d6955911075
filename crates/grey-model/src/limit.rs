//! A memory limit as cgroup files print it.
//!
//! Never a sentinel number: "no limit" is a variant of its own.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units::{Bytes, ParseSizeError};

/// `max`, or a number of bytes. Orders by strictness: every number of bytes is
/// below [`MemoryLimit::Max`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemoryLimit {
    /// A limit in bytes.
    Bytes(Bytes),
    /// No limit.
    Max,
}

impl MemoryLimit {
    /// The bytes of the limit; `None` when there is no limit.
    #[must_use]
    pub const fn bytes(self) -> Option<Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Max => None,
        }
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => bytes.fmt(formatter),
            Self::Max => formatter.pad("max"),
        }
    }
}

impl FromStr for MemoryLimit {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == "max" {
            return Ok(Self::Max);
        }
        text.parse().map(Self::Bytes)
    }
}

/// The string `"max"`, or an integer of bytes.
impl Serialize for MemoryLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bytes(bytes) => serializer.serialize_u64(bytes.0),
            Self::Max => serializer.serialize_str("max"),
        }
    }
}

impl<'de> Deserialize<'de> for MemoryLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Printed {
            Number(u64),
            Word(String),
        }
        match Printed::deserialize(deserializer)? {
            Printed::Number(bytes) => Ok(Self::Bytes(Bytes(bytes))),
            Printed::Word(word) if word == "max" => Ok(Self::Max),
            Printed::Word(word) => Err(D::Error::custom(format!("`{word}` is not a limit"))),
        }
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for MemoryLimit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MemoryLimit".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A limit in bytes, or the string \"max\" for no limit.",
            "oneOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "const": "max" }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_of_several_limits_is_their_minimum() {
        let limits = [
            MemoryLimit::Max,
            MemoryLimit::Bytes(Bytes(5)),
            MemoryLimit::Bytes(Bytes(9)),
        ];
        assert_eq!(limits.into_iter().min(), Some(MemoryLimit::Bytes(Bytes(5))));
    }

    #[test]
    fn no_limit_is_a_word_in_json_and_a_limit_is_a_number() {
        assert_eq!(serde_json::to_string(&MemoryLimit::Max).unwrap(), "\"max\"");
        assert_eq!(
            serde_json::to_string(&MemoryLimit::Bytes(Bytes(7))).unwrap(),
            "7"
        );
        assert_eq!(
            serde_json::from_str::<MemoryLimit>("\"max\"").unwrap(),
            MemoryLimit::Max
        );
        assert!(serde_json::from_str::<MemoryLimit>("\"min\"").is_err());
    }
}
