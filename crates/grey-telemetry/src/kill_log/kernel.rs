//! What the kernel says when it is out of memory, line by line.
//!
//! Kernel: `mm/oom_kill.c`, `mm/memcontrol.c`, Linux 5.4 to 6.18. Names of
//! processes may hold anything but a zero byte, so each line is read from both
//! of its ends. Never puts lines together.

use grey_model::{
    Bytes, CgroupPath, Constraint, CounterUse, DeviceZone, KernelText, MemoryLimit, MemoryRequest,
    NobodyReason, Pages, TaskRow,
};

use super::find::{leading_number, number_after, position, signed_after, split, split_last};
use crate::ascii;

/// `PAGE_COUNTER_MAX` in KiB, less what different page sizes round: no limit.
const NO_LIMIT_KIB: u64 = 9_007_199_254_000_000;

/// The order that SysRq F asks with.
const SYSRQ_ORDER: i64 = -1;

/// What the kernel says where it found nobody whom it may kill; before Linux 4.19
/// as the reason of its panic.
const NO_CANDIDATE: &[u8] = b"Out of memory and no killable processes";

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelLine {
    /// `X invoked oom-killer: ...`: a report begins.
    Invoked {
        /// Who asked for memory.
        asked_by: KernelText,
        /// What for; `None` where the line is cut before that.
        request: Option<MemoryRequest>,
    },
    /// `sysrq: Manual OOM execution`: somebody asked with SysRq F.
    AskedByHand,
    /// `sysrq: OOM request ignored`: nobody was to be killed for that.
    HandIgnored,
    /// `Out of memory and no killable processes...`: of the machine as of a control
    /// group.
    NobodyToKill,
    /// `Kernel panic - not syncing: ...` for want of memory.
    Panicked(NobodyReason),
    /// `memory: usage ...`.
    Memory(CounterUse),
    /// `swap: usage ...`.
    Swap(CounterUse),
    /// `memory+swap: usage ...`.
    MemoryAndSwap(CounterUse),
    /// `Memory cgroup stats for /path:`.
    StatsFor(CgroupPath),
    /// `Free swap  = ...`.
    SwapFree(Bytes),
    /// `Total swap = ...`.
    SwapTotal(Bytes),
    /// The table's heading.
    TableHeading(TableColumns),
    /// A row, to be read with [`TableColumns::row`].
    TableRow,
    /// `oom-kill:constraint=...`: who is to be killed and why.
    Summary(Summary),
    /// `...: Killed process ...`.
    Killed(Killed),
    /// `Tasks in /path are going to be killed due to memory.oom.group set`.
    GroupKill(CgroupPath),
    /// `oom_reaper: reaped process ...`: it was killed before.
    Reaped {
        /// Who.
        pid: u32,
        /// Its name.
        name: KernelText,
    },
    /// `OOM victim ... is already exiting`: nobody is killed.
    AlreadyExiting {
        /// Who.
        pid: u32,
    },
    /// Reports were left out: there were too many at once.
    Suppressed {
        /// How many.
        count: u64,
    },
}

/// Where the table has what, counted in words behind the pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableColumns {
    rss: usize,
    swap: usize,
    oom_score_adj: usize,
    name: usize,
}

/// The line that names the victim and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Whose memory was out; `None` when the word is not known.
    pub constraint: Option<Constraint>,
    /// The memory nodes that were allowed, where that is the reason.
    pub nodes: Option<KernelText>,
    /// The cgroup at its limit; `None` for the machine.
    pub limit_cgroup: Option<CgroupPath>,
    /// The victim's cgroup.
    pub victim_cgroup: Option<CgroupPath>,
    /// The victim.
    pub pid: u32,
    /// Its name.
    pub name: KernelText,
    /// Whose process it is.
    pub uid: Option<u32>,
}

