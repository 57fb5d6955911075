//! `rollback` and `journal` where not all is well: a damaged journal, a value
//! of somebody else, a change that a later one covers.

use grey_fake_kernel::FakeKernel;

use crate::harness::{Ran, host, on, run};

const JOURNAL: &str = "state/journal/journal.jsonl";
const SCORE: &str = "proc/310/oom_score_adj";

/// A host on which the score of a process was changed.
fn changed() -> FakeKernel {
    let root = "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n";
    let kernel = host().with("proc/self/status", root).with(SCORE, "150\n");
    enforce(&kernel, "100");
    kernel
}

fn enforce(kernel: &FakeKernel, score: &str) {
    let ran = run(
        on(kernel),
        &[
            "memory-enforce",
            "--observe=0s",
            "-t",
            "310",
            "--oom-score-adj",
            score,
        ],
    );
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
}

fn read(kernel: &FakeKernel, name: &str) -> String {
    std::fs::read_to_string(kernel.path(name)).unwrap()
}

fn edit_journal(kernel: &FakeKernel, edit: impl Fn(&str) -> String) {
    kernel.write(JOURNAL, edit(&read(kernel, JOURNAL)));
}

fn rollback(kernel: &FakeKernel, arguments: &[&str]) -> Ran {
    let all: Vec<&str> = ["rollback"].iter().chain(arguments).copied().collect();
    run(on(kernel), &all)
}

