//! Processes without a name, or with a number for one, as `why` and the other commands show them.

use super::*;

#[test]
fn who_shares_and_has_no_name_has_one_pair_of_brackets() {
    let unnamed = |pid| FakeProcess::new(pid, 1, "", "/solo");
    let kernel = host()
        .with_process(&unnamed(300))
        .with_process(&unnamed(301));
    let document = run(on(&with_sharers(kernel)), &["why", "--json", "310"]).json();
    let sharing = finding(&document["targets"][0], "sharing");
    let told = "libfake.so with 2 other processes (no name)";
    assert!(sharing.contains(told), "{sharing}");
}

#[test]
fn a_process_without_a_name_is_shown_as_one_everywhere() {
    let holder = FakeProcess {
        anon_kib: 300 << 10,
        ..FakeProcess::new(400, 1, "", "/solo")
    };
    let kernel = host()
        .with_cgroup(&FakeCgroup::new("solo", 300 << 20, &[400]))
        .with_process(&holder);
    kernel.write(
        "kernel.log",
        "[1.0] Out of memory: Killed process 77 () total-vm:1kB",
    );
    let log = kernel.path("kernel.log").to_str().unwrap().to_owned();
    for arguments in [
        &["why", "400"][..],
        &["why", "/solo"],
        &["why", "--killed", "--log", &log],
        &["memory-diagnose"],
        &["memory-diagnose", "--by", "program"],
        &["memory-diagnose", "--target", "400"],
        &["memory-watch", "--show-processes", "--count", "1"],
        &[
            "memory-enforce",
            "--target",
            "400",
            "--oom-score-adj",
            "5",
            "--simulation",
        ],
    ] {
        let ran = run(on(&kernel), arguments);
        let shown = &ran.stdout;
        assert!(
            shown.contains("(no name)"),
            "{arguments:?}: {shown}{}",
            ran.stderr
        );
        for pid in [" (400)", " (77)"] {
            let named: Vec<&str> = shown.split(pid).collect();
            let (_, before) = named.split_last().unwrap();
            let has_name = |text: &&str| text.ends_with("(no name)");
            assert!(before.iter().all(has_name), "{arguments:?}: {shown}");
        }
        assert!(!shown.contains("()"), "{arguments:?}: {shown}");
        assert!(!shown.contains("(("), "{arguments:?}: {shown}");
        if arguments[0] == "memory-enforce" {
            assert!(shown.contains("(no name) goes"), "{shown}");
        }
    }
}

#[test]
fn a_program_that_is_called_like_a_pid_is_hinted_at_where_no_process_has_it() {
    let told = "a program is called so: name it as name:1234";
    let called = |pid, name| FakeProcess::new(pid, 1, name, "/solo");
    let both = || host().with_cgroup(&FakeCgroup::new("solo", 1 << 20, &[400, 401]));
    for kernel in [
        both().with_process(&called(400, "1234")),
        both()
            .with_process(&called(400, "1234"))
            .with_process(&called(401, "1234")),
    ] {
        for arguments in [
            &["why", "1234"][..],
            &["memory-diagnose", "--target", "1234"],
            &["memory-enforce", "--target", "1234", "--oom-score-adj", "5"],
        ] {
            let ran = run(on(&kernel), arguments);
            assert_eq!(ran.exit, 2, "{arguments:?}: {}", ran.stderr);
            assert!(ran.stderr.contains(told), "{arguments:?}: {}", ran.stderr);
        }
        assert_eq!(run(on(&kernel), &["why", "name:1234"]).exit, 0);
        let other = run(on(&kernel), &["why", "1235"]);
        assert!(!other.stderr.contains("called so"), "{}", other.stderr);
    }
}
