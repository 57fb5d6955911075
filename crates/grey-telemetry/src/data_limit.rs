//! `/proc/PID/limits`: RLIMIT_DATA of a process.
//!
//! Never sets it. The other limits of the file do not bound memory that
//! matters here.

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
