//! The logs that are searched: a saved one, or this machine's.
//!
//! Never waits for a log of this machine: the kernel's is read to its end, the
//! journal until its deadline. What the user names is read to its end, however
//! long a pipe takes to get there.

use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use grey_model::Moment;
use grey_policy::TimedRecord;
use grey_telemetry::kill_log::kmsg::{self, KmsgReading, ReadKmsgError, read_kmsg};
use grey_telemetry::kill_log::{KillLog, LogFindings};
use jiff::Timestamp;

use super::clock::{Clock, moment};
use super::document::{LogKind, Searched};
use super::journal::{JournalError, JournalReading, read_journal};
use crate::count::counted;
use crate::exit_code::Exit;
use crate::failure::{Failure, chain, is_denied};

const PIECE: usize = 64 << 10;

/// The name of the standard input among files.
const STDIN: &str = "-";

/// What the logs hold.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) records: Vec<TimedRecord>,
    pub(super) searched: Vec<Searched>,
    pub(super) notes: Vec<String>,
    /// Whether lines of the kernel were among them.
    pub(super) has_kernel_lines: bool,
}

impl Found {
    /// Takes what one log held.
    fn add(&mut self, findings: LogFindings, log: &Log, clock: &Clock) {
        let lines = spoken(&findings);
        let unknown_lines = lines.saturating_sub(findings.known_lines);
        let assembled = findings.assembled;
        let time = |time: Option<grey_model::LogTime>| {
            time.and_then(|time| clock.resolve(time, log.of_this_boot).0)
        };
        self.has_kernel_lines |= findings.kernel_lines > 0;
        let searched = Searched {
            kind: log.kind,
            name: log.name.clone(),
            lines,
            unknown_lines,
            from: time(findings.first),
            until: time(findings.last).max(log.read_to_now),
            incomplete: log.incomplete
                || assembled.dropped > 0
                || assembled.suppressed > 0
                || assembled.unfinished > 0
                || findings.cut_lines > 0,
            problem: log.problem.clone(),
        };
        let name = &log.name;
        if searched.is_mostly_unknown() {
            self.notes.push(format!(
                "{name}: {unknown_lines} of its {lines} lines are in no known form, so that it may be \
                 no log of the kernel or of systemd: {KNOWN}"
            ));
        }
        self.searched.push(searched);
        let mut note = |count: u64, what: &str| {
            if count > 0 {
                self.notes.push(format!("{name}: {what}: {count}"));
            }
        };
        note(assembled.dropped, "older records that were not kept");
        note(
            assembled.suppressed,
            "reports that the kernel left out because there were too many at once",
        );
        note(
            assembled.unfinished,
            "reports of the out-of-memory killer that end before they name anybody",
        );
        note(findings.cut_lines, "lines that were too long and were cut");
        self.records.extend(
            assembled
                .records
                .into_iter()
                .map(|record| clock.timed(record, log.of_this_boot)),
        );
    }
}

/// What is known of a log beside what is in it.
struct Log {
    kind: LogKind,
    name: String,
    of_this_boot: bool,
    /// When it was read to its end, where it is still written to.
    read_to_now: Option<Moment>,
    incomplete: bool,
    problem: Option<String>,
}

/// Searches a saved log; `-` is the standard input.
///
/// # Errors
/// A [`Failure`] when it cannot be read.
pub(super) fn saved(path: &Path, clock: &Clock) -> Result<Found, Failure> {
    let is_stdin = path.as_os_str() == STDIN;
    let name = if is_stdin {
        "the standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let failed = |error: io::Error| {
        let exit = match error.kind() {
            ErrorKind::NotFound | ErrorKind::IsADirectory => Exit::Usage,
            ErrorKind::InvalidData => Exit::Usage,
            _ if is_denied(&error) => Exit::NotPermitted,
            _ => Exit::Failed,
        };
        let failure = Failure::new(exit, format!("failed to read `{name}`: {error}"));
        if error.kind() == ErrorKind::InvalidData {
            return failure.hint("search what that prints: --log - reads the standard input");
        }
        failure.hint(SAVE)
    };
    let mut log = KillLog::default();
    if is_stdin {
        read_all(&mut io::stdin().lock(), &mut log).map_err(failed)?;
    } else {
        let mut file = crate::compare::file::open(path).map_err(failed)?;
        if file
            .metadata()
            .map_err(failed)?
            .file_type()
            .is_char_device()
        {
            // The end of a device never comes: nor does that of /dev/kmsg.
            return Err(Failure::new(
                Exit::Usage,
                format!("failed to read `{name}`: it is a device, and no saved log"),
            )
            .hint("to search this machine's own logs, leave --log out"));
        }
        read_all(&mut file, &mut log).map_err(failed)?;
    }
    let findings = log.finish();
    if findings.known_lines == 0 && spoken(&findings) > 0 {
        return Err(no_known_form(&name, &findings));
    }
    let mut found = Found::default();
    let log_facts = Log {
        kind: LogKind::File,
        name,
        of_this_boot: false,
        read_to_now: None,
        incomplete: false,
        problem: None,
    };
    found.add(findings, &log_facts, clock);
    Ok(found)
}

/// How many lines are not blank.
const fn spoken(findings: &LogFindings) -> u64 {
    findings.lines.saturating_sub(findings.blank_lines)
}

/// The forms of a log.
const KNOWN: &str = "known are what dmesg prints with a time on each line, journalctl (short forms \
                     and -o json), syslog's files, and /dev/kmsg as it is";

