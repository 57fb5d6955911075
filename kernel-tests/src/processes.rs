//! The little that the harness itself needs to know about processes, read from
//! `/proc`: who is whose child, what runs, what is a kernel thread.
//!
//! Deliberately not the product's telemetry: a judge must not borrow the eyes
//! of the accused. Never changes a process, apart from killing on request.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::guest::wait_until;

/// What `/proc/PID/stat` says, as far as it is needed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's id.
    pub parent: i32,
    /// Its command name, at most 15 bytes.
    pub name: String,
    /// One letter: `R`, `S`, `D`, `T`, `Z`, ...
    pub state: char,
    /// When it was started, in clock ticks since boot.
    pub start_time_ticks: u64,
    /// Is it a kernel thread?
    pub kernel_thread: bool,
}

/// Set in a kernel thread's flags (`PF_KTHREAD`).
const KERNEL_THREAD_FLAG: u64 = 0x0020_0000;

/// Every process there is, by id.
#[must_use]
pub fn all() -> Vec<Process> {
    let mut found: Vec<Process> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(read)
        .collect();
    found.sort_by_key(|process| process.pid);
    found
}

/// One process, or `None` when it is gone.
#[must_use]
pub fn read(pid: i32) -> Option<Process> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(pid, &String::from_utf8_lossy(&text))
}

/// Does it run still? A zombie does not.
#[must_use]
pub fn is_alive(pid: i32) -> bool {
    read(pid).is_some_and(|process| process.state != 'Z' && process.state != 'X')
}

/// The processes whose parent is this one.
#[must_use]
pub fn children_of(parent: i32) -> Vec<Process> {
    all()
        .into_iter()
        .filter(|process| process.parent == parent)
        .collect()
}

/// Kills a process for good. One that is gone already is no error.
pub fn kill_hard(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may be gone: that is what we want.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Takes the exit status of a dead child that nobody waits for. False when it
/// is no dead child of ours.
#[must_use]
pub fn reap(pid: i32) -> bool {
    Pid::from_raw(pid)
        .is_some_and(|pid| matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(Some(_))))
}

/// Kills and waits until nothing of the process is left; true when it went.
#[must_use]
pub fn kill_and_wait(pid: i32, bound: Duration) -> bool {
    kill_hard(pid);
    wait_until(bound, || {
        let _ = reap(pid);
        !is_alive(pid)
    })
}

/// Splits behind the last closing bracket: a name may hold brackets and spaces.
fn parse_stat(pid: i32, text: &str) -> Option<Process> {
    let open = text.find('(')?;
    let close = text.rfind(')')?;
    let name = text.get(open + 1..close)?.to_owned();
    let rest: Vec<&str> = text.get(close + 1..)?.split_ascii_whitespace().collect();
    let flags: u64 = rest.get(6)?.parse().ok()?;
    Some(Process {
        pid,
        parent: rest.get(1)?.parse().ok()?,
        name,
        state: rest.first()?.chars().next()?,
        start_time_ticks: rest.get(19)?.parse().ok()?,
        kernel_thread: flags & KERNEL_THREAD_FLAG != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_is_read_whole() {
        let text = "7 (a) b (c)) S 1 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        let process = parse_stat(7, text).unwrap();
        assert_eq!(process.name, "a) b (c)");
        assert_eq!((process.parent, process.start_time_ticks), (1, 4242));
        assert!(!process.kernel_thread);
    }

    #[test]
    fn a_kernel_thread_is_known_by_its_flag() {
        let text = "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0";
        assert!(parse_stat(2, text).unwrap().kernel_thread);
    }

    #[test]
    fn a_child_that_was_killed_is_no_longer_alive() {
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(is_alive(pid));
        assert!(
            children_of(i32::try_from(std::process::id()).unwrap())
                .iter()
                .any(|process| process.pid == pid)
        );
        assert!(kill_and_wait(pid, Duration::from_secs(10)));
        assert!(!is_alive(pid));
        // Its status is taken already; this only tells the lint so.
        let _ = child.wait();
    }
}
