//! The lines of the kernel's reports, put together to one record for each
//! process that was killed.
//!
//! Reports are told apart by machine and, where the kernel says, by the thread
//! that printed them. Where it does not, the kernel's own lock keeps reports
//! one after the other, and what does not agree with itself is thrown away
//! rather than mixed: the pid of the victim, and the cgroup of the numbers.

mod nobody;

use std::collections::VecDeque;
use std::time::Duration;

use grey_model::{
    Bytes, CgroupPath, Constraint, CounterUse, KernelKill, KernelText, KillRecord, LogTime,
    LoggedRecord, MemoryRequest, TaskRow,
};

use super::apart::is_apart;
use super::kernel::{KernelLine, Killed, Summary, TableColumns, parse_kernel_line};

/// The most reports that are open at once; the oldest is closed.
pub const MOST_OPEN: usize = 16;

/// The most records that are kept; the oldest go.
pub const MOST_RECORDS: usize = 4096;

/// The most rows of a table that are kept: the largest.
pub const MOST_TASKS: usize = 32;

/// A report is over, and a group dead, when so long no line of it came: what comes
/// later is of another one, whose first lines were left out.
const SPAN: Duration = Duration::from_secs(10);

/// Memory of who was killed is taken no later than this.
const REAP_SPAN: Duration = Duration::from_secs(60);

/// How many records back a line about an earlier kill may belong to.
const LOOK_BACK: usize = 256;

/// Who prints a report.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Printer {
    host: Option<KernelText>,
    caller: Option<Vec<u8>>,
}

/// A report whose lines are coming.
#[derive(Debug, Clone)]
struct Report {
    printer: Printer,
    has_beginning: bool,
    asked_by: Option<KernelText>,
    request: Option<MemoryRequest>,
    memory: Option<CounterUse>,
    swap: Option<CounterUse>,
    memory_and_swap: Option<CounterUse>,
    stats_for: Option<CgroupPath>,
    swap_free: Option<Bytes>,
    swap_total: Option<Bytes>,
    columns: Option<TableColumns>,
    tasks: Vec<TaskRow>,
    tasks_left_out: u64,
    summary: Option<(LogTime, Summary)>,
    /// The cgroup that is being killed as one, and who of it was.
    group: Option<CgroupPath>,
    /// Numbers of the records that came of this report.
    records: Vec<u64>,
    /// When its last line was logged.
    last: LogTime,
}

impl Report {
    const fn new(time: LogTime, printer: Printer) -> Self {
        Self {
            printer,
            has_beginning: false,
            asked_by: None,
            request: None,
            memory: None,
            swap: None,
            memory_and_swap: None,
            stats_for: None,
            swap_free: None,
            swap_total: None,
            columns: None,
            tasks: Vec::new(),
            tasks_left_out: 0,
            summary: None,
            group: None,
            records: Vec::new(),
            last: time,
        }
    }

    /// Whether what is logged at `time` is too late to be of this report.
    fn is_over_at(&self, time: LogTime) -> bool {
        is_apart(self.last, time, SPAN)
    }

    fn is_finished(&self) -> bool {
        !self.records.is_empty()
    }

    /// Keeps the row if it is among the largest.
    fn add_task(&mut self, row: TaskRow) {
        let size = |row: &TaskRow| row.rss.0.saturating_add(row.swap.0);
        let place = self.tasks.partition_point(|kept| size(kept) >= size(&row));
        self.tasks.insert(place, row);
        if self.tasks.len() > MOST_TASKS {
            self.tasks.pop();
            self.tasks_left_out += 1;
        }
    }

    /// What it has to say of this victim; `None` when it is about another one.
    fn facts_of(&self, time: LogTime, killed: &Killed) -> Option<KernelKill> {
        if self.is_over_at(time) {
            return None;
        }
        let summary = self.summary.as_ref().map(|(_, summary)| summary);
        let is_of_kind = summary.is_none_or(|summary| is_kind(summary.constraint, killed));
        if let Some(group) = self.group.as_ref().filter(|_| is_of_kind) {
            return Some(KernelKill {
                victim_cgroup: Some(group.clone()),
                killed_group: Some(group.clone()),
                ..self.facts(summary)
            });
        }
        let agrees = match summary {
            Some(summary) => summary.pid == killed.pid && is_of_kind,
            None => killed.in_cgroup == (self.memory.is_some() || self.stats_for.is_some()),
        };
        (agrees && !self.is_finished()).then(|| self.facts(summary))
    }

