//! Opens the enforcer for a run, and turns its errors into failures.
//!
//! Never decides anything; what may be done is policy's, how it is done is
//! the enforcer's.

use std::error::Error;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;

use grey_enforcement::journal::LockError;
use grey_enforcement::{
    Actor, ApplyError, Deadlines, DisposableProgram, Enforcer, EnforcerOptions, JournalError,
    KeeperError, OpenEnforcerError,
};
use grey_model::{Plan, Refusal, RefusalKind};
use grey_telemetry::UserNames;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use crate::cli::{GlobalOptions, KEEPER_COMMAND, WRITER_COMMAND};
use crate::environment;
use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::recommend;
use crate::roots::{NAME_PROCFS, kernel_roots, state_dir};

/// Opens the enforcer. `command` is what the journal calls this program.
///
/// # Errors
/// A [`Failure`] when there is no state directory, or procfs is missing.
pub(crate) fn open(global: &GlobalOptions, command: &str) -> Result<Enforcer, Failure> {
    let options = EnforcerOptions {
        roots: kernel_roots(global),
        state_dir: state_dir(global)?,
        actor: Actor {
            user: user(),
            program: format!("greyctl {command}"),
            pid: std::process::id(),
        },
        disposable: disposable_program()?,
        keeper_argument: KEEPER_COMMAND.into(),
        deadlines: Deadlines::default(),
    };
    Enforcer::open(options).map_err(|error| {
        let failure = Failure::from_error(Exit::Failed, &error);
        match error {
            OpenEnforcerError::Kernel(_)
            | OpenEnforcerError::BootId { .. }
            | OpenEnforcerError::NoBootId => failure.hint(NAME_PROCFS),
        }
    })
}

/// This program, as it writes to the kernel on behalf of another.
///
/// # Errors
/// A [`Failure`] when the system does not say where it is.
pub(crate) fn disposable_program() -> Result<DisposableProgram, Failure> {
    let executable = std::env::current_exe().map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("failed to find the path of this program: {error}"),
        )
    })?;
    Ok(DisposableProgram {
        executable,
        argument: WRITER_COMMAND.into(),
    })
}

/// Whether nothing was ever changed: there is no state directory. Looks only,
/// so that a rollback then makes none.
///
/// # Errors
/// A [`Failure`] when there is neither an option nor a home.
pub(crate) fn nothing_was_changed(global: &GlobalOptions) -> Result<bool, Failure> {
    let looked = std::fs::symlink_metadata(state_dir(global)?);
    Ok(looked.is_err_and(|error| error.kind() == ErrorKind::NotFound))
}

/// Says who has the journal when we shall have to wait for it. Only talk: the
/// enforcer waits by itself, with a bound.
pub(crate) fn say_if_locked(global: &GlobalOptions, output: &mut Output) {
    let Ok(directory) = state_dir(global) else {
        return;
    };
    // Without waiting: somebody may have put a pipe there.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let Ok(file) = rustix::fs::open(directory.join("journal/lock"), flags, Mode::empty()) else {
        return;
    };
    let mut file = std::fs::File::from(file);
    if flock(&file, FlockOperation::NonBlockingLockShared) != Err(Errno::WOULDBLOCK) {
        return;
    }
    let mut text = String::new();
    let holder = file
        .read_to_string(&mut text)
        .ok()
        .and_then(|_| text.trim().parse::<u32>().ok());
    let who = holder.map_or_else(
        || "another program".to_owned(),
        |pid| format!("process {pid}"),
    );
    output.talk(&format!("waiting for {who}, which uses the journal"));
}

/// Who is at work: the user's name, and behind sudo whose it really is.
fn user() -> String {
    let id = rustix::process::getuid().as_raw();
    let names = UserNames::read(std::path::Path::new("/etc/passwd"));
    let name = names.name(id).map_or_else(|| id.to_string(), str::to_owned);
    match environment::sudo_user(|name| std::env::var_os(name)) {
        Some(behind) if behind != name => format!("{name} (sudo by {behind})"),
        _ => name,
    }
}

/// A plan that was refused before its first change.
pub(crate) fn apply_failure(global: &GlobalOptions, error: &ApplyError) -> Failure {
    if let ApplyError::Journal { source } = error {
        let mut failure = journal_failure(source, JournalUse::Change);
        failure.message = crate::failure::chain(error);
        return failure;
    }
    let kind = error.refusal_kind();
    let exit = if error.is_timed_out() {
        Exit::TimedOut
    } else {
        exit_of(kind)
    };
    let failure = Failure::from_error(exit, error);
    if let Some(hint) = error.hint() {
        return failure.hint(hint);
    }
    if let ApplyError::Changed { .. } = error {
        // Most likely another run was faster: the next plan starts from its value.
        return failure.hint("somebody was faster; run it again to plan with the new value");
    }
    if let ApplyError::Keeper { source } = error {
        return failure.hint(match source {
            KeeperError::Orders { .. } => {
                "--for needs paths that are UTF-8 (--state-dir, and where the kernel's files are): \
                 name such ones; or leave --for out, and undo it with greyctl rollback"
            }
            _ => "leave --for out, and undo it with greyctl rollback",
        });
    }
    let look = || recommend::command(global, "memory-diagnose");
    match kind {
        RefusalKind::NotPermitted => failure.hint(not_let()),
        RefusalKind::Unsafe => failure.hint(format!("look again: {}", look())),
        RefusalKind::Usage | RefusalKind::NotSupported => {
            failure.hint(format!("see what this machine has: {}", look()))
        }
    }
}

