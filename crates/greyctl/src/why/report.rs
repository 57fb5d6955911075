//! Kills as people read them.
//!
//! Pure: a document becomes text.

use grey_model::{
    Consumer, CountedKills, ExitCodeExplanation, KernelText, Kill, Killer, Moment, Shortage,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::clock::timestamp;
use super::document::{KillsDocument, Searched};
use super::options::WhyOptions;
use super::{growth, nobody_killed};
use crate::count::counted;
use crate::table::{BOLD, Column, DIM, Table, Tone, Value, heading, noted, wrap};

/// How many of those that used the most are shown; JSON has more.
const MOST_CONSUMERS: usize = 5;

const INDENT: usize = 2;

/// Programs that advice names: their command line stands alone, to be copied.
const PROGRAMS: [&str; 12] = [
    ": sudo ",
    ": greyctl ",
    ": systemctl ",
    ": docker ",
    ": podman ",
    ": nerdctl ",
    ": lxc ",
    ": journalctl",
    ": kubectl ",
    ": oomctl",
    ": cat ",
    ": sysctl ",
];

/// The whole report.
pub(super) fn render(
    document: &KillsDocument,
    options: &WhyOptions,
    zone: &TimeZone,
    width: Option<usize>,
) -> String {
    let mut text = nobody_killed::render(&document.nobody_killed, zone, width);
    if document.kills.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&none_found(document, options, zone, width));
    } else {
        let remark = counted(document.kills.len() as u64, "kill", "kills");
        text.push_str(&heading("Killed", &remark, width));
        for kill in &document.kills {
            text.push_str(&one(kill, zone, width));
        }
    }
    if let Some(explained) = &document.exit_code {
        text.push_str(&exit_code(explained, width));
    }
    if let Some(unlogged) = document.unlogged.as_ref().filter(|all| !all.is_empty()) {
        text.push_str(&counters(unlogged, width));
    }
    text.push_str(&searched(&document.searched, zone, width));
    for note in &document.notes {
        text.push_str(&noted(note, width));
    }
    text.trim_start_matches('\n').to_owned()
}

fn none_found(
    document: &KillsDocument,
    options: &WhyOptions,
    zone: &TimeZone,
    width: Option<usize>,
) -> String {
    let mut who = String::new();
    if let Some(name) = &options.name {
        who.push_str(&format!(" of {}", KernelText::from(name)));
    }
    if let Some(pid) = options.pid {
        who.push_str(&format!(" of process {pid}"));
    }
    let since = document.since.map_or_else(String::new, |since| {
        format!(" since {}", local(timestamp(since), zone))
    });
    let names: Vec<&str> = document
        .searched
        .iter()
        .filter(|log| log.lines > 0)
        .map(|log| log.name.as_str())
        .collect();
    let understood = document.searched.iter().find(|log| log.is_mostly_unknown());
    let names = KernelText::from(&names.join(" and ")).to_string();
    let place = match understood {
        _ if names.is_empty() => "what was searched, which is empty".to_owned(),
        Some(log) => format!(
            "what was understood of {names}: {} of {}",
            log.lines.saturating_sub(log.unknown_lines),
            counted(log.lines, "line", "lines")
        ),
        None => names,
    };
    let mut text = String::new();
    for line in wrap(
        &format!("No kill{who}{since} is told of in {place}."),
        width,
    ) {
        text.push_str(&format!("{line}\n"));
    }
    text
}

/// When something was, as far as the log says.
pub(super) fn when(at: Option<Moment>, since_boot: Option<f64>, zone: &TimeZone) -> String {
    match (at, since_boot) {
        (Some(at), _) => local(timestamp(at), zone),
        (None, Some(seconds)) => format!("{seconds:.6} s since an unknown boot"),
        (None, None) => "at an unknown time".to_owned(),
    }
}

