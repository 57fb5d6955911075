//! A kill by systemd-oomd, by a program that watches memory, by systemd, or by
//! a signal of somebody, in words.
//!
//! Never takes a signal for the kernel's work: the kernel says so itself.

use std::time::Duration;

use grey_model::{KernelText, Kill, Killer, Moment, OomdCause, OomdKill, ProgramKill, UnitEvent};

use super::advice::{SEE_USERS, for_oomd, see_unit, unit_word};
use super::{KERNEL, KillFacts, SIGKILL, SIGTERM, TimedRecord, blank, exit_code, watchdog, who};

const MINUTE: Duration = Duration::from_secs(60);

/// The length of `2026-11-21T10:04:05`.
const SECONDS_LENGTH: usize = 19;

/// systemd-oomd killed a cgroup.
pub(super) fn oomd(record: &TimedRecord, kill: &OomdKill, facts: &KillFacts<'_>) -> Kill {
    let what = match &kill.cgroup {
        Some(cgroup) => format!("everything in the control group {cgroup}"),
        None => "a control group".to_owned(),
    };
    let mut explanation = vec![format!(
        "systemd-oomd killed {what}, because {}",
        cause(&kill.cause)
    )];
    if let OomdCause::Pressure {
        cgroup: Some(under),
        ..
    } = &kill.cause
        && kill.cgroup.as_ref() != Some(under)
    {
        explanation.push(format!(
            "the pressure was in {under}; of the groups below it, this one was reclaimed from the \
             most"
        ));
    }
    Kill {
        signal: Some(SIGKILL),
        cgroup: kill.cgroup.clone(),
        whole_group: true,
        explanation,
        advice: for_oomd(kill.cgroup.as_ref(), facts),
        ..blank(record, Killer::SystemdOomd)
    }
}

fn cause(cause: &OomdCause) -> String {
    match cause {
        OomdCause::Pressure {
            pressure,
            limit,
            duration,
            ..
        } => format!(
            "programs lost {pressure} of their time waiting for memory, more than {limit} for over \
             {duration}"
        ),
        OomdCause::Swap {
            swap_used,
            swap_total,
            limit,
            ..
        } => {
            let amount = match (swap_used, swap_total) {
                (Some(used), Some(total)) => format!(": {used} of {total} of swap"),
                _ => String::new(),
            };
            let limit = limit.map_or_else(String::new, |limit| format!(", more than {limit}"));
            format!("memory and swap were nearly full{amount}{limit}")
        }
        OomdCause::Other(text) => format!("of {text}"),
    }
}

/// earlyoom or nohang sent a signal.
pub(super) fn program(record: &TimedRecord, kill: &ProgramKill) -> Kill {
    let name = &kill.program;
    let held = kill
        .rss
        .map_or_else(String::new, |rss| format!(", which held {rss}"));
    Kill {
        pid: kill.pid,
        name: kill.name.clone(),
        uid: kill.uid,
        cgroup: kill.cgroup.clone(),
        program: Some(name.clone()),
        signal: Some(kill.signal),
        rss_bytes: kill.rss,
        explanation: vec![format!(
            "{name} sent {} to {}{held}, because the machine was low on memory; it is a program, \
             and not the kernel",
            exit_code::signal_name(kill.signal),
            who(kill.name.as_ref(), kill.pid)
        )],
        advice: vec![
            SEE_USERS.to_owned(),
            format!(
                "see at how much free memory it acts, and whom it spares: systemctl cat {name}; man \
                 {name}"
            ),
        ],
        ..blank(record, Killer::Signal)
    }
}

/// What systemd saw of a unit, where no other log tells more. `records` are all
/// that were logged.
pub(super) fn unit(
    records: &[TimedRecord],
    record: &TimedRecord,
    unit: &KernelText,
    event: &UnitEvent,
    facts: &KillFacts<'_>,
) -> Option<Kill> {
    let see = see_unit(unit, facts);
    let kill = match event {
        UnitEvent::KernelKilled => Kill {
            signal: Some(SIGKILL),
            can_be: Some(KERNEL.to_vec()),
            explanation: vec![format!(
                "the kernel's out-of-memory killer killed a process of {unit}; its own report is \
                 not in what was searched, so that it is not known whose memory was out"
            )],
            advice: vec![see],
            ..blank(record, Killer::Unknown)
        },
        UnitEvent::OomdKilled(count) => Kill {
            signal: Some(SIGKILL),
            whole_group: true,
            explanation: vec![format!(
                "systemd-oomd killed {} of {unit}; why is not in what was searched",
                match count {
                    None => "processes".to_owned(),
                    Some(1) => "1 process".to_owned(),
                    Some(count) => format!("{count} processes"),
                }
            )],
            advice: vec![
                see,
                "see what systemd-oomd watches, and its limits: oomctl".to_owned(),
            ],
            ..blank(record, Killer::SystemdOomd)
        },
        UnitEvent::FailedByOom { .. } => Kill {
            signal: Some(SIGKILL),
            can_be: Some([&KERNEL[..], &[Killer::SystemdOomd]].concat()),
            explanation: vec![
                format!(
                    "{unit} failed with the result oom-kill: systemd saw that the kernel counted an \
                     out-of-memory kill in its control group, or that systemd-oomd killed there"
                ),
                "the report of that is not in what was searched, so that it is not known which of \
                 the two it was, nor whose memory was out: the group's, that of one above it, or \
                 the machine's"
                    .to_owned(),
            ],
            advice: vec![see, who_was_there(record)],
            ..blank(record, Killer::Unknown)
        },
        UnitEvent::EndedBy { signal } => ended(record, unit, *signal, facts)?,
        UnitEvent::PassedOn { signal } => Kill {
            signal: Some(*signal),
            explanation: vec![
                passed_on(unit, *signal),
                "no log that was searched says which process of it was killed: it was not the one \
                 that systemd started, or the program ended with that number by itself"
                    .to_owned(),
            ],
            advice: vec![who_was_there(record)],
            ..blank(record, Killer::Unknown)
        },
        UnitEvent::SignalRequested { signal, pid, name } => {
            let sent = format!(
                "somebody asked systemd to send {} to {} of {unit} (systemctl kill, or a program \
                 that asks for the same); it was not the out-of-memory killer",
                exit_code::signal_name(*signal),
                who(Some(name), Some(*pid))
            );
            let (signal, pid) = (*signal, *pid);
            by_systemd(record, &Sent { signal, pid, name }, sent, Vec::new())
        }
        UnitEvent::KilledBySystemd { signal, pid, name } => {
            let (signal, pid) = (*signal, *pid);
            let sent = Sent { signal, pid, name };
            let (explanation, advice) = watchdog::cause(records, record, unit, &sent)
                .unwrap_or_else(|| stopped(unit, &sent));
            by_systemd(record, &sent, explanation, advice)
        }
        // What it had sent is told by the line that names the process.
        UnitEvent::WatchdogRanOut { .. } => return None,
    };
    Some(Kill {
        unit: Some(unit.clone()),
        ..kill
    })
}

