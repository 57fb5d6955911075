//! The parent's side: starts the disposable process, listens, and gives up in
//! time.
//!
//! Never blocks on the child: not while it reads its orders, not while it
//! works, not while it dies. One that cannot even be killed, because the
//! kernel holds it, is left behind and named.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use grey_telemetry::Roots;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::{DisposableProgram, Job, JobResult, Message, Request, RootsText, milliseconds};

/// The longest line that a child may say, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;
/// How much longer than the child's own deadline we wait.
const GRACE: Duration = Duration::from_secs(1);
/// How long an interrupted, then a killed child may take to end.
const DYING: Duration = Duration::from_millis(500);

/// How a job ended.
#[derive(Debug)]
pub(crate) enum JobEnd {
    /// With a result.
    Done(JobResult),
    /// Without.
    Failed {
        message: String,
        errno: Option<i32>,
        gone: bool,
    },
    /// It was stopped at its deadline.
    TimedOut { message: String },
}

impl JobEnd {
    fn failed(message: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            errno: None,
            gone: false,
        }
    }
}

/// Runs jobs. The tests put a runner in its place that needs no process.
pub(crate) trait JobRunner {
    /// Runs `job` for at most `deadline`. The child inherits `lock`, so that
    /// the journal stays locked while a write of ours is under way.
    fn run(
        &self,
        job: Job,
        deadline: Duration,
        lock: BorrowedFd<'_>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> JobEnd;
}

/// Runs jobs in processes of their own.
pub(crate) struct ProcessRunner {
    pub(crate) roots: Roots,
    pub(crate) program: DisposableProgram,
}

impl JobRunner for ProcessRunner {
    fn run(
        &self,
        job: Job,
        deadline: Duration,
        lock: BorrowedFd<'_>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> JobEnd {
        let request = Request {
            roots: RootsText::of(&self.roots),
            parent: std::process::id(),
            deadline_milliseconds: milliseconds(deadline),
            job,
        };
        let mut orders = match serde_json::to_vec(&request) {
            Ok(orders) => orders,
            Err(error) => return JobEnd::failed(format!("failed to give orders: {error}")),
        };
        orders.push(b'\n');
        let mut child = match self.start(lock) {
            Ok(child) => child,
            Err(error) => {
                let program = self.program.executable.display();
                return JobEnd::failed(format!("failed to start `{program}`: {error}"));
            }
        };
        let end = converse(&mut child, &orders, deadline + GRACE, progress);
        finish(child, end)
    }
}

impl ProcessRunner {
    fn start(&self, lock: BorrowedFd<'_>) -> std::io::Result<Child> {
        // A descriptor without CLOEXEC: it exists only around this start, and
        // a child that somebody else starts in between would only keep the
        // lock a little longer.
        let inherited = rustix::io::dup(lock)?;
        let child = Command::new(&self.program.executable)
            .arg(&self.program.argument)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        drop(inherited);
        child
    }
}

/// What was heard until the child said the last word, fell silent for good, or
/// the time was over.
struct Conversation {
    heard: Vec<u8>,
    end: Option<JobEnd>,
    timed_out: bool,
}

fn converse(
    child: &mut Child,
    orders: &[u8],
    deadline: Duration,
    progress: &mut dyn FnMut(u64, u64),
) -> Conversation {
    let mut talk = Conversation {
        heard: Vec::new(),
        end: None,
        timed_out: false,
    };
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return talk;
    };
    let stdin = OwnedFd::from(stdin);
    let stdout = OwnedFd::from(stdout);
    for pipe in [&stdin, &stdout] {
        if rustix::io::ioctl_fionbio(pipe, true).is_err() {
            return talk;
        }
    }
    let mut stdin = Some(stdin);
    let mut unsent = orders;
    let start = Instant::now();
    while talk.end.is_none() {
        let Some(left) = deadline.checked_sub(start.elapsed()) else {
            talk.timed_out = true;
            break;
        };
        if !wait_for(&stdout, stdin.as_ref(), left) {
            continue;
        }
        if let Some(pipe) = &stdin {
            match rustix::io::write(pipe, unsent) {
                Ok(count) => unsent = &unsent[count..],
                Err(Errno::AGAIN | Errno::INTR) => {}
                // It has closed its input: what it says comes next.
                Err(_) => unsent = &[],
            }
        }
        if unsent.is_empty() {
            stdin = None;
        }
        if !hear(&stdout, &mut talk, progress) {
            break;
        }
    }
    talk
}

