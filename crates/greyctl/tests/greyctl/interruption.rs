//! Ctrl-C while it is watched what comes back.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use grey_fake_kernel::FakeKernel;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{host, on};

/// What is waited for takes at most this long, or the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run that ends with the test.
struct Running(Option<Child>);

impl Running {
    fn wait_until(&mut self, what: &str, mut reached: impl FnMut(&mut Child) -> bool) {
        let start = Instant::now();
        while !reached(self.0.as_mut().unwrap()) {
            assert!(start.elapsed() < PATIENCE, "waited too long until {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether the process has taken Ctrl-C, and so watches.
fn catches_interrupts(child: &Child) -> bool {
    let path = format!("/proc/{}/status", child.id());
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let caught = status.lines().find_map(|line| {
        let mask = line.strip_prefix("SigCgt:")?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    let bit = 1 << (Signal::INT.as_raw() - 1);
    caught.is_some_and(|caught| caught & bit != 0)
}

#[test]
fn an_interrupt_ends_the_watching_and_loses_nothing_of_the_report() {
    let root = "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n";
    let kernel: FakeKernel = host()
        .with("proc/self/status", root)
        .with("cgroup/build/web/memory.high", "314572800\n");
    let child = on(&kernel)
        .args(["memory-enforce", "--json", "--observe", "10m"])
        .args(["-t", "/build/web", "--high", "200M", "--drop-caches"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut running = Running(Some(child));
    running.wait_until("it watches", |child| {
        assert!(child.try_wait().unwrap().is_none(), "it did not watch");
        catches_interrupts(child)
    });
    let child = running.0.as_ref().unwrap();
    kill_process(Pid::from_child(child), Signal::INT).unwrap();
    running.wait_until("it ends", |child| child.try_wait().unwrap().is_some());
    let ran = running.0.take().unwrap().wait_with_output().unwrap();
    let talk = String::from_utf8(ran.stderr).unwrap();
    // These files free nothing when they are written to.
    assert_eq!(ran.status.code(), Some(4), "{:?} {talk}", ran.status);
    let document: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(document["effects"].as_array().unwrap().len(), 2);
    assert_eq!(document["journal_ids"].as_array().unwrap().len(), 1);
    assert!(talk.contains("watching ended early, after "), "{talk}");
    assert!(talk.contains("hint: undo it: greyctl rollback "), "{talk}");
}
