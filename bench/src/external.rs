//! Peers that are programs of their own and stay running: each answers a
//! request line with one line, and measures itself.
//!
//! Never counts a peer's start: it is reported apart.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::measure::Sample;

/// A running peer. It ends when its standard input closes.
pub(crate) struct External {
    name: String,
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// From its start until it said that it is ready.
    pub(crate) start_up: Duration,
    /// What it said after `ready`.
    pub(crate) version: String,
}

impl External {
    /// Starts `command` and waits until it is ready.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self, BenchError> {
        let begin = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| BenchError::Start {
                program: name.to_owned(),
                source,
            })?;
        let requests = child.stdin.take();
        let answers = child.stdout.take().expect("it was asked for as a pipe");
        let mut peer = Self {
            name: name.to_owned(),
            child,
            requests,
            answers: BufReader::new(answers),
            start_up: Duration::ZERO,
            version: String::new(),
        };
        let greeting = peer.answer_to("ready")?;
        peer.start_up = begin.elapsed();
        peer.version = greeting
            .strip_prefix("ready")
            .ok_or_else(|| peer.nonsense("ready", &greeting))?
            .trim()
            .to_owned();
        Ok(peer)
    }

    /// Its answer to `request`, without the newline.
    pub(crate) fn ask(&mut self, request: &str) -> Result<String, BenchError> {
        let sent = match &mut self.requests {
            Some(requests) => writeln!(requests, "{request}").and_then(|()| requests.flush()),
            None => Ok(()),
        };
        sent.map_err(|_| self.nonsense(request, ""))?;
        self.answer_to(request)
    }

    /// Its own measurement of one pass.
    pub(crate) fn pass(&mut self, request: &str) -> Result<Sample, BenchError> {
        let answer = self.ask(request)?;
        let numbers: Vec<u64> = answer.split(' ').flat_map(str::parse).collect();
        let &[wall, cpu, processes, _bytes] = numbers.as_slice() else {
            return Err(self.nonsense(request, &answer));
        };
        Ok(Sample {
            wall: Duration::from_nanos(wall),
            cpu: Duration::from_nanos(cpu),
            processes: (processes != 0).then_some(processes),
            ..Sample::default()
        })
    }

    fn answer_to(&mut self, request: &str) -> Result<String, BenchError> {
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(length) if length > 0 => Ok(line.trim_end().to_owned()),
            _ => Err(self.nonsense(request, "")),
        }
    }

    fn nonsense(&self, request: &str, answer: &str) -> BenchError {
        BenchError::Peer {
            peer: self.name.clone(),
            request: request.to_owned(),
            answer: answer.to_owned(),
        }
    }
}

impl Drop for External {
    fn drop(&mut self) {
        drop(self.requests.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bare_loop_reads_every_process() {
        let mut command = Command::new(env!("BENCH_BARE_LOOP"));
        let mut peer = External::start("bare loop", &mut command).unwrap();
        let sample = peer.pass("statm").unwrap();
        assert!(sample.processes.unwrap() >= 2, "us and itself: {sample:?}");
    }

    #[test]
    fn a_peer_that_ends_is_an_error_that_names_it() {
        let error = External::start("true", &mut Command::new("true"))
            .err()
            .unwrap();
        assert!(error.to_string().contains("`true`"), "{error}");
    }
}