fn one(kill: &Kill, zone: &TimeZone, width: Option<usize>) -> String {
    let when = when(kill.at, kill.since_boot_seconds, zone);
    let who = match (&kill.name, kill.pid, &kill.unit, &kill.cgroup) {
        (Some(name), Some(pid), _, _) => format!("{} ({pid})", name.to_process_name()),
        (Some(name), None, _, _) => name.to_process_name(),
        (None, Some(pid), _, _) => format!("process {pid}"),
        (None, None, Some(unit), _) => unit.to_string(),
        (None, None, None, Some(cgroup)) => cgroup.to_string(),
        (None, None, None, None) => "a process".to_owned(),
    };
    let mut text = format!("\n{BOLD}{who}{BOLD:#}  {DIM}{when}{DIM:#}\n");
    text.push_str(&item("by", by(kill), width));
    if let Some(unit) = &kill.unit {
        text.push_str(&item("unit", &unit.to_string(), width));
    }
    for line in &kill.explanation {
        text.push_str(&item("", line, width));
    }
    if let Some(consumers) = &kill.consumers {
        text.push_str(&largest(consumers, width));
    }
    for line in growth::before(kill) {
        text.push_str(&item("", &line, width));
    }
    if let Some(minute) = &kill.last_minute {
        for line in growth::last_minute(minute) {
            text.push_str(&item("", &line, width));
        }
    }
    for line in &kill.advice {
        text.push_str(&advice(line, width));
    }
    text
}

fn by(kill: &Kill) -> &'static str {
    match kill.killer {
        Killer::KernelCgroup => "the kernel: a control group was at its limit (kernel-cgroup)",
        Killer::KernelGlobal => global(kill.shortage),
        Killer::SystemdOomd => "systemd-oomd (systemd-oomd)",
        Killer::Signal => "a signal of a person or a program (signal)",
        Killer::Unknown => match kill.can_be.as_deref() {
            None => "unknown",
            Some(killers) if killers.contains(&Killer::SystemdOomd) => {
                "the kernel's out-of-memory killer or systemd-oomd (unknown)"
            }
            Some(_) => "the kernel's out-of-memory killer, for whichever reason (unknown)",
        },
    }
}

/// What there was too little of, in a heading.
const fn global(shortage: Option<Shortage>) -> &'static str {
    match shortage {
        None | Some(Shortage::Machine) => {
            "the kernel: the machine was out of memory (kernel-global)"
        }
        Some(Shortage::CpusetNodes) => {
            "the kernel: the memory nodes of a cpuset were full (kernel-global)"
        }
        Some(Shortage::PolicyNodes) => {
            "the kernel: the memory nodes of a memory policy were full (kernel-global)"
        }
        Some(Shortage::Contiguous) => {
            "the kernel: no free memory in one piece of that size (kernel-global)"
        }
        Some(Shortage::DeviceZone) => {
            "the kernel: no free memory that a device can reach (kernel-global)"
        }
        Some(Shortage::PageFault) => "the kernel: no memory for a page fault (kernel-global)",
        Some(Shortage::Nothing) => "the kernel: somebody asked for it, SysRq F (kernel-global)",
    }
}

/// A labelled or a plain line below a kill, broken where it is too wide.
pub(super) fn item(label: &str, text: &str, width: Option<usize>) -> String {
    let whole = if label.is_empty() {
        text.to_owned()
    } else {
        format!("{label} {text}")
    };
    let room = width.map(|width| width.saturating_sub(INDENT * 2));
    let mut out = String::new();
    for (number, line) in wrap(&whole, room).iter().enumerate() {
        let indent = if number == 0 { INDENT } else { INDENT * 2 };
        out.push_str(&format!("{:indent$}{line}\n", ""));
    }
    out
}