    /// What the head and the table say of a victim.
    fn facts(&self, summary: Option<&Summary>) -> KernelKill {
        let limit_cgroup = summary.and_then(|summary| summary.limit_cgroup.clone());
        // Numbers of another cgroup than the one that the summary names are
        // those of another report.
        let mixed = match (&self.stats_for, &limit_cgroup) {
            (Some(stats), Some(limit)) => stats != limit,
            (Some(_), None) => summary.is_some(),
            (None, _) => false,
        };
        let own = !mixed;
        KernelKill {
            constraint: summary.and_then(|summary| summary.constraint),
            asked_by: self.asked_by.clone().filter(|_| own),
            request: self.request.filter(|_| own),
            nodes: summary.and_then(|summary| summary.nodes.clone()),
            victim_cgroup: summary.and_then(|summary| summary.victim_cgroup.clone()),
            // A report that was cut before its summary still names the cgroup.
            limit_cgroup: limit_cgroup.or_else(|| self.stats_for.clone().filter(|_| own)),
            memory: self.memory.filter(|_| own),
            swap: self.swap.filter(|_| own),
            memory_and_swap: self.memory_and_swap.filter(|_| own),
            swap_free: self.swap_free.filter(|_| own),
            swap_total: self.swap_total.filter(|_| own),
            tasks: if own { self.tasks.clone() } else { Vec::new() },
            tasks_left_out: if own { self.tasks_left_out } else { 0 },
            whole: own && self.has_beginning && summary.is_some(),
            ..KernelKill::default()
        }
    }
}

/// Puts reports together.
#[derive(Debug, Default)]
pub struct Assembly {
    open: VecDeque<Report>,
    records: VecDeque<LoggedRecord>,
    /// How many records there were before the first that is kept.
    dropped: u64,
    /// Reports that the kernel left out.
    suppressed: u64,
    /// Reports that never came to say who was killed.
    unfinished: u64,
    /// When somebody asked for a kill that has not come, and on which machine.
    by_hand: Option<(LogTime, Option<KernelText>)>,
}

impl Assembly {
    /// Takes one line of the kernel.
    pub fn kernel_line(
        &mut self,
        time: LogTime,
        host: Option<&KernelText>,
        caller: Option<&[u8]>,
        text: &[u8],
    ) -> bool {
        let Some(line) = parse_kernel_line(text) else {
            return false;
        };
        let printer = Printer {
            host: host.cloned(),
            caller: caller.map(<[u8]>::to_vec),
        };
        self.take(time, printer, line, text);
        true
    }

    /// Takes a record of somebody else, in its place in time.
    pub fn record(&mut self, record: LoggedRecord) {
        if self.records.len() == MOST_RECORDS {
            self.records.pop_front();
            self.dropped += 1;
        }
        self.records.push_back(record);
    }

    /// Ends the log: reports that were cut before their last line count as
    /// kills where their victim is known.
    #[must_use]
    pub fn finish(mut self) -> Assembled {
        while let Some(report) = self.open.pop_front() {
            self.close(&report);
        }
        Assembled {
            records: self.records.into(),
            dropped: self.dropped,
            suppressed: self.suppressed,
            unfinished: self.unfinished,
        }
    }