#[test]
fn a_damaged_change_is_never_an_all_clear() {
    let kernel = changed();
    edit_journal(&kernel, |text| text.replacen("\"before\"", "\"Before\"", 1));
    for _ in 0..2 {
        let ran = rollback(&kernel, &["--json"]);
        assert_eq!(ran.exit, 1, "{}", ran.stderr);
        let document = ran.json();
        assert_eq!(document["outcome"], "failed");
        assert_eq!(document["lost"][0]["line"], 2);
        assert_eq!(document["lost"][0]["change"], 2);
        let remains = document["lost"][0]["remains"].as_str().unwrap();
        assert!(remains.contains("oom_score_adj"), "{remains}");
    }
    let ran = rollback(&kernel, &[]);
    assert!(!ran.stdout.contains("Nothing"), "{}", ran.stdout);
    assert!(
        ran.stderr.contains("is not known and was not put back"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("set the journal aside: mv"));
    for named in [&["2", "--json"][..], &["2", "--keep", "--json"]] {
        let ran = rollback(&kernel, named);
        assert_eq!(ran.exit, 1, "{}", ran.stderr);
        assert_eq!(ran.json()["lost"][0]["change"], 2);
        assert!(ran.stderr.contains("no change 2 can be read"));
        assert!(ran.stderr.contains("set the journal aside: mv"));
    }
    assert_eq!(rollback(&kernel, &["--keep"]).exit, 1);
    let listed = run(on(&kernel), &["journal"]);
    assert_eq!(listed.exit, 4, "{}", listed.stderr);
    assert!(!listed.stdout.contains("Nothing"), "{}", listed.stdout);
    let listed = run(on(&kernel), &["journal", "--json"]);
    assert_eq!(listed.exit, 4);
    assert_eq!(listed.json()["lost"][0]["change"], 2);
    assert_eq!(read(&kernel, SCORE), "100\n");
}

#[test]
fn every_document_of_a_damaged_journal_ends_alike() {
    let kernel = changed();
    edit_journal(&kernel, |text| text.replacen("\"before\"", "\"Before\"", 1));
    for arguments in [
        &["rollback", "--json"][..],
        &["rollback", "2", "--json"],
        &["journal", "--json"],
    ] {
        let ran = run(on(&kernel), arguments);
        let document = ran.json();
        let error = document["error"].as_str().unwrap();
        let first = ran.stderr.lines().next().unwrap();
        assert_eq!(first, format!("error: {error}"), "{arguments:?}");
        assert_eq!(document["exit_code"], ran.exit, "{arguments:?}");
        let told = |key: &str| document[key].to_string();
        assert!(
            told("details").contains("line 2 of the journal"),
            "{document}"
        );
        assert!(told("hints").contains(": mv -- "), "{document}");
    }
    let well = changed();
    let document = rollback(&well, &["--json"]).json();
    assert_eq!(document["error"], serde_json::Value::Null);
    assert_eq!(document["exit_code"], 0);
}

#[test]
fn of_a_journal_of_garbage_no_line_is_long_and_none_drives_the_terminal() {
    let kernel = changed();
    // Every byte there is, as one line of a kilobyte and as a few short ones.
    let long: Vec<u8> = (0..=255)
        .filter(|byte| *byte != b'\n')
        .cycle()
        .take(2048)
        .collect();
    let mut garbage = b"\xff\xfe\n".to_vec();
    garbage.extend(&long);
    garbage.extend(b"\n{\"knob\":");
    garbage.extend(&long);
    garbage.extend(b"\n");
    kernel.write(JOURNAL, garbage);
    for command in ["rollback", "journal"] {
        let ran = run(on(&kernel), &[command]);
        assert_ne!(ran.exit, 0);
        for line in ran
            .stderr
            .lines()
            .filter(|line| !line.starts_with("hint: "))
        {
            let length = line.chars().count();
            assert!(length < 450, "{command}: {length}: {line}");
            assert!(!line.chars().any(char::is_control), "{command}: {line}");
        }
        let remains: Vec<&str> = ran
            .stderr
            .lines()
            .filter(|line| line.contains("still reads"))
            .collect();
        assert_eq!(remains.len(), 3, "{}", ran.stderr);
        assert!(remains[1].chars().count() < 80, "{}", remains[1]);
    }
}

#[test]
fn a_journal_of_garbage_is_never_an_all_clear() {
    let kernel = changed();
    edit_journal(&kernel, |_| "gar\x1b[2Jbage\n".to_owned());
    for _ in 0..2 {
        let ran = rollback(&kernel, &[]);
        assert_eq!(ran.exit, 1, "{}", ran.stderr);
        assert!(!ran.stderr.contains('\x1b'), "{}", ran.stderr);
        let listed = run(on(&kernel), &["journal"]);
        assert_eq!(listed.exit, 4);
        assert_eq!(listed.stdout, "No change can be read.\n");
    }
}

#[test]
fn what_can_be_read_of_a_damaged_journal_is_put_back_all_the_same() {
    let kernel = changed();
    edit_journal(&kernel, |text| format!("garbage\n{text}"));
    let ran = rollback(&kernel, &[]);
    assert_eq!(ran.exit, 4, "{}", ran.stderr);
    assert!(ran.stderr.contains("line 1 of the journal"));
    assert_eq!(read(&kernel, SCORE).trim(), "150");
}

#[test]
fn a_conflict_ends_when_theirs_is_kept() {
    let kernel = changed();
    kernel.write(SCORE, "777\n");
    let left = rollback(&kernel, &[]);
    assert_eq!(left.exit, 4);
    assert!(left.stderr.contains("--keep"), "{}", left.stderr);
    let kept = rollback(&kernel, &["2", "--keep", "--json"]);
    assert_eq!(kept.exit, 0, "{}", kept.stderr);
    assert_eq!(kept.json()["changes"][0]["outcome"], "kept");
    assert_eq!(kept.json()["changes"][0]["found"], "777");
    assert_eq!(read(&kernel, SCORE), "777\n");
    let again = rollback(&kernel, &[]);
    assert_eq!(
        (again.exit, again.stdout.as_str()),
        (0, "Nothing to put back.\n")
    );
    let all = run(on(&kernel), &["journal", "--all", "--json"]).json();
    assert_eq!(all["changes"][0]["state"], "given_up");
}

#[test]
fn without_a_number_only_conflicts_are_given_up() {
    let kernel = changed();
    let refused = rollback(&kernel, &["--keep"]);
    assert_eq!(refused.exit, 2, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("before --keep"),
        "{}",
        refused.stderr
    );
    kernel.write(SCORE, "777\n");
    assert_eq!(rollback(&kernel, &["--keep"]).exit, 0);
    assert_eq!(rollback(&kernel, &[]).exit, 0);
    assert_eq!(rollback(&kernel, &["--keep", "--force"]).exit, 2);
}

#[test]
fn a_change_that_a_later_one_covers_is_not_called_done() {
    let kernel = changed();
    enforce(&kernel, "200");
    for _ in 0..2 {
        let covered = rollback(&kernel, &["2", "--json"]);
        assert_eq!(covered.exit, 4, "{}", covered.stderr);
        let change = &covered.json()["changes"][0];
        assert_eq!(change["outcome"], "merged");
        assert!(change["detail"].as_str().unwrap().contains("change 5"));
        assert_eq!(read(&kernel, SCORE), "200\n");
    }
    assert_eq!(rollback(&kernel, &["5"]).exit, 0);
    assert_eq!(read(&kernel, SCORE).trim(), "150");
    assert_eq!(rollback(&kernel, &["2"]).exit, 0);
}

/// Puts a pipe in the place of a file, with nobody at its other end.
fn put_pipe(kernel: &FakeKernel, name: &str) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let path = kernel.path(name);
    std::fs::remove_file(&path).unwrap();
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
}

