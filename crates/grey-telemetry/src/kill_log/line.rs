//! One line of a log: who said what and when, whatever wraps it.
//!
//! Knows `/dev/kmsg`, `dmesg`, `journalctl` (short forms and JSON) and syslog.
//! What is not known stays text without a time. Never judges what was said.

use std::borrow::Cow;
use std::time::Duration;

use grey_model::{KernelText, LogTime, Moment, WallTime};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::find::{leading_number, position, split};
use super::kmsg::parse_record;
use super::stamp;
use crate::ascii;

/// How far into a line its `kernel:` is looked for when the time before it is
/// in a form that is not known, such as another language's.
const FURTHEST_NAME: usize = 128;

/// The longest `[T123]` that is taken for a caller.
const LONGEST_CALLER: usize = 24;

/// Who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source<'text> {
    /// The kernel.
    Kernel,
    /// A program, by the name that its lines carry.
    Program(Cow<'text, [u8]>),
    /// The line does not say.
    Unknown,
}

/// A line without its wrapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'text> {
    /// When.
    pub time: LogTime,
    /// On which machine, where it says.
    pub host: Option<KernelText>,
    /// Who.
    pub source: Source<'text>,
    /// The thread or CPU that the kernel wrote it from, where it says.
    pub caller: Option<Cow<'text, [u8]>>,
    /// What.
    pub text: Cow<'text, [u8]>,
}

/// Takes the wrapping off. `None` for a line that holds nothing.
#[must_use]
pub fn parse_line(line: &[u8]) -> Option<Line<'_>> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.first()? {
        b'{' => journal_json(line),
        first if first.is_ascii_digit() => match parse_record(line) {
            Some(record) => Some(kmsg(record)),
            None => Some(text_line(line)),
        },
        _ => Some(text_line(line)),
    }
}

fn kmsg(record: super::kmsg::KmsgRecord<'_>) -> Line<'_> {
    let mut line = Line {
        time: record.time,
        host: None,
        source: Source::Kernel,
        caller: record.caller.map(Cow::Borrowed),
        text: record.text,
    };
    if record.facility != 0 {
        // Written by a program: it is not the kernel who speaks.
        line.source = Source::Program(Cow::Borrowed(b""));
        let header = program_of(&line.text).map(|(name, rest)| (name.to_vec(), rest.to_vec()));
        if let Some((name, rest)) = header {
            line.source = Source::Program(Cow::Owned(name));
            line.text = Cow::Owned(rest);
        }
    }
    line
}

/// `systemd[1]: text`.
fn program_of(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (word, rest) = split(text, b" ")?;
    Some((identifier(word, true)?.0, rest))
}

/// The name in `kernel:`, `systemd[1]:`, and in any `name:` if `any` is set; and
/// whether the kernel is named, which has no pid.
fn identifier(word: &[u8], any: bool) -> Option<(&[u8], bool)> {
    let word = word.strip_suffix(b":")?;
    if let Some((name, pid)) = split(word, b"[") {
        let pid = pid.strip_suffix(b"]")?;
        return (!name.is_empty() && ascii::parse_u64(pid).is_some()).then_some((name, false));
    }
    let is_kernel = word == b"kernel";
    (!word.is_empty() && (any || is_kernel)).then_some((word, is_kernel))
}

fn text_line(line: &[u8]) -> Line<'_> {
    let text = priority(line);
    let text = level_words(text);
    if let Some((time, rest)) = stamp::bracketed(text) {
        // `dmesg`, or `journalctl -o short-monotonic` with a host and a name.
        return headed(time, rest, false);
    }
    if let Some((time, rest)) = stamp::bare(text) {
        return headed(time, rest, true);
    }
    if let Some((host, text)) = behind_kernel(text) {
        let mut line = kernel_text(LogTime::default(), text);
        line.host = host;
        return line;
    }
    let mut line = headed(LogTime::default(), text, false);
    if line.source == Source::Kernel && line.host.is_none() && line.caller.is_none() {
        // Without any wrapping, anybody may have said it.
        line.source = Source::Unknown;
    }
    line
}

/// Takes `<6>` off.
fn priority(line: &[u8]) -> &[u8] {
    let Some(inner) = line.strip_prefix(b"<") else {
        return line;
    };
    match leading_number(inner) {
        Some((_, rest)) => rest.strip_prefix(b">").unwrap_or(line),
        None => line,
    }
}

