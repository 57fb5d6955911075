//! Real signals to a real process: the first ends it in good order, the second
//! at once. The process is this very test program, started anew.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use grey_budget::shutdown::{Shutdown, ShutdownSettings, ShutdownStep};
use rustix::process::{Pid, Signal, kill_process};

const ROLE: &str = "GREY_TEST_SHUTDOWN_ROLE";

fn start(role: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_process", "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

fn wait_for(output: &mut impl BufRead, wanted: &str) {
    let mut line = String::new();
    while !line.contains(wanted) {
        line.clear();
        assert_ne!(
            output.read_line(&mut line).unwrap(),
            0,
            "it never said `{wanted}`"
        );
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// No test of its own: what the others start.
#[test]
#[expect(clippy::exit, reason = "the exit code is what is tested")]
fn the_process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let shutdown = Shutdown::new();
    let _watch = shutdown.on_signals().unwrap();
    shutdown.at(ShutdownStep::Persist, "cache", move |_| {
        println!("persisting");
        if role == "hangs" {
            std::thread::park();
        }
        println!("persisted");
        Ok(())
    });
    println!("ready");
    let reason = shutdown.wait(Duration::from_secs(60));
    assert!(reason.is_some());
    shutdown.run(&ShutdownSettings::default());
    std::process::exit(i32::from(shutdown.exit_code()));
}

#[test]
fn the_first_signal_ends_it_in_good_order() {
    for (number, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let (mut child, mut output) = start("orderly");
        wait_for(&mut output, "ready");
        signal(&child, number);
        wait_for(&mut output, "persisted");
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
}

#[test]
fn the_second_signal_ends_it_at_once() {
    let (mut child, mut output) = start("hangs");
    wait_for(&mut output, "ready");
    signal(&child, Signal::TERM);
    wait_for(&mut output, "persisting");
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
}
