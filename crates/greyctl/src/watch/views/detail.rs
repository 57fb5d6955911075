//! What is opened: a process's, a group's or a control group's own breakdown,
//! and its trend.
//!
//! Pure. Of a process, the parts are those of its page tables where they may be
//! read.

use grey_model::{Bytes, CgroupMemory, ProcessGroup, ProcessMemory, roughly};
use ratatui::text::{Line, Span};

use super::super::look::Look;
use super::super::shot::{Detail, Key, ProcessRow, Shot};
use super::table::{carried, carried_for, lines as paint};
use super::trend;
use crate::count::counted;
use crate::diagnose::{cgroups, processes};
use crate::table::{Column, Table, Tone, Value, wrap};

/// The bars of the parts are this wide.
const BAR: usize = 20;

/// So many members of a group are listed.
const MEMBERS: usize = 50;

/// What is opened, in lines of a width.
pub(super) fn lines(shot: &Shot, key: &Key, width: usize, look: Look) -> Vec<Line<'static>> {
    let mut pane = Pane {
        lines: Vec::new(),
        width,
        look,
    };
    let detail = shot.opened(key);
    match key {
        Key::Process(id) => {
            let row = shot.process(*id);
            let read = detail.and_then(|detail| detail.process.as_ref());
            match read.or(row.map(|row| &row.memory)) {
                Some(memory) => {
                    pane.process(memory);
                    pane.trend(detail);
                    pane.parts_of_process(memory);
                    if let Some(row) = row.filter(|_| read.is_none()) {
                        pane.age_of(row);
                    }
                }
                None => pane.say(&format!("process {} is gone", id.pid), Tone::Warning),
            }
        }
        Key::Group(by, name) => match shot.group(*by, name.as_ref()) {
            Some(row) => {
                pane.group(&row.group);
                pane.trend(detail);
                pane.members(&row.group, shot);
            }
            None => pane.say("none of them is left", Tone::Warning),
        },
        Key::Cgroup(path) => match shot.cgroup(path) {
            Some(row) => {
                pane.cgroup(&row.memory);
                pane.trend(detail);
                pane.parts_of_cgroup(&row.memory);
            }
            None => pane.say(&format!("{path} is gone"), Tone::Warning),
        },
    }
    pane.lines
}

/// Lines in the making.
struct Pane {
    lines: Vec<Line<'static>>,
    width: usize,
    look: Look,
}

impl Pane {
    fn say(&mut self, sentence: &str, tone: Tone) {
        for line in wrap(sentence, Some(self.width)) {
            self.lines.push(Line::styled(line, self.look.tone(tone)));
        }
    }

    fn title(&mut self, title: &str) {
        let title = grey_model::KernelText::from(title).to_string();
        self.lines.push(Line::styled(title, self.look.title()));
    }

