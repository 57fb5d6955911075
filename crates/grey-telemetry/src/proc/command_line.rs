//! `/proc/cmdline`: with what the kernel was booted.
//!
//! Never keeps it: there may be secrets in it.

use crate::ascii;
use crate::roots::Kernel;

/// Whether `psi=` turns pressure accounting on or off; `None` where it says
/// nothing, or the file cannot be read.
///
/// # Kernel
/// `Documentation/admin-guide/kernel-parameters.txt`, `psi=`.
#[must_use]
pub fn read_psi_parameter(kernel: &Kernel, buffer: &mut Vec<u8>) -> Option<bool> {
    parse_psi_parameter(kernel.proc.read("cmdline", buffer).ok()?)
}

/// The last `psi=` counts, as in the kernel; in any form that `kstrtobool` takes.
#[must_use]
pub fn parse_psi_parameter(text: &[u8]) -> Option<bool> {
    let values = ascii::words(text.trim_ascii()).filter_map(|word| word.strip_prefix(b"psi="));
    values
        .filter_map(|value| match value {
            [b'1' | b'y' | b'Y' | b't' | b'T', ..] | [b'o' | b'O', b'n' | b'N', ..] => Some(true),
            [b'0' | b'n' | b'N' | b'f' | b'F', ..] | [b'o' | b'O', b'f' | b'F', ..] => Some(false),
            _ => None,
        })
        .last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_parameter_counts_and_only_a_whole_one() {
        assert_eq!(parse_psi_parameter(b"quiet psi=1 ro\n"), Some(true));
        assert_eq!(parse_psi_parameter(b"psi=1 psi=off\n"), Some(false));
        assert_eq!(parse_psi_parameter(b"rpsi=1 psi psi=maybe\n"), None);
        assert_eq!(parse_psi_parameter(b"\xff"), None);
    }
}
