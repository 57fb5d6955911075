//! Why an operation was not recorded.
//!
//! Never loses the operation: it is given back.

use std::fmt;
use std::sync::Arc;

use crate::budget::ReserveError;

/// An operation was not recorded.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum AppendError<Op> {
    /// There is no memory for it, even after compaction.
    #[error("failed to append to `{log}`: no memory for the operation")]
    Refused {
        /// Which log.
        log: Arc<str>,
        /// Why.
        #[source]
        source: ReserveError,
        /// The operation.
        operation: Op,
    },
}

/// Without the operation, which need not know how to print itself.
impl<Op> fmt::Debug for AppendError<Op> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AppendError({self})")
    }
}