/// How a log is saved.
const SAVE: &str = "save one: dmesg > kernel.log, or journalctl -k -o json > kernel.log";

/// Nothing was understood: that no kill was found in it means nothing.
fn no_known_form(name: &str, findings: &LogFindings) -> Failure {
    let lines = counted(spoken(findings), "line", "lines");
    Failure::new(
        Exit::Usage,
        format!(
            "failed to search `{name}`: it does not look like a log of the kernel or of systemd: of \
             its {lines} none is in a form that is known"
        ),
    )
    .hint(KNOWN)
    .hint(SAVE)
}

/// How a log that is no text begins, what it is, and what makes text of it.
const NO_TEXT: [(&[u8], &str, &str); 5] = [
    (b"\x1f\x8b", "compressed with gzip", "zcat"),
    (b"\xfd7zXZ\0", "compressed with xz", "xzcat"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "zstdcat"),
    (b"BZh", "compressed with bzip2", "bzcat"),
    (
        b"LPKSHHRH",
        "a file of systemd's journal",
        "journalctl -o json --file",
    ),
];

/// The longest of these beginnings.
const BEGINNING: u64 = 8;

/// Nothing would be found in what is no text, which would look like no kill.
fn read_all(reader: &mut impl Read, log: &mut KillLog) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(PIECE);
    reader.take(BEGINNING).read_to_end(&mut buffer)?;
    let known = NO_TEXT
        .iter()
        .find(|(begins, ..)| buffer.starts_with(begins));
    if let Some((_, what, unpacks)) = known {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            format!("it is {what}, and no text: `{unpacks}` makes text of it"),
        ));
    }
    log.push(&buffer);
    buffer.resize(PIECE, 0);
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => log.push(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Searches the logs of this machine: the kernel's, and the journal's where
/// systemd runs.
///
/// # Errors
/// A [`Failure`] when neither can be read.
pub(super) fn of_this_machine(
    kmsg: Option<&Path>,
    has_systemd: bool,
    since: Option<Timestamp>,
    clock: &Clock,
) -> Result<Found, Failure> {
    let mut found = Found::default();
    let path = kmsg.unwrap_or(Path::new(kmsg::KMSG));
    let mut log = KillLog::default();
    let refused = match read_kmsg(path, &mut log) {
        Ok(reading) => {
            found.add(log.finish(), &kmsg_facts(path, &reading), clock);
            if !reading.is_from_boot() {
                found.notes.push(format!(
                    "{} no longer has its first records: the kernel has overwritten them",
                    path.display()
                ));
            }
            None
        }
        Err(error) => {
            found
                .searched
                .push(unread(LogKind::Kmsg, path.display().to_string(), &error));
            Some(error)
        }
    };
    if has_systemd {
        add_journal(&mut found, since, clock);
    }
    let journal_spoke = found.searched.iter().any(|log| log.lines > 0);
    match refused {
        Some(error) if !journal_spoke => Err(no_log(&error)),
        Some(error) => {
            found.notes.push(format!(
                "{}: what is told is from the journal alone",
                chain(&error)
            ));
            Ok(found)
        }
        None => Ok(found),
    }
}

/// The end of a log that has just been read and is still written to.
fn now() -> Option<Moment> {
    moment(Timestamp::now())
}

fn kmsg_facts(path: &Path, reading: &KmsgReading) -> Log {
    Log {
        kind: LogKind::Kmsg,
        name: path.display().to_string(),
        of_this_boot: true,
        read_to_now: (!reading.cut).then(now).flatten(),
        incomplete: !reading.is_from_boot() || reading.overwritten > 0 || reading.cut,
        problem: None,
    }
}

fn add_journal(found: &mut Found, since: Option<Timestamp>, clock: &Clock) {
    const NAME: &str = "the journal";
    let mut log = KillLog::default();
    match read_journal(since, &mut log) {
        Ok(reading) => {
            let cut = reading == JournalReading::Cut;
            let facts = Log {
                kind: LogKind::Journal,
                name: NAME.to_owned(),
                of_this_boot: false,
                read_to_now: (!cut).then(now).flatten(),
                incomplete: cut,
                problem: cut.then(|| "journalctl took too long, or had too much".to_owned()),
            };
            if cut {
                found.notes.push(
                    "the journal was not read to its end: say --since to have less of it"
                        .to_owned(),
                );
            }
            found.add(log.finish(), &facts, clock);
        }
        Err(error) => {
            if !matches!(error, JournalError::Missing) {
                found.notes.push(chain(&error));
            }
            found
                .searched
                .push(unread(LogKind::Journal, NAME.to_owned(), &error));
        }
    }
}

fn unread(kind: LogKind, name: String, error: &(dyn std::error::Error + 'static)) -> Searched {
    Searched {
        kind,
        name,
        lines: 0,
        unknown_lines: 0,
        from: None,
        until: None,
        incomplete: true,
        problem: Some(chain(error)),
    }
}

fn no_log(error: &ReadKmsgError) -> Failure {
    if error.is_denied() {
        return Failure::from_error(Exit::NotPermitted, error)
            .hint("run it as root, or with CAP_SYSLOG, which kernel.dmesg_restrict=1 asks for")
            .hint("or search a saved log: sudo dmesg | greyctl why --killed --log -");
    }
    let exit = if error.is_missing() {
        Exit::NotSupported
    } else {
        Exit::Failed
    };
    Failure::from_error(exit, error)
        .hint("save the host's log there: dmesg > kernel.log")
        .hint("and search it here: greyctl why --killed --log kernel.log")
}
