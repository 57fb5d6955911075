//! Kills a program between any two of its steps, without a hook in the program.
//!
//! The program runs under ptrace. Every system call that could change something
//! outside of it (a file, the kernel, another process) is a *step*; steps are
//! numbered from 1, and the program can be killed at the entry of any of them:
//! that step is not executed any more. So "kill -9 at every step of a plan" is a
//! loop over the steps of a whole run.
//!
//! Never kills the program's children: they must end by themselves, and
//! [`Trace::children_alive`] shows whether they do.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::case::Failure;
use crate::guest::{say, wait_until};
use crate::program::process_id;
use crate::{processes, syscalls};

/// Whose steps are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those of the program itself, all its threads.
    Program,
    /// Those of the program and of every process it starts. Still only the
    /// program is killed, while the process that makes the step is held.
    Tree,
}

/// What to run, and where to kill it.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// The program and its arguments.
    pub command: &'a [OsString],
    /// Whose steps are counted.
    pub scope: Scope,
    /// Kill it at the entry of this step, counted from 1; `None` lets it end.
    pub kill_at: Option<usize>,
    /// It is killed after this time, and that is a failure.
    pub bound: Duration,
}

/// One system call that could change something outside the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name and what it works on: `write /run/x/journal (120 bytes)`.
    pub text: String,
    /// Was it the program itself, and not a child?
    pub by_program: bool,
}

/// What was seen of one run.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Every step, in order. When it was killed, the last one is the step that
    /// was not executed any more.
    pub steps: Vec<Step>,
    /// Was it killed as ordered? False when it ended before that step.
    pub killed: bool,
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed to stdout and stderr.
    pub output: String,
    children: BTreeSet<i32>,
}

impl Trace {
    /// The processes it started that are still there after `bound`.
    #[must_use]
    pub fn children_alive(&self, bound: Duration) -> Vec<i32> {
        let mut alive = Vec::new();
        let _ = wait_until(bound, || {
            alive = self
                .children
                .iter()
                .copied()
                .filter(|pid| processes::is_alive(*pid))
                .collect();
            alive.is_empty()
        });
        alive
    }
}

/// Lets the parent trace this process from its next `exec` on. Called by
/// `kernel-cases traced`, just before it becomes the program.
///
/// # Errors
/// When the kernel does not allow it.
pub fn allow_tracing() -> Result<(), Failure> {
    ptrace::traceme().map_err(|error| Failure::while_doing("ask to be traced", &error))
}

/// Runs a program under the tracer. `launcher` is the `kernel-cases` program.
///
/// # Errors
/// When it cannot be started or traced, or is not done in time.
pub fn trace(launcher: &Path, order: &Order<'_>) -> Result<Trace, Failure> {
    say(&format!(
        "+ traced, kill at {:?}: {:?}",
        order.kill_at, order.command
    ));
    let (pid_sender, pid_receiver) = mpsc::channel();
    let (done_sender, done_receiver) = mpsc::channel::<()>();
    // Ptrace belongs to a thread. When this thread ends, the kernel lets go of
    // whatever it still traces.
    thread::scope(|threads| {
        let tracer = threads.spawn(move || {
            let _done = done_sender;
            let mut child = start(launcher, order.command)?;
            // The other side only waits; should it be gone, so be it.
            let _ = pid_sender.send(process_id(&child));
            let output = [
                read_along(child.stdout.take()),
                read_along(child.stderr.take()),
            ];
            let seen = follow(&child, order);
            Ok::<_, Failure>((seen, output))
        });
        let in_time =
            done_receiver.recv_timeout(order.bound) != Err(mpsc::RecvTimeoutError::Timeout);
        if !in_time && let Ok(pid) = pid_receiver.try_recv() {
            processes::kill_hard(pid);
        }
        let joined = tracer
            .join()
            .map_err(|_| Failure::new("the tracer has panicked"))?;
        let (seen, output) = joined?;
        let mut trace = seen?;
        for stream in output {
            trace
                .output
                .push_str(&stream.map_or_else(String::new, printed));
        }
        if in_time {
            Ok(trace)
        } else {
            Err(Failure::new(format!(
                "a traced program was not done after {:?}: {trace:?}",
                order.bound
            )))
        }
    })
}

fn start(launcher: &Path, command: &[OsString]) -> Result<Child, Failure> {
    Command::new(launcher)
        .arg("traced")
        .arg("--")
        .args(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::while_doing(format!("start `{}`", launcher.display()), &error))
}

type Printed = mpsc::Receiver<Vec<u8>>;

