//! `memory-enforce`, `rollback` and `journal`: the whole way, on a fake kernel
//! whose files take what is written, and with processes of this machine.

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use grey_fake_kernel::{Ended, FakeKernel};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use crate::harness::{
    contents, forbid_writing, give_away, greyctl, host, on, run, run_at, unprivileged_on,
};

/// `/proc/self/status` of a root with every capability.
const ROOT: &str = "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n";
/// The same of a user with none.
const USER: &str = "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n";

/// What is waited for takes at most this long, or the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A host that we may change. Plain files do not shrink when a shorter value
/// is written, as kernel files seem to: every value here has as many digits as
/// the one that the tests set.
fn as_root() -> FakeKernel {
    host()
        .with("proc/self/status", ROOT)
        .with("sys/kernel/mm/ksm/run", "0\n")
        .with("cgroup/build/web/memory.high", "314572800\n")
}

fn as_user() -> FakeKernel {
    as_root().with("proc/self/status", USER)
}

/// The kernel's state, without our own journal.
fn kernel_state(kernel: &FakeKernel) -> Vec<(String, Vec<u8>)> {
    let mut state = Vec::new();
    for folder in ["proc", "sys", "cgroup"] {
        state.extend(contents(&kernel.path(folder)));
    }
    state
}

fn enforce(kernel: &FakeKernel, arguments: &[&str]) -> (i32, Value, String) {
    let mut all = vec!["memory-enforce", "--json", "--observe", "0s"];
    all.extend_from_slice(arguments);
    let ran = run(on(kernel), &all);
    (ran.exit, ran.json(), ran.stderr)
}

