//! A log, taken as it comes: bytes in, records out.
//!
//! Keeps one line and the reports that are open, whatever the log holds. Never
//! reads anything itself.

use grey_model::{KernelText, KillRecord, LogTime, LoggedRecord};

use super::assembly::{Assembled, Assembly};
use super::find::position;
use super::line::{Line, Source, parse_line};
use super::runs::Runs;
use super::service::{Nohang, mentions_a_kill, parse_service_line};

/// The most of one line that is read; the rest of it is passed over.
pub const LONGEST_LINE: usize = 64 << 10;

/// Reads a log.
#[derive(Debug, Default)]
pub struct KillLog {
    assembly: Assembly,
    nohang: Nohang,
    runs: Runs,
    /// The line that is coming.
    line: Vec<u8>,
    /// Whether more of it was passed over.
    is_cut: bool,
    lines: u64,
    blank_lines: u64,
    known_lines: u64,
    /// Whether the line before was in a known form.
    is_after_known: bool,
    kernel_lines: u64,
    cut_lines: u64,
    first: Option<LogTime>,
    last: Option<LogTime>,
}

/// What a log held.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogFindings {
    /// The records and what is missing.
    pub assembled: Assembled,
    /// How many lines it had.
    pub lines: u64,
    /// How many of them hold nothing but blanks.
    pub blank_lines: u64,
    /// How many of them are in a form that is known: they say when or who, are of a
    /// report that is known, or go on what such a line has begun.
    pub known_lines: u64,
    /// How many of them the kernel wrote, or nobody that is known.
    pub kernel_lines: u64,
    /// How many of them were longer than [`LONGEST_LINE`].
    pub cut_lines: u64,
    /// The time of the first line that has one.
    pub first: Option<LogTime>,
    /// The time of the last one.
    pub last: Option<LogTime>,
}

impl KillLog {
    /// Takes the next bytes; a line may come in pieces.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut pieces = bytes.split(|&byte| byte == b'\n');
        let Some(mut piece) = pieces.next() else {
            return;
        };
        for next in pieces {
            self.add(piece);
            self.end_line();
            piece = next;
        }
        self.add(piece);
    }

    /// Ends the log; its last line needs no newline.
    #[must_use]
    pub fn finish(mut self) -> LogFindings {
        if !self.line.is_empty() {
            self.end_line();
        }
        LogFindings {
            assembled: self.assembly.finish(),
            lines: self.lines,
            blank_lines: self.blank_lines,
            known_lines: self.known_lines,
            kernel_lines: self.kernel_lines,
            cut_lines: self.cut_lines,
            first: self.first,
            last: self.last,
        }
    }

    fn add(&mut self, piece: &[u8]) {
        let room = LONGEST_LINE - self.line.len();
        self.is_cut |= piece.len() > room;
        self.line.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.lines += 1;
        self.cut_lines += u64::from(std::mem::take(&mut self.is_cut));
        self.blank_lines += u64::from(line.trim_ascii().is_empty());
        let is_known = match parse_line(&line) {
            Some(parsed) => self.take(&parsed) || goes_on(&line, self.is_after_known),
            None => is_entry(&line),
        };
        self.known_lines += u64::from(is_known);
        self.is_after_known = is_known;
        self.line = line;
        self.line.clear();
    }

    /// Takes what was said; whether its line is in a known form.
    fn take(&mut self, line: &Line<'_>) -> bool {
        let time = line.time;
        if time != LogTime::default() {
            self.first = self.first.or(Some(time));
            self.last = Some(time);
        }
        let host = line.host.as_ref();
        match &line.source {
            Source::Kernel => {
                self.kernel(time, host, line);
            }
            Source::Program(name) if &**name == b"nohang" => {
                let record = self.nohang.line(&line.text);
                self.record(time, host, record);
            }
            Source::Program(name) => {
                let mut record = parse_service_line(Some(name), &line.text);
                if &**name == b"systemd" {
                    self.runs.line(time, host, &line.text, record.as_mut());
                }
                self.record(time, host, record);
            }
            Source::Unknown => {
                let mut is_known = self.kernel(time, host, line);
                let mut record = None;
                if mentions_a_kill(&line.text) {
                    record = parse_service_line(None, &line.text);
                    is_known |= record.is_some();
                }
                self.runs.line(time, host, &line.text, record.as_mut());
                self.record(time, host, record);
                return is_known;
            }
        }
        true
    }

    fn kernel(&mut self, time: LogTime, host: Option<&KernelText>, line: &Line<'_>) -> bool {
        self.kernel_lines += 1;
        self.runs.kernel_line(time, host, &line.text);
        self.assembly
            .kernel_line(time, host, line.caller.as_deref(), &line.text)
    }

    fn record(&mut self, time: LogTime, host: Option<&KernelText>, record: Option<KillRecord>) {
        if let Some(record) = record {
            self.assembly.record(LoggedRecord {
                time,
                host: host.cloned(),
                record,
            });
        }
    }
}