/// What to do where the kernel does not let us.
fn not_let() -> &'static str {
    if rustix::process::geteuid().is_root() {
        "this root may not do it: run it outside this container, or with the capability that it \
         lacks"
    } else {
        "run the same command with sudo"
    }
}

/// Why `plan` would not be begun, by what can be asked without a change.
pub(crate) fn would_refuse(
    global: &GlobalOptions,
    plan: &Plan,
) -> Result<Option<Refusal>, Failure> {
    let checked = open(global, "memory-enforce")?.check(plan);
    Ok(checked.err().map(|error| {
        let failure = apply_failure(global, &error);
        Refusal {
            kind: error.refusal_kind(),
            reason: failure.message,
            hint: failure.hints.into_iter().next().unwrap_or_default(),
        }
    }))
}

/// What a journal is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JournalUse {
    /// To record changes: any directory will do.
    Change,
    /// To know what was changed, or to put it back: only the one that has the
    /// records will do.
    PutBack,
}

/// A journal that cannot be used.
pub(crate) fn journal_failure(error: &JournalError, wanted: JournalUse) -> Failure {
    if let JournalError::Lock(LockError::Busy { .. }) = error {
        return Failure::from_error(Exit::TimedOut, error)
            .hint("another greyctl is at work: try again when it is done");
    }
    if wanted == JournalUse::PutBack {
        return records_failure(error);
    }
    if error.is_denied() {
        return Failure::from_error(Exit::NotPermitted, error).hint(where_to_write(error));
    }
    let failure = Failure::from_error(exit_of_journal(error), error);
    if is_full(error) {
        return failure.hint("make room there, or name another directory with --state-dir");
    }
    match error {
        JournalError::Unsafe { .. } => {
            failure.hint("look at it, and name a directory of your own with --state-dir")
        }
        _ => failure.hint("name another directory with --state-dir"),
    }
}

/// Where a journal could be written that may not be written here.
fn where_to_write(error: &JournalError) -> &'static str {
    if is_kind(error, &[ErrorKind::ReadOnlyFilesystem]) {
        "that file system is read-only: remount it with rw, or name a directory on another one \
         with --state-dir"
    } else if rustix::process::geteuid().is_root() {
        "this root may not write there: name a directory that it may write with --state-dir"
    } else {
        "run as root, or name a directory that you may write with --state-dir"
    }
}

/// The journal that has the records cannot be used. Never names another
/// directory: there, nothing would be known of what was changed here.
fn records_failure(error: &JournalError) -> Failure {
    const STANDS: &str = "what it records still holds";
    let exit = if error.is_denied() {
        Exit::NotPermitted
    } else {
        exit_of_journal(error)
    };
    let failure = Failure::from_error(exit, error);
    let hint = match error {
        _ if is_kind(error, &[ErrorKind::ReadOnlyFilesystem]) => format!(
            "{STANDS}: make the journal's file system writable (remount it with rw), then run this \
             again"
        ),
        _ if error.is_denied() && rustix::process::geteuid().is_root() => format!(
            "{STANDS}: this root may not write there: run this where it may, outside this container"
        ),
        _ if error.is_denied() => format!(
            "{STANDS}: run this as root, or as the user who made the changes and may write there"
        ),
        _ if is_full(error) => format!("{STANDS}: make room there, then run this again"),
        JournalError::Unsafe { path, .. } => format!(
            "{STANDS}: look at `{}`, make it a plain file or directory of yours that only you may \
             write to, and run this again",
            path.display()
        ),
        JournalError::TooLarge { path, .. } => format!(
            "{STANDS}: look at `{}`; greyctl never writes so much, so take out what somebody else \
             has put in, and run this again",
            path.display()
        ),
        JournalError::OtherVersion { .. } => {
            format!("{STANDS}: run this with the version of greyctl that wrote it")
        }
        _ if is_kind(error, &[ErrorKind::NotADirectory, ErrorKind::AlreadyExists]) => format!(
            "{STANDS}: move away the file that is where the directory should be, and run this again"
        ),
        _ => format!("{STANDS}: mend what is named above, and run this again"),
    };
    failure.hint(hint)
}

/// Who owns what is not safe to use, by name or as `#1000` (as sudo takes
/// it), when it is not us.
pub(crate) fn other_owner(error: &JournalError) -> Option<String> {
    let JournalError::Unsafe { path, .. } = error else {
        return None;
    };
    let owner = std::fs::symlink_metadata(path).ok()?.uid();
    if owner == rustix::process::geteuid().as_raw() {
        return None;
    }
    let names = UserNames::read(std::path::Path::new("/etc/passwd"));
    Some(
        names
            .name(owner)
            .map_or_else(|| format!("#{owner}"), str::to_owned),
    )
}