/// Takes `kern  :warn  : ` off, which `dmesg -x` puts there.
fn level_words(line: &[u8]) -> &[u8] {
    let Some((facility, rest)) = split(line, b":") else {
        return line;
    };
    let Some((level, rest)) = split(rest, b": ") else {
        return line;
    };
    let is_word = |text: &[u8], words: &[&[u8]]| words.contains(&text.trim_ascii());
    let levels: [&[u8]; 8] = [
        b"emerg", b"alert", b"crit", b"err", b"warn", b"notice", b"info", b"debug",
    ];
    let facilities: [&[u8]; 4] = [b"kern", b"user", b"daemon", b"syslog"];
    if is_word(facility, &facilities) && is_word(level, &levels) {
        rest
    } else {
        line
    }
}

/// What is behind a time: a host and a name, a name, or the kernel's own text.
/// `any` allows names without a pid, as only a log of many programs has them.
fn headed(time: LogTime, text: &[u8], any: bool) -> Line<'_> {
    let Some((first, rest)) = split(text, b" ") else {
        return kernel_text(time, text);
    };
    if let Some(name) = identifier(first, false) {
        return said(time, None, name, rest);
    }
    let (second, rest) = split(rest, b" ").unwrap_or((rest, b""));
    match identifier(second, any) {
        Some(name) if !first.is_empty() => said(time, Some(first), name, rest),
        _ => kernel_text(time, text),
    }
}

fn said<'text>(
    time: LogTime,
    host: Option<&[u8]>,
    (name, is_kernel): (&'text [u8], bool),
    text: &'text [u8],
) -> Line<'text> {
    let host = host.map(KernelText::from);
    if is_kernel {
        // syslog leaves the kernel's own time in the text.
        let (since_boot, text) = match stamp::bracketed(text) {
            Some((inner, rest)) => (inner.since_boot, rest),
            None => (None, text),
        };
        let time = LogTime {
            since_boot: time.since_boot.or(since_boot),
            ..time
        };
        return Line {
            host,
            ..kernel_text(time, text)
        };
    }
    Line {
        time,
        host,
        source: Source::Program(Cow::Borrowed(name)),
        caller: None,
        text: Cow::Borrowed(text),
    }
}

/// The kernel's text, from which `[T123]` is taken.
fn kernel_text(time: LogTime, text: &[u8]) -> Line<'_> {
    let (caller, text) = match caller(text) {
        Some((caller, rest)) => (Some(Cow::Borrowed(caller)), rest),
        None => (None, text),
    };
    Line {
        time,
        host: None,
        source: Source::Kernel,
        caller,
        text: Cow::Borrowed(text),
    }
}

/// `[   T123] text` and `[    C0] text`: a thread or a CPU.
fn caller(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.trim_ascii_start().strip_prefix(b"[")?;
    let end = inner
        .iter()
        .take(LONGEST_CALLER)
        .position(|&byte| byte == b']')?;
    let caller = inner[..end].trim_ascii();
    let digits = caller
        .strip_prefix(b"T")
        .or_else(|| caller.strip_prefix(b"C"))?;
    ascii::parse_u64(digits)?;
    Some((caller, inner[end + 1..].trim_ascii_start()))
}

/// A line whose time is in no known form, with ` host kernel: ` behind it.
fn behind_kernel(line: &[u8]) -> Option<(Option<KernelText>, &[u8])> {
    let front = &line[..line.len().min(FURTHEST_NAME)];
    let at = position(front, b" kernel: ")?;
    let host = line[..at].rsplit(|&byte| byte == b' ').next();
    Some((
        host.filter(|host| !host.is_empty()).map(KernelText::from),
        &line[at + b" kernel: ".len()..],
    ))
}

/// What is taken of one entry of `journalctl -o json`.
#[derive(Deserialize)]
struct JournalEntry {
    #[serde(rename = "MESSAGE", default)]
    message: Option<JournalField>,
    #[serde(rename = "__REALTIME_TIMESTAMP", default)]
    realtime: Option<JournalField>,
    #[serde(rename = "_SOURCE_MONOTONIC_TIMESTAMP", default)]
    since_boot: Option<JournalField>,
    #[serde(rename = "_TRANSPORT", default)]
    transport: Option<JournalField>,
    #[serde(rename = "SYSLOG_IDENTIFIER", default)]
    identifier: Option<JournalField>,
    #[serde(rename = "_HOSTNAME", default)]
    host: Option<JournalField>,
    #[serde(rename = "_UID", default)]
    uid: Option<JournalField>,
    #[serde(rename = "_SYSTEMD_UNIT", default)]
    unit: Option<JournalField>,
}

