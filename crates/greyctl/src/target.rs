//! Finds what a person named, or says why it is not one thing; and says what
//! was found.
//!
//! Never chooses among several matches: it lists them.

use grey_model::{Owner, ResolvedTarget, Target, TargetKind};
use grey_telemetry::Kernel;
use grey_telemetry::host::read_host;
use grey_telemetry::process::hides_processes;
use grey_telemetry::target::{ResolveTargetError, Resolver, resolve_target};

use crate::cli::GlobalOptions;
use crate::count::counted;
use crate::diagnose::gone::in_history;
use crate::exit_code::Exit;
use crate::failure::{Failure, is_denied};
use crate::recommend;
use crate::table::cut;

/// A command line in a list of matches is cut to this many characters.
const LONGEST_COMMAND: usize = 60;

/// The thing that `target` names.
///
/// # Errors
/// A [`Failure`] with exit code 2 when nothing or several things have the
/// name, and the matches as hints.
pub(crate) fn resolve(
    global: &GlobalOptions,
    kernel: &Kernel,
    target: &Target,
) -> Result<ResolvedTarget, Failure> {
    resolve_target(kernel, target).map_err(|error| failure(global, kernel, &error))
}

/// The things that `target` names, for those who only look: of several with
/// the same name the first ones, and a sentence in `notes`.
///
/// # Errors
/// A [`Failure`] when nothing has the name; where history has what is gone, its
/// hints say so.
pub(crate) fn resolve_all(
    global: &GlobalOptions,
    kernel: &Kernel,
    resolver: &mut Resolver<'_>,
    target: &Target,
    notes: &mut Vec<String>,
) -> Result<Vec<ResolvedTarget>, Failure> {
    let error = match resolver.resolve(target) {
        Ok(found) => return Ok(vec![found]),
        Err(error) => error,
    };
    // What ended or became another one meanwhile is no match any more.
    let (found, more): (Vec<ResolvedTarget>, usize) = match &error {
        ResolveTargetError::Ambiguous { matches, more, .. } => (
            matches
                .iter()
                .filter_map(|(id, _)| {
                    let found = resolver.resolve(&Target::Pid(id.pid)).ok()?;
                    (found.process == Some(*id)).then_some(found)
                })
                .collect(),
            *more,
        ),
        ResolveTargetError::AmbiguousUnit { paths, more, .. } => (
            paths
                .iter()
                .filter_map(|path| resolver.resolve(&Target::Cgroup(path.clone())).ok())
                .collect(),
            *more,
        ),
        _ => (Vec::new(), 0),
    };
    if found.is_empty() {
        let failure = failure(global, kernel, &error);
        let look = (names_nothing(&error) && !hides_processes(kernel))
            .then(|| in_history(global, target))
            .flatten();
        return Err(look.into_iter().fold(failure, Failure::hint));
    }
    let shown = match more {
        0 => "all are shown".to_owned(),
        _ => format!("{} of them are shown", found.len()),
    };
    notes.push(format!("{error}: {shown}"));
    Ok(found)
}

/// Whether nothing that is there has the name.
const fn names_nothing(error: &ResolveTargetError) -> bool {
    matches!(
        error,
        ResolveTargetError::NoSuchProcess { .. }
            | ResolveTargetError::NoSuchName { .. }
            | ResolveTargetError::NoSuchCgroup { .. }
            | ResolveTargetError::NoSuchUnit { .. }
            | ResolveTargetError::NoSuchThing { .. }
    )
}

fn failure(global: &GlobalOptions, kernel: &Kernel, error: &ResolveTargetError) -> Failure {
    let exit = match error {
        ResolveTargetError::Read { .. } if is_denied(error) => Exit::NotPermitted,
        ResolveTargetError::Read { .. } => Exit::Failed,
        ResolveTargetError::NoCgroups { .. } => Exit::NotSupported,
        _ => Exit::Usage,
    };
    let mut failure = Failure::from_error(exit, error);
    for line in matches(error) {
        failure = failure.detail(line);
    }
    let named = matches!(
        error,
        ResolveTargetError::NoSuchProcess { .. }
            | ResolveTargetError::NoSuchName { .. }
            | ResolveTargetError::NoSuchThing { .. }
    );
    if exit == Exit::NotPermitted {
        return failure.hint("procfs does not let us see it: run the same command with sudo");
    }
    if named && hides_processes(kernel) {
        if rustix::process::geteuid().is_root() {
            return failure.hint(
                "procfs has no process 1: it is not a whole procfs (--procfs), or it is mounted \
                 with hidepid and this root may not look at others",
            );
        }
        return failure.hint(
            "procfs hides the processes of others from us (hidepid): run the same command with \
             sudo",
        );
    }
    if let Some(word) = called_so(kernel, error) {
        failure = failure.hint(format!("a program is called so: name it as {word}"));
    }
    let of_cgroups = matches!(
        error,
        ResolveTargetError::NoSuchCgroup { .. } | ResolveTargetError::NoSuchThing { .. }
    );
    if of_cgroups && !lists_cgroups(kernel) {
        // A diagnosis shows those of version 2 alone.
        return failure.hint(
            "see where a process is: the line with `memory` of /proc/PID/cgroup; or name the \
             process itself by its pid",
        );
    }
    let hint = error.hint().unwrap_or_else(|| {
        let look = recommend::command(global, "memory-diagnose --verbose");
        format!("see what there is: {look}")
    });
    failure.hint(hint)
}

