//! `/proc/PID/limits`: RLIMIT_DATA of a process, and of ourselves the limits
//! that memory work runs into.
//!
//! Never sets one.

use grey_model::{ResourceLimit, ResourceLimits};

use crate::ascii;
use crate::read::ReadError;
use crate::roots::Kernel;

/// The line's name in the file.
const LINE: &[u8] = b"Max data size";

/// Reads RLIMIT_DATA of the process `pid` as `soft:hard`, each in bytes or
/// `unlimited`. `None` when the file has no such line.
///
/// # Errors
/// [`ReadError`] when the process is gone or may not be looked at.
pub fn read_data_limit(
    kernel: &Kernel,
    pid: u32,
    buffer: &mut Vec<u8>,
) -> Result<Option<String>, ReadError> {
    kernel
        .proc
        .read(format!("{pid}/limits"), buffer)
        .map(parse_data_limit)
}

/// The soft and the hard limit as `soft:hard`.
#[must_use]
pub fn parse_data_limit(text: &[u8]) -> Option<String> {
    let line = ascii::lines(text).find_map(|line| line.strip_prefix(LINE))?;
    let mut columns = ascii::words(line).map(parse_value);
    Some(format!("{}:{}", columns.next()??, columns.next()??))
}

/// The limits that matter to us; `None` for a file without any of them.
#[must_use]
pub fn parse_resource_limits(text: &[u8]) -> Option<ResourceLimits> {
    let limit = |name: &[u8]| {
        let line = ascii::lines(text).find_map(|line| line.strip_prefix(name))?;
        let mut columns = ascii::words(line).map(|word| match word {
            b"unlimited" => Some(None),
            number => ascii::parse_u64(number).map(Some),
        });
        Some(ResourceLimit {
            soft: columns.next()??,
            hard: columns.next()??,
        })
    };
    let limits = ResourceLimits {
        open_files: limit(b"Max open files"),
        address_space: limit(b"Max address space"),
        data: limit(LINE),
    };
    (limits != ResourceLimits::default()).then_some(limits)
}

fn parse_value(word: &[u8]) -> Option<String> {
    if word == b"unlimited" {
        return Some("unlimited".to_owned());
    }
    ascii::parse_u64(word).map(|bytes| bytes.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_are_read() {
        let text =
            b"Limit                     Soft Limit           Hard Limit           Units     \n\
            Max cpu time              unlimited            unlimited            seconds   \n\
            Max data size             1048576              unlimited            bytes     \n";
        assert_eq!(parse_data_limit(text).as_deref(), Some("1048576:unlimited"));
    }

    #[test]
    fn our_own_limits_are_numbers_or_unlimited() {
        let text =
            b"Max data size             unlimited            unlimited            bytes     \n\
            Max open files            1024                 524288               files     \n\
            Max address space         x                    1                    bytes     \n";
        let limits = parse_resource_limits(text).unwrap();
        let files = ResourceLimit {
            soft: Some(1024),
            hard: Some(524_288),
        };
        assert_eq!(limits.open_files, Some(files));
        let unlimited = ResourceLimit {
            soft: None,
            hard: None,
        };
        assert_eq!(limits.data, Some(unlimited));
        assert_eq!(limits.address_space, None);
        assert_eq!(parse_resource_limits(b"\xff\n"), None);
    }

    #[test]
    fn a_broken_line_is_no_limit() {
        for text in [
            &b""[..],
            b"Max data size",
            b"Max data size 5",
            b"Max data size x 5",
        ] {
            assert_eq!(parse_data_limit(text), None);
        }
    }
}
