//! Which moment of history is meant, and what is compared with what.

use std::fs;
use std::os::unix::fs::symlink;

use grey_fake_kernel::{FakeKernel, FakeProcess};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::comparison::changed;
use crate::documents::assert_valid;
use crate::harness::{host, on, only_command, pasted, run};
use crate::history::{first_moment, record, samples, write_growth};

/// History of ten minutes, three hours ago.
fn recorded_long_ago(kernel: &FakeKernel) -> Timestamp {
    let then = Timestamp::now() - SignedDuration::from_hours(3);
    write_growth(&kernel.path("state/history"), then);
    then
}

#[test]
fn now_is_never_a_sample_of_hours_ago() {
    let kernel = host();
    recorded_long_ago(&kernel);
    for arguments in [
        &["history", "--at", "now"][..],
        &["memory-diagnose", "--at", "now"],
        &["diff", "-b", "now"],
    ] {
        let ran = run(on(&kernel), arguments);
        assert_eq!((ran.exit, ran.stdout.as_str()), (1, ""), "{arguments:?}");
        assert!(ran.stderr.contains("has nothing of now"), "{}", ran.stderr);
        assert!(ran.stderr.contains("3h"), "{}", ran.stderr);
        // Both hints find this history again.
        let state = format!("--state-dir {}", kernel.path("state").display());
        assert_eq!(ran.stderr.matches(&state).count(), 2, "{}", ran.stderr);
    }
    let at = run(on(&kernel), &["history", "--at", "now"]).stderr;
    let command = at.lines().find(|line| line.contains("--at")).unwrap();
    let moment = command.split("--at ").nth(1).unwrap();
    let moment = moment.split_whitespace().next().unwrap();
    let ran = run(on(&kernel), &["history", "--at", moment]);
    assert!(
        ran.stdout.contains("builder"),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
}

#[test]
fn a_moment_between_two_recordings_is_told_with_the_last_sample_before() {
    let kernel = host();
    recorded_long_ago(&kernel);
    record(&kernel);
    let ran = run(on(&kernel), &["history", "--at", "1h ago"]);
    assert_eq!(ran.exit, 1, "{}", ran.stdout);
    for says in ["nothing was recorded at", "the last sample before", "2h"] {
        assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
    }
    let that_one = pasted(&only_command(&ran));
    assert!(that_one.stdout.contains("builder"), "{that_one:?}");
}

#[test]
fn without_an_end_a_moment_is_compared_with_the_present() {
    let kernel = host();
    record(&kernel);
    let begin = first_moment(&kernel);
    // After the recorder has ended, and nobody records it.
    kernel.write("proc/310/statm", "300000 200000 10 10 0 200000 0\n");
    for end in [&[][..], &["-e", "now"]] {
        let arguments = [&["diff", "-b", &begin, "--json"], end].concat();
        let ran = run(on(&kernel), &arguments);
        assert_eq!(ran.exit, 0, "{}", ran.stderr);
        let document = ran.json();
        assert_valid("grey.comparison.v1", &document);
        assert_eq!(document["after"]["file"], serde_json::Value::Null);
        let process = &document["processes"][0];
        assert_eq!(
            (&process["pid"], &process["fate"]),
            (&310.into(), &"grew".into())
        );
        // Cgroups are those of the moment, though its sample may have none.
        let fates = document["cgroups"].as_array().unwrap().iter();
        assert!(fates.clone().all(|group| group["fate"] != "appeared"));
    }
}

#[test]
fn free_pages_that_moved_to_the_lists_of_cpus_are_not_in_use_since_a_moment_either() {
    let kernel = host();
    record(&kernel);
    let begin = first_moment(&kernel);
    let zoneinfo = fs::read_to_string(kernel.path("proc/zoneinfo")).unwrap();
    let moved = zoneinfo.replacen("count:    256", "count:    1256", 1);
    assert_ne!(moved, zoneinfo);
    kernel.write("proc/zoneinfo", moved);
    let document = run(on(&kernel), &["diff", "-b", &begin, "--json"]).json();
    let system = &document["system"];
    let (lists, used) = (4000 << 10, -(4000 << 10));
    assert_eq!(system["per_cpu_free_lists_delta_bytes"], lists, "{system}");
    assert_eq!(system["used_delta_bytes"], used, "{system}");
}

#[test]
fn moments_are_narrowed_to_a_target() {
    let kernel = host();
    record(&kernel);
    let begin = first_moment(&kernel);
    for pid in [310, 311] {
        let statm = format!("proc/{pid}/statm");
        kernel.write(&statm, "300000 200000 10 10 0 200000 0\n");
    }
    let of = |target: &[&str]| {
        let arguments = [&["diff", "-b", &begin, "--json"], target].concat();
        let ran = run(on(&kernel), &arguments);
        assert_eq!(ran.exit, 0, "{}", ran.stderr);
        let document = ran.json();
        assert_valid("grey.comparison.v1", &document);
        changed(&document).0
    };
    let (builder, compiler) = ((310, "grew".to_owned()), (311, "grew".to_owned()));
    assert_eq!(of(&["-t", "builder"]), [builder]);
    assert_eq!(of(&["-t", "cc1"]), [compiler]);
    assert_eq!(of(&["-t", "cc1", "-t", "310"]).len(), 2);
    assert_eq!(of(&["-t", "nginx.service"]), []);
    for end in [&["-t", "nosuch"][..], &["-e", &begin, "-t", "nosuch"]] {
        let refused = run(on(&kernel), &[&["diff", "-b", &begin], end].concat());
        assert_eq!((refused.exit, refused.stdout.as_str()), (2, ""));
        for says in ["`nosuch`", "history keeps the largest"] {
            assert!(refused.stderr.contains(says), "{}", refused.stderr);
        }
    }
}

#[test]
fn what_could_not_be_compared_is_that_of_the_target() {
    let kernel = host();
    let few = ["record", "--processes", "2", "--interval", "100ms", "--for"];
    assert_eq!(run(on(&kernel), &[&few[..], &["300ms"]].concat()).exit, 0);
    let begin = first_moment(&kernel);
    let left_out = |target: &[&str]| {
        let arguments = [&["diff", "-b", &begin, "--json"], target].concat();
        let document = run(on(&kernel), &arguments).json();
        document["not_compared"]["processes"].as_u64().unwrap()
    };
    assert!(left_out(&[]) > 1);
    assert_eq!(left_out(&["-t", "cc1"]), 1);
}

#[test]
fn a_row_has_the_same_name_wherever_it_is_shown() {
    let kernel = host();
    record(&kernel);
    let first = first_moment(&kernel);
    // Every row of the sample is another one now.
    let meminfo = fs::read_to_string(kernel.path("proc/meminfo")).unwrap();
    kernel.write("proc/meminfo", meminfo.replace("0 kB", "4 kB"));
    for arguments in [
        &["memory-diagnose", "--at", &first][..],
        &["history", "--at", &first],
        &["diff", "-b", &first],
    ] {
        let text = run(on(&kernel), arguments).stdout;
        for name in [
            "tmpfs and shared",
            "slab, reclaimable",
            "slab, unreclaimable",
        ] {
            assert!(text.contains(name), "{name}: {text}");
        }
    }
}

#[test]
fn what_a_sample_had_no_room_for_did_not_appear() {
    let kernel = host();
    let few = ["record", "--processes", "2", "--interval", "100ms", "--for"];
    assert_eq!(run(on(&kernel), &[&few[..], &["300ms"]].concat()).exit, 0);
    let begin = first_moment(&kernel);
    // One that begins after it, and one that was too small and is no more.
    let kernel = kernel.with_process(&FakeProcess {
        start_time_ticks: 1 << 40,
        ..FakeProcess::new(900, 1, "late", "/build/web")
    });
    kernel.write("proc/311/statm", "3000000 2000000 10 10 0 2000000 0\n");
    let ran = run(on(&kernel), &["diff", "-b", &begin, "--json"]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let document = ran.json();
    assert_valid("grey.comparison.v1", &document);
    let processes = document["processes"].as_array().unwrap();
    let fates: Vec<(u64, &str)> = processes
        .iter()
        .map(|process| {
            let fate = process["fate"].as_str().unwrap();
            (process["pid"].as_u64().unwrap(), fate)
        })
        .collect();
    assert_eq!(fates, [(311, "grew"), (900, "appeared")], "{document:#}");
    assert_eq!(processes[0]["rss_before_bytes"], serde_json::Value::Null);
    assert!(processes[0]["delta_bytes"].as_i64().unwrap() > 0);
    assert!(document["not_compared"]["processes"].as_u64().unwrap() > 2);
    let text = run(on(&kernel), &["diff", "-b", &begin]).stdout;
    assert!(text.contains("could not be compared"), "{text}");
    assert!(text.contains("the change is at least"), "{text}");
}

#[test]
fn who_only_became_smaller_than_the_recorded_ones_is_not_said_to_have_gone() {
    let kernel = host();
    let few = ["record", "--processes", "2", "--interval", "100ms", "--for"];
    let record = || assert_eq!(run(on(&kernel), &[&few[..], &["150ms"]].concat()).exit, 0);
    let statm = |pages: u64| {
        let line = format!("3000000 {pages} 10 10 0 {pages} 0\n");
        kernel.write("proc/311/statm", line);
    };
    statm(2_000_000);
    record();
    statm(20);
    record();
    let taken = samples(&kernel);
    let at = |sample: Option<&serde_json::Value>| {
        let at = sample.unwrap()["at_unix_ms"].as_i64().unwrap();
        Timestamp::from_millisecond(at).unwrap().to_string()
    };
    let (begin, end) = (at(taken.first()), at(taken.last()));
    let diff = ["diff", "-b", &begin, "-e", &end];
    let document = run(on(&kernel), &[&diff[..], &["--json"]].concat()).json();
    assert_valid("grey.comparison.v1", &document);
    let process = &document["processes"][0];
    assert_eq!(
        (&process["pid"], &process["fate"]),
        (&311.into(), &"left".into()),
        "{document:#}"
    );
    assert_eq!(process["rss_after_bytes"], serde_json::Value::Null);
    let text = run(on(&kernel), &diff).stdout;
    assert!(text.contains("ended or only smaller"), "{text}");
    assert!(!text.contains("went"), "{text}");
    // Now, every process is there: it is only smaller.
    let now = run(on(&kernel), &["diff", "-b", &begin, "--json"]).json();
    assert_eq!(now["processes"][0]["fate"], "shrank", "{now:#}");
    kernel.remove("proc/311");
    let now = run(on(&kernel), &["diff", "-b", &begin, "--json"]).json();
    assert_eq!(now["processes"][0]["fate"], "went", "{now:#}");
    // Where processes may be hidden, nobody has seen it go.
    kernel.remove("proc/1");
    let now = run(on(&kernel), &["diff", "-b", &begin, "--json"]).json();
    assert_eq!(now["processes"][0]["fate"], "left", "{now:#}");
}

#[test]
fn a_moment_has_the_cgroups_of_before_where_its_sample_has_none() {
    let kernel = host();
    record(&kernel);
    let samples = samples(&kernel);
    let read_at = samples[0]["at_unix_ms"].clone();
    assert_eq!(samples[0]["cgroups_at_unix_ms"], read_at);
    assert!(!samples[0]["cgroups"].is_null());
    assert!(samples[1]["cgroups"].is_null() && samples[1]["cgroups_at_unix_ms"].is_null());
    let at = |sample: &Value| {
        let ms = sample["at_unix_ms"].as_i64().unwrap();
        let at = Timestamp::from_millisecond(ms).unwrap().to_string();
        let document = run(on(&kernel), &["history", "--at", &at, "--json"]).json();
        assert_valid("grey.history.v1", &document);
        let shown = document["samples"][0].clone();
        assert_eq!(shown["cgroups"], samples[0]["cgroups"]);
        assert_eq!(shown["cgroups_at_unix_ms"], read_at);
        run(on(&kernel), &["history", "--at", &at]).stdout
    };
    let (own, earlier) = (at(&samples[0]), at(&samples[1]));
    assert!(own.contains("/build/web") && earlier.contains("/build/web"));
    assert!(!own.contains("the cgroups are those of"), "{own}");
    assert!(earlier.contains("the cgroups are those of"), "{earlier}");
}

#[test]
fn an_end_before_the_beginning_is_refused() {
    let kernel = host();
    let now = recorded_long_ago(&kernel);
    let moment = |seconds| (now - SignedDuration::from_secs(seconds)).to_string();
    let (earlier, later) = (moment(400), moment(100));
    for (arguments, end) in [
        (
            &["memory-diagnose", "--detect-leaks", "--since"][..],
            "--until",
        ),
        (&["history", "--from"], "--until"),
        (&["history", "export", "--json", "--from"], "--until"),
        (&["history", "export", "--csv", "--from"], "--until"),
        (&["diff", "-b"], "-e"),
    ] {
        let arguments = [arguments, &[&later, end, &earlier]].concat();
        let ran = run(on(&kernel), &arguments);
        assert_eq!((ran.exit, ran.stdout.as_str()), (2, ""), "{arguments:?}");
        for says in ["the end, ", "is before the beginning, "] {
            assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
        }
        let exchanged = pasted(&only_command(&ran));
        assert!([0, 3].contains(&exchanged.exit), "{exchanged:?}");
    }
    for same in [
        ["history", "--from", &later, "--until", &later],
        ["diff", "-b", &later, "-e", &later],
    ] {
        let ran = run(on(&kernel), &same);
        assert_ne!(ran.exit, 2, "{}", ran.stderr);
    }
    // However the two are written.
    let ran = run(on(&kernel), &["diff", "-b", "now", "-e", &earlier]);
    assert!(
        ran.stderr.contains("is before the beginning"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.exit, 2);
}

#[test]
fn a_time_without_samples_is_refused_with_what_there_is() {
    let kernel = host();
    recorded_long_ago(&kernel);
    for arguments in [
        &["history", "--from", "1h ago"][..],
        &["history", "--until", "2001-01-01 00:00"],
        &["history", "export", "--csv", "--from", "1h ago"],
        &["history", "export", "--json", "--until", "2001-01-01 00:00"],
        &["memory-diagnose", "--detect-leaks", "--since", "1h ago"],
    ] {
        let ran = run(on(&kernel), arguments);
        assert_eq!((ran.exit, ran.stdout.as_str()), (1, ""), "{arguments:?}");
        for says in ["history has no sample ", "it has from "] {
            assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
        }
        let all = pasted(&only_command(&ran));
        // With exit code 3 it has found a leak.
        assert!(
            [0, 3].contains(&all.exit) && !all.stdout.is_empty(),
            "{all:?}"
        );
    }
}

#[test]
fn a_moment_outside_of_history_is_told_with_the_same_command_that_works() {
    let kernel = host();
    record(&kernel);
    let first = first_moment(&kernel);
    let (early, late) = ("2001-01-01 00:00", "2099-01-01 00:00");
    for arguments in [
        &["history", "--at", early][..],
        &["memory-diagnose", "--at", early],
        &["memory-watch", "--at", early],
        &["diff", "-b", early],
        &["memory-diagnose", "--at", late],
        &["diff", "-b", &first, "-e", late],
    ] {
        let ran = run(on(&kernel), arguments);
        assert_eq!((ran.exit, ran.stdout.as_str()), (1, ""), "{arguments:?}");
        let says = "is outside the history: it has from ";
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
        let command = only_command(&ran);
        let same = arguments[..2].join(" ");
        assert!(command.contains(&same), "{same}: {command}");
        let worked = pasted(&command);
        assert_eq!(worked.exit, 0, "{command}: {}", worked.stderr);
    }
}

#[test]
fn leaks_are_looked_for_from_where_history_begins_and_that_is_said() {
    let kernel = host();
    recorded_long_ago(&kernel);
    let since = |moment| {
        let ran = run(
            on(&kernel),
            &["memory-diagnose", "--detect-leaks", "--since", moment],
        );
        ran.stdout
    };
    let says = "history has nothing of 2001-01-01 00:00:00: it has from ";
    assert!(since("2001-01-01 00:00").contains(says));
    assert!(!since("179m ago").contains("history has nothing"));
}

#[test]
fn seldom_samples_are_recorded_with_a_warning_of_what_they_cost() {
    let kernel = host();
    let seldom = ["record", "--interval", "10m", "--for", "1s"];
    let ran = run(on(&kernel), &seldom);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("a sample each 10m"), "{}", ran.stderr);
    let often = run(on(&kernel), &["record", "--for", "1s"]);
    assert!(!often.stderr.contains("a sample each"), "{}", often.stderr);
}

#[test]
fn a_pipe_that_nobody_writes_to_is_not_waited_for() {
    let kernel = host();
    let path = kernel.path("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let ran = run(on(&kernel), &["diff", path.to_str().unwrap()]);
    assert_eq!(ran.exit, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("is no document"), "{}", ran.stderr);
}

#[test]
fn a_pipe_that_is_written_to_is_read_to_its_end() {
    let kernel = host();
    let saved = kernel.path("saved.json");
    let name = saved.to_str().unwrap();
    assert_eq!(
        run(on(&kernel), &["memory-diagnose", "--save", name]).exit,
        0
    );
    let mut diff = on(&kernel);
    let mut writer = std::process::Command::new("cat")
        .arg(name)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    diff.stdin(writer.stdout.take().unwrap());
    let ran = run(diff, &["diff", "/dev/stdin", name, "--json"]);
    writer.wait().unwrap();
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
}

fn become_process(kernel: &FakeKernel, pid: &str) {
    let us = kernel.path("proc/self");
    match fs::symlink_metadata(&us).map(|facts| facts.is_dir()) {
        Ok(true) => fs::remove_dir_all(&us).unwrap(),
        Ok(false) => fs::remove_file(&us).unwrap(),
        Err(_) => {}
    }
    symlink(pid, us).unwrap();
}

#[test]
fn who_compares_is_no_part_of_what_is_compared() {
    let kernel = host();
    // The fake kernel's process 310 is us.
    become_process(&kernel, "310");
    let saved = kernel.path("saved.json");
    let name = saved.to_str().unwrap();
    let first = run(on(&kernel), &["memory-diagnose", "--save", name, "--json"]);
    assert_eq!(first.json()["taken_by_pid"], 310);
    kernel.write("proc/310/statm", "300000 200000 10 10 0 200000 0\n");
    let fate = || {
        let document = run(on(&kernel), &["diff", name, "--json"]).json();
        let processes = document["processes"].as_array().unwrap().iter();
        let mut ours = processes.filter(|process| process["pid"] == 310);
        ours.next().map(|process| process["fate"].clone())
    };
    assert_eq!(fate(), None, "although it has grown");
    // Another one looks, and 310 is now somebody else's.
    become_process(&kernel, "999");
    assert_eq!(fate(), Some("appeared".into()));
}