/// What systemd prints as `137/n/a` or `143/n/a`.
pub(super) fn passed_on(unit: &KernelText, signal: u8) -> String {
    format!(
        "the process that systemd had started for {unit} ended with exit status {}, which is 128 + \
         {signal}: a shell or an engine passes on so that its own process was ended by {}",
        u16::from(signal) + 128,
        exit_code::signal_name(signal)
    )
}

/// What systemd does with the rest of a unit of which a process was killed for
/// memory, and so with the process that it had started itself.
pub(super) fn rest_of_it(unit: &KernelText) -> String {
    format!(
        "the process that systemd had started for {unit} ended by SIGTERM: after such a kill systemd \
         ends what is left of a unit (OOMPolicy=stop)"
    )
}

/// What a program did at the time at which a unit ended, where nothing says
/// whether that was the end of the unit.
pub(super) fn at_that_time(program: &KernelText, kill: &Kill) -> String {
    let sent = kill.signal.map_or_else(String::new, exit_code::signal_name);
    format!(
        "{program} sent {sent} to {} at that time; whether that was a process of this unit, no log \
         that was searched says",
        who(kill.name.as_ref(), kill.pid)
    )
}

fn who_was_there(record: &TimedRecord) -> String {
    format!(
        "see who was there and what ran then: journalctl{}",
        record.at.map_or_else(String::new, minute_before)
    )
}

/// A signal that systemd sent, and to whom.
pub(super) struct Sent<'record> {
    pub(super) signal: u8,
    pub(super) pid: u32,
    pub(super) name: &'record KernelText,
}

/// Why systemd sends a signal by itself where its watchdog had no part in it, and
/// what to do.
fn stopped(unit: &KernelText, sent: &Sent<'_>) -> (String, Vec<String>) {
    let explanation = format!(
        "systemd sent {} to {} of {unit}: it did not end in the time that a stop may take, or was \
         left over; it was not the out-of-memory killer",
        exit_code::signal_name(sent.signal),
        who(Some(sent.name), Some(sent.pid))
    );
    let advice = unit_word(unit).map(|unit| {
        format!("see how long a stop may take: systemctl show -p TimeoutStopUSec -- {unit}")
    });
    (explanation, advice.into_iter().collect())
}

/// systemd sent this signal.
fn by_systemd(
    record: &TimedRecord,
    sent: &Sent<'_>,
    explanation: String,
    advice: Vec<String>,
) -> Kill {
    Kill {
        pid: Some(sent.pid),
        name: Some(sent.name.clone()),
        program: Some(KernelText::from("systemd")),
        signal: Some(sent.signal),
        explanation: vec![explanation],
        advice,
        ..blank(record, Killer::Signal)
    }
}

/// A process of a unit ended by a signal, and nobody says who sent it.
fn ended(
    record: &TimedRecord,
    unit: &KernelText,
    signal: u8,
    facts: &KillFacts<'_>,
) -> Option<Kill> {
    let asked = who_was_there(record);
    let (killer, explanation) = match signal {
        SIGTERM => (
            Killer::Signal,
            format!(
                "a process of {unit} was ended by SIGTERM: a person (kill) or a program sent it. \
                 The kernel's out-of-memory killer never sends SIGTERM, and neither does \
                 systemd-oomd"
            ),
        ),
        SIGKILL if facts.kernel_log_searched => (
            Killer::Signal,
            format!(
                "a process of {unit} was ended by SIGKILL, and neither the kernel nor systemd-oomd \
                 tells of a kill then: a person (kill -9) or a program sent it, or the kernel for \
                 another reason than memory (LimitCPU=)"
            ),
        ),
        SIGKILL => (
            Killer::Unknown,
            format!(
                "a process of {unit} was ended by SIGKILL: by the kernel's out-of-memory killer, \
                 by a person or by a program. The kernel's log was not searched"
            ),
        ),
        _ => return None,
    };
    Some(Kill {
        signal: Some(signal),
        explanation: vec![explanation],
        advice: vec![asked],
        ..blank(record, killer)
    })
}

/// The minute before, in the words of `journalctl`.
fn minute_before(at: Moment) -> String {
    let from = at.earlier_by(MINUTE).unwrap_or(at).to_string();
    let seconds = from.get(..SECONDS_LENGTH).unwrap_or(&from);
    format!(" --since \"{} UTC\"", seconds.replace('T', " "))
}