    /// Amounts with bars, those that are known to be nothing left out.
    fn parts(&mut self, whole: Option<Bytes>, parts: &[(&'static str, Option<Bytes>)]) {
        let mut table = Table::new(vec![
            Column::text("", 0),
            Column::number("", 0),
            Column::text("", 1),
        ])
        .without_header();
        for (name, amount) in parts {
            if *amount == Some(Bytes::ZERO) {
                continue;
            }
            let share = amount
                .zip(whole)
                .and_then(|(amount, whole)| amount.percent_of(whole));
            let bar = share.map_or_else(String::new, |share| self.look.fill(share.0 / 100.0, BAR));
            table.row(vec![
                Value::new(name),
                Value::or_unknown(*amount),
                Value::new(bar).tone(Tone::Dim),
            ]);
        }
        let laid = table.laid_out(self.width);
        self.lines.extend(paint(&laid, None, self.look));
    }

    fn process(&mut self, memory: &ProcessMemory) {
        let name = processes::name(memory);
        self.title(&format!("{name}, process {}", memory.id.pid));
        // The first process has none, and history does not know it.
        let mut facts = Vec::new();
        if memory.parent_pid != 0 {
            facts.push(format!("parent {}", memory.parent_pid));
        }
        facts.extend(processes::user(memory).map(|user| format!("user {user}")));
        facts.extend(
            memory
                .threads
                .map(|threads| counted(threads, "thread", "threads")),
        );
        facts.extend(memory.oom_score.map(|score| format!("OOM score {score}")));
        facts.extend(memory.oom_score_adj.map(|by| format!("corrected by {by}")));
        facts.extend(memory.cgroup.as_ref().map(|path| format!("in {path}")));
        self.say(&facts.join(", "), Tone::Dim);
        if let Some(line) = memory.command_line.as_ref().filter(|line| !line.is_empty()) {
            self.say(&line.to_string(), Tone::Dim);
        }
    }

    fn parts_of_process(&mut self, memory: &ProcessMemory) {
        // VmLck counts addresses, used or not.
        let locked = memory.locked.zip(memory.rss);
        let locked = locked.map(|(locked, rss)| locked.min(rss));
        self.parts(
            memory.rss,
            &[
                ("resident (RSS)", memory.rss),
                ("  anonymous", memory.rss_anon),
                ("  file", memory.rss_file),
                ("  shared", memory.rss_shmem),
                ("its share (PSS)", memory.pss),
                ("  anonymous", memory.pss_anon),
                ("  file", memory.pss_file),
                ("  shared", memory.pss_shmem),
                ("its own (USS)", memory.uss),
                ("in swap", memory.swap),
                ("locked, at most", locked),
            ],
        );
    }

    /// How old what was not read for this look is. History has no USS.
    fn age_of(&mut self, row: &ProcessRow) {
        let Some(age) = carried_for(row).map(roughly) else {
            return;
        };
        let which = match row.memory.uss {
            Some(_) => "PSS and USS",
            None => "PSS",
        };
        self.say(
            &format!("{which} of {age} ago, carried on since"),
            Tone::Dim,
        );
    }

    fn group(&mut self, group: &ProcessGroup) {
        let name = group.name.as_ref().map_or_else(
            || "(none)".to_owned(),
            grey_model::KernelText::to_process_name,
        );
        self.title(&format!(
            "{name}, {}",
            counted(group.count, "process", "processes")
        ));
        let known = |sum: Bytes, unknown: u64| (unknown < group.count).then_some(sum);
        let rss = known(group.rss, group.rss_unknown);
        self.parts(
            rss,
            &[
                ("resident (RSS)", rss),
                ("their share (PSS)", known(group.pss, group.pss_unknown)),
                ("their own (USS)", known(group.uss, group.uss_unknown)),
                ("in swap", Some(group.swap)),
            ],
        );
        if group.pss_unknown > 0 {
            let unknown = counted(group.pss_unknown, "member is", "members are");
            self.say(&format!("PSS and USS of {unknown} unknown"), Tone::Dim);
        }
    }

    fn members(&mut self, group: &ProcessGroup, shot: &Shot) {
        let mut members: Vec<&ProcessRow> = group
            .members
            .iter()
            .filter_map(|id| shot.process(*id))
            .collect();
        members.sort_by_key(|row| {
            let memory = &row.memory;
            (std::cmp::Reverse(memory.pss.or(memory.rss)), memory.id)
        });
        let mut table = Table::new(vec![
            Column::number("PID", 0),
            Column::number("RSS", 0),
            Column::number("PSS", 1),
            Column::number("SWAP", 2).optional(),
            Column::text("NAME", 0).gives_way(6),
        ]);
        for row in members.into_iter().take(MEMBERS) {
            let memory = &row.memory;
            table.row(vec![
                Value::new(memory.id.pid),
                Value::or_unknown(memory.rss),
                carried(row, memory.pss),
                processes::swapped(memory.swap),
                Value::new(processes::name(memory)),
            ]);
        }
        let laid = table.laid_out(self.width);
        let titles: String = laid
            .titles
            .iter()
            .map(|(_, title)| title.as_str())
            .collect();
        self.lines
            .push(Line::styled(titles, self.look.tone(Tone::Dim)));
        self.lines.extend(paint(&laid, None, self.look));
    }

    fn cgroup(&mut self, memory: &CgroupMemory) {
        self.title(&memory.path.to_string());
        let limit = |name, limit: Option<grey_model::MemoryLimit>| {
            limit.map(|limit| format!("{name} {limit}"))
        };
        let limits = [
            limit("min", memory.min),
            limit("low", memory.low),
            limit("high", memory.high),
            limit("max", memory.max),
            limit("in force", memory.effective_limit),
        ];
        let limits: Vec<String> = limits.into_iter().flatten().collect();
        self.say(&limits.join(", "), Tone::Dim);
        if let Some(events) = cgroups::event_counts(memory.events) {
            self.say(&format!("events: {events}"), Tone::Warning);
        }
    }

    fn parts_of_cgroup(&mut self, memory: &CgroupMemory) {
        let stat = memory.stat.clone().unwrap_or_default();
        let whole = memory.current.or(stat.anon);
        self.parts(
            whole,
            &[
                ("usage", memory.current),
                ("  anonymous", stat.anon),
                ("  file cache", stat.file),
                ("    of it tmpfs and shared", stat.shmem),
                ("  kernel", stat.kernel),
                ("    slab, reclaimable", stat.slab_reclaimable),
                ("    slab, unreclaimable", stat.slab_unreclaimable),
                ("    page tables", stat.pagetables),
                ("  sockets", stat.sock),
                ("  zswap pool", stat.zswap),
                ("in swap", memory.swap_current),
                ("most so far", memory.peak),
            ],
        );
    }

    fn trend(&mut self, detail: Option<&Detail>) {
        let moved = detail.map(|detail| &detail.moved);
        let Some(moved) = moved.filter(|moved| moved.trace.points().len() > 1) else {
            return;
        };
        self.say(&trend::sentence(moved), Tone::Plain);
        let drawn = trend::drawn(&moved.trace, self.width, self.look);
        self.lines.push(Line::from(Span::raw(drawn)));
    }
}
