//! What goes first when memory must be given back.
//!
//! Never decides how much: that is the level's and the reclaimers' matter.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How dear something is. Orders from what goes first to what never goes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "UPPERCASE")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Priority {
    /// Goes first: inactive projects, old entries.
    Low,
    /// Goes next: active projects, recent entries.
    #[default]
    Medium,
    /// Goes last: the current project, what is used all the time.
    High,
    /// Never goes.
    Critical,
}

impl Priority {
    /// All, from the first to go to the one that never goes.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// Whether something of this priority may ever be evicted.
    #[must_use]
    pub const fn is_evictable(self) -> bool {
        !matches!(self, Self::Critical)
    }

    /// The name as configurations write it: `LOW`, `MEDIUM`, `HIGH`, `CRITICAL`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "LOW",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
            Self::Critical => "CRITICAL",
        }
    }

    /// The place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Low => 0,
            Self::Medium => 1,
            Self::High => 2,
            Self::Critical => 3,
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A word is no priority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no priority: LOW, MEDIUM, HIGH or CRITICAL")]
pub struct ParsePriorityError {
    /// What was written.
    pub text: String,
}

/// In any case of letters.
impl FromStr for Priority {
    type Err = ParsePriorityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|priority| priority.name().eq_ignore_ascii_case(text.trim()))
            .ok_or_else(|| ParsePriorityError {
                text: text.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_goes_before_high_and_critical_never() {
        let mut sorted = [
            Priority::Critical,
            Priority::High,
            Priority::Low,
            Priority::Medium,
        ];
        sorted.sort();
        assert_eq!(sorted, Priority::ALL);
        assert_eq!(
            Priority::ALL.map(Priority::is_evictable),
            [true, true, true, false]
        );
    }

    #[test]
    fn a_name_is_read_in_any_case_and_nothing_else() {
        for priority in Priority::ALL {
            assert_eq!(priority.name().parse(), Ok(priority));
            assert_eq!(Priority::ALL[priority.index()], priority);
        }
        assert_eq!("medium".parse(), Ok(Priority::Medium));
        assert!("".parse::<Priority>().is_err());
        assert!("URGENT".parse::<Priority>().is_err());
    }
}
