//! A recorder that is killed at any point loses nothing.
//!
//! Never part of the product.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use super::*;

/// Set in the child that records until it is killed: where to.
const CHILD: &str = "GREY_TEST_HISTORY_CHILD";
/// How often a recorder is killed.
const KILLS: u32 = 200;

/// Not a test of its own: what [`a_recorder_that_is_killed_loses_nothing`] kills.
#[test]
fn a_recorder_that_runs_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let path = Path::new(&path);
    let first = History::open(path)
        .ok()
        .and_then(|history| history.span())
        .map_or(0, |span| span.samples);
    let mut writer = open(path, small_blocks());
    use std::io::Write as _;
    let mut stdout = std::io::stdout();
    for number in first.. {
        writer.append(&sample(number)).unwrap();
        writeln!(stdout, "recorded {number}").unwrap();
    }
}

#[test]
fn a_recorder_that_is_killed_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    let mut acknowledged = 0;
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "history::tests::killed::a_recorder_that_runs_until_it_is_killed",
            ])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // After so many more samples; where in the next one is chance.
        let wanted = acknowledged + mixed(kill.into()) % 23;
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while acknowledged <= wanted {
            line.clear();
            assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the recorder ended");
            if let Some((_, number)) = line.rsplit_once("recorded ") {
                acknowledged = number.trim().parse::<u64>().unwrap() + 1;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let there = numbers(&path);
        let count = there.len() as u64;
        assert_eq!(there, (0..count).collect::<Vec<_>>(), "after kill {kill}");
        assert!(
            count >= acknowledged,
            "{count} of {acknowledged} after kill {kill}"
        );
        acknowledged = count;
    }
    assert!(acknowledged > u64::from(KILLS));
}
