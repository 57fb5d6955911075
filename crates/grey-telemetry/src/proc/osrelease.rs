//! `/proc/sys/kernel/osrelease`: the kernel's version, for people.
//!
//! Never used to decide anything: features are probed.

use grey_model::KernelText;

use crate::read::ReadError;
use crate::roots::Kernel;

/// Reads the kernel's release, as `uname -r` prints it.
///
/// # Errors
/// [`ReadError`] when the file cannot be read.
pub fn read_osrelease(kernel: &Kernel, buffer: &mut Vec<u8>) -> Result<String, ReadError> {
    kernel
        .proc
        .read("sys/kernel/osrelease", buffer)
        .map(parse_osrelease)
}

/// The one line; bytes that are not UTF-8 or would drive a terminal are escaped.
#[must_use]
pub fn parse_osrelease(text: &[u8]) -> String {
    KernelText::from(text.trim_ascii()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_one_clean_line() {
        assert_eq!(parse_osrelease(b"6.12.0-amd64\n"), "6.12.0-amd64");
        assert_eq!(parse_osrelease(b"x\x1b\xff"), "x\\x1b\\xff");
    }
}