fn read(kernel: &FakeKernel, name: &str) -> String {
    std::fs::read_to_string(kernel.path(name))
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn a_simulation_changes_not_one_byte() {
    let kernel = as_root();
    let before = contents(&kernel.path("."));
    for arguments in [
        &["--simulation"][..],
        &[
            "--simulation",
            "--enable-ksm",
            "--aggressive",
            "--drop-caches",
            "3",
        ],
        &[
            "--simulation",
            "--target",
            "/build/web",
            "--high",
            "200M",
            "--reclaim",
            "10M",
        ],
        &[
            "--simulation",
            "--target",
            "310",
            "--oom-score-adj",
            "100",
            "--for",
            "1h",
        ],
    ] {
        let (exit, document, talk) = enforce(&kernel, arguments);
        assert_eq!(exit, 0, "{arguments:?}: {talk}");
        assert_eq!(document["outcome"], "simulated", "{arguments:?}");
        assert_eq!(document["simulation"], true);
        assert_ne!(document["plan"].as_array().unwrap().len(), 0);
        assert_eq!(document["effects"].as_array().unwrap().len(), 0);
        assert_eq!(document["journal_ids"].as_array().unwrap().len(), 0);
    }
    assert!(before == contents(&kernel.path(".")));
}

#[test]
fn a_plan_is_shown_before_it_is_done() {
    let kernel = as_root();
    let arguments = [
        "memory-enforce",
        "--simulation",
        "-t",
        "/build/web",
        "--high",
        "200M",
    ];
    let ran = run_at(on(&kernel), 80, &arguments);
    for line in ran.stdout.lines() {
        assert!(line.chars().count() <= 80, "`{line}`");
    }
    insta::assert_snapshot!("plan", format!("{}\n---\n{}", ran.stdout, ran.stderr));
}

#[test]
fn looking_around_needs_no_permission() {
    let (exit, document, talk) = enforce(&as_user(), &["--simulation"]);
    assert_eq!(exit, 0, "{talk}");
    assert_eq!(document["plan"].as_array().unwrap().len(), 2);
    assert_eq!(document["refusals"][0]["kind"], "not_permitted");
    assert!(talk.contains("sudo"), "{talk}");
    let (exit, document, talk) = enforce(&as_user(), &["--simulation", "--drop-caches"]);
    assert_eq!(exit, 0, "{talk}");
    assert_eq!(document["plan"].as_array().unwrap().len(), 1);
}

#[test]
fn what_was_set_is_journaled_and_put_back_to_the_byte() {
    let kernel = as_root();
    let before = kernel_state(&kernel);
    let (exit, document, talk) = enforce(
        &kernel,
        &[
            "--target",
            "/build/web",
            "--high",
            "200M",
            "--enable-ksm",
            "--reason",
            "a test",
        ],
    );
    assert_eq!(exit, 0, "{talk}{document}");
    assert_eq!(document["outcome"], "done");
    assert_eq!(read(&kernel, "cgroup/build/web/memory.high"), "209715200");
    assert!(
        talk.contains("whatever else still holds: greyctl rollback --procfs "),
        "{talk}"
    );

    let journal = run(on(&kernel), &["journal", "--json"]).json();
    let changes = journal["changes"].as_array().unwrap();
    let ids: Vec<&Value> = changes.iter().map(|change| &change["id"]).collect();
    let expected: Vec<&Value> = document["journal_ids"].as_array().unwrap().iter().collect();
    assert_eq!(ids, expected);
    assert!(changes.iter().all(|change| change["reason"] == "a test"));
    assert!(changes.iter().all(|change| change["state"] == "active"));

    let undone = run(on(&kernel), &["rollback", "--json"]);
    assert_eq!(undone.exit, 0, "{}", undone.stderr);
    assert_eq!(undone.json()["outcome"], "done");
    assert!(before == kernel_state(&kernel));
    let again = run(on(&kernel), &["rollback"]);
    assert_eq!(
        (again.exit, again.stdout.as_str()),
        (0, "Nothing to put back.\n")
    );
    let all = run(on(&kernel), &["journal", "--all", "--json"]).json();
    assert_eq!(all["changes"].as_array().unwrap().len(), ids.len());
}

#[test]
fn what_is_so_already_is_a_success_and_changes_nothing() {
    let kernel = as_root();
    let before = kernel_state(&kernel);
    let arguments = ["--target", "/build/web", "--high", "300M"];
    let (exit, document, talk) = enforce(&kernel, &arguments);
    assert_eq!(exit, 0, "{talk}{document}");
    assert_eq!(document["outcome"], "nothing_to_do");
    assert_eq!(document["effects"][0]["verdict"], "already_so");
    assert!(!talk.contains("nothing came of it"), "{talk}");
    assert_eq!(document["journal_ids"], serde_json::json!([]));
    assert!(before == kernel_state(&kernel));
}

#[test]
fn one_change_can_be_put_back_alone() {
    let kernel = as_root();
    let (_, document, _) = enforce(&kernel, &["-t", "/build/web", "--high", "200M"]);
    let id = document["journal_ids"][0].to_string();
    enforce(&kernel, &["-t", "310", "--oom-score-adj", "7"]);
    let ran = run(on(&kernel), &["rollback", &id]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    assert_eq!(read(&kernel, "cgroup/build/web/memory.high"), "314572800");
    assert_eq!(read(&kernel, "proc/310/oom_score_adj"), "7");
}

#[test]
fn a_value_that_somebody_else_set_is_left_alone_until_forced() {
    let kernel = as_root();
    enforce(&kernel, &["-t", "/build/web", "--high", "200M"]);
    kernel.write("cgroup/build/web/memory.high", "123456789\n");
    let ran = run(on(&kernel), &["rollback", "--json"]);
    assert_eq!(ran.exit, 4, "{}", ran.stderr);
    assert_eq!(ran.json()["changes"][0]["outcome"], "conflict");
    assert_eq!(ran.json()["changes"][0]["found"], "123456789");
    assert!(ran.stderr.contains("--force"), "{}", ran.stderr);
    assert_eq!(read(&kernel, "cgroup/build/web/memory.high"), "123456789");
    let forced = run(on(&kernel), &["rollback", "--force", "--json"]);
    assert_eq!(forced.exit, 0, "{}", forced.stderr);
    assert_eq!(forced.json()["changes"][0]["overrode"], true);
    assert_eq!(read(&kernel, "cgroup/build/web/memory.high"), "314572800");
}

#[test]
fn a_lease_is_over_by_itself() {
    let kernel = as_root();
    let (exit, document, talk) = enforce(
        &kernel,
        &["-t", "310", "--oom-score-adj", "7", "--for", "1s"],
    );
    assert_eq!(exit, 0, "{talk}");
    assert!(document["lease_until"].is_string());
    wait_until("the lease is over", || {
        read(&kernel, "proc/310/oom_score_adj") == "0"
    });
}

#[test]
fn a_diagnosis_tells_of_a_change_that_outlived_its_lease() {
    let kernel = as_root();
    let notes = || run(on(&kernel), &["memory-diagnose", "--json"]).json()["notes"].to_string();
    let lease = ["-t", "310", "--oom-score-adj", "7", "--for", "2s"];
    let (exit, _, talk) = enforce(&kernel, &lease);
    assert_eq!(exit, 0, "{talk}");
    let journal = kernel.path("state/journal/journal.jsonl");
    // As if whoever keeps the lease had died: its last word is taken back.
    let before = std::fs::read(&journal).unwrap();
    assert!(!notes().contains("lease"), "{}", notes());
    wait_until("the lease is over", || {
        std::fs::read(&journal).unwrap() != before
    });
    // Waits for the journal's lock: nobody writes to it any more.
    assert_eq!(run(on(&kernel), &["rollback"]).exit, 0);
    assert!(!notes().contains("lease"), "{}", notes());
    std::fs::write(&journal, before).unwrap();
    wait_until("the diagnosis tells of it", || {
        notes().contains("1 change still holds although its lease is over")
    });
    std::fs::write(&journal, "damaged").unwrap();
    assert!(!notes().contains("lease"), "{}", notes());
    assert_eq!(run(on(&kernel), &["memory-diagnose"]).exit, 0);
}

/// A host whose process 310 holds `score`, set to 7 by a lease that is over and
/// that nobody kept.
fn with_an_outlived_lease(score: &str) -> FakeKernel {
    let kernel = as_root();
    let lease = ["-t", "310", "--oom-score-adj", "7", "--for", "1s"];
    let (exit, _, talk) = enforce(&kernel, &lease);
    assert_eq!(exit, 0, "{talk}");
    let journal = kernel.path("state/journal/journal.jsonl");
    let before = std::fs::read(&journal).unwrap();
    wait_until("the lease is over", || {
        std::fs::read(&journal).unwrap() != before
    });
    // Waits for the journal's lock: nobody writes to it any more.
    assert_eq!(run(on(&kernel), &["rollback"]).exit, 0);
    // As if the keeper had been killed: its last word and its deed are taken back.
    std::fs::write(&journal, before).unwrap();
    std::fs::write(kernel.path("proc/310/oom_score_adj"), score).unwrap();
    kernel
}

#[test]
fn what_outlived_its_lease_goes_back_before_the_next_change_is_planned() {
    let kernel = with_an_outlived_lease("7\n");
    let (exit, document, talk) = enforce(&kernel, &["-t", "310", "--oom-score-adj", "5"]);
    assert_eq!(exit, 0, "{talk}");
    let undone = &document["expired_leases"][0];
    assert_eq!(undone["outcome"], "restored", "{document}");
    assert_eq!(undone["lease_over"], true);
    let lines = talk.lines().filter(|line| line.starts_with("put back "));
    assert_eq!(lines.count(), 1, "{talk}");
    // Planned from the value that should hold, not from the leased one.
    assert_eq!(document["plan"][0]["before"], "0", "{document}");
    assert_eq!(run(on(&kernel), &["rollback"]).exit, 0);
    assert_eq!(read(&kernel, "proc/310/oom_score_adj"), "0");
}

#[test]
fn what_outlived_its_lease_goes_back_although_the_run_itself_is_refused() {
    let kernel = with_an_outlived_lease("7\n");
    let (exit, document, _) = enforce(&kernel, &["-t", "99999", "--oom-score-adj", "5"]);
    assert_eq!(exit, 2);
    assert_eq!(document["expired_leases"][0]["outcome"], "restored");
    assert_eq!(read(&kernel, "proc/310/oom_score_adj"), "0");
}

#[test]
fn a_simulation_and_a_diagnosis_only_tell_what_outlived_its_lease() {
    let kernel = with_an_outlived_lease("7\n");
    let before = contents(&kernel.path("."));
    let (exit, document, talk) = enforce(
        &kernel,
        &["-t", "310", "--oom-score-adj", "5", "--simulation"],
    );
    assert_eq!(exit, 0, "{talk}");
    assert_eq!(document["expired_leases"], Value::Array(Vec::new()));
    let warnings = document["warnings"].to_string();
    assert!(warnings.contains("lease is over"), "{warnings}");
    assert!(talk.contains("without --simulation it"), "{talk}");
    assert_eq!(run(on(&kernel), &["memory-diagnose"]).exit, 0);
    assert!(before == contents(&kernel.path(".")));
}

#[test]
fn an_outlived_lease_whose_value_somebody_else_has_set_is_left_alone_and_told() {
    let kernel = with_an_outlived_lease("9\n");
    let (exit, document, talk) = enforce(&kernel, &["-t", "311", "--oom-score-adj", "5"]);
    assert_eq!(exit, 0, "{talk}");
    let left = &document["expired_leases"][0];
    assert_eq!(left["outcome"], "conflict", "{document}");
    assert_eq!(left["found"], "9");
    assert!(
        talk.contains("somebody else has set another value"),
        "{talk}"
    );
    assert_eq!(read(&kernel, "proc/310/oom_score_adj"), "9");
}

#[test]
fn what_outlived_its_lease_goes_back_before_one_change_and_among_all() {
    let kernel = with_an_outlived_lease("7\n");
    let all = run(on(&kernel), &["rollback", "--json"]);
    assert_eq!(all.exit, 0, "{}", all.stderr);
    let document = all.json();
    assert_eq!(document["expired_leases"], Value::Array(Vec::new()));
    assert_eq!(document["changes"][0]["lease_over"], true);
    assert!(all.stderr.contains("its lease was over"), "{}", all.stderr);

    let kernel = with_an_outlived_lease("7\n");
    let journal = kernel.path("state/journal/journal.jsonl");
    let outlived = std::fs::read(&journal).unwrap();
    let limit = ["-t", "/build/web", "--high", "200M"];
    let (exit, document, talk) = enforce(&kernel, &limit);
    assert!(exit == 0 || exit == 4, "{talk}");
    let id = document["journal_ids"][0].to_string();
    // The keeper of the first lease has died only now.
    let mut both = outlived.clone();
    let whole = std::fs::read(&journal).unwrap();
    both.extend(after_the_rollback(&whole, outlived.len()));
    std::fs::write(&journal, both).unwrap();
    std::fs::write(kernel.path("proc/310/oom_score_adj"), "7\n").unwrap();
    let one = run(on(&kernel), &["rollback", &id, "--json"]);
    assert_eq!(one.exit, 0, "{}", one.stderr);
    let document = one.json();
    assert_eq!(document["expired_leases"][0]["outcome"], "restored");
    assert_eq!(document["changes"].as_array().unwrap().len(), 1);
    assert_eq!(document["changes"][0]["lease_over"], false);
    assert_eq!(read(&kernel, "proc/310/oom_score_adj"), "0");
    assert_eq!(read(&kernel, "cgroup/build/web/memory.high"), "314572800");
}

/// The lines behind the first `end` bytes of a journal, without the first,
/// which undid an outlived lease.
fn after_the_rollback(journal: &[u8], end: usize) -> &[u8] {
    let rest = &journal[end..];
    let line = rest.iter().position(|byte| *byte == b'\n').unwrap();
    &rest[line + 1..]
}

/// Each refusal: nothing changes, the document names it, the exit code fits.
#[test]
fn a_refusal_changes_nothing_and_is_told_in_both_ways() {
    let container = format!("/{}", grey_fake_kernel::FakeCgroup::container_path());
    let no_reclaim = as_root().without("cgroup/build/web/memory.reclaim");
    for (kernel, arguments, exit, kind) in [
        (as_root(), &[][..], 2, "usage"),
        (as_root(), &["--reclaim", "10M"], 2, "usage"),
        (as_root(), &["-t", "99999", "--page-out"], 2, "usage"),
        (as_root(), &["-t", "nginx", "--page-out"], 2, "usage"),
        (as_root(), &["-t", "/no/such", "--page-out"], 2, "usage"),
        (as_user(), &["--drop-caches"], 6, "not_permitted"),
        (as_user(), &["--enable-ksm"], 6, "not_permitted"),
        (
            as_root(),
            &["--simulation", "-t", "/build/web", "--limit", "63M"],
            7,
            "unsafe",
        ),
        (
            as_root(),
            &["-t", "/build/web", "--limit", "63M"],
            7,
            "unsafe",
        ),
        (
            as_root(),
            &["-t", &container, "--high", "200M"],
            7,
            "unsafe",
        ),
        (
            no_reclaim,
            &["-t", "/build/web", "--reclaim", "10M"],
            9,
            "not_supported",
        ),
        (
            as_root().with_v1_cgroups(),
            &["-t", "310", "--high", "200M"],
            9,
            "not_supported",
        ),
        (
            as_root().without("sys/kernel/mm/ksm"),
            &["--enable-ksm"],
            9,
            "not_supported",
        ),
    ] {
        let before = kernel_state(&kernel);
        let (code, document, talk) = enforce(&kernel, arguments);
        assert_eq!(code, exit, "{arguments:?}: {talk}");
        assert_eq!(document["outcome"], "refused", "{arguments:?}");
        assert_eq!(document["refusals"][0]["kind"], kind, "{arguments:?}");
        assert!(talk.contains("error: "), "{arguments:?}: {talk}");
        assert!(talk.contains("hint: "), "{arguments:?}: {talk}");
        assert!(before == kernel_state(&kernel), "{arguments:?}");
    }
}

#[test]
fn a_state_directory_that_may_not_be_written_stops_it_before_the_first_change() {
    let kernel = as_root();
    std::fs::create_dir(kernel.path("state")).unwrap();
    forbid_writing(&kernel.path("state"));
    let before = kernel_state(&kernel);
    let arguments = [
        "memory-enforce",
        "--json",
        "-t",
        "310",
        "--oom-score-adj",
        "5",
    ];
    let ran = run(unprivileged_on(&kernel), &arguments);
    assert_eq!(ran.exit, 6, "{}", ran.stderr);
    assert_eq!(ran.json()["outcome"], "refused");
    assert!(ran.stderr.contains("--state-dir"), "{}", ran.stderr);
    assert!(before == kernel_state(&kernel));
}

#[test]
fn a_simulation_tells_the_refusal_that_the_run_would_meet() {
    let kernel = as_root();
    std::fs::create_dir(kernel.path("state")).unwrap();
    give_away(&kernel.path("state"));
    let score = kernel.path("proc/310/oom_score_adj");
    std::fs::set_permissions(score, Permissions::from_mode(0o444)).unwrap();
    let common = [
        "memory-enforce",
        "--json",
        "-t",
        "310",
        "--oom-score-adj",
        "900",
    ];
    let real = run(unprivileged_on(&kernel), &common);
    let simulated = run(
        unprivileged_on(&kernel),
        &[&common[..], &["--simulation"]].concat(),
    );
    for (ran, exit) in [(&real, 6), (&simulated, 0)] {
        assert_eq!(ran.exit, exit, "{}", ran.stderr);
        let refusal = &ran.json()["refusals"][0];
        assert_eq!(refusal["kind"], "not_permitted", "{}", ran.stderr);
        let reason = refusal["reason"].as_str().unwrap();
        assert!(reason.contains("oom_score_adj"), "{reason}");
    }
}

#[test]
fn a_thread_is_not_taken_for_a_process() {
    let (send, receive) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        send.send(rustix::thread::gettid().as_raw_nonzero())
            .unwrap();
        let _ = ended.recv();
    });
    let id = receive.recv().unwrap().to_string();
    for arguments in [
        &[
            "memory-enforce",
            "--simulation",
            "--oom-score-adj",
            "5",
            "-t",
            &id,
        ][..],
        &["memory-enforce", "--simulation", "--page-out", "-t", &id],
        &["memory-diagnose", "-t", &id],
    ] {
        let ran = run(greyctl(), arguments);
        assert_eq!(ran.exit, 2, "{}", ran.stderr);
        let told = format!("{id} is a thread of process {}", std::process::id());
        assert!(ran.stderr.contains(&told), "{}", ran.stderr);
        let hint = format!("--target {}", std::process::id());
        assert!(ran.stderr.contains(&hint), "{}", ran.stderr);
    }
    drop(end);
    thread.join().unwrap();
}