/// The word for the programs whose name is the number that no process has.
fn called_so(kernel: &Kernel, error: &ResolveTargetError) -> Option<String> {
    let ResolveTargetError::NoSuchProcess { pid } = error else {
        return None;
    };
    let named = Target::Name(pid.to_string());
    match resolve_target(kernel, &named) {
        Ok(_) | Err(ResolveTargetError::Ambiguous { .. }) => named.to_word(),
        Err(_) => None,
    }
}

/// Whether a diagnosis lists the control groups of this machine.
fn lists_cgroups(kernel: &Kernel) -> bool {
    read_host(kernel, &mut Vec::new())
        .cgroup_mode
        .has_v2_memory()
}

/// The things that have the name, one a line.
fn matches(error: &ResolveTargetError) -> Vec<String> {
    let (mut lines, more) = match error {
        ResolveTargetError::Ambiguous { matches, more, .. } => (
            matches
                .iter()
                .map(|(id, command)| {
                    format!(
                        "{:>8}  {}",
                        id.pid,
                        cut(&command.to_process_name(), LONGEST_COMMAND)
                    )
                })
                .collect::<Vec<_>>(),
            *more,
        ),
        ResolveTargetError::AmbiguousUnit { paths, more, .. } => (
            paths.iter().map(|path| format!("  {path}")).collect(),
            *more,
        ),
        _ => (Vec::new(), 0),
    };
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines
}

/// A target in one line: what it is, where, whose, and who else is there.
pub(crate) fn describe(target: &ResolvedTarget) -> String {
    let mut text = match (target.kind, target.process) {
        (TargetKind::Process, Some(process)) => {
            format!("process {process} ({})", target.name.to_bracketed_name())
        }
        (TargetKind::Process, None) => format!("process {}", target.name.to_process_name()),
        (TargetKind::Cgroup, _) => "cgroup".to_owned(),
        (TargetKind::Unit, _) => format!("unit {}", target.name),
    };
    if let Some(cgroup) = &target.cgroup {
        let joint = if target.kind == TargetKind::Process {
            " in"
        } else {
            ""
        };
        text.push_str(&format!("{joint} {cgroup}"));
    }
    if let Some(owner) = target.owner.as_ref().and_then(owner) {
        text.push_str(&format!(", {owner}"));
    }
    if target.kind != TargetKind::Process {
        text.push_str(&format!(
            ", {}",
            counted(target.processes.len() as u64, "process", "processes")
        ));
    }
    if target.bystanders > 0 {
        text.push_str(&format!(
            ", {} in the same cgroup",
            counted(
                target.bystanders,
                "process of others",
                "processes of others"
            )
        ));
    }
    text
}

fn owner(owner: &Owner) -> Option<String> {
    match owner {
        Owner::Root | Owner::Nobody => None,
        Owner::Ours => Some("ours".to_owned()),
        Owner::SystemdUnit { unit } => Some(format!("managed by systemd as {unit}")),
        Owner::DelegatedBySystemd { unit } => Some(format!("delegated by systemd to {unit}")),
        Owner::UserUnit { manager, unit } => Some(format!("managed by {manager} as {unit}")),
        Owner::Container { engine, id } => Some(format!(
            "managed by {}",
            short_container(&format!("{engine}:{id}"))
        )),
        Owner::Kubelet { .. } => Some("managed by the kubelet".to_owned()),
    }
}

/// `docker:3f4e5d6c7b8a`: twelve digits are what the engines' own tools show.
pub(crate) fn short_container(container: &str) -> String {
    const DIGITS: usize = 12;
    match container.split_once(':') {
        Some((engine, id)) if id.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            format!("{engine}:{}", id.get(..DIGITS).unwrap_or(id))
        }
        _ => container.to_owned(),
    }
}
