//! What systemd, systemd-oomd, earlyoom and nohang say of kills.
//!
//! Their words are no interface: what is not known is passed over, and a cause
//! that is worded anew is kept as text.

use grey_model::{
    Bytes, CgroupPath, KernelText, KillRecord, OomdCause, OomdKill, Percent, ProgramKill,
    UnitEvent, UnitRecord,
};

use super::find::{leading_number, number_after, position, split, split_last};
use crate::ascii;

/// The longest text of a cause that is kept.
const LONGEST_CAUSE: usize = 512;

const SIGTERM: u8 = 15;
const SIGKILL: u8 = 9;

/// Understands a line of `program`; any of them when it is not known who
/// spoke.
#[must_use]
pub fn parse_service_line(program: Option<&[u8]>, text: &[u8]) -> Option<KillRecord> {
    match program {
        Some(b"systemd-oomd") => oomd(text).map(KillRecord::Oomd),
        Some(b"systemd") => unit(text).map(KillRecord::Unit),
        Some(b"earlyoom") => earlyoom(text).map(KillRecord::Program),
        Some(_) => None,
        None => oomd(text)
            .map(KillRecord::Oomd)
            .or_else(|| unit(text).map(KillRecord::Unit))
            .or_else(|| earlyoom(text).map(KillRecord::Program)),
    }
}

/// `Killed PATH due to CAUSE`; since systemd 258 `Marked PATH for killing due
/// to CAUSE`.
fn oomd(text: &[u8]) -> Option<OomdKill> {
    let (path, cause) = match text.strip_prefix(b"Killed /") {
        Some(rest) => split(rest, b" due to ")?,
        None => split(text.strip_prefix(b"Marked /")?, b" for killing due to ")?,
    };
    Some(OomdKill {
        cgroup: CgroupPath::new(path),
        cause: pressure(cause).or_else(|| swap(cause)).unwrap_or_else(|| {
            OomdCause::Other(KernelText::from(&cause[..cause.len().min(LONGEST_CAUSE)]))
        }),
    })
}

/// `memory pressure for PATH being 62.10% > 50.00% for > 20s with reclaim
/// activity`.
fn pressure(cause: &[u8]) -> Option<OomdCause> {
    let (path, rest) = split_last(cause.strip_prefix(b"memory pressure for ")?, b" being ")?;
    let (is, rest) = split(rest, b"% > ")?;
    let (limit, rest) = split(rest, b"% for > ")?;
    let duration = split(rest, b" with").map_or(rest, |(duration, _)| duration);
    Some(OomdCause::Pressure {
        cgroup: CgroupPath::new(path),
        pressure: Percent(ascii::parse_decimal(is)?),
        limit: Percent(ascii::parse_decimal(limit)?),
        duration: KernelText::from(&duration[..duration.len().min(LONGEST_CAUSE)]),
    })
}

/// `memory used (1) / total (2) and swap used (3) / total (4) being more than
/// 90.00%`, and `swap used (3) / total (4) being more than 90.00%` before
/// systemd 249.
fn swap(cause: &[u8]) -> Option<OomdCause> {
    let (_, of_swap) = split(cause, b"swap used (")?;
    let (_, limit) = split(of_swap, b"being more than ")?;
    Some(OomdCause::Swap {
        memory_used: number_after(cause, b"memory used (").map(Bytes),
        swap_used: leading_number(of_swap).map(|(bytes, _)| Bytes(bytes)),
        swap_total: number_after(of_swap, b"total (").map(Bytes),
        limit: split(limit, b"%")
            .and_then(|(limit, _)| ascii::parse_decimal(limit))
            .map(Percent),
    })
}

/// `UNIT: what happened`.
pub(super) fn of_unit(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (unit, said) = split(text, b": ")?;
    // Unit names have a kind, and no spaces.
    (unit.contains(&b'.') && !unit.contains(&b' ')).then_some((unit, said))
}

fn unit(text: &[u8]) -> Option<UnitRecord> {
    let (unit, said) = of_unit(text)?;
    Some(UnitRecord {
        unit: KernelText::from(unit),
        event: unit_event(said)?,
    })
}

