//! Programs that a case runs, to their end or beside it, with what they print.
//!
//! Never waits without a bound.

use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::case::Failure;
use crate::guest::{say, wait_until};

/// How a program ended and what it printed.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// What it printed to stdout.
    pub stdout: String,
    /// What it printed to stderr.
    pub stderr: String,
}

impl Run {
    /// Its stdout as one JSON document.
    ///
    /// # Errors
    /// When it is not JSON; the message holds what was printed.
    pub fn json(&self) -> Result<serde_json::Value, Failure> {
        serde_json::from_str(&self.stdout).map_err(|error| {
            Failure::new(format!(
                "stdout is not JSON: {error}\nstdout: {}\nstderr: {}",
                self.stdout, self.stderr
            ))
        })
    }

    /// Itself when it ended with `code`.
    ///
    /// # Errors
    /// When it did not; the message holds what was printed.
    pub fn expect_code(self, code: i32) -> Result<Self, Failure> {
        if self.code == Some(code) {
            return Ok(self);
        }
        Err(Failure::new(format!(
            "expected exit code {code}, got {:?} (signal {:?})\nstdout: {}\nstderr: {}",
            self.code, self.signal, self.stdout, self.stderr
        )))
    }
}

/// A program that runs beside the case. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        process_id(&self.child)
    }

    /// Waits for its end; killed after `bound`.
    ///
    /// # Errors
    /// When it did not end in time.
    pub fn wait(&mut self, bound: Duration) -> Result<ExitStatus, Failure> {
        wait_for(&mut self.child, bound)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already: that is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end and keeps what it prints.
///
/// # Errors
/// When it cannot be started, or is not done after `bound`; it is killed then.
pub fn run(mut command: Command, bound: Duration) -> Result<Run, Failure> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = spawn(command)?;
    let stdout = collect(running.child.stdout.take());
    let stderr = collect(running.child.stderr.take());
    let ended = running.wait(bound);
    let run = Run {
        code: ended.as_ref().ok().and_then(ExitStatus::code),
        signal: ended.as_ref().ok().and_then(ExitStatus::signal),
        stdout: finish(stdout),
        stderr: finish(stderr),
    };
    say(&format!("= code {:?}, signal {:?}", run.code, run.signal));
    for (name, text) in [("stdout", &run.stdout), ("stderr", &run.stderr)] {
        if !text.is_empty() {
            say(&format!("{name}: {text}"));
        }
    }
    ended.map(|_| run)
}

pub(crate) fn spawn(mut command: Command) -> Result<Running, Failure> {
    say(&format!("+ {command:?}"));
    let child = command
        .spawn()
        .map_err(|error| Failure::while_doing(format!("start {command:?}"), &error))?;
    Ok(Running { child })
}

/// Reads a stream to its end on a thread, so that a full pipe stops nobody.
fn collect<R: Read + Send + 'static>(stream: Option<R>) -> Option<JoinHandle<Vec<u8>>> {
    stream.map(|mut stream| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            // What was read before an error is still worth showing.
            let _ = stream.read_to_end(&mut bytes);
            bytes
        })
    })
}

/// What a stream held. A descendant that keeps the pipe open after the program
/// has ended must not hang the case, so the wait has a bound.
fn finish(reader: Option<JoinHandle<Vec<u8>>>) -> String {
    let Some(reader) = reader else {
        return String::new();
    };
    if !wait_until(Duration::from_secs(10), || reader.is_finished()) {
        return "(somebody keeps this stream open after the program has ended)".to_owned();
    }
    String::from_utf8_lossy(&reader.join().unwrap_or_default()).into_owned()
}

fn wait_for(child: &mut Child, bound: Duration) -> Result<ExitStatus, Failure> {
    let mut status = None;
    let mut problem = None;
    let _ = wait_until(bound, || match child.try_wait() {
        Ok(found) => {
            status = found;
            status.is_some()
        }
        Err(error) => {
            problem = Some(error);
            true
        }
    });
    match (status, problem) {
        (Some(status), _) => Ok(status),
        (None, Some(error)) => Err(Failure::while_doing("wait for a program", &error)),
        (None, None) => {
            // It is past its deadline; nothing more can be done about an error.
            let _ = child.kill();
            let _ = child.wait();
            Err(Failure::new(format!("not done after {bound:?}, killed")))
        }
    }
}

/// The log, as a stream for a program that runs beside the case.
pub(crate) fn log_stream() -> Stdio {
    Stdio::from(io::stderr())
}

pub(crate) fn process_id(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("Linux process ids fit in 31 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_killed_at_its_deadline() {
        let mut command = Command::new("sleep");
        command.arg("600");
        let failure = run(command, Duration::from_millis(50)).unwrap_err();
        assert!(failure.to_string().contains("not done after"), "{failure}");
    }

    #[test]
    fn code_and_both_streams_of_a_program_are_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo '{\"a\": 1}'; echo oh >&2; exit 7"]);
        let run = run(command, Duration::from_secs(20)).unwrap();
        assert_eq!((run.code, run.signal), (Some(7), None));
        assert_eq!(run.json().unwrap()["a"], 1);
        assert_eq!(run.stderr, "oh\n");
        assert!(run.expect_code(0).is_err());
    }
}
