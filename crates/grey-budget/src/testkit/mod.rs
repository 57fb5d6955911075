//! What a program needs to test its own behaviour under pressure: a clock that
//! is moved by hand, a memory source that says what it is told, scripts that
//! drive both, and a disk that fails when it is told to.
//!
//! Never reads the real clock or the real process.

mod clock;
pub mod disk;
mod pressure;
mod source;

pub use clock::FakeClock;
pub use disk::{Fault, FaultyDisk, Operation};
pub use pressure::{PressureScript, ScriptError, ScriptPlayer};
pub use source::FakeSource;
