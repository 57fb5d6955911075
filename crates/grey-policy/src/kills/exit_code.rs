//! What an exit code says of how a process ended: 137 may be the
//! out-of-memory killer, 143 never is.
//!
//! Never claims more than the code and the found kills say.

use grey_model::{ExitCodeExplanation, Kill, Killer};

use super::{SIGKILL, SIGTERM};

/// What shells and container engines add to the number of a signal.
const SIGNAL_BASE: u8 = 128;

/// The largest signal's number.
const LAST_SIGNAL: u8 = 64;

/// Explains an exit code beside the kills that were found. `searched` says
/// whether the kernel's log was searched: only then its silence means
/// something.
#[must_use]
pub fn explain_exit_code(code: u8, kills: &[Kill], searched: bool) -> ExitCodeExplanation {
    let signal = code
        .checked_sub(SIGNAL_BASE)
        .filter(|signal| (1..=LAST_SIGNAL).contains(signal));
    let mut explained = ExitCodeExplanation {
        code,
        signal,
        can_be_oom_killer: signal == Some(SIGKILL),
        explanation: Vec::new(),
        advice: Vec::new(),
    };
    match signal {
        Some(SIGKILL) => sigkill(&mut explained, kills, searched),
        Some(SIGTERM) => sigterm(&mut explained, kills),
        Some(6) => explained.explanation.push(
            "134 is 128 + 6, SIGABRT: the program ended itself. Many do when an allocation fails; \
             the out-of-memory killer is not who did it"
                .to_owned(),
        ),
        Some(signal) => explained.explanation.push(format!(
            "{code} is 128 + {signal}, {}: the out-of-memory killer does not send it",
            signal_name(signal)
        )),
        None => explained.explanation.push(no_signal(code)),
    }
    explained
}

fn sigkill(explained: &mut ExitCodeExplanation, kills: &[Kill], searched: bool) {
    explained.explanation.push(
        "137 is 128 + 9, SIGKILL: the out-of-memory killer ends processes like that, and so do \
         systemd-oomd, kill -9, and a stop that took too long (systemd, docker stop). The code \
         alone does not say which"
            .to_owned(),
    );
    let by = |killers: &[Killer]| {
        kills
            .iter()
            .filter(|kill| kill.signal == Some(SIGKILL) && killers.contains(&kill.killer))
            .count()
    };
    let kernel = by(&[Killer::KernelCgroup, Killer::KernelGlobal]);
    let oomd = by(&[Killer::SystemdOomd]);
    let others = by(&[Killer::Signal, Killer::Unknown]);
    match (kernel, oomd, others) {
        (0, 0, 0) if searched => explained.explanation.push(
            "no log that was searched tells of a kill: if the process ran in the searched time on \
             this machine, somebody sent it the signal"
                .to_owned(),
        ),
        (0, 0, 0) => {}
        _ => explained.explanation.push(format!(
            "of the kills with SIGKILL that were found, the kernel's out-of-memory killer did \
             {kernel}, systemd-oomd {oomd}, and somebody else, or nobody knows who, {others}: \
             compare the name and the time"
        )),
    }
    explained.explanation.extend(units(kills, SIGKILL));
    explained.advice = vec![
        "of a container, its engine knows whether it was the out-of-memory killer: docker inspect \
         -f '{{.State.OOMKilled}}' CONTAINER"
            .to_owned(),
        "and of a pod, the kubelet: kubectl describe pod POD".to_owned(),
    ];
}

fn sigterm(explained: &mut ExitCodeExplanation, kills: &[Kill]) {
    explained.explanation.push(
        "143 is 128 + 15, SIGTERM: a request to end. The kernel's out-of-memory killer never sends \
         it, and neither does systemd-oomd: a person did (kill), or a program: systemctl stop, \
         docker stop, a pod's end, a shutdown"
            .to_owned(),
    );
    explained.explanation.extend(units(kills, SIGTERM));
    let programs: Vec<String> = kills
        .iter()
        .filter(|kill| kill.signal == Some(SIGTERM))
        .filter_map(|kill| kill.program.as_ref().map(ToString::to_string))
        .collect();
    match programs.first() {
        Some(program) => explained.explanation.push(format!(
            "{program} sent SIGTERM in the searched time: compare the name and the time"
        )),
        None => explained.explanation.push(
            "earlyoom and nohang send SIGTERM when memory is low; no log that was searched tells \
             of that"
                .to_owned(),
        ),
    }
}

/// So many units are named.
const MOST_UNITS: usize = 5;

/// Of which units processes were ended by `signal`, as far as that is known.
fn units(kills: &[Kill], signal: u8) -> Option<String> {
    let mut units: Vec<String> = Vec::new();
    for kill in kills.iter().filter(|kill| kill.signal == Some(signal)) {
        let unit = kill.unit.as_ref().map(ToString::to_string);
        units.extend(unit.filter(|unit| !units.contains(unit)));
    }
    let more = match units.len().saturating_sub(MOST_UNITS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    units.truncate(MOST_UNITS);
    (!units.is_empty()).then(|| {
        let (name, units) = (signal_name(signal), units.join(", "));
        format!("{name} ended processes of these units: {units}{more}")
    })
}

fn no_signal(code: u8) -> String {
    match code {
        0 => "0 is success: the process was not killed".to_owned(),
        126 => "126 is a shell's: the command was found and could not be run".to_owned(),
        127 => "127 is a shell's: the command was not found".to_owned(),
        _ => format!(
            "{code} stands for no signal: the program ended by itself. If it ran out of memory, it \
             was because an allocation failed, and no killer was at work"
        ),
    }
}

/// A signal's name.
pub(super) fn signal_name(signal: u8) -> String {
    const NAMES: [&str; 15] = [
        "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE",
        "SIGKILL", "SIGUSR1", "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM",
    ];
    let name = usize::from(signal)
        .checked_sub(1)
        .and_then(|index| NAMES.get(index));
    name.map_or_else(|| format!("signal {signal}"), |name| (*name).to_owned())
}