/// A sentence, and its command on a line of its own that is never broken.
pub(super) fn advice(line: &str, width: Option<usize>) -> String {
    let command = PROGRAMS
        .iter()
        .filter_map(|program| line.find(program))
        .min();
    let Some(at) = command else {
        return item("", &format!("-> {line}"), width);
    };
    let (sentence, command) = (&line[..=at], &line[at + 2..]);
    let mut text = item("", &format!("-> {sentence}"), width);
    let indent = INDENT * 3;
    text.push_str(&format!("{:indent$}{command}\n", ""));
    text
}

pub(super) fn largest(consumers: &[Consumer], width: Option<usize>) -> String {
    let mut table = Table::new(vec![
        Column::number("PID", 0),
        Column::number("RSS", 0),
        Column::number("SWAP", 2),
        Column::number("OOM ADJ", 3),
        Column::text("NAME", 0).gives_way(8),
        Column::text("", 1),
    ]);
    for consumer in consumers.iter().take(MOST_CONSUMERS) {
        let tone = if consumer.killed {
            Tone::Strong
        } else {
            Tone::Dim
        };
        table.row(vec![
            Value::new(consumer.pid),
            Value::new(consumer.rss_bytes),
            Value::new(consumer.swap_bytes),
            Value::new(consumer.oom_score_adj),
            Value::new(consumer.name.to_process_name()).tone(tone),
            Value::new(if consumer.killed { "killed" } else { "" }),
        ]);
    }
    let more = consumers.len().saturating_sub(MOST_CONSUMERS);
    let mut text = table.render(width);
    if more > 0 {
        text.push_str(&item("", &format!("{more} more: --json lists them"), width));
    }
    text
}

fn exit_code(explained: &ExitCodeExplanation, width: Option<usize>) -> String {
    let mut text = heading(&format!("Exit code {}", explained.code), "", width);
    for line in &explained.explanation {
        text.push_str(&item("", line, width));
    }
    for line in &explained.advice {
        text.push_str(&advice(line, width));
    }
    text
}

fn counters(unlogged: &[CountedKills], width: Option<usize>) -> String {
    let remark = "the counters of these control groups have more than the logs show";
    let mut text = heading("Kills that no log shows", remark, width);
    let mut table = Table::new(vec![
        Column::text("CGROUP", 0).gives_way(16),
        Column::number("COUNTED", 0),
        Column::number("LOGGED", 0),
    ]);
    for group in unlogged {
        table.row(vec![
            Value::new(&group.cgroup),
            Value::new(group.oom_kills),
            Value::new(group.logged),
        ]);
    }
    text.push_str(&table.render(width));
    text
}

fn searched(logs: &[Searched], zone: &TimeZone, width: Option<usize>) -> String {
    let mut text = heading("Searched", "", width);
    for log in logs {
        let span = match (log.from, log.until) {
            (Some(from), Some(until)) => {
                format!(
                    ", {} to {}",
                    local(timestamp(from), zone),
                    local(timestamp(until), zone)
                )
            }
            _ => String::new(),
        };
        let state = match &log.problem {
            Some(problem) => format!(": {}", KernelText::from(problem)),
            None if log.incomplete => "; not all of it is left".to_owned(),
            None => String::new(),
        };
        let lines = counted(log.lines, "line", "lines");
        let unknown = match log.unknown_lines {
            0 => String::new(),
            unknown => format!(" ({unknown} in no known form)"),
        };
        let name = KernelText::from(&log.name);
        text.push_str(&item(
            "",
            &format!("{name}: {lines}{unknown}{span}{state}"),
            width,
        ));
    }
    text
}

/// A time of day where we are.
pub(super) fn local(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_stands_on_a_line_of_its_own() {
        let text = advice(
            "give it more, if the machine has it: greyctl memory-enforce --target /a --limit 64M",
            Some(30),
        );
        assert_eq!(
            text.lines().last(),
            Some("      greyctl memory-enforce --target /a --limit 64M")
        );
        let plain = advice("give the machine swap", None);
        assert_eq!(plain, "  -> give the machine swap\n");
    }
}