/// Whether it is of the entry that a known line has begun, such as what
/// `/dev/kmsg` says of a device, or is a remark of journalctl.
fn goes_on(line: &[u8], is_after_known: bool) -> bool {
    (is_after_known && line.starts_with(b" ")) || line.starts_with(b"-- ")
}

/// Whether it is an entry of the journal, of which nothing was taken.
fn is_entry(line: &[u8]) -> bool {
    line.starts_with(b"{") && position(line, b"\"__REALTIME_TIMESTAMP\"").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[u8] = b"[    1.000000] x invoked oom-killer: gfp_mask=0xcc0, order=0, oom_score_adj=0\n\
        [    1.000001] oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/,task=x,pid=7,uid=0\n\
        [    1.000002] Out of memory: Killed process 7 (x) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:1kB oom_score_adj:0";

    #[test]
    fn a_log_in_pieces_of_any_size_says_the_same() {
        let mut whole = KillLog::default();
        whole.push(LOG);
        let whole = whole.finish();
        assert_eq!(whole.assembled.records.len(), 1);
        assert_eq!(whole.lines, 3);
        for size in 1..LOG.len() {
            let mut log = KillLog::default();
            LOG.chunks(size).for_each(|chunk| log.push(chunk));
            assert_eq!(log.finish(), whole, "pieces of {size}");
        }
    }

    #[test]
    fn a_line_of_any_length_is_cut_and_costs_only_itself() {
        let mut log = KillLog::default();
        for _ in 0..100 {
            log.push(&[b'x'; LONGEST_LINE]);
        }
        log.push(b"\n");
        log.push(LOG);
        assert!(log.line.capacity() <= LONGEST_LINE * 2);
        let findings = log.finish();
        assert_eq!(findings.cut_lines, 1);
        assert_eq!(findings.assembled.records.len(), 1);
    }

    #[test]
    fn an_empty_log_has_nothing_and_says_so() {
        let findings = KillLog::default().finish();
        assert_eq!(findings, LogFindings::default());
    }

    #[test]
    fn lines_of_a_known_form_are_told_from_others() {
        let known = |text: &[u8]| {
            let mut log = KillLog::default();
            log.push(text);
            let findings = log.finish();
            (findings.known_lines, findings.blank_lines)
        };
        assert_eq!(known(LOG), (3, 0));
        for line in [
            &b"6,1,2,-;all is well"[..],
            b"[    1.000000] all is well",
            b"Nov 21 18:29:06 box kernel: all is well",
            b"Nov 21 18:29:06 box cron[7]: all is well",
            b"<6>[    1.000000] all is well",
            b"Out of memory: Killed process 7 (x) total-vm:1kB",
            // Of somebody who is not what it calls itself.
            b"{\"__REALTIME_TIMESTAMP\":\"1\",\"MESSAGE\":\"x\",\"SYSLOG_IDENTIFIER\":\"earlyoom\",\"_UID\":\"7\"}",
        ] {
            assert_eq!(known(line), (1, 0), "{}", line.escape_ascii());
        }
        for other in [
            &b"# a shopping list"[..],
            b"GET / HTTP/1.1",
            b"{\"log\":\"x\",\"stream\":\"stdout\"}",
            b"\xff\xfe\x00\x01",
        ] {
            assert_eq!(known(other), (0, 0), "{}", other.escape_ascii());
        }
        assert_eq!(known(b"\n \t\n\r\n"), (0, 3));
        // What goes on in the next lines, of what is known alone.
        let device = b"6,1,2,-;pci 0000:00:01.0: x\n SUBSYSTEM=pci\n DEVICE=+pci:0000:00:01.0";
        assert_eq!(known(device), (3, 0));
        assert_eq!(known(b"milk\n  and bread"), (0, 0));
        assert_eq!(known(b"-- Boot 0123456789abcdef --"), (1, 0));
    }
}