    fn take(&mut self, time: LogTime, printer: Printer, line: KernelLine, text: &[u8]) {
        match line {
            KernelLine::AskedByHand => self.by_hand = Some((time, printer.host)),
            KernelLine::HandIgnored => self.by_hand = None,
            KernelLine::NobodyToKill => self.nobody_to_kill(time, printer),
            KernelLine::Panicked(reason) => self.panicked(time, printer, reason),
            KernelLine::Invoked { asked_by, request } => {
                let mut report = Report::new(time, printer);
                report.has_beginning = true;
                report.asked_by = Some(asked_by);
                report.request = request;
                self.begin(report);
            }
            KernelLine::Memory(counter) => self.head(time, printer).memory = Some(counter),
            KernelLine::Swap(counter) => self.head(time, printer).swap = Some(counter),
            KernelLine::MemoryAndSwap(counter) => {
                self.head(time, printer).memory_and_swap = Some(counter);
            }
            KernelLine::StatsFor(path) => self.head(time, printer).stats_for = Some(path),
            KernelLine::SwapFree(bytes) => self.head(time, printer).swap_free = Some(bytes),
            KernelLine::SwapTotal(bytes) => self.head(time, printer).swap_total = Some(bytes),
            KernelLine::TableHeading(columns) => self.head(time, printer).columns = Some(columns),
            KernelLine::TableRow => {
                if let Some(place) = self.present(time, &printer)
                    && let Some(columns) = self.open[place].columns
                    && let Some(row) = columns.row(text)
                {
                    self.open[place].last = time;
                    self.open[place].add_task(row);
                }
            }
            KernelLine::Summary(summary) => {
                self.head(time, printer).summary = Some((time, summary));
            }
            KernelLine::Killed(killed) => self.killed(time, printer, killed),
            KernelLine::GroupKill(path) => self.group(time, printer, path),
            KernelLine::Reaped { pid, name } => self.reaped(time, &printer, pid, name),
            KernelLine::AlreadyExiting { pid } => self.already_exiting(time, &printer, pid),
            KernelLine::Suppressed { count } => {
                self.suppressed = self.suppressed.saturating_add(count);
            }
        }
    }

    fn place(&self, printer: &Printer) -> Option<usize> {
        self.open
            .iter()
            .position(|report| report.printer == *printer)
    }

    /// The same, unless it is over at `time`.
    fn present(&self, time: LogTime, printer: &Printer) -> Option<usize> {
        self.place(printer)
            .filter(|&place| !self.open[place].is_over_at(time))
    }

    /// The printer's report whose head is still coming: a finished one is over
    /// when the next line of a head comes.
    fn head(&mut self, time: LogTime, printer: Printer) -> &mut Report {
        let coming = self
            .present(time, &printer)
            .filter(|&place| !self.open[place].is_finished());
        let place = coming.unwrap_or_else(|| self.begin(Report::new(time, printer)));
        self.open[place].last = time;
        &mut self.open[place]
    }

    /// Opens a report; where it is.
    fn begin(&mut self, report: Report) -> usize {
        if let Some(place) = self
            .open
            .iter()
            .position(|open| open.printer == report.printer)
            && let Some(before) = self.open.remove(place)
        {
            self.close(&before);
        }
        if self.open.len() == MOST_OPEN
            && let Some(oldest) = self.open.pop_front()
        {
            self.close(&oldest);
        }
        self.open.push_back(report);
        self.open.len() - 1
    }

    /// Ends a report. One whose last line is missing still names its victim.
    fn close(&mut self, report: &Report) {
        if report.is_finished() {
            return;
        }
        let Some((time, summary)) = &report.summary else {
            self.unfinished += u64::from(report.has_beginning || report.memory.is_some());
            return;
        };
        let kill = KernelKill {
            pid: Some(summary.pid),
            name: Some(summary.name.clone()),
            uid: summary.uid,
            told: 1,
            ..report.facts(Some(summary))
        };
        self.kernel_record(*time, &report.printer, kill);
    }

    fn kernel_record(&mut self, time: LogTime, printer: &Printer, kill: KernelKill) -> u64 {
        self.record(LoggedRecord {
            time,
            host: printer.host.clone(),
            record: KillRecord::Kernel(Box::new(kill)),
        });
        self.dropped + self.records.len() as u64 - 1
    }

    fn kernel_kill(&mut self, number: u64) -> Option<&mut KernelKill> {
        let place = usize::try_from(number.checked_sub(self.dropped)?).ok()?;
        match &mut self.records.get_mut(place)?.record {
            KillRecord::Kernel(kill) => Some(kill),
            _ => None,
        }
    }

    fn killed(&mut self, time: LogTime, printer: Printer, killed: Killed) {
        let place = self.place(&printer);
        if let Some(place) = place
            && self.told_again(place, time, &killed)
        {
            return;
        }
        let facts = place.and_then(|place| self.open[place].facts_of(time, &killed));
        let is_own = facts.is_some();
        let mut kill = kill_of(killed, facts.unwrap_or_default());
        self.answer_hand(time, &printer, &mut kill);
        let number = self.kernel_record(time, &printer, kill);
        let place = match place {
            Some(place) if is_own => place,
            // The one that is open waits for its own victim.
            Some(place)
                if !self.open[place].is_finished() && !self.open[place].is_over_at(time) =>
            {
                return;
            }
            _ => self.begin(Report::new(time, printer)),
        };
        self.open[place].records.push(number);
        self.open[place].last = time;
    }