/// Reads a stream on a thread. A child that outlives the program may keep the
/// pipe open for long, so nobody waits for the end of this thread.
fn read_along<R: Read + Send + 'static>(stream: Option<R>) -> Option<Printed> {
    let mut stream = stream?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut block = vec![0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut block) {
            if sender.send(block[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    Some(receiver)
}

/// What was printed until the end of the stream, or until nothing more comes.
fn printed(receiver: Printed) -> String {
    let mut bytes = Vec::new();
    while let Ok(block) = receiver.recv_timeout(Duration::from_millis(500)) {
        bytes.extend(block);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Follows the program until it has ended.
fn follow(child: &Child, order: &Order<'_>) -> Result<Trace, Failure> {
    let program = Pid::from_raw(process_id(child));
    match waitpid(program, Some(WaitPidFlag::__WALL)) {
        Ok(WaitStatus::Stopped(_, Signal::SIGTRAP)) => {}
        Ok(other) => {
            return Err(Failure::new(format!(
                "the traced program did not start: {other:?}"
            )));
        }
        Err(error) => return Err(Failure::while_doing("wait for the traced program", &error)),
    }
    let options = ptrace::Options::PTRACE_O_TRACESYSGOOD
        | ptrace::Options::PTRACE_O_TRACECLONE
        | ptrace::Options::PTRACE_O_TRACEFORK
        | ptrace::Options::PTRACE_O_TRACEVFORK
        | ptrace::Options::PTRACE_O_TRACEEXEC;
    ptrace::setoptions(program, options)
        .map_err(|error| Failure::while_doing("set up the tracer", &error))?;
    let mut follower = Follower {
        program,
        order,
        processes: BTreeMap::from([(program, program)]),
        trace: Trace {
            steps: Vec::new(),
            killed: false,
            code: None,
            output: String::new(),
            children: BTreeSet::new(),
        },
    };
    go_on(program, None)?;
    while follower.handle_one_event()? {}
    Ok(follower.trace)
}

/// Lets a stopped thread run to its next system call. One that was killed
/// meanwhile is no error: its end is reported next.
fn go_on(thread: Pid, signal: Option<Signal>) -> Result<(), Failure> {
    match ptrace::syscall(thread, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(Failure::while_doing(
            format!("continue thread {thread}"),
            &error,
        )),
    }
}

struct Follower<'a> {
    program: Pid,
    order: &'a Order<'a>,
    /// Each traced thread and the process it belongs to.
    processes: BTreeMap<Pid, Pid>,
    trace: Trace,
}

impl Follower<'_> {
    /// False when the program has ended.
    fn handle_one_event(&mut self) -> Result<bool, Failure> {
        // Only children of this very thread: the case has others.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let event = match waitpid(Pid::from_raw(-1), Some(flags)) {
            Ok(event) => event,
            Err(Errno::EINTR) => return Ok(true),
            Err(error) => return Err(Failure::while_doing("wait for the traced program", &error)),
        };
        match event {
            WaitStatus::Exited(thread, code) => {
                self.processes.remove(&thread);
                if thread == self.program {
                    self.trace.code = Some(code);
                }
                return Ok(thread != self.program);
            }
            WaitStatus::Signaled(thread, ..) => {
                self.processes.remove(&thread);
                return Ok(thread != self.program);
            }
            // Once it is killed, everybody else is held until it is gone.
            _ if self.trace.killed => {}
            WaitStatus::Stopped(thread, signal) => {
                let signal = self.signal_to_deliver(thread, signal);
                go_on(thread, signal)?;
            }
            WaitStatus::PtraceEvent(thread, ..) => go_on(thread, None)?,
            WaitStatus::PtraceSyscall(thread) => {
                self.note_system_call(thread);
                if !self.trace.killed {
                    go_on(thread, None)?;
                }
            }
            WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
        }
        Ok(true)
    }

    /// A new thread or process first shows up with a stop that is ours; a stop
    /// of a whole group is nothing to deliver either.
    fn signal_to_deliver(&mut self, thread: Pid, signal: Signal) -> Option<Signal> {
        let is_new = !self.processes.contains_key(&thread);
        self.process_of(thread);
        if is_new && signal == Signal::SIGSTOP {
            return None;
        }
        let is_group_stop = ptrace::getsiginfo(thread) == Err(Errno::EINVAL);
        (!is_group_stop).then_some(signal)
    }

    /// The process that a thread belongs to.
    fn process_of(&mut self, thread: Pid) -> Pid {
        if let Some(process) = self.processes.get(&thread) {
            return *process;
        }
        let process = thread_group(thread).unwrap_or(thread);
        self.processes.insert(thread, process);
        if process != self.program {
            self.trace.children.insert(process.as_raw());
        }
        process
    }

    fn note_system_call(&mut self, thread: Pid) {
        let by_program = self.process_of(thread) == self.program;
        if self.order.scope == Scope::Program && !by_program {
            return;
        }
        let Some(text) = entered_step(thread) else {
            return;
        };
        self.trace.steps.push(Step { text, by_program });
        if self.order.kill_at == Some(self.trace.steps.len()) {
            self.trace.killed = true;
            processes::kill_hard(self.program.as_raw());
        }
    }
}

/// What the thread is about to do, if that is a step and not the way back from
/// a system call.
fn entered_step(thread: Pid) -> Option<String> {
    /// `PTRACE_SYSCALL_INFO_ENTRY`, Linux 5.3.
    const ENTRY: u8 = 1;
    if ptrace::syscall_info(thread).ok()?.op != ENTRY {
        return None;
    }
    let registers = ptrace::getregs(thread).ok()?;
    let call = syscalls::Call {
        number: registers.orig_rax,
        arguments: [registers.rdi, registers.rsi, registers.rdx, registers.r10],
    };
    syscalls::describe_step(
        &call,
        |descriptor| {
            let link = fs::read_link(format!("/proc/{thread}/fd/{descriptor}")).ok()?;
            Some(link.to_string_lossy().into_owned())
        },
        |address| read_text_at(thread, address),
    )
}

/// A text in the memory of a stopped thread.
fn read_text_at(thread: Pid, address: u64) -> Option<String> {
    let memory = File::open(format!("/proc/{thread}/mem")).ok()?;
    let mut bytes = vec![0_u8; 256];
    let length = rustix::io::pread(&memory, &mut bytes, address).ok()?;
    let text = bytes[..length].split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn thread_group(thread: Pid) -> Option<Pid> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    Some(Pid::from_raw(line.trim().parse().ok()?))
}
