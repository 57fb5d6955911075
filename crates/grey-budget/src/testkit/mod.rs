//! What a program needs to test its own behaviour under pressure: a clock that
//! is moved by hand, a memory source that says what it is told, and scripts
//! that drive both.
//!
//! Never reads the real clock or the real process.

mod clock;
mod pressure;
mod source;

pub use clock::FakeClock;
pub use pressure::{PressureScript, ScriptError, ScriptPlayer};
pub use source::FakeSource;