    /// Whether this report has told of this victim before; counts it.
    fn told_again(&mut self, place: usize, time: LogTime, killed: &Killed) -> bool {
        let report = &self.open[place];
        if report.is_over_at(time) {
            return false;
        }
        for number in report.records.clone() {
            if let Some(kill) = self.kernel_kill(number)
                && kill.pid == Some(killed.pid)
                && is_kind(kill.constraint, killed)
            {
                kill.told += 1;
                return true;
            }
        }
        false
    }

    /// Who asked by hand for a kill gets the next one of the machine's, whoever
    /// prints it: where many ask, the kernel leaves the first lines out.
    fn answer_hand(&mut self, time: LogTime, printer: &Printer, kill: &mut KernelKill) {
        let is_asked = self
            .by_hand
            .as_ref()
            .is_some_and(|(asked, host)| *host == printer.host && !is_apart(*asked, time, SPAN));
        let may_be = matches!(kill.request, None | Some(MemoryRequest::SysRq));
        if is_asked && may_be && kill.constraint != Some(Constraint::Cgroup) {
            kill.request = Some(MemoryRequest::SysRq);
            self.by_hand = None;
        }
    }

    fn group(&mut self, time: LogTime, printer: Printer, path: CgroupPath) {
        let place = self
            .present(time, &printer)
            .unwrap_or_else(|| self.begin(Report::new(time, printer)));
        self.open[place].group = Some(path.clone());
        for number in self.open[place].records.clone() {
            if let Some(kill) = self.kernel_kill(number) {
                kill.killed_group = Some(path.clone());
            }
        }
    }

    /// A process that is reaped was killed; what was said of that may be lost.
    fn reaped(&mut self, time: LogTime, printer: &Printer, pid: u32, name: KernelText) {
        let is_known = self.records.iter().rev().take(LOOK_BACK).any(|kept| {
            kept.host == printer.host
                && !is_apart(kept.time, time, REAP_SPAN)
                && matches!(&kept.record, KillRecord::Kernel(kill) if kill.pid == Some(pid))
        });
        let is_coming = self.open.iter().any(|report| {
            report.printer.host == printer.host
                && !is_apart(report.last, time, REAP_SPAN)
                && matches!(&report.summary, Some((_, summary)) if summary.pid == pid)
        });
        if !is_known && !is_coming {
            let kill = KernelKill {
                pid: Some(pid),
                name: Some(name),
                told: 1,
                ..KernelKill::default()
            };
            self.kernel_record(time, printer, kill);
        }
    }

    fn already_exiting(&mut self, time: LogTime, printer: &Printer, pid: u32) {
        if let Some(place) = self.present(time, printer)
            && matches!(&self.open[place].summary, Some((_, summary)) if summary.pid == pid)
        {
            self.open.remove(place);
        }
    }
}

/// Whether a kill for this reason is of the victim's kind: a cgroup's or the
/// machine's. Where the reason is not known it may be.
fn is_kind(constraint: Option<Constraint>, killed: &Killed) -> bool {
    constraint.is_none_or(|it| (it == Constraint::Cgroup) == killed.in_cgroup)
}

/// The victim's own line on top of what its report says.
fn kill_of(killed: Killed, facts: KernelKill) -> KernelKill {
    let of_kind = if killed.in_cgroup {
        Constraint::Cgroup
    } else {
        Constraint::Machine
    };
    KernelKill {
        pid: Some(killed.pid),
        name: Some(killed.name),
        uid: killed.uid,
        killed_who_asked: killed.killed_who_asked,
        constraint: facts.constraint.or(Some(of_kind)),
        anon: killed.anon,
        file: killed.file,
        shmem: killed.shmem,
        oom_score_adj: killed.oom_score_adj,
        told: 1,
        ..facts
    }
}

/// What the lines came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Assembled {
    /// The records, as they were logged.
    pub records: Vec<LoggedRecord>,
    /// How many older ones were not kept.
    pub dropped: u64,
    /// How many reports the kernel left out because there were too many.
    pub suppressed: u64,
    /// Reports that never came to say who was killed.
    pub unfinished: u64,
}

#[cfg(test)]
mod tests;
