//! `$MEMORY_PRESSURE_WATCH` as a service manager sets it, for a manager that
//! was told nothing of it. The program is this very test, started anew.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use grey_budget::{Bytes, MemoryLimits, MemoryManager, SystemLevel};
use rustix::fs::{CWD, Mode, mkfifoat};

const ROLE: &str = "GREY_TEST_PRESSURE_ROLE";

/// No test of its own: what the other starts.
#[test]
fn the_process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let builder = MemoryManager::builder(MemoryLimits::of(Bytes::from_mib(1000)));
    let manager = if role == "deaf" {
        builder.without_pressure_watch().build().unwrap()
    } else {
        builder.build().unwrap()
    };
    let (asked, wanted) = mpsc::channel();
    let _cleanup = manager.register_cleanup_callback(move |amount| {
        asked.send(amount).unwrap();
        amount
    });
    manager.start_monitoring(Duration::from_secs(3600)).unwrap();
    println!("\nready");
    let wait = Duration::from_secs(if role == "deaf" { 1 } else { 60 });
    match wanted.recv_timeout(wait) {
        Ok(amount) => println!("asked for {}", amount.get()),
        Err(_) => println!("asked for nothing"),
    }
    println!(
        "high: {}",
        manager.degradation().level() >= SystemLevel::High
    );
}

fn told(role: &str) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pressure");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_process", "--nocapture"])
        .env(ROLE, role)
        .env("MEMORY_PRESSURE_WATCH", &path)
        .env("MEMORY_PRESSURE_WRITE", "c29tZSAyMDAwMDAgMjAwMDAwMA==")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_ready = lines.by_ref().any(|line| line.unwrap() == "ready");
    assert!(is_ready);
    // Open for reading too, so that it does not wait for somebody who listens.
    let mut fifo = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    fifo.write_all(b"x").unwrap();
    let said = lines.map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success());
    said
}

#[test]
fn a_manager_follows_the_environment_by_itself() {
    let said = told("hears");
    let wanted = format!("asked for {}", Bytes::from_mib(50).get());
    assert!(said.contains(&wanted), "{said:?}");
    assert!(said.contains(&"high: true".to_owned()), "{said:?}");
}

#[test]
fn a_manager_that_is_told_not_to_does_not() {
    let said = told("deaf");
    assert!(said.contains(&"asked for nothing".to_owned()), "{said:?}");
}
