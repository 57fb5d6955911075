//! The tracer on this machine, with a shell in the place of the product.
//!
//! Never needs root, nor a guest.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use kernel_tests::processes;
use kernel_tests::tracer::{Order, Scope, Trace, trace};

const BOUND: Duration = Duration::from_secs(60);

fn traced(directory: &Path, script: &str, scope: Scope, kill_at: Option<usize>) -> Trace {
    let script = format!("cd {}; {script}", directory.display());
    let command: Vec<OsString> = ["/bin/sh", "-c", &script]
        .iter()
        .map(OsString::from)
        .collect();
    let order = Order {
        command: &command,
        scope,
        kill_at,
        bound: BOUND,
    };
    trace(Path::new(env!("CARGO_BIN_EXE_kernel-cases")), &order)
        .expect("the shell runs under the tracer")
}

fn texts(trace: &Trace) -> Vec<&str> {
    trace.steps.iter().map(|step| step.text.as_str()).collect()
}

/// Opens and writes three files: six steps.
const THREE_FILES: &str = "printf one > a; printf two > b; printf three > c; printf said";

#[test]
fn a_whole_run_is_counted_and_not_disturbed() {
    let directory = tempfile::tempdir().unwrap();
    let trace = traced(directory.path(), THREE_FILES, Scope::Program, None);
    assert_eq!(trace.steps.len(), 6, "{:?}", texts(&trace));
    assert_eq!((trace.code, trace.killed), (Some(0), false));
    assert_eq!(trace.output, "said");
    assert_eq!(
        fs::read_to_string(directory.path().join("c")).unwrap(),
        "three"
    );
}

#[test]
fn killed_at_a_step_it_has_done_all_before_and_nothing_of_it() {
    let model = [
        "",
        "a=",
        "a=one",
        "a=one b=",
        "a=one b=two",
        "a=one b=two c=",
    ];
    for (at, expected) in (1..).zip(model) {
        let directory = tempfile::tempdir().unwrap();
        let trace = traced(directory.path(), THREE_FILES, Scope::Program, Some(at));
        assert!(trace.killed);
        assert_eq!(trace.code, None);
        assert_eq!(trace.steps.len(), at);
        let found: Vec<String> = ["a", "b", "c"]
            .iter()
            .filter_map(|name| Some((name, fs::read_to_string(directory.path().join(name)).ok()?)))
            .map(|(name, text)| format!("{name}={text}"))
            .collect();
        assert_eq!(
            found.join(" "),
            expected,
            "killed at step {at}: {:?}",
            texts(&trace)
        );
    }
}

#[test]
fn a_step_that_never_comes_lets_the_program_end() {
    let directory = tempfile::tempdir().unwrap();
    let trace = traced(directory.path(), "printf one > a", Scope::Program, Some(99));
    assert_eq!((trace.killed, trace.code), (false, Some(0)));
}

#[test]
fn steps_of_children_are_counted_only_in_the_tree() {
    let script = "/bin/sh -c 'printf x > a'; printf y > b";
    let directory = tempfile::tempdir().unwrap();
    let program = traced(directory.path(), script, Scope::Program, None);
    let tree = traced(directory.path(), script, Scope::Tree, None);
    assert_eq!(program.steps.len(), 2, "{:?}", texts(&program));
    assert_eq!(tree.steps.len(), 4, "{:?}", texts(&tree));
    assert!(!tree.steps[0].by_program && tree.steps[3].by_program);
}

#[test]
fn a_child_that_outlives_the_killed_program_is_told() {
    let directory = tempfile::tempdir().unwrap();
    // The first step comes when the child is what it will be: a child that is
    // killed while it is being born outlives nobody.
    let script = "sleep 600 & until read -r name < /proc/$!/comm && [ \"$name\" = sleep ]; \
                  do :; done; printf x > a; wait";
    let trace = traced(directory.path(), script, Scope::Program, Some(1));
    assert!(trace.killed);
    let alive = trace.children_alive(Duration::from_millis(200));
    assert_eq!(alive.len(), 1);
    for pid in alive {
        processes::kill_hard(pid);
    }
    assert!(trace.children_alive(Duration::from_secs(20)).is_empty());
}

#[test]
fn a_program_that_dies_by_itself_keeps_its_code() {
    let directory = tempfile::tempdir().unwrap();
    let trace = traced(directory.path(), "exit 7", Scope::Tree, None);
    assert_eq!(trace.code, Some(7));
}