fn wait_for(stdout: &OwnedFd, stdin: Option<&OwnedFd>, left: Duration) -> bool {
    let mut descriptors = vec![PollFd::new(stdout, PollFlags::IN)];
    if let Some(stdin) = stdin {
        descriptors.push(PollFd::new(stdin, PollFlags::OUT));
    }
    let timeout = Timespec::try_from(left).unwrap_or(Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    });
    rustix::event::poll(&mut descriptors, Some(&timeout)).is_ok_and(|ready| ready > 0)
}

/// Reads what there is; false when there will be no more.
fn hear(stdout: &OwnedFd, talk: &mut Conversation, progress: &mut dyn FnMut(u64, u64)) -> bool {
    let mut buffer = [0; 4096];
    match rustix::io::read(stdout, &mut buffer) {
        Ok(0) => return false,
        Ok(count) => talk.heard.extend_from_slice(&buffer[..count]),
        Err(Errno::AGAIN | Errno::INTR) => return true,
        Err(_) => return false,
    }
    while let Some(newline) = talk.heard.iter().position(|&byte| byte == b'\n') {
        let line: Vec<u8> = talk.heard.drain(..=newline).collect();
        match serde_json::from_slice(&line) {
            Ok(Message::Progress { done, total }) => {
                progress(done, total);
            }
            Ok(Message::Done { result }) => talk.end = Some(JobEnd::Done(result)),
            Ok(Message::Failed { text, errno, gone }) => {
                talk.end = Some(JobEnd::Failed {
                    message: text,
                    errno,
                    gone,
                });
            }
            Err(_) => talk.end = Some(JobEnd::failed("the disposable process talked nonsense")),
        }
    }
    talk.heard.len() <= LONGEST_ANSWER
}

/// Sees the child off: it ends by itself, or by an interrupt, or by a kill, or
/// it is left behind.
fn finish(mut child: Child, talk: Conversation) -> JobEnd {
    let pid = child.id();
    if !talk.timed_out && ends_within(&mut child, DYING) {
        let status = child.try_wait().ok().flatten();
        return talk.end.unwrap_or_else(|| {
            let how = status.map_or_else(String::new, |status| format!(": {status}"));
            JobEnd::failed(format!(
                "the disposable process {pid} ended without an answer{how}"
            ))
        });
    }
    // An interrupt lets the kernel end the write where it stands.
    let mut ended = false;
    for signal in [Signal::INT, Signal::KILL] {
        signal_child(&child, signal);
        if ends_within(&mut child, DYING) {
            ended = true;
            break;
        }
    }
    if let (Some(end), false) = (talk.end, talk.timed_out) {
        return end;
    }
    let message = if ended {
        "the write did not end in time and was interrupted".to_owned()
    } else {
        format!(
            "the write did not end in time, and the kernel does not let process {pid} die: it \
             was left behind"
        )
    };
    JobEnd::TimedOut { message }
}

/// The child is not reaped before this returns true, so its pid is still its
/// own.
fn signal_child(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

fn ends_within(child: &mut Child, bound: Duration) -> bool {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return true;
    }
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pidfd = pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
    match (&pidfd, Timespec::try_from(bound)) {
        (Some(pidfd), Ok(timeout)) => {
            let mut descriptors = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
            let _ = rustix::event::poll(&mut descriptors, Some(&timeout));
        }
        _ => std::thread::sleep(bound),
    }
    matches!(child.try_wait(), Ok(Some(_)))
}
