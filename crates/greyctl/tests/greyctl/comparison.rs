//! `memory-diagnose --save` and `diff`: on a fake kernel that changes between
//! two looks, and with hostile files.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

use grey_fake_kernel::FakeKernel;
use rustix::fs::FileType;
use serde_json::{Value, json};

use crate::documents::assert_valid;
use crate::harness::{contents, give_away, host, on, run, unprivileged_on};

/// Saves a diagnosis of `kernel` as `name` and gives its path.
fn saved(kernel: &FakeKernel, name: &str) -> String {
    let path = kernel.path(name).to_str().unwrap().to_owned();
    let ran = run(on(kernel), &["memory-diagnose", "--save", &path]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("Breakdown"), "{}", ran.stdout);
    path
}

/// Takes 100 MiB of free memory for process 310.
fn grow(kernel: &FakeKernel) {
    let change = |name: &str, key: &str, kib: i64| {
        let text = std::fs::read_to_string(kernel.path(name)).unwrap();
        let lines = text.lines().map(|line| match line.strip_prefix(key) {
            Some(rest) if rest.starts_with(':') => {
                let number: String = rest.chars().filter(char::is_ascii_digit).collect();
                format!("{key}: {} kB", number.parse::<i64>().unwrap() + kib)
            }
            _ => line.to_owned(),
        });
        kernel.write(name, lines.map(|line| line + "\n").collect::<String>());
    };
    change("proc/meminfo", "MemFree", -102_400);
    change("proc/meminfo", "AnonPages", 102_400);
    for key in ["Rss", "Pss", "Pss_Anon", "Private_Dirty", "Anonymous"] {
        change("proc/310/smaps_rollup", key, 102_400);
    }
}

