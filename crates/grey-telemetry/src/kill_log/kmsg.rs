//! `/dev/kmsg`: the kernel's log, record by record.
//!
//! Reads what is there and never waits for more. Never marks anything as read:
//! each open has a place of its own.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use grey_model::{LogTime, WallTime};
use rustix::fs::{Mode, open};
use rustix::io::Errno;

use super::find::split;
use super::log::KillLog;
use crate::ascii;
use crate::read::READING;

/// Where it is.
pub const KMSG: &str = "/dev/kmsg";

/// Twice the largest record that any kernel gives (`CONSOLE_EXT_LOG_MAX`, 8 KiB;
/// less since then). The kernel answers `EINVAL` to a buffer that is too small.
const RECORD: usize = 16 << 10;

/// The most records that are read in one go: more than the largest buffer of
/// a usual kernel (`log_buf_len=64M`) holds.
pub const MOST_RECORDS: u64 = 1 << 20;

/// What reading came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KmsgReading {
    /// How many records were read.
    pub records: u64,
    /// The number of the first; records before it were overwritten, or
    /// cleared never were (`dmesg --clear` only moves `dmesg`'s own mark).
    pub first_sequence: Option<u64>,
    /// How often records were overwritten while they were read.
    pub overwritten: u64,
    /// Whether the bound ended the reading.
    pub cut: bool,
}

impl KmsgReading {
    /// Whether nothing since boot is missing.
    #[must_use]
    pub fn is_from_boot(&self) -> bool {
        self.first_sequence.is_none_or(|first| first == 0) && self.overwritten == 0 && !self.cut
    }
}

/// The kernel's log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadKmsgError {
    /// It could not be opened.
    #[error("failed to open `{}`", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was opened, and reading failed.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ReadKmsgError {
    /// Whether we lack the permission: without `CAP_SYSLOG` where
    /// `kernel.dmesg_restrict` is 1.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.source_error().kind() == io::ErrorKind::PermissionDenied
    }

    /// Whether there is no such file, as in most containers.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.source_error().kind() == io::ErrorKind::NotFound
    }

    const fn source_error(&self) -> &io::Error {
        match self {
            Self::Open { source, .. } | Self::Read { source, .. } => source,
        }
    }
}

/// Reads everything that the kernel's log holds now into `log`.
///
/// # Errors
/// [`ReadKmsgError`] when it cannot be opened or read.
pub fn read_kmsg(path: &Path, log: &mut KillLog) -> Result<KmsgReading, ReadKmsgError> {
    let file = open(path, READING, Mode::empty()).map_err(|errno| ReadKmsgError::Open {
        path: path.to_owned(),
        source: errno.into(),
    })?;
    let mut reading = KmsgReading::default();
    let mut buffer = vec![0; RECORD];
    while reading.records < MOST_RECORDS {
        match rustix::io::read(&file, &mut buffer) {
            Ok(0) | Err(Errno::AGAIN) => return Ok(reading),
            Ok(count) => {
                let bytes = &buffer[..count];
                if reading.first_sequence.is_none() {
                    reading.first_sequence = parse_record(bytes).map(|record| record.sequence);
                }
                reading.records += 1;
                log.push(bytes);
            }
            // The next read goes on at the oldest record that is left.
            Err(Errno::PIPE) => reading.overwritten += 1,
            Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(ReadKmsgError::Read {
                    path: path.to_owned(),
                    source: errno.into(),
                });
            }
        }
        if reading.overwritten > MOST_RECORDS {
            break;
        }
    }
    reading.cut = true;
    Ok(reading)
}

/// A record's first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsgRecord<'text> {
    /// 0 when the kernel wrote it, else syslog's facility of who did.
    pub facility: u64,
    /// Its number since boot.
    pub sequence: u64,
    /// When.
    pub time: LogTime,
    /// The thread or CPU that wrote it (`caller=T123`), where the kernel is
    /// built to say (`CONFIG_PRINTK_CALLER`).
    pub caller: Option<&'text [u8]>,
    /// The message, escapes resolved.
    pub text: Cow<'text, [u8]>,
}

/// Parses `prio,sequence,microseconds,flags[,more...];text`; `None` when it is
/// something else, such as a record's continuation (` KEY=value`).
#[must_use]
pub fn parse_record(line: &[u8]) -> Option<KmsgRecord<'_>> {
    if !line.first()?.is_ascii_digit() {
        return None;
    }
    let (prefix, text) = split(line, b";")?;
    let mut fields = prefix.split(|&byte| byte == b',');
    let priority = ascii::parse_u64(fields.next()?)?;
    let sequence = ascii::parse_u64(fields.next()?)?;
    let microseconds = ascii::parse_u64(fields.next()?)?;
    fields.next()?;
    let caller = fields.find_map(|field| field.strip_prefix(b"caller="));
    let end = text.iter().position(|&byte| byte == b'\n');
    Some(KmsgRecord {
        facility: priority >> 3,
        sequence,
        time: LogTime {
            wall: WallTime::Unknown,
            since_boot: Some(Duration::from_micros(microseconds)),
        },
        caller,
        // What is no printable ASCII, and the backslash, is written as `\xNN`.
        text: ascii::unescape(&text[..end.unwrap_or(text.len())], ascii::hexadecimal),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_its_number_time_caller_and_text() {
        let record = parse_record(b"6,339,5140900,-,caller=T12;a\\x5cb \\xc3\\xa4; c\n").unwrap();
        assert_eq!((record.facility, record.sequence), (0, 339));
        assert_eq!(
            record.time.since_boot,
            Some(Duration::from_micros(5_140_900))
        );
        assert_eq!(record.caller, Some(&b"T12"[..]));
        assert_eq!(&*record.text, "a\\b \u{e4}; c".as_bytes());
    }

    #[test]
    fn what_programs_write_has_their_facility() {
        assert_eq!(parse_record(b"30,1,2,-;systemd[1]: x").unwrap().facility, 3);
    }

    #[test]
    fn a_continuation_is_no_record() {
        for line in [
            &b" SUBSYSTEM=pci"[..],
            b"",
            b"1,2;x",
            b"a,2,3,-;x",
            b"1,2,3,-",
        ] {
            assert_eq!(parse_record(line), None, "{line:?}");
        }
    }
}
