//! Runs other programs and turns their failure into an error that tells what
//! they said.
//!
//! Never goes through a shell, unless a caller names one.

use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};

use crate::talk;

/// Why a program did not do what it was for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// It is missing, or may not be run.
    #[error("failed to start {command}")]
    Start {
        command: String,
        #[source]
        source: io::Error,
    },
    /// It ran and failed.
    #[error("{command} failed with {status}\n{said}")]
    Failed {
        command: String,
        status: ExitStatus,
        said: String,
    },
}

/// Runs it quietly and gives its stdout.
///
/// # Errors
/// When it cannot be started or fails; with what it said on stderr.
pub(crate) fn output(command: &mut Command) -> Result<String, ProgramError> {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| start_error(command, source))?;
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    if status.success() {
        return Ok(stdout);
    }
    Err(ProgramError::Failed {
        command: format!("{command:?}"),
        status,
        said: String::from_utf8_lossy(&stderr).into_owned() + &stdout,
    })
}

/// Runs it with the stdin and stdout that the caller has given it.
///
/// # Errors
/// When it cannot be started or fails; with what it said on stderr.
pub(crate) fn piped(command: &mut Command) -> Result<(), ProgramError> {
    let child = command
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| start_error(command, source))?;
    let ended = child
        .wait_with_output()
        .map_err(|source| start_error(command, source))?;
    if ended.status.success() {
        return Ok(());
    }
    Err(ProgramError::Failed {
        command: format!("{command:?}"),
        status: ended.status,
        said: String::from_utf8_lossy(&ended.stderr).into_owned(),
    })
}

/// Runs it with its output on our stderr, line by line, and gives its stdout
/// and how it ended. A failing program is no error here.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn watched(command: &mut Command) -> Result<(ExitStatus, String), ProgramError> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|source| start_error(command, source))?;
    let mut text = String::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            talk::line(&line);
            text.push_str(&line);
            text.push('\n');
        }
    }
    let status = child
        .wait()
        .map_err(|source| start_error(command, source))?;
    Ok((status, text))
}

/// Is there a program of this name in `PATH`, or where administrators' programs
/// are?
pub(crate) fn exists(name: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .any(|folder| Path::new(folder).join(name).is_file())
}

/// A command for a program that may be among the administrators' programs.
pub(crate) fn administrators(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

fn start_error(command: &Command, source: io::Error) -> ProgramError {
    ProgramError::Start {
        command: format!("{command:?}"),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_told_with_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo oh no >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("oh no"), "{error}");
        assert_eq!(output(Command::new("echo").arg("x")).unwrap(), "x\n");
    }

    #[test]
    fn a_watched_program_keeps_its_code_and_its_lines() {
        let (status, text) =
            watched(Command::new("sh").args(["-c", "echo a; echo b; exit 4"])).unwrap();
        assert_eq!((status.code(), text.as_str()), (Some(4), "a\nb\n"));
    }
}
