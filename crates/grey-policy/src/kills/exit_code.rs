//! What an exit code says of how a process ended: 137 may be the kernel's
//! out-of-memory killer, 143 never is.
//!
//! Never claims more than the code and the found kills say: a number up to 31
//! may be an exit status or a signal's number, and few signals say who sent them.

use grey_model::{ExitCodeExplanation, Kill, Killer};

use super::{SIGKILL, SIGTERM};

/// What shells and container engines add to the number of a signal.
const SIGNAL_BASE: u8 = 128;

/// The largest signal's number.
const LAST_SIGNAL: u8 = 64;

/// SIGABRT's number.
const SIGABRT: u8 = 6;

/// Explains an exit code beside the kills that were found. `searched` says
/// whether the kernel's log was searched: only then its silence means
/// something.
#[must_use]
pub fn explain_exit_code(code: u8, kills: &[Kill], searched: bool) -> ExitCodeExplanation {
    let signal = code
        .checked_sub(SIGNAL_BASE)
        .filter(|signal| (1..=LAST_SIGNAL).contains(signal));
    // What systemd and waitpid() call a status is a number without that base.
    let bare = Some(code).filter(|code| ends_a_process(*code));
    let mut explained = ExitCodeExplanation {
        code,
        signal,
        can_be_oom_killer: signal.or(bare) == Some(SIGKILL),
        explanation: Vec::new(),
        advice: Vec::new(),
    };
    match (signal, bare) {
        (Some(signal), _) => {
            let meaning = meaning(signal);
            explained
                .explanation
                .push(format!("{code} is 128 + {signal}, {meaning}"));
        }
        (None, Some(signal)) => {
            explained.explanation.push(format!(
                "{code} can be an exit status: then the program ended by itself with it, and no \
                 signal ended it{}",
                by_itself(kills)
            ));
            explained.explanation.push(format!(
                "or it is the number of a signal, as in systemd's code=killed, status={code}, or \
                 what waitpid() tells: then it is {}",
                meaning(signal)
            ));
        }
        (None, None) => explained.explanation.push(no_signal(code, kills)),
    }
    match signal.or(bare) {
        Some(SIGKILL) => sigkill(&mut explained, kills, searched),
        Some(SIGTERM) => sigterm(&mut explained, kills),
        _ => {}
    }
    explained
}

/// Which signal it is, and who sends it.
fn meaning(signal: u8) -> String {
    let who = match signal {
        SIGKILL => {
            "the out-of-memory killer ends processes like that, and so do systemd-oomd, kill -9, a \
             stop that took too long (systemd, docker stop), the end of a limit on CPU time \
             (RLIMIT_CPU), of a container's first process, or of a parent (PR_SET_PDEATHSIG). The \
             number alone does not say which"
        }
        SIGTERM => {
            "a request to end. The kernel's out-of-memory killer never sends it, and neither does \
             systemd-oomd; earlyoom and nohang do when memory is low, and so do a person (kill) or \
             a program: systemctl stop, docker stop, a pod's end, a shutdown"
        }
        SIGABRT => {
            "a program mostly sends it to itself, as many do when an allocation fails; the \
             out-of-memory killer does not send it"
        }
        _ => "the out-of-memory killer does not send it",
    };
    format!("{}: {who}", signal_name(signal))
}

fn sigkill(explained: &mut ExitCodeExplanation, kills: &[Kill], searched: bool) {
    let found = Found::of(kills);
    match found {
        Found::NOTHING if searched => explained.explanation.push(
            "no log that was searched tells of a kill: if the process ran in the searched time on \
             this machine, it was not the out-of-memory killer. Most of the others leave nothing in \
             a log"
                .to_owned(),
        ),
        Found::NOTHING => {}
        _ => explained.explanation.push(found.to_sentence()),
    }
    if explained.signal.is_some() {
        explained.explanation.push(
            "and a program can end with 137 by itself: a shell or an engine does to pass on how \
             its own process ended"
                .to_owned(),
        );
    }
    explained.explanation.extend(units(kills, SIGKILL));
    explained.advice = vec![
        "of a container, its engine knows whether it was the out-of-memory killer: docker inspect \
         -f '{{.State.OOMKilled}}' CONTAINER"
            .to_owned(),
        "and of a pod, the kubelet: kubectl describe pod POD".to_owned(),
    ];
}

/// Kills with SIGKILL, by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    kernel: u64,
    oomd: u64,
    /// One of these two.
    either: u64,
    others: u64,
}

impl Found {
    const NOTHING: Self = Self {
        kernel: 0,
        oomd: 0,
        either: 0,
        others: 0,
    };

    fn of(kills: &[Kill]) -> Self {
        let mut found = Self::NOTHING;
        for kill in kills.iter().filter(|kill| kill.signal == Some(SIGKILL)) {
            let may_be_oomds = |killers: &Vec<Killer>| killers.contains(&Killer::SystemdOomd);
            match (kill.killer, kill.can_be.as_ref().map(may_be_oomds)) {
                (Killer::KernelCgroup | Killer::KernelGlobal, _)
                | (Killer::Unknown, Some(false)) => found.kernel += 1,
                (Killer::SystemdOomd, _) => found.oomd += 1,
                (Killer::Unknown, Some(true)) => found.either += 1,
                (Killer::Signal, _) | (Killer::Unknown, None) => found.others += 1,
            }
        }
        found
    }

    fn to_sentence(self) -> String {
        let Self {
            kernel,
            oomd,
            either,
            others,
        } = self;
        let either = match either {
            0 => String::new(),
            either => format!("one of these two {either}, "),
        };
        format!(
            "of the kills with SIGKILL that were found, the kernel's out-of-memory killer did \
             {kernel}, systemd-oomd {oomd}, {either}and somebody else, or nobody knows who, \
             {others}: compare the name and the time"
        )
    }
}

fn sigterm(explained: &mut ExitCodeExplanation, kills: &[Kill]) {
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
        None => explained
            .explanation
            .push("no log that was searched tells of a SIGTERM by earlyoom or nohang".to_owned()),
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

fn no_signal(code: u8, kills: &[Kill]) -> String {
    match code {
        0 => "0 is success: the process itself was not killed".to_owned(),
        126 => "126 is a shell's: the command was found and could not be run".to_owned(),
        127 => "127 is a shell's: the command was not found".to_owned(),
        _ => format!(
            "{code} stands for no signal: the program ended by itself with it{}",
            by_itself(kills)
        ),
    }
}

/// Why a program may have ended by itself when memory was short.
fn by_itself(kills: &[Kill]) -> String {
    let others = match kills.len() {
        0 => ", of which no log that was searched tells".to_owned(),
        1 => ": compare with the kill that was found".to_owned(),
        count => format!(": compare with the {count} kills that were found"),
    };
    format!(
        ". Where memory was short, an allocation of it failed, or a process that it had started \
         was killed{others}"
    )
}

/// Whether a signal with this number ends a process that does not handle it. By
/// signal(7), on all machines but alpha, mips, parisc and sparc.
const fn ends_a_process(signal: u8) -> bool {
    matches!(signal, 1..=16 | 24..=27 | 29..=31)
}

/// A signal's name.
pub(super) fn signal_name(signal: u8) -> String {
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    let name = usize::from(signal)
        .checked_sub(1)
        .and_then(|index| NAMES.get(index));
    name.map_or_else(|| format!("signal {signal}"), |name| (*name).to_owned())
}