fn unit_event(said: &[u8]) -> Option<UnitEvent> {
    if said.starts_with(b"A process of this unit has been killed by the OOM killer") {
        return Some(UnitEvent::KernelKilled);
    }
    if let Some(rest) = said.strip_prefix(b"systemd-oomd killed ") {
        return Some(UnitEvent::OomdKilled(
            leading_number(rest).map(|(count, _)| count),
        ));
    }
    // systemd saw `oom_kill` of `memory.events` go up (unit_check_oom), which counts the
    // kills of any limit and of the machine, or what systemd-oomd marks
    // (unit_check_oomd_kill); not with OOMPolicy=continue. systemd.exec(5).
    if said.starts_with(b"Failed with result 'oom-kill'") {
        return Some(UnitEvent::FailedByOom { ran_for: None });
    }
    if let Some((_, rest)) = split(said, b"rocess exited, code=killed, status=") {
        return Some(UnitEvent::EndedBy {
            signal: u8::try_from(leading_number(rest)?.0).ok()?,
        });
    }
    if let Some((_, rest)) = split(said, b"rocess exited, code=exited, status=") {
        let signal = u8::try_from(leading_number(rest)?.0)
            .ok()?
            .checked_sub(128)?;
        return [SIGKILL, SIGTERM]
            .contains(&signal)
            .then_some(UnitEvent::PassedOn { signal });
    }
    if let Some(rest) = said.strip_prefix(b"Watchdog timeout (limit ") {
        let (limit, _) = split(rest, b")!")?;
        let limit = KernelText::from(&limit[..limit.len().min(LONGEST_CAUSE)]);
        return Some(UnitEvent::WatchdogRanOut { limit: Some(limit) });
    }
    if said.starts_with(b"Watchdog request (last status: ") {
        return Some(UnitEvent::WatchdogRanOut { limit: None });
    }
    if let Some(rest) = said.strip_prefix(b"Sent signal ") {
        let (signal, rest) = split(rest, b" to ")?;
        let (target, _) = split(rest, b" on client request")?;
        let (pid, name) = named_process(split(target, b"process ")?.1)?;
        let signal = signal_number(signal)?;
        return Some(UnitEvent::SignalRequested { signal, pid, name });
    }
    if let Some(rest) = said.strip_prefix(b"Killing process ") {
        let (target, signal) = split_last(rest, b" with signal ")?;
        let (pid, name) = named_process(target)?;
        let signal = signal_number(signal.strip_suffix(b".").unwrap_or(signal))?;
        return Some(UnitEvent::KilledBySystemd { signal, pid, name });
    }
    None
}

/// `123 (name)`, at the end of `text`.
fn named_process(text: &[u8]) -> Option<(u32, KernelText)> {
    let (pid, rest) = leading_number(text)?;
    let name = rest.strip_prefix(b" (")?.strip_suffix(b")")?;
    Some((u32::try_from(pid).ok()?, KernelText::from(name)))
}

fn signal_number(name: &[u8]) -> Option<u8> {
    match name {
        b"SIGTERM" => Some(SIGTERM),
        b"SIGKILL" => Some(SIGKILL),
        b"SIGINT" => Some(2),
        b"SIGHUP" => Some(1),
        b"SIGQUIT" => Some(3),
        b"SIGABRT" => Some(6),
        b"SIGSEGV" => Some(11),
        _ => None,
    }
}

/// `sending SIGTERM to process 7 uid 1000 "name": badness 700, VmRSS 12 MiB`
/// and, since earlyoom 1.7.1, `oom_score 700, VmRSS 12 MiB, cmdline "..."`.
fn earlyoom(text: &[u8]) -> Option<ProgramKill> {
    let (signal, rest) = split(text.strip_prefix(b"sending ")?, b" to process ")?;
    let signal = signal_number(signal)?;
    let (pid, rest) = leading_number(rest)?;
    let (before, rest) = split(rest, b"\"")?;
    let name = split(rest, b"\": oom_score ")
        .or_else(|| split(rest, b"\": badness "))
        .map(|(name, _)| KernelText::from(name));
    // What follows the name, up to the command line, which may say anything.
    let facts = split(rest, b"cmdline ").map_or(rest, |(facts, _)| facts);
    let mebibytes = split_last(facts, b"VmRSS ").and_then(|(_, rest)| leading_number(rest));
    Some(ProgramKill {
        program: KernelText::from("earlyoom"),
        signal,
        pid: Some(u32::try_from(pid).ok()?),
        name,
        uid: number_after(before, b"uid ").and_then(|uid| u32::try_from(uid).ok()),
        cgroup: None,
        rss: mebibytes.map(|(count, _)| Bytes(count.saturating_mul(1 << 20))),
    })
}

/// nohang speaks over several lines: who was found, then what was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nohang {
    found: Option<(u32, KernelText)>,
    cgroup: Option<CgroupPath>,
}

