//! The examples under a limit that they set on themselves: each survives, and
//! its twin without the library does not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where cargo puts the examples before it runs the tests.
fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().and_then(std::path::Path::parent).unwrap();
    let path = profile.join("examples").join(name);
    assert!(
        path.exists(),
        "run `cargo build -p grey-budget --examples` first"
    );
    path
}

/// The longest that one example may take; a hang ends here.
const LONGEST: Duration = Duration::from_secs(300);

/// Waits for the child, and ends it when it takes too long.
fn output(name: &str, mut child: Child) -> Output {
    let (ended, deadline) = (Arc::new(AtomicBool::new(false)), Instant::now() + LONGEST);
    let (done, pid) = (Arc::clone(&ended), child.id().to_string());
    let watch = std::thread::spawn(move || {
        while !done.load(Ordering::SeqCst) {
            if Instant::now() > deadline {
                // Nobody has waited for it yet: the number is still its own.
                let _ = Command::new("kill").args(["-9", &pid]).status();
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(200));
        }
        true
    });
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut errors = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        errors.read_to_end(&mut stderr).unwrap();
        stderr
    });
    child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut stdout)
        .unwrap();
    let stderr = reader.join().unwrap();
    ended.store(true, Ordering::SeqCst);
    watch.thread().unpark();
    assert!(watch.join().unwrap(), "{name} hangs");
    let status = child.wait().unwrap();
    Output {
        status,
        stdout,
        stderr,
    }
}

fn run(name: &str, arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let child = Command::new(example(name))
        .args(arguments)
        .arg("--directory")
        .arg(directory.path())
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    output(name, child)
}

/// Runs both twins under `limit`.
fn survives_where_its_twin_does_not(name: &str, limit: &[&str]) -> String {
    let protected = run(name, limit);
    let told = String::from_utf8_lossy(&protected.stdout).into_owned();
    let errors = String::from_utf8_lossy(&protected.stderr).into_owned();
    assert!(
        protected.status.success(),
        "{name}: {} {told} {errors}",
        protected.status
    );
    let unprotected = run(name, &[limit, &["--unprotected"]].concat());
    let errors = String::from_utf8_lossy(&unprotected.stderr).into_owned();
    assert!(
        !unprotected.status.success(),
        "{name} needs no library under {limit:?}"
    );
    assert!(
        errors.contains("memory allocation") || errors.contains("are lost"),
        "{name} died of something else: {errors}"
    );
    told
}

#[test]
fn the_index_server_survives_its_limit_and_starts_warm() {
    // A debug build is slow: fewer files, and a limit that fits them.
    let limit = ["--items", "520", "--limit", "64M", "--budget", "32M"];
    survives_where_its_twin_does_not("index_server", &limit);
    let directory = tempfile::tempdir().unwrap();
    let again = || {
        let done = Command::new(example("index_server"))
            .args(["--items", "150", "--budget", "32M", "--directory"])
            .arg(directory.path())
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    assert!(again().contains("\"warm\": 0,"));
    let second = again();
    assert!(!second.contains("\"warm\": 0,"), "{second}");
}

#[test]
fn the_fleet_survives_its_limits() {
    let told = survives_where_its_twin_does_not("agent_fleet", &["--items", "1700"]);
    for agent in ["subject", "observer", "god"] {
        assert!(
            told.contains(&format!("\"example\": \"{agent}\"")),
            "{told}"
        );
    }
}

#[test]
fn the_orchestrator_survives_its_limit() {
    let limit = ["--items", "2400", "--limit", "64M", "--budget", "32M"];
    let told = survives_where_its_twin_does_not("orchestrator", &limit);
    assert!(told.contains("\"done\": 2400"), "{told}");
}