/// Runs it for at most a minute: then the exit code is 124.
fn run_bounded(kernel: &FakeKernel, arguments: &[&str]) -> Ran {
    let given = on(kernel);
    let mut command = std::process::Command::new("timeout");
    command.arg("60").arg(given.get_program());
    command.args(given.get_args());
    run(command, arguments)
}

#[test]
fn nobody_waits_for_a_pipe_in_a_given_tree() {
    let names = [
        "proc/meminfo",
        "proc/310/stat",
        "proc/310/statm",
        "proc/310/status",
        "proc/310/cmdline",
        "proc/310/smaps_rollup",
        "cgroup/build/memory.current",
        "cgroup/build/cgroup.procs",
        "etc/passwd",
    ];
    for name in names {
        let kernel = host();
        put_pipe(&kernel, name);
        let ran = run_bounded(&kernel, &["memory-diagnose"]);
        let expected = i32::from(name == "proc/meminfo");
        assert_eq!(ran.exit, expected, "{name}: {}", ran.stderr);
        let told = ran.stderr.contains("is no regular file");
        assert_eq!(told, name == "proc/meminfo", "{name}: {}", ran.stderr);
        let ran = run_bounded(&kernel, &["memory-enforce", "--simulation"]);
        assert_ne!(ran.exit, 124, "{name}");
    }
    let kernel = changed();
    put_pipe(&kernel, SCORE);
    assert_eq!(run_bounded(&kernel, &["rollback"]).exit, 1);
    put_pipe(&kernel, "state/journal/lock");
    assert_ne!(run_bounded(&kernel, &["rollback"]).exit, 124);
}

#[test]
fn a_simulation_is_not_told_to_simulate_and_root_is_not_sent_to_sudo() {
    let kernel = host();
    kernel.write(
        "proc/self/status",
        "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0\n",
    );
    let ran = run(
        on(&kernel),
        &["memory-enforce", "--drop-caches", "--simulation"],
    );
    assert!(!ran.stderr.contains("--simulation"), "{}", ran.stderr);
    let ran = run(on(&kernel), &["memory-enforce", "--drop-caches"]);
    assert_eq!(ran.exit, 6);
    assert!(ran.stderr.contains("--simulation"), "{}", ran.stderr);
    kernel.write("proc/self/status", "Uid:\t0\t0\t0\t0\nCapEff:\t0\n");
    let ran = run(
        on(&kernel),
        &["memory-enforce", "-t", "310", "--oom-score-adj", "-5"],
    );
    assert!(!ran.stderr.contains("sudo"), "{}", ran.stderr);
    assert!(ran.stderr.contains("CAP_SYS_RESOURCE"), "{}", ran.stderr);
}