impl Nohang {
    /// Takes one of its lines; a record when it sent a signal.
    pub fn line(&mut self, text: &[u8]) -> Option<KillRecord> {
        let text = text.trim_ascii();
        if let Some(rest) = text.strip_prefix(b"PID:") {
            let (pid, rest) = leading_number(rest.trim_ascii())?;
            let (_, name) = split(rest, b"ame: ")?;
            let name = split(name, b", ").map_or(name, |(name, _)| name);
            self.found = Some((u32::try_from(pid).ok()?, KernelText::from(name)));
            self.cgroup = None;
            return None;
        }
        // Either is empty, or `/`, where the machine has the other version.
        let told = [&b"cgroup_v1:"[..], b"cgroup_v2:"];
        if let Some(path) = told.iter().find_map(|key| text.strip_prefix(*key)) {
            let path = CgroupPath::new(path.trim_ascii()).filter(|path| !path.is_root());
            self.cgroup = path.or_else(|| self.cgroup.take());
            return None;
        }
        let (_, rest) = split(text, b"Sending ")?;
        let (signal, target) = split(rest, b" to ")?;
        // Its statistics repeat what was sent before: `Sending X to NAME: 3`.
        let signal = (target == b"the victim").then(|| signal_number(signal))??;
        let (pid, name) = self.found.take().unzip();
        let cgroup = self.cgroup.take();
        Some(KillRecord::Program(ProgramKill {
            program: KernelText::from("nohang"),
            signal,
            pid,
            name,
            uid: None,
            cgroup,
            rss: None,
        }))
    }
}