#[test]
fn two_saved_diagnoses_show_what_grew() {
    let kernel = host();
    let before = saved(&kernel, "a.json");
    grow(&kernel);
    let after = saved(&kernel, "b.json");
    let ran = run(on(&kernel), &["diff", &before, &after, "--json"]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let document = ran.json();
    assert_valid("grey.comparison.v1", &document);
    assert_eq!(document["schema"], "grey.comparison/v1");
    assert_eq!(document["same_boot"], true);
    assert_eq!(document["system"]["free_delta_bytes"], -(100 << 20));
    let process = &document["processes"][0];
    assert_eq!(process["pid"], 310);
    assert_eq!(process["fate"], "grew");
    assert_eq!(process["delta_bytes"], 100 << 20);
    assert_eq!(document["before"]["file"], Value::from(before.clone()));
    let shown = run(on(&kernel), &["diff", &before, &after]);
    for part in ["+100.0 MiB", "builder", "grew", "-100.0 MiB"] {
        assert!(shown.stdout.contains(part), "{part}: {}", shown.stdout);
    }
}

#[test]
fn one_saved_diagnosis_is_compared_with_now_for_the_same_targets() {
    let kernel = host();
    let path = kernel.path("a.json").to_str().unwrap().to_owned();
    let arguments = ["memory-diagnose", "-t", "310", "--json", "--save", &path];
    let printed = run(on(&kernel), &arguments).json();
    let kept: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(printed, kept);
    grow(&kernel);
    let document = run(on(&kernel), &["diff", &path, "--json"]).json();
    assert_eq!(document["processes"].as_array().unwrap().len(), 1);
    assert_eq!(document["after"]["file"], Value::Null);
    let all = saved(&kernel, "all.json");
    let refused = run(on(&kernel), &["diff", &path, &all]);
    assert_eq!(refused.exit, 2);
    assert!(
        refused.stderr.contains("the whole machine"),
        "{}",
        refused.stderr
    );
}

/// Who changed, by pid, and where, by path.
pub(crate) fn changed(document: &Value) -> (Vec<(u64, String)>, Vec<String>) {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let processes = document["processes"].as_array().unwrap().iter();
    let processes =
        processes.map(|process| (process["pid"].as_u64().unwrap(), text(&process["fate"])));
    let cgroups = document["cgroups"].as_array().unwrap().iter();
    let cgroups = cgroups.map(|group| text(&group["path"]));
    (processes.collect(), cgroups.collect())
}

#[test]
fn saved_diagnoses_are_narrowed_to_a_target_that_may_be_gone() {
    let kernel = host();
    let before = saved(&kernel, "a.json");
    grow(&kernel);
    std::fs::remove_dir_all(kernel.path("proc/311")).unwrap();
    for changed in ["build/web", "user.slice"] {
        kernel.write(format!("cgroup/{changed}/memory.current"), "4096\n");
    }
    let after = saved(&kernel, "b.json");
    for files in [&[&before[..], &after][..], &[&before]] {
        let of = |target: &str| {
            let arguments = [&["diff", "--json", "-t", target], files].concat();
            let ran = run(on(&kernel), &arguments);
            assert_eq!(ran.exit, 0, "{}", ran.stderr);
            let document = ran.json();
            assert_valid("grey.comparison.v1", &document);
            changed(&document)
        };
        let web = vec!["/build/web".to_owned()];
        assert_eq!(of("cc1"), (vec![(311, "went".to_owned())], web.clone()));
        let (processes, cgroups) = of("/build/web");
        assert_eq!((processes.len(), cgroups), (2, web));
        assert_eq!(of("nginx"), (vec![], vec![]));
        let refused = run(on(&kernel), &[&["diff", "-t", "nosuch"], files].concat());
        assert_eq!((refused.exit, refused.stdout.as_str()), (2, ""));
        assert!(refused.stderr.contains("`nosuch`"), "{}", refused.stderr);
    }
    let shown = run(on(&kernel), &["diff", &before, &after, "-t", "cc1"]).stdout;
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    let says = "are of `cc1` alone, all other amounts of the whole machine";
    assert!(shown.contains(says), "{shown}");
}

#[test]
fn a_command_is_run_between_two_looks_and_its_output_is_not_ours() {
    let kernel = host();
    let status = kernel.path("proc/meminfo");
    let script = format!(
        "echo said; sed -i 's/^MemFree:.*/MemFree: 4096 kB/' {}",
        status.display()
    );
    let ran = run(on(&kernel), &["diff", "--json", "--", "sh", "-c", &script]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let document = ran.json();
    assert_valid("grey.comparison.v1", &document);
    assert!(ran.stderr.contains("said"), "{}", ran.stderr);
    assert_eq!(document["command"]["exit_code"], 0);
    let delta = document["system"]["free_delta_bytes"].as_i64().unwrap();
    assert!(delta < 0, "{delta}");
}

#[test]
fn the_peak_of_a_command_is_told_and_never_what_greyctl_had() {
    let kernel = host();
    let ran = |script: &str| {
        let ran = run(on(&kernel), &["diff", "--json", "--", "sh", "-c", script]);
        assert_eq!(ran.exit, 0, "{}", ran.stderr);
        let document = ran.json();
        assert_valid("grey.comparison.v1", &document);
        document["command"].clone()
    };
    // One block of 300 MiB, in a child that the command waits for.
    let large = ran("dd if=/dev/zero of=/dev/null bs=300M count=1; true");
    let peak = large["peak_rss_bytes"].as_u64().unwrap();
    assert!((300 << 20..400 << 20).contains(&peak), "{large}");
    assert_eq!(large["peak_rss_at_most_bytes"], peak);
    let small = ran(":");
    assert_eq!(small["peak_rss_bytes"], Value::Null, "{small}");
    assert!(small["peak_rss_at_most_bytes"].as_u64().unwrap() > 0);
    let shown = |script: &str| run(on(&kernel), &["diff", "--", "sh", "-c", script]).stdout;
    let large = shown("dd if=/dev/zero of=/dev/null bs=300M count=1; true");
    assert!(
        large.contains("its largest process had up to 30"),
        "{large}"
    );
    let small = shown(":");
    assert!(
        small.contains("none of its processes had more than"),
        "{small}"
    );
}

#[test]
fn free_pages_that_move_to_the_lists_of_cpus_change_nothing_that_is_in_use() {
    let kernel = host();
    // 1000 pages more on one list, and less in MemFree and MemAvailable.
    let script = format!(
        "cd {}; sed -i '0,/count:    256/s//count:    1256/' zoneinfo; \
         sed -i -E 's/^(MemFree|MemAvailable): *([0-9]+) kB/echo \"\\1: $((\\2 - 4000)) kB\"/e' meminfo",
        kernel.path("proc").display()
    );
    let arguments = ["--", "sh", "-c", &script];
    let ran = run(on(&kernel), &[&["diff", "--json"], &arguments[..]].concat());
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let document = ran.json();
    assert_valid("grey.comparison.v1", &document);
    let system = &document["system"];
    assert_eq!(
        system["per_cpu_free_lists_delta_bytes"],
        4000 << 10,
        "{system}"
    );
    for unchanged in [
        "used_delta_bytes",
        "available_delta_bytes",
        "free_delta_bytes",
    ] {
        assert_eq!(system[unchanged], 0, "{unchanged}: {system}");
    }
    let told =
        |ran: &crate::harness::Ran| ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    kernel.remove("proc/zoneinfo");
    let unknown = run(on(&kernel), &["diff", "--", "true"]);
    let says = "free pages on the lists of single CPUs are not known in both";
    assert!(told(&unknown).contains(says), "{}", unknown.stdout);
}

#[test]
fn lists_of_cpus_that_did_not_change_need_no_note() {
    let kernel = host();
    let notes = |script: &str| {
        let ran = run(on(&kernel), &["diff", "--json", "--", "sh", "-c", script]);
        let notes = ran.json()["notes"].as_array().unwrap().clone();
        let of_lists = notes.iter().filter_map(Value::as_str);
        let of_lists = of_lists.filter(|note| note.contains("lists of single CPUs"));
        of_lists.map(str::to_owned).collect::<Vec<String>>()
    };
    assert_eq!(notes(":"), [] as [String; 0]);
    let zoneinfo = kernel.path("proc/zoneinfo");
    let zoneinfo = zoneinfo.display();
    let grown = notes(&format!(
        "sed -i '0,/count:    256/s//count:    1256/' {zoneinfo}"
    ));
    assert!(grown[0].contains("changed by 3.9 MiB"), "{grown:?}");
}

#[test]
fn a_command_that_fails_or_is_killed_is_told_beside_its_comparison() {
    let kernel = host();
    for (script, told) in [("exit 7", "exit code 7"), ("kill -9 $$", "signal 9")] {
        let ran = run(on(&kernel), &["diff", "--json", "--", "sh", "-c", script]);
        assert_eq!(ran.exit, 1);
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
        assert_eq!(ran.json()["schema"], "grey.comparison/v1");
    }
    let ran = run(on(&kernel), &["diff", "--", "/nosuch/program"]);
    assert_eq!(ran.exit, 1);
    assert!(
        ran.stderr.contains("failed to run `/nosuch/program`"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_target_that_ends_between_the_two_looks_has_gone_and_is_compared() {
    let changed_on = |kernel: &FakeKernel, arguments: &[&str]| {
        let ran = run(on(kernel), arguments);
        assert_eq!(ran.exit, 0, "{}", ran.stderr);
        let document = ran.json();
        assert_valid("grey.comparison.v1", &document);
        let notes = document["notes"].as_array().unwrap().iter();
        let told = notes.filter(|note| note.as_str().unwrap().starts_with("`builder` is gone"));
        (changed(&document), told.count())
    };
    let went = |pid: u64| (pid, "went".to_owned());
    // While a command ran, and since a diagnosis was saved.
    let kernel = host();
    let end = format!("rm -r {}", kernel.path("proc/310").display());
    let diff = ["diff", "--json", "-t", "builder", "-t", "cc1", "--"];
    let found = changed_on(&kernel, &[&diff[..], &["sh", "-c", &end]].concat());
    // The cgroup that it was in is there, and has not gone.
    assert_eq!(found, ((vec![went(310)], vec![]), 1));
    let kernel = host();
    let path = kernel.path("a.json").to_str().unwrap().to_owned();
    let save = ["memory-diagnose", "-t", "builder", "--save", &path];
    assert_eq!(run(on(&kernel), &save).exit, 0);
    kernel.remove("proc/310");
    let found = changed_on(&kernel, &["diff", "--json", &path]);
    assert_eq!(found, ((vec![went(310)], vec![]), 1));
    // A unit goes with its cgroup, and those above it stay.
    let kernel = host();
    let unit = kernel.path("cgroup/system.slice/nginx.service");
    let procs = [100, 101].map(|pid| kernel.path(format!("proc/{pid}")).display().to_string());
    let end = format!("rm -r {} {}", unit.display(), procs.join(" "));
    let diff = ["diff", "--json", "-t", "nginx.service", "--", "sh", "-c"];
    let ((processes, cgroups), _) = changed_on(&kernel, &[&diff[..], &[&end]].concat());
    assert_eq!(processes, [went(101), went(100)]);
    assert_eq!(cgroups, ["/system.slice/nginx.service"]);
    // What was never there is refused before anything runs.
    let mark = kernel.path("mark");
    let touch = [
        "diff",
        "-t",
        "nosuch",
        "--",
        "touch",
        mark.to_str().unwrap(),
    ];
    assert_eq!((run(on(&kernel), &touch).exit, mark.exists()), (2, false));
}

#[test]
fn what_may_not_be_looked_at_any_more_is_not_said_to_be_gone() {
    let kernel = host();
    let close = format!("chmod 0 {}", kernel.path("proc/310").display());
    let diff = ["diff", "-t", "310", "--", "sh", "-c", &close];
    // The user who runs it must own what is closed.
    give_away(&kernel.path("proc/310"));
    let ran = run(unprivileged_on(&kernel), &diff);
    assert_eq!((ran.exit, ran.stdout.as_str()), (6, ""), "{}", ran.stderr);
    assert!(!ran.stderr.contains("is gone"), "{}", ran.stderr);
}

#[test]
fn what_is_no_diagnosis_is_refused_and_named() {
    let kernel = host();
    let good = saved(&kernel, "good.json");
    let mut other: Value = serde_json::from_slice(&std::fs::read(&good).unwrap()).unwrap();
    other["schema"] = json!("grey.diagnosis/v9");
    let mut damaged = other.clone();
    damaged["schema"] = json!("grey.diagnosis/v1");
    damaged["processes"] = json!("many");
    for (name, content, told) in [
        ("empty", Vec::new(), "is no document of greyctl"),
        (
            "binary",
            vec![0xff, 0x1b, b'[', b'2'],
            "is no document of greyctl",
        ),
        (
            "journal",
            br#"{"schema":"grey.journal/v1"}"#.to_vec(),
            "not a diagnosis",
        ),
        ("evil", br#"{"schema":"\u001b[2Jx"}"#.to_vec(), "\\x1b[2Jx"),
        (
            "newer",
            serde_json::to_vec(&other).unwrap(),
            "of another version",
        ),
        (
            "damaged",
            serde_json::to_vec(&damaged).unwrap(),
            "is damaged",
        ),
        (
            "cut",
            std::fs::read(&good).unwrap()[..2000].to_vec(),
            "is no document",
        ),
    ] {
        kernel.write(name, content);
        let path = kernel.path(name).to_str().unwrap().to_owned();
        let ran = run(on(&kernel), &["diff", &path, &good]);
        assert_eq!(ran.exit, 1, "{name}");
        assert!(ran.stderr.contains(told), "{name}: {}", ran.stderr);
        assert!(!ran.stderr.contains('\x1b'), "{name}");
        assert!(ran.stderr.contains("hint: "), "{name}");
    }
    let ran = run(on(&kernel), &["diff", "/nosuch.json"]);
    assert_eq!(ran.exit, 2, "{}", ran.stderr);
}

#[test]
fn a_diagnosis_is_saved_whole_for_its_owner_alone_or_not_at_all() {
    let kernel = host();
    let path = saved(&kernel, "a.json");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let pipe = kernel.path("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, mode, 0).unwrap();
    let before = contents(&kernel.path("proc"));
    let folder = kernel.path("proc").to_str().unwrap().to_owned();
    for target in [folder.as_str(), "/nosuch/a.json", pipe.to_str().unwrap()] {
        let ran = run(on(&kernel), &["memory-diagnose", "--save", target]);
        assert_ne!(ran.exit, 0, "{target}");
        assert!(ran.stderr.contains("failed to save"), "{}", ran.stderr);
    }
    assert!(before == contents(&kernel.path("proc")));
    let kind = std::fs::symlink_metadata(&pipe).unwrap().file_type();
    assert!(kind.is_fifo());
    let left = std::fs::read_dir(kernel.path("")).unwrap();
    let left = left.filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .contains("new-")
    });
    assert_eq!(left.count(), 0);
}

#[test]
fn a_link_is_replaced_by_the_diagnosis_and_what_it_leads_to_is_left_alone() {
    let kernel = host();
    let (real, link) = (kernel.path("real"), kernel.path("link"));
    let save = |link: &std::path::Path| {
        let path = link.to_str().unwrap();
        run(on(&kernel), &["memory-diagnose", "--save", path])
    };
    std::fs::write(&real, "somebody else's").unwrap();
    for leads_to in ["real", "yet to be made", "link"] {
        std::os::unix::fs::symlink(leads_to, &link).unwrap();
        let ran = save(&link);
        assert_eq!(ran.exit, 0, "{leads_to}: {}", ran.stderr);
        let facts = std::fs::symlink_metadata(&link).unwrap();
        assert!(facts.is_file() && facts.len() > 0, "{leads_to}");
        std::fs::remove_file(&link).unwrap();
    }
    assert_eq!(std::fs::read(&real).unwrap(), b"somebody else's");
    assert!(!kernel.path("yet to be made").exists());
    // As /dev/stdout is.
    std::os::unix::fs::symlink("/proc/self/fd/1", &link).unwrap();
    let mut command = on(&kernel);
    command.stdout(std::fs::File::create(kernel.path("stdout")).unwrap());
    let ran = command
        .args(["memory-diagnose", "--save"])
        .arg(&link)
        .output();
    let stderr = String::from_utf8(ran.unwrap().stderr).unwrap();
    assert!(stderr.contains("no regular file"), "{stderr}");
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn the_name_of_the_standard_output_is_refused_before_anything_is_read() {
    let kernel = host();
    let save = |path: &str, more: &[&str]| {
        let mut command = on(&kernel);
        command.current_dir(kernel.path("."));
        run(
            command,
            &[&["memory-diagnose", "--save", path], more].concat(),
        )
    };
    for more in [&[][..], &["-t", "nosuch"]] {
        let ran = save("-", more);
        assert_eq!((ran.exit, ran.stdout.as_str()), (2, ""));
        for says in ["`-`: it is the standard output", "--json"] {
            assert!(ran.stderr.contains(says), "{}", ran.stderr);
        }
    }
    assert!(!kernel.path("-").exists());
    assert_eq!(save("./-", &[]).exit, 0);
    assert!(kernel.path("-").exists());
}