/// The line that says that it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Killed {
    /// Whether a cgroup was out of memory, and not the machine.
    pub in_cgroup: bool,
    /// Whether `vm.oom_kill_allocating_task` chose the victim.
    pub killed_who_asked: bool,
    /// The victim.
    pub pid: u32,
    /// Its name.
    pub name: KernelText,
    /// Whose process it was.
    pub uid: Option<u32>,
    /// Its anonymous memory.
    pub anon: Option<Bytes>,
    /// Its mapped files.
    pub file: Option<Bytes>,
    /// Its shared memory.
    pub shmem: Option<Bytes>,
    /// Its OOM score's correction.
    pub oom_score_adj: Option<i16>,
}

/// Understands one line; `None` when it is about something else.
#[must_use]
pub fn parse_kernel_line(text: &[u8]) -> Option<KernelLine> {
    match text.first()? {
        b'[' => table_line(text),
        b'm' | b's' if position(text, b": usage ").is_some() => counter_line(text),
        b'M' if text.starts_with(b"Memory cgroup stats for ") => stats_for(text),
        b'F' if text.starts_with(b"Free swap") => {
            Some(KernelLine::SwapFree(kib_after(text, b"= ")?))
        }
        b'T' if text.starts_with(b"Total swap") => {
            Some(KernelLine::SwapTotal(kib_after(text, b"= ")?))
        }
        b'T' if text.starts_with(b"Tasks in ") => group_kill(text),
        b's' if text == b"sysrq: Manual OOM execution" => Some(KernelLine::AskedByHand),
        b's' if text.starts_with(b"sysrq: OOM request ignored") => Some(KernelLine::HandIgnored),
        b'O' if text.starts_with(NO_CANDIDATE) => Some(KernelLine::NobodyToKill),
        b'K' => panicked(text).map(KernelLine::Panicked),
        b'o' if text.starts_with(b"oom-kill:") => summary(text).map(KernelLine::Summary),
        b'o' if text.starts_with(b"oom_reaper: reaped process ") => {
            let (pid, name) = process(split(text, b"reaped process ")?.1, b"), now ")?;
            Some(KernelLine::Reaped { pid, name })
        }
        b'O' if text.starts_with(b"OOM victim ") => {
            position(text, b") is already exiting")?;
            let (pid, _) = leading_number(&text[b"OOM victim ".len()..])?;
            Some(KernelLine::AlreadyExiting { pid: narrow(pid)? })
        }
        _ => None,
    }
    .or_else(|| killed(text).map(KernelLine::Killed))
    .or_else(|| invoked(text))
    .or_else(|| suppressed(text))
}

fn narrow(number: u64) -> Option<u32> {
    u32::try_from(number).ok()
}

fn kib_after(text: &[u8], key: &[u8]) -> Option<Bytes> {
    number_after(text, key).map(Bytes::from_kib)
}

fn invoked(text: &[u8]) -> Option<KernelLine> {
    let (name, rest) = split_last(text, b" invoked oom-killer: ")?;
    Some(KernelLine::Invoked {
        asked_by: KernelText::from(name),
        request: request(rest),
    })
}

/// `gfp_mask=0xcc4(GFP_KERNEL|GFP_DMA32), order=0, ...`.
fn request(text: &[u8]) -> Option<MemoryRequest> {
    let (_, mask) = split(text, b"gfp_mask=")?;
    let order = signed_after(mask, b"order=")?;
    if order == SYSRQ_ORDER {
        return Some(MemoryRequest::SysRq);
    }
    let (mask, _) = split(mask, b", ")?;
    // A page fault whose own request had failed: pagefault_out_of_memory().
    if mask == b"0" || mask.starts_with(b"0x0(") {
        return Some(MemoryRequest::PageFault);
    }
    let (_, names) = split(mask, b"(").unwrap_or((mask, b""));
    let zone = names
        .split(|byte| matches!(byte, b'|' | b')'))
        .find_map(|name| match name {
            b"GFP_DMA" | b"__GFP_DMA" => Some(DeviceZone::Dma),
            b"GFP_DMA32" | b"__GFP_DMA32" => Some(DeviceZone::Dma32),
            _ => None,
        });
    let order = u8::try_from(order).ok()?;
    Some(MemoryRequest::Pages { order, zone })
}