/// Whether a line is worth reading twice: only some words begin a kill.
#[must_use]
pub fn mentions_a_kill(text: &[u8]) -> bool {
    [
        &b"illed"[..],
        b"SIG",
        b"illing",
        b"exited, code=",
        b": Watchdog ",
        b"'oom-kill'",
    ]
    .iter()
    .any(|word| position(text, word).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Option<UnitEvent> {
        match parse_service_line(Some(b"systemd"), text.as_bytes())? {
            KillRecord::Unit(record) => Some(record.event),
            _ => None,
        }
    }

    #[test]
    fn systemd_tells_who_ended_a_process_of_a_unit() {
        assert_eq!(
            event("web.service: A process of this unit has been killed by the OOM killer."),
            Some(UnitEvent::KernelKilled)
        );
        assert_eq!(
            event("web.service: systemd-oomd killed 12 process(es) in this unit."),
            Some(UnitEvent::OomdKilled(Some(12)))
        );
        assert_eq!(
            event("web.service: systemd-oomd killed some process(es) in this unit."),
            Some(UnitEvent::OomdKilled(None))
        );
        assert_eq!(
            event("web.service: Main process exited, code=killed, status=15/TERM"),
            Some(UnitEvent::EndedBy { signal: 15 })
        );
        assert_eq!(
            event("a@b.service: Control process exited, code=killed, status=9/KILL"),
            Some(UnitEvent::EndedBy { signal: 9 })
        );
        for (status, signal) in [("137/n/a", 9), ("143/n/a", 15)] {
            assert_eq!(
                event(&format!(
                    "a.service: Main process exited, code=exited, status={status}"
                )),
                Some(UnitEvent::PassedOn { signal })
            );
        }
        assert_eq!(
            event("web.service: Sent signal SIGTERM to main process 7 (a) b) on client request."),
            Some(UnitEvent::SignalRequested {
                signal: 15,
                pid: 7,
                name: KernelText::from("a) b")
            })
        );
        assert_eq!(
            event("web.service: Killing process 7 (sleep) with signal SIGKILL."),
            Some(UnitEvent::KilledBySystemd {
                signal: 9,
                pid: 7,
                name: KernelText::from("sleep")
            })
        );
        let failed = "web.service: Failed with result 'oom-kill'.";
        assert_eq!(
            event(failed),
            Some(UnitEvent::FailedByOom { ran_for: None })
        );
        assert!(mentions_a_kill(failed.as_bytes()));
        for (said, limit) in [
            ("timeout (limit 30s)!", Some("30s")),
            ("timeout (limit 1min 30s)!", Some("1min 30s")),
            ("request (last status: it (is) lost)!", None),
        ] {
            let limit = limit.map(KernelText::from);
            let line = format!("wd.service: Watchdog {said}");
            assert_eq!(event(&line), Some(UnitEvent::WatchdogRanOut { limit }));
            // Of a log that does not say who spoke it is read, too.
            assert!(mentions_a_kill(line.as_bytes()), "{line}");
        }
        for other in [
            "web.service: Main process exited, code=exited, status=1/FAILURE",
            "web.service: Main process exited, code=exited, status=136/n/a",
            "web.service: Main process exited, code=exited, status=255/EXCEPTION",
            "web.service: Failed with result 'signal'.",
            "web.service: Deactivated successfully.",
            "no unit: A process of this unit has been killed by the OOM killer.",
        ] {
            assert_eq!(event(other), None, "{other}");
        }
    }

    #[test]
    fn systemd_oomd_tells_its_cause() {
        let pressure = b"Killed /user.slice/a.scope due to memory pressure for /user.slice being \
                         62.10% > 50.00% for > 20s with reclaim activity";
        let marked = [b"Marked /user.slice/a.scope for killing", &pressure[26..]].concat();
        for line in [&pressure[..], &marked] {
            let Some(KillRecord::Oomd(kill)) = parse_service_line(Some(b"systemd-oomd"), line)
            else {
                panic!("not understood: {}", KernelText::from(line));
            };
            assert_eq!(kill.cgroup, CgroupPath::new(b"/user.slice/a.scope"));
            let OomdCause::Pressure {
                limit, duration, ..
            } = kill.cause
            else {
                panic!("{:?}", kill.cause);
            };
            assert_eq!((limit, duration), (Percent(50.0), KernelText::from("20s")));
        }
        let swap = b"Killed /a due to memory used (100) / total (200) and swap used (30) / total \
                     (40) being more than 90.00%";
        let Some(KillRecord::Oomd(kill)) = parse_service_line(None, swap) else {
            panic!("not understood");
        };
        assert_eq!(
            kill.cause,
            OomdCause::Swap {
                memory_used: Some(Bytes(100)),
                swap_used: Some(Bytes(30)),
                swap_total: Some(Bytes(40)),
                limit: Some(Percent(90.0)),
            }
        );
        let Some(KillRecord::Oomd(kill)) = parse_service_line(None, b"Killed /a due to the moon")
        else {
            panic!("not understood");
        };
        assert_eq!(kill.cause, OomdCause::Other(KernelText::from("the moon")));
    }

    #[test]
    fn earlyoom_of_each_version_is_understood() {
        for line in [
            "sending SIGTERM to process 7 uid 1000 \"a\": badness 700, VmRSS 12 MiB",
            "sending SIGTERM to process 7 uid 1000 \"a\": oom_score 700, VmRSS 12 MiB, cmdline \"x VmRSS 9 MiB\"",
            "sending SIGTERM to process 7 uid 1000 \"a\": oom_score 700, oom_score_adj 0, badness 9 KiB, VmRSS 12 MiB, ordering x, cmdline \"x\"",
        ] {
            let Some(KillRecord::Program(kill)) =
                parse_service_line(Some(b"earlyoom"), line.as_bytes())
            else {
                panic!("not understood: {line}");
            };
            assert_eq!((kill.signal, kill.pid, kill.uid), (15, Some(7), Some(1000)));
            assert_eq!(kill.name, Some(KernelText::from("a")), "{line}");
            assert_eq!(kill.rss, Some(Bytes(12 << 20)), "{line}");
        }
        let self_test =
            b"sending 0 (no-op signal) to process 7 uid 0 \"a\": badness 1, VmRSS 1 MiB";
        assert_eq!(parse_service_line(Some(b"earlyoom"), self_test), None);
    }

    #[test]
    fn nohang_names_its_victim_lines_before_it_acts() {
        let mut nohang = Nohang::default();
        for line in [
            "Victim status (found in 3ms):",
            "  PID:       7, name: tail, state: R, EUID: 0, ",
            "  cgroup_v1: ",
            "  cgroup_v2: /system.slice/web.service",
            "Implementing a corrective action:",
        ] {
            assert_eq!(nohang.line(line.as_bytes()), None, "{line}");
        }
        let Some(KillRecord::Program(kill)) = nohang.line(b"  Sending SIGKILL to the victim")
        else {
            panic!("not understood");
        };
        assert_eq!((kill.signal, kill.pid), (9, Some(7)));
        assert_eq!(kill.name, Some(KernelText::from("tail")));
        assert_eq!(kill.cgroup, CgroupPath::new(b"/system.slice/web.service"));
        let statistics = b"[ OK ] Sending SIGKILL to tail: 1";
        assert_eq!(nohang.line(statistics), None);
    }

    #[test]
    fn another_program_says_nothing() {
        let line = b"web.service: A process of this unit has been killed by the OOM killer.";
        assert_eq!(parse_service_line(Some(b"evil"), line), None);
    }
}