/// Whether what calls itself `identifier` is that: anybody may log under any
/// name, but who logs and from which unit is noted by the journal itself. Root
/// may say anything. An export without these fields is believed.
fn is_genuine(identifier: &[u8], uid: Option<&[u8]>, unit: Option<&[u8]>) -> bool {
    let is_unit = |unit: &[u8]| unit.strip_suffix(b".service") == Some(identifier);
    match (uid, unit) {
        (None, None) | (Some(b"0"), _) => true,
        (_, Some(unit)) => is_unit(unit),
        (Some(_), None) => false,
    }
}

/// A field is a text, or its bytes where it is not UTF-8; what occurs several
/// times is a list, and what is too long is `null`.
#[derive(Deserialize)]
#[serde(untagged)]
enum JournalField {
    Text(String),
    Bytes(Vec<u8>),
    Other(IgnoredAny),
}

impl JournalField {
    fn bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Text(text) => Some(text.into_bytes()),
            Self::Bytes(bytes) => Some(bytes),
            Self::Other(IgnoredAny) => None,
        }
    }
}

fn journal_json(line: &[u8]) -> Option<Line<'_>> {
    let entry: JournalEntry = serde_json::from_slice(line).ok()?;
    let field = |field: Option<JournalField>| field.and_then(JournalField::bytes);
    let number = |text: Option<Vec<u8>>| ascii::parse_u64(&text?);
    let wall = number(field(entry.realtime))
        .and_then(|microseconds| i64::try_from(microseconds).ok())
        .and_then(Moment::from_unix_microseconds)
        .map_or(WallTime::Unknown, WallTime::At);
    let time = LogTime {
        wall,
        since_boot: number(field(entry.since_boot)).map(Duration::from_micros),
    };
    let identifier = field(entry.identifier).unwrap_or_default();
    let from_kernel = field(entry.transport).is_none_or(|transport| transport == b"kernel");
    let text = field(entry.message)?;
    let (uid, unit) = (field(entry.uid), field(entry.unit));
    let is_kernel = identifier == b"kernel" && from_kernel;
    if !is_kernel && !is_genuine(&identifier, uid.as_deref(), unit.as_deref()) {
        return None;
    }
    Some(Line {
        time,
        host: field(entry.host).map(KernelText),
        source: if is_kernel {
            Source::Kernel
        } else {
            Source::Program(Cow::Owned(identifier))
        },
        caller: None,
        text: Cow::Owned(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> (String, String, String) {
        let line = parse_line(line.as_bytes()).unwrap();
        let source = match &line.source {
            Source::Kernel => "kernel".to_owned(),
            Source::Program(name) => String::from_utf8_lossy(name).into_owned(),
            Source::Unknown => "?".to_owned(),
        };
        let host = line.host.map(|host| host.to_string()).unwrap_or_default();
        (
            host,
            source,
            String::from_utf8_lossy(&line.text).into_owned(),
        )
    }

    fn parsed(host: &str, source: &str, text: &str) -> (String, String, String) {
        (host.to_owned(), source.to_owned(), text.to_owned())
    }

    #[test]
    fn nobody_is_believed_to_be_a_killer_by_name_alone() {
        let entry = |fields: &str| {
            let line = format!(
                r#"{{"SYSLOG_IDENTIFIER":"systemd-oomd","_TRANSPORT":"stdout",{fields}"MESSAGE":"Killed /a"}}"#
            );
            parse_line(line.as_bytes()).is_some_and(
                |line| matches!(line.source, Source::Program(name) if *name == *b"systemd-oomd"),
            )
        };
        assert!(entry(
            r#""_UID":"998","_SYSTEMD_UNIT":"systemd-oomd.service","#
        ));
        assert!(entry(r#""_UID":"0","_SYSTEMD_UNIT":"session-1.scope","#));
        assert!(entry(""));
        assert!(!entry(
            r#""_UID":"1000","_SYSTEMD_UNIT":"session-1.scope","#
        ));
        assert!(!entry(r#""_UID":"1000","#));
    }

    #[test]
    fn the_kernels_text_is_the_same_in_every_wrapping() {
        let text = "Out of memory: Killed process 7 (a b) total-vm:1kB";
        for (line, host) in [
            ("3,339,5140900,-;@", ""),
            ("[    5.140900] @", ""),
            ("[    5.140900][   T12] @", ""),
            ("[    5.140900] [   T12] @", ""),
            ("<3>[    5.140900] @", ""),
            ("kern  :err   : [    5.140900] @", ""),
            ("[Sat Nov 21 10:04:05 2026] @", ""),
            ("2026-11-21T10:04:05,140900+00:00 @", ""),
            ("[    5.140900] box kernel: @", "box"),
            ("Nov 21 10:04:05 box kernel: @", "box"),
            ("Nov 21 10:04:05 box kernel: [    5.140900] @", "box"),
            ("Nov 21 10:04:05 kernel: @", ""),
            ("2026-11-21T10:04:05+0100 box kernel: @", "box"),
            (
                "2026-11-21T10:04:05.123456+01:00 box kernel: [ 5.1] @",
                "box",
            ),
            ("Sat 2026-11-21 10:04:05 UTC box kernel: @", "box"),
            ("1795251845.250000 box kernel: @", "box"),
            ("21. nov. 10:04:05 box kernel: @", "box"),
            (
                r#"{"MESSAGE":"@","_TRANSPORT":"kernel","SYSLOG_IDENTIFIER":"kernel","_HOSTNAME":"box"}"#,
                "box",
            ),
        ] {
            let line = line.replace('@', text);
            assert_eq!(parse(&line), parsed(host, "kernel", text), "{line}");
        }
        assert_eq!(parse(text), parsed("", "?", text));
    }

    #[test]
    fn what_a_program_says_is_not_the_kernels() {
        let said = "Out of memory: Killed process 7 (a)";
        for line in [
            "12,339,5140900,-;evil[7]: @",
            "[    5.140900] evil[7]: @",
            "Nov 21 10:04:05 box evil[7]: @",
            "Nov 21 10:04:05 box evil: @",
            r#"{"MESSAGE":"@","_TRANSPORT":"journal","SYSLOG_IDENTIFIER":"evil"}"#,
        ] {
            assert_eq!(parse(&line.replace('@', said)).1, "evil", "{line}");
        }
        for line in [
            "Nov 21 10:04:05 box kernel[66]: @",
            "Nov 21 10:04:05 kernel[66]: @",
            "2026-11-21T10:04:05+0100 box kernel[66]: [    5.140900] @",
            "[    5.140900] box kernel[66]: @",
            "box kernel[66]: @",
            "12,339,5140900,-;kernel[66]: @",
        ] {
            let line = line.replace('@', said);
            let source = parse_line(line.as_bytes()).unwrap().source;
            assert_eq!(source, Source::Program(Cow::Borrowed(b"kernel")), "{line}");
        }
        let claimed = r#"{"MESSAGE":"@","_TRANSPORT":"syslog","SYSLOG_IDENTIFIER":"kernel"}"#;
        let line = parse_line(claimed.as_bytes()).unwrap();
        assert_ne!(line.source, Source::Kernel);
        assert_ne!(
            parse_line(b"12,3,4,-;no name").unwrap().source,
            Source::Kernel
        );
    }

    #[test]
    fn a_journal_entry_that_is_no_text_is_read_from_its_bytes() {
        let line =
            parse_line(br#"{"MESSAGE":[120,255],"__REALTIME_TIMESTAMP":"1795251845250000"}"#);
        let line = line.unwrap();
        assert_eq!(&*line.text, b"x\xff");
        assert!(matches!(line.time.wall, WallTime::At(_)));
        assert_eq!(parse_line(br#"{"MESSAGE":null}"#), None);
        assert_eq!(parse_line(b"{broken"), None);
        assert!(parse_line(br#"{"MESSAGE":["a","b"]}"#).is_none());
    }

    #[test]
    fn the_outer_time_is_the_walls_and_the_inner_is_since_boot() {
        let line = parse_line(b"Nov 21 10:04:05 box kernel: [    5.140900] x").unwrap();
        assert!(matches!(line.time.wall, WallTime::Local(_)));
        assert_eq!(line.time.since_boot, Some(Duration::from_micros(5_140_900)));
    }

    #[test]
    fn a_caller_is_taken_off() {
        let line = parse_line(b"[    5.140900][   T12] x").unwrap();
        assert_eq!(line.caller.as_deref(), Some(&b"T12"[..]));
        let line = parse_line(b"3,1,2,-,caller=C1;x").unwrap();
        assert_eq!(line.caller.as_deref(), Some(&b"C1"[..]));
    }
}
