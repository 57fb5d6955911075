//! What a program's tests need to see how it behaves under pressure.
//!
//! - `disk`: a disk that fails when it is told to.
//!
//! Never used by the library itself.

pub mod disk;

pub use disk::{Fault, FaultyDisk, Operation};