fn counter_line(text: &[u8]) -> Option<KernelLine> {
    let (name, rest) = split(text, b": usage ")?;
    let limit = number_after(rest, b"limit ")?;
    let counter = CounterUse {
        usage: Bytes::from_kib(leading_number(rest)?.0),
        limit: if limit >= NO_LIMIT_KIB {
            MemoryLimit::Max
        } else {
            MemoryLimit::Bytes(Bytes::from_kib(limit))
        },
        failures: number_after(rest, b"failcnt ").unwrap_or(0),
    };
    match name {
        b"memory" => Some(KernelLine::Memory(counter)),
        b"swap" => Some(KernelLine::Swap(counter)),
        b"memory+swap" => Some(KernelLine::MemoryAndSwap(counter)),
        _ => None,
    }
}

fn stats_for(text: &[u8]) -> Option<KernelLine> {
    let path = &text[b"Memory cgroup stats for ".len()..];
    // Before Linux 5.3 the numbers follow on the same line. A name may have a
    // colon and a space itself.
    let path = match path.strip_suffix(b":") {
        Some(path) => path,
        None => &path[..position(path, b": ")?],
    };
    Some(KernelLine::StatsFor(CgroupPath::new(path)?))
}

fn group_kill(text: &[u8]) -> Option<KernelLine> {
    let (path, _) = split_last(
        &text[b"Tasks in ".len()..],
        b" are going to be killed due to memory.oom.group",
    )?;
    Some(KernelLine::GroupKill(CgroupPath::new(path)?))
}

/// `[  pid  ]   uid  tgid ...` and `[    123]     0   123 ...`.
fn table_line(text: &[u8]) -> Option<KernelLine> {
    let (inner, rest) = split(text.strip_prefix(b"[")?, b"]")?;
    if inner.trim_ascii() != b"pid" {
        return ascii::parse_u64(inner.trim_ascii()).map(|_| KernelLine::TableRow);
    }
    let place = |name: &[u8]| ascii::words(rest).position(|word| word == name);
    Some(KernelLine::TableHeading(TableColumns {
        rss: place(b"rss")?,
        swap: place(b"swapents")?,
        oom_score_adj: place(b"oom_score_adj")?,
        name: place(b"name")?,
    }))
}

impl TableColumns {
    /// Reads a row of the table with this heading; `None` when it is none.
    #[must_use]
    pub fn row(&self, text: &[u8]) -> Option<TaskRow> {
        let (pid, rest) = split(text.strip_prefix(b"[")?, b"]")?;
        let word = |at: usize| ascii::words(rest).nth(at);
        let mut name = rest;
        for _ in 0..self.name {
            name = name.trim_ascii_start();
            name = &name[name.iter().position(|&byte| byte == b' ')?..];
        }
        Some(TaskRow {
            pid: narrow(ascii::parse_u64(pid.trim_ascii())?)?,
            name: KernelText::from(name.strip_prefix(b" ").unwrap_or(name)),
            rss: Pages(ascii::parse_u64(word(self.rss)?)?),
            swap: Pages(ascii::parse_u64(word(self.swap)?)?),
            oom_score_adj: i16::try_from(ascii::parse_i64(word(self.oom_score_adj)?)?).ok()?,
        })
    }
}

fn summary(text: &[u8]) -> Option<Summary> {
    // From the right: names and paths may hold commas.
    let (front, uid) = split_last(text, b",uid=").map_or((text, None), |(front, uid)| {
        (front, leading_number(uid).and_then(|(uid, _)| narrow(uid)))
    });
    let (front, pid) = split_last(front, b",pid=")?;
    let pid = narrow(leading_number(pid)?.0)?;
    let (front, name) = split_last(front, b",task=")?;
    let (front, victim_cgroup) = match split(front, b",task_memcg=") {
        Some((front, path)) => (front, CgroupPath::new(path)),
        None => (front, None),
    };
    let limit_cgroup = split(front, b",oom_memcg=").and_then(|(_, path)| CgroupPath::new(path));
    let (_, constraint) = split(front, b"constraint=")?;
    let constraint = constraint.split(|&byte| byte == b',').next()?;
    let constraint = match constraint {
        b"CONSTRAINT_NONE" => Some(Constraint::Machine),
        b"CONSTRAINT_CPUSET" => Some(Constraint::Cpuset),
        b"CONSTRAINT_MEMORY_POLICY" => Some(Constraint::MemoryPolicy),
        b"CONSTRAINT_MEMCG" => Some(Constraint::Cgroup),
        _ => None,
    };
    let nodes = match constraint {
        // The cpuset's name stands before its nodes, and may be anything.
        Some(Constraint::Cpuset) => split_last(front, b",mems_allowed="),
        Some(Constraint::MemoryPolicy) => split(front, b",nodemask="),
        _ => None,
    };
    Some(Summary {
        constraint,
        nodes: nodes.and_then(|(_, nodes)| leading_list(nodes)),
        limit_cgroup,
        victim_cgroup,
        pid,
        name: KernelText::from(name),
        uid,
    })
}