/// A change that cannot be recorded is refused, also where there is not even
/// room for an empty journal; a journal that cannot be read has failed.
fn exit_of_journal(error: &JournalError) -> Exit {
    match error {
        JournalError::Write { .. } | JournalError::Unsafe { .. } => Exit::RefusedBySafety,
        _ if is_full(error) => Exit::RefusedBySafety,
        _ => Exit::Failed,
    }
}

fn is_full(error: &JournalError) -> bool {
    is_kind(error, &[ErrorKind::StorageFull, ErrorKind::QuotaExceeded])
}

fn is_kind(error: &JournalError, kinds: &[ErrorKind]) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return kinds.contains(&io.kind());
        }
        next = error.source();
    }
    false
}

/// The exit code of a refusal.
pub(crate) const fn exit_of(kind: RefusalKind) -> Exit {
    match kind {
        RefusalKind::Usage => Exit::Usage,
        RefusalKind::NotPermitted => Exit::NotPermitted,
        RefusalKind::NotSupported => Exit::NotSupported,
        RefusalKind::Unsafe => Exit::RefusedBySafety,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser as _;
    use grey_enforcement::systemd::SystemdError;

    fn global() -> GlobalOptions {
        Cli::try_parse_from(["greyctl", "journal"]).unwrap().global
    }

    fn open_error(kind: ErrorKind) -> JournalError {
        JournalError::Open {
            path: "/state/journal".into(),
            source: kind.into(),
        }
    }

    #[test]
    fn no_room_for_a_new_journal_is_a_refusal_like_no_room_in_an_old_one() {
        let full = journal_failure(&open_error(ErrorKind::StorageFull), JournalUse::Change);
        assert_eq!(full.exit, Exit::RefusedBySafety);
        assert!(full.hints[0].contains("make room"), "{full:?}");
        let broken = journal_failure(&open_error(ErrorKind::NotADirectory), JournalUse::Change);
        assert_eq!(broken.exit, Exit::Failed);
    }

    #[test]
    fn whoever_wants_the_records_is_never_sent_to_another_directory() {
        let path = || std::path::PathBuf::from("/state/journal");
        for error in [
            open_error(ErrorKind::ReadOnlyFilesystem),
            open_error(ErrorKind::PermissionDenied),
            open_error(ErrorKind::StorageFull),
            open_error(ErrorKind::NotADirectory),
            JournalError::TooLarge {
                path: path(),
                bytes: 2,
                most: 1,
            },
            JournalError::Unsafe {
                path: path(),
                problem: "it is a symbolic link".to_owned(),
            },
        ] {
            let failure = journal_failure(&error, JournalUse::PutBack);
            assert_eq!(failure.hints.len(), 1, "{failure:?}");
            assert!(!failure.hints[0].contains("--state-dir"), "{failure:?}");
            assert!(failure.hints[0].contains("still holds"), "{failure:?}");
        }
        let file = journal_failure(&open_error(ErrorKind::NotADirectory), JournalUse::PutBack);
        assert!(file.hints[0].contains("move away the file"), "{file:?}");
        let read_only = open_error(ErrorKind::ReadOnlyFilesystem);
        let failure = journal_failure(&read_only, JournalUse::PutBack);
        assert_eq!(failure.exit, Exit::NotPermitted);
        assert!(failure.hints[0].contains("remount"), "{failure:?}");
    }

    fn from_systemd(source: SystemdError) -> Failure {
        apply_failure(
            &global(),
            &ApplyError::Knob {
                knob: Box::new(grey_model::Knob::UnitProperty {
                    unit: "a.service".to_owned(),
                    property: grey_model::UnitMemoryProperty::MemoryMax,
                }),
                source: Box::new(grey_enforcement::KnobError::Unit {
                    doing: "show MemoryMax of a.service".to_owned(),
                    source: Box::new(source),
                }),
            },
        )
    }

    #[test]
    fn what_systemd_answers_has_its_exit_code_and_its_hint() {
        let doing = || "read MemoryMax".to_owned();
        let denied = from_systemd(SystemdError::NotPermitted {
            doing: doing(),
            source: "denied".into(),
        });
        assert_eq!(denied.exit, Exit::NotPermitted);
        assert_eq!(denied.hints, ["run as root"]);
        let slow = from_systemd(SystemdError::TimedOut {
            doing: doing(),
            limit: std::time::Duration::from_secs(25),
        });
        assert_eq!(slow.exit, Exit::TimedOut);
        assert!(slow.hints[0].contains("list-jobs"), "{slow:?}");
    }

    #[test]
    fn whoever_was_overtaken_is_told_to_run_it_again() {
        let failure = apply_failure(
            &global(),
            &ApplyError::Changed {
                knob: Box::new(grey_model::Knob::Ksm {
                    file: grey_model::KsmFile::Run,
                }),
                expected: "0".to_owned(),
                found: "1".to_owned(),
            },
        );
        assert_eq!(failure.exit, Exit::RefusedBySafety);
        assert_eq!(failure.hints.len(), 1);
        assert!(failure.hints[0].contains("run it again"), "{failure:?}");
    }
}