#[test]
fn a_ksm_that_runs_by_a_lease_and_is_asked_for_again_outlives_that_lease() {
    let kernel = as_root();
    let (code, _, talk) = enforce(&kernel, &["--enable-ksm", "--for", "2s"]);
    assert_eq!(code, 0, "{talk}");
    let (code, document, talk) = enforce(&kernel, &["--enable-ksm"]);
    assert_eq!(code, 0, "{talk}");
    assert_eq!(document["effects"][0]["verdict"], "worked", "{document}");
    let start = Instant::now();
    let leased = || {
        let journal = run(on(&kernel), &["journal", "--json"]).json();
        let changes = journal["changes"].as_array().unwrap().clone();
        changes
            .iter()
            .any(|change| !change["lease_remaining_seconds"].is_null())
    };
    while leased() {
        assert!(start.elapsed() < PATIENCE, "the lease did not end");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(read(&kernel, "sys/kernel/mm/ksm/run"), "1");
    assert_eq!(run(on(&kernel), &["rollback"]).exit, 0);
    assert_eq!(read(&kernel, "sys/kernel/mm/ksm/run"), "0");
}

#[test]
fn a_ksm_that_was_unmerging_is_stopped_by_the_rollback_and_unmerges_only_when_forced() {
    for (arguments, left) in [(&["rollback"][..], "0"), (&["rollback", "--force"], "2")] {
        let kernel = as_root().with("sys/kernel/mm/ksm/run", "2\n");
        let (code, _, talk) = enforce(&kernel, &["--enable-ksm"]);
        assert_eq!(code, 0, "{talk}");
        let run_file = || read(&kernel, "sys/kernel/mm/ksm/run");
        assert_eq!(run_file(), "1");
        let ran = run(on(&kernel), arguments);
        assert_eq!(ran.exit, 0, "{}", ran.stderr);
        assert_eq!(run_file(), left);
        assert_eq!(ran.stdout.contains("write 2 to"), left == "0");
    }
}

#[test]
fn a_journal_that_cannot_grow_stops_it_before_the_first_change() {
    let kernel = as_root();
    let before = kernel_state(&kernel);
    let given = on(&kernel);
    // A file may not grow at all, and the signal that would end us is ignored:
    // what a full disk is to a writer, without one.
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"])
        .arg(given.get_program())
        .args(given.get_args());
    let arguments = [
        "memory-enforce",
        "--json",
        "-t",
        "310",
        "--oom-score-adj",
        "5",
    ];
    let ran = run(command, &arguments);
    assert_eq!(ran.exit, 7, "{}", ran.stderr);
    assert!(ran.stderr.contains("journal"), "{}", ran.stderr);
    assert!(before == kernel_state(&kernel));
}

#[test]
fn a_change_that_the_journal_does_not_know_is_a_usage_error() {
    let ran = run(on(&as_root()), &["rollback", "77", "--json"]);
    assert_eq!(ran.exit, 2, "{}", ran.stderr);
    assert_eq!(ran.json()["outcome"], "failed");
    assert!(ran.stderr.contains("77"), "{}", ran.stderr);
}

#[test]
fn whoever_has_to_wait_for_the_journal_is_told_for_whom() {
    let kernel = as_root();
    enforce(&kernel, &["-t", "310", "--oom-score-adj", "7"]);
    let lock = std::fs::File::open(kernel.path("state/journal/lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let mut child = on(&kernel)
        .arg("rollback")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut talk = BufReader::new(child.stderr.take().unwrap());
    talk.read_line(&mut line).unwrap();
    assert!(line.starts_with("waiting for process "), "{line}");
    flock(&lock, FlockOperation::Unlock).unwrap();
    let mut rest = String::new();
    talk.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
    assert_eq!(read(&kernel, "proc/310/oom_score_adj"), "0");
}

#[test]
fn a_rollback_of_nothing_leaves_no_trace() {
    let kernel = as_root();
    let ran = run(on(&kernel), &["rollback"]);
    assert_eq!(
        (ran.exit, ran.stdout.as_str()),
        (0, "Nothing to put back.\n")
    );
    assert!(!kernel.path("state").exists());
}

#[test]
fn an_empty_journal_says_so() {
    let ran = run(on(&as_root()), &["journal"]);
    assert_eq!(
        (ran.exit, ran.stdout.as_str()),
        (0, "Nothing was changed.\n")
    );
}

#[test]
fn a_rollback_of_anothers_journal_names_its_owner() -> Ended {
    if !rustix::process::geteuid().is_root() {
        return Ended::Skipped {
            reason: "giving a directory away needs root",
        };
    }
    // Only root can give a directory away. `daemon` is user 1 everywhere;
    // user 54321 has no name.
    let kernel = as_root();
    let state = kernel.path("state");
    std::fs::create_dir_all(&state).unwrap();
    for (owner, name) in [(1, "sudo -u daemon "), (54321, "sudo -u '#54321' ")] {
        std::os::unix::fs::chown(&state, Some(owner), Some(owner)).unwrap();
        let ran = run(on(&kernel), &["rollback"]);
        assert_ne!(ran.exit, 0);
        assert!(ran.stderr.contains("it belongs to user"), "{}", ran.stderr);
        let hint = format!("{name}greyctl rollback --procfs ");
        assert!(ran.stderr.contains(&hint), "{}", ran.stderr);
        let end = format!(" --state-dir {}\n", state.display());
        assert!(ran.stderr.ends_with(&end), "{}", ran.stderr);
    }
    Ended::Done
}

/// A process of this machine that only waits, and ends with the test.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").spawn().unwrap())
    }

    fn file(&self, name: &str) -> String {
        let path = format!("/proc/{}/{name}", self.0.id());
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_process_gets_its_score_and_its_rlimit_back() {
    let sleeper = Sleeper::new();
    let state = tempfile::tempdir().unwrap();
    let pid = sleeper.0.id().to_string();
    let (score, limits) = (sleeper.file("oom_score_adj"), sleeper.file("limits"));
    let with_state = || {
        let mut command = greyctl();
        command.arg("--state-dir").arg(state.path().join("state"));
        command
    };
    let ran = run(
        with_state(),
        &[
            "memory-enforce",
            "-t",
            &pid,
            "--oom-score-adj",
            "700",
            "--rlimit-data",
            "1G",
            "--observe",
            "0s",
        ],
    );
    assert_eq!(ran.exit, 0, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(sleeper.file("oom_score_adj"), "700");
    assert!(sleeper.file("limits").contains("1073741824"));
    let undone = run(with_state(), &["rollback"]);
    assert_eq!(undone.exit, 0, "{}{}", undone.stdout, undone.stderr);
    assert_eq!(sleeper.file("oom_score_adj"), score);
    assert_eq!(sleeper.file("limits"), limits);
}

#[test]
fn what_is_so_by_a_lease_and_is_asked_for_again_outlives_that_lease() {
    let sleeper = Sleeper::new();
    let state = tempfile::tempdir().unwrap();
    let with_state = || {
        let mut command = greyctl();
        command.arg("--state-dir").arg(state.path().join("state"));
        command
    };
    let (pid, score) = (sleeper.0.id().to_string(), sleeper.file("oom_score_adj"));
    let asked = [
        "memory-enforce",
        "-t",
        &pid,
        "--oom-score-adj",
        "700",
        "--json",
    ];
    let leased = run(with_state(), &[&asked[..], &["--for", "1h"]].concat());
    assert_eq!(leased.exit, 0, "{}{}", leased.stdout, leased.stderr);
    let number = |ran: &crate::harness::Ran| ran.json()["journal_ids"][0].as_u64();
    let first = number(&leased).unwrap().to_string();
    let again = run(with_state(), &asked);
    assert_eq!(again.exit, 0, "{}{}", again.stdout, again.stderr);
    assert!(number(&again).is_some(), "{}", again.stdout);
    // The second stands on it: nothing goes back.
    assert_eq!(run(with_state(), &["rollback", &first]).exit, 4);
    assert_eq!(sleeper.file("oom_score_adj"), "700");
    // Without a lease that ends it, the same once more is nothing to do.
    assert_eq!(number(&run(with_state(), &asked)), None);
    assert_eq!(run(with_state(), &["rollback"]).exit, 0);
    assert_eq!(sleeper.file("oom_score_adj"), score);
}

/// A process that ends with the test, however that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The same program as the one process of another pid namespace.
fn in_a_pid_namespace(arguments: &[&std::ffi::OsStr]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child"])
        .args(arguments);
    command
}

#[test]
fn a_rollback_from_another_pid_namespace_leaves_it_to_whoever_sees_it() -> Ended {
    // Needs root, and a kernel and a sandbox that let it.
    if !in_a_pid_namespace(&["true".as_ref()])
        .output()
        .is_ok_and(|done| done.status.success())
    {
        return Ended::Skipped {
            reason: "no pid namespace can be made here",
        };
    }
    let sleeper = Sleeper::new();
    let state = tempfile::tempdir().unwrap();
    let place = state.path().join("state");
    let with_state = || {
        let mut command = greyctl();
        command.arg("--state-dir").arg(&place);
        command
    };
    let (pid, score) = (sleeper.0.id().to_string(), sleeper.file("oom_score_adj"));
    let arguments = ["memory-enforce", "-t", &pid, "--oom-score-adj", "700"];
    assert_eq!(run(with_state(), &arguments).exit, 0);
    let program = greyctl().get_program().to_owned();
    let elsewhere = || {
        in_a_pid_namespace(&[
            &program,
            "--state-dir".as_ref(),
            place.as_os_str(),
            "rollback".as_ref(),
        ])
    };
    let not_seen = run(elsewhere(), &[]);
    assert_eq!(not_seen.exit, 1, "{}{}", not_seen.stdout, not_seen.stderr);
    assert!(
        not_seen.stdout.contains("another pid namespace"),
        "{}",
        not_seen.stdout
    );
    assert_eq!(sleeper.file("oom_score_adj"), "700");
    assert_eq!(run(with_state(), &["rollback"]).exit, 0);
    assert_eq!(sleeper.file("oom_score_adj"), score);
    Ended::Done
}

#[test]
fn what_was_set_in_a_pid_namespace_that_is_over_is_gone() {
    let is_first = std::fs::read_link("/proc/self/ns/pid")
        .is_ok_and(|link| link.as_os_str() == "pid:[4026531836]");
    if !is_first
        || !in_a_pid_namespace(&["true".as_ref()])
            .output()
            .is_ok_and(|done| done.status.success())
    {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let place = state.path().join("state");
    let script = "sleep 600 & \"$0\" --state-dir \"$1\" memory-enforce -t $! \
                  --oom-score-adj 700 --observe 0s && echo done && wait";
    let program = greyctl().get_program().to_owned();
    let mut inside = in_a_pid_namespace(&[
        "sh".as_ref(),
        "-c".as_ref(),
        script.as_ref(),
        &program,
        place.as_os_str(),
    ])
    .stdout(Stdio::piped())
    .spawn()
    .map(Killed)
    .unwrap();
    let said = BufReader::new(inside.0.stdout.take().unwrap());
    assert!(said.lines().any(|line| line.unwrap() == "done"));
    let roll_back = || {
        let mut command = greyctl();
        command.arg("--state-dir").arg(&place);
        run(command, &["rollback"])
    };
    let living = roll_back();
    assert_eq!(living.exit, 1, "{}{}", living.stdout, living.stderr);
    // Its first process is the shell: with it goes the namespace.
    let children = format!("/proc/{0}/task/{0}/children", inside.0.id());
    let shell = std::fs::read_to_string(children).unwrap();
    let shell = rustix::process::Pid::from_raw(shell.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(shell, rustix::process::Signal::KILL).unwrap();
    inside.0.wait().unwrap();
    let over = roll_back();
    assert_eq!(over.exit, 0, "{}{}", over.stdout, over.stderr);
    assert!(
        over.stdout.contains("its pid namespace is over"),
        "{}",
        over.stdout
    );
}

fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_zombie_is_refused_in_words() {
    let kernel = as_root();
    for action in [&["--oom-score-adj", "100"][..], &["--page-out"]] {
        let mut all = vec!["memory-enforce", "-t", "110", "--observe", "0s"];
        all.extend(action);
        let ran = run(on(&kernel), &all);
        assert_eq!(ran.exit, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("it is a zombie"), "{}", ran.stderr);
        let hint = "hint: find its parent: ps -o ppid= -p 110\n";
        assert!(ran.stderr.contains(hint), "{}", ran.stderr);
        let errors = ran
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "));
        assert!(errors.clone().all(|line| !line.contains("os error")));
        assert_eq!(errors.count(), 1, "{}", ran.stderr);
    }
}
