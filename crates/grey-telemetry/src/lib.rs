//! Reads the kernel's memory accounts into the types of `grey-model`.
//!
//! Parsers take bytes and open nothing; readers open one file relative to a
//! kept directory and call the parser. Nothing here ever writes to the kernel.

pub mod ascii;
pub mod read;
pub mod roots;

pub use read::{KernelDirectory, ReadError};
pub use roots::{Kernel, OpenKernelError, Roots};
