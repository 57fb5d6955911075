//! `/proc/sys/kernel/osrelease`: the kernel's version, for people.
//!
//! Never used to decide anything: features are probed.

use grey_model::KernelText;

use crate::roots::Kernel;

/// The longest release that a kernel has, in bytes (`__NEW_UTS_LEN`).
const LONGEST: usize = 64;

/// Reads the kernel's release, as `uname -r` prints it; `None` where the file
/// is missing, cannot be read or is empty: it is only for people.
#[must_use]
pub fn read_osrelease(kernel: &Kernel, buffer: &mut Vec<u8>) -> Option<String> {
    let text = kernel.proc.read("sys/kernel/osrelease", buffer).ok()?;
    Some(parse_osrelease(text)).filter(|release| !release.is_empty())
}

/// The one line, cut to what a kernel can have; bytes that are not UTF-8 or
/// would drive a terminal are escaped.
#[must_use]
pub fn parse_osrelease(text: &[u8]) -> String {
    let text = text.trim_ascii();
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    KernelText::from(&line[..line.len().min(LONGEST)]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_one_clean_line() {
        assert_eq!(parse_osrelease(b"6.12.0-amd64\n"), "6.12.0-amd64");
        assert_eq!(parse_osrelease(b"6.12\nand more"), "6.12");
        assert_eq!(parse_osrelease(&[b'6'; 100_000]).len(), LONGEST);
        assert_eq!(parse_osrelease(b"x\x1b\xff"), "x\\x1b\\xff");
    }
}
