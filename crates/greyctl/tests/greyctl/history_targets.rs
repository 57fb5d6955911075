//! `memory-diagnose --at` of a target, and folded.

use grey_model::{ProcessField, ProcessSample};
use jiff::Timestamp;
use serde_json::Value;

use crate::documents::assert_valid;
use crate::harness::{Ran, host, on, only_command, pasted, run};
use crate::history::{holding, record, sample_before, write_samples};

fn at(kernel: &grey_fake_kernel::FakeKernel, more: &[&str]) -> Ran {
    let arguments = [&["memory-diagnose", "--at", "now"], more].concat();
    run(on(kernel), &arguments)
}

fn document(ran: &Ran) -> Value {
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let document = ran.json();
    assert_valid("grey.diagnosis.v1", &document);
    document
}

fn each(list: &Value, name: &str) -> Vec<Value> {
    let list = list.as_array().unwrap().iter();
    list.map(|one| one[name].clone()).collect()
}

#[test]
fn a_moment_is_narrowed_to_a_target_that_may_be_gone() {
    let kernel = host();
    record(&kernel);
    kernel.remove("proc/310");
    let of = |target: &[&str]| {
        let found = document(&at(&kernel, &[target, &["--json"]].concat()));
        let targets = found["targets"].as_array().unwrap().clone();
        let pids = each(&found["processes"], "pid");
        (targets, pids, each(&found["cgroups"], "path"))
    };
    let (targets, pids, cgroups) = of(&["-t", "builder"]);
    assert_eq!((&targets[0]["kind"], targets.len()), (&"process".into(), 1));
    assert_eq!(targets[0]["cgroup"], "/build/web");
    assert_eq!(pids, [310]);
    assert_eq!(cgroups, ["/", "/build", "/build/web"]);
    let (targets, pids, _) = of(&["-t", "310", "-t", "cc1"]);
    assert_eq!((targets.len(), pids), (2, vec![310.into(), 311.into()]));
    let (targets, pids, cgroups) = of(&["-t", "nginx.service"]);
    assert_eq!(targets[0]["kind"], "unit");
    assert_eq!(each(&targets[0]["processes"], "pid"), pids);
    assert!(!pids.is_empty());
    assert!(cgroups.contains(&"/system.slice/nginx.service".into()));
    assert!(!cgroups.contains(&"/build".into()), "{cgroups:?}");
    // The whole tree is one target, and not each cgroup in it.
    let (targets, pids, cgroups) = of(&["-t", "/build"]);
    assert_eq!((&targets[0]["kind"], targets.len()), (&"cgroup".into(), 1));
    assert!(pids.contains(&310.into()) && cgroups.contains(&"/build/web".into()));
    let text = at(&kernel, &["-t", "builder"]).stdout;
    assert!(text.contains("process 310 (builder)"), "{text}");
    assert!(!text.contains("the residual holds the rest"), "{text}");
}

#[test]
fn what_a_moment_does_not_have_is_refused_with_what_it_has() {
    let kernel = host();
    record(&kernel);
    let ran = at(&kernel, &["-t", "builder", "-t", "nosuch"]);
    assert_eq!((ran.exit, ran.stdout.as_str()), (2, ""));
    for says in ["that is `nosuch`", "history keeps the largest"] {
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    }
    let all = pasted(&only_command(&ran));
    assert!(all.stdout.contains("builder"), "{all:?}");
}

#[test]
fn sums_of_a_moment_say_that_they_are_of_the_largest_alone() {
    let kernel = host();
    let few = ["record", "--processes", "2", "--interval", "100ms", "--for"];
    assert_eq!(run(on(&kernel), &[&few[..], &["300ms"]].concat()).exit, 0);
    let says = "sums are of the 2 of ";
    let note = |more: &[&str]| {
        let found = document(&at(&kernel, &[more, &["--json"]].concat()));
        let notes = found["notes"].as_array().unwrap().iter();
        notes
            .filter(|note| note.as_str().unwrap().starts_with(says))
            .count()
    };
    assert_eq!(note(&["-t", "/"]), 1);
    assert_eq!(note(&["--by", "program"]), 1);
    assert_eq!(note(&[]), 0);
    let text = at(&kernel, &["-t", "/", "--by", "program"]).stdout;
    // Groups are not in each sample: those of before are told.
    let counted = "nginx: 2 processes with ";
    for says in [
        "as far as it was kept",
        "of the processes that were kept",
        counted,
    ] {
        assert!(text.contains(says), "{says}: {text}");
    }
}

#[test]
fn a_group_of_a_moment_is_as_old_and_as_idle_as_it_was_then() {
    let kernel = host();
    let now = Timestamp::now();
    let busy = |ticks| -> Vec<ProcessSample> {
        let mut process = holding(310, "builder", None, 100);
        process.values.set(ProcessField::CpuTime, Some(ticks));
        vec![process]
    };
    let samples = [
        // With the same pid and CPU time, before the machine was booted.
        sample_before(now, 1500, "zero", busy(7)),
        sample_before(now, 900, "one", busy(7)),
        sample_before(now, 100, "one", busy(7)),
        sample_before(now, 50, "one", busy(9)),
    ];
    write_samples(&kernel.path("state/history"), samples.into_iter());
    let moment = (now - jiff::SignedDuration::from_secs(100)).to_string();
    let arguments = [
        "memory-diagnose",
        "--at",
        &moment,
        "--by",
        "program",
        "--json",
    ];
    let found = document(&run(on(&kernel), &arguments));
    let group = &found["groups"][0];
    let ticks = rustix::param::clock_ticks_per_second();
    assert_eq!(group["oldest_seconds"], 1500 - 3100 / ticks);
    assert_eq!(group["idle_seconds"], 800);
    // Nobody had seen it before.
    let early = (now - jiff::SignedDuration::from_secs(900)).to_string();
    let arguments = [
        "memory-diagnose",
        "--at",
        &early,
        "--by",
        "program",
        "--json",
    ];
    let found = document(&run(on(&kernel), &arguments));
    assert_eq!(found["groups"][0]["idle_seconds"], 0);
}