/// The list of numbers that `text` begins with, such as `0-1,3`.
fn leading_list(text: &[u8]) -> Option<KernelText> {
    let end = text
        .iter()
        .position(|byte| !matches!(byte, b'0'..=b'9' | b',' | b'-'))
        .unwrap_or(text.len());
    let list = &text[..end];
    let list = list.strip_suffix(b",").unwrap_or(list);
    (!list.is_empty()).then(|| KernelText::from(list))
}

fn killed(text: &[u8]) -> Option<Killed> {
    let (message, victim) = split(text, b": Killed process ")?;
    let in_cgroup = message == b"Memory cgroup out of memory";
    if !in_cgroup && !message.starts_with(b"Out of memory") {
        return None;
    }
    let (pid, name) = process(victim, b") total-vm:")
        .or_else(|| process(victim, b"), UID"))
        .or_else(|| process(victim, b")"))?;
    let facts = split_last(victim, b") total-vm:").map_or(&b""[..], |(_, facts)| facts);
    Some(Killed {
        in_cgroup,
        killed_who_asked: position(message, b"(oom_kill_allocating_task)").is_some(),
        pid,
        name,
        uid: number_after(facts, b"UID:").and_then(narrow),
        anon: kib_after(facts, b"anon-rss:"),
        file: kib_after(facts, b"file-rss:"),
        shmem: kib_after(facts, b"shmem-rss:"),
        oom_score_adj: signed_after(facts, b"oom_score_adj:")
            .and_then(|score| i16::try_from(score).ok()),
    })
}

/// `123 (name) ...`, where `end` is what follows the name.
fn process(text: &[u8], end: &[u8]) -> Option<(u32, KernelText)> {
    let (pid, rest) = leading_number(text)?;
    let (name, _) = split_last(rest.strip_prefix(b" (")?, end)?;
    Some((narrow(pid)?, KernelText::from(name)))
}

/// `Kernel panic - not syncing: System is deadlocked on memory`, or that
/// `vm.panic_on_oom` is set.
fn panicked(text: &[u8]) -> Option<NobodyReason> {
    let why = text.strip_prefix(b"Kernel panic - not syncing: ")?;
    let known: [(&[u8], NobodyReason); 4] = [
        (b"System is deadlocked on memory", NobodyReason::NoCandidate),
        (NO_CANDIDATE, NobodyReason::NoCandidate),
        (
            b"Out of memory: system-wide panic_on_oom is enabled",
            NobodyReason::PanicOnOom,
        ),
        (
            b"Out of memory: compulsory panic_on_oom is enabled",
            NobodyReason::PanicOnOomCompulsory,
        ),
    ];
    let reason = known.iter().find(|(begins, _)| why.starts_with(begins));
    reason.map(|(_, reason)| *reason)
}

/// `oom_kill_process: 12 callbacks suppressed`.
fn suppressed(text: &[u8]) -> Option<KernelLine> {
    let rest = text.strip_prefix(b"oom_kill_process: ")?;
    let (count, rest) = leading_number(rest)?;
    rest.starts_with(b" callbacks suppressed")
        .then_some(KernelLine::Suppressed { count })
}

#[cfg(test)]
#[path = "kernel_tests.rs"]
mod tests;
