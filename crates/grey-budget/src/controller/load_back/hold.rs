//! What keeps values on disk though the level is normal.
//!
//! Never judges: whoever holds says so, and says when it is over.

/// Why nothing is loaded back, beside the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The program shuts down.
    Shutdown,
    /// Memory is short around the program.
    Machine,
}

impl Hold {
    pub(super) const fn bit(self) -> u8 {
        match self {
            Self::Shutdown => 1,
            Self::Machine => 2,
        }
    }
}
