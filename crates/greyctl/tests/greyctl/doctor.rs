//! `doctor`: a host on which everything is well, of which each test takes one
//! thing.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use grey_fake_kernel::{FakeKernel, FakeProcess};
use grey_model::{BootId, Sample, SystemValues};
use grey_telemetry::history::{HistoryOptions, HistoryWriter};
use serde_json::Value;

use crate::documents::assert_valid;
use crate::harness::{
    Ran, as_nobody, forbid, forbid_writing, give_away, greyctl, host, is_taken, on, run, run_at,
    unprivileged_on,
};
use crate::history::{Recorder, wait_until, write_growth};

/// What no fake tree decides: process_madvise is asked of this machine, pages of
/// an ordinary file cannot be scanned, the disk is this machine's.
const OF_THIS_MACHINE: [&str; 3] = ["process_madvise", "pagemap_scan", "state_room"];

/// A host on which everything is well, with a history that has just been
/// written.
fn sound() -> FakeKernel {
    let kernel = host()
        .with("sys/module/zswap/parameters/enabled", "N\n")
        .with("sys/kernel/mm/ksm/general_profit", "4096\n")
        .with("proc/self/limits", UNLIMITED);
    std::fs::create_dir(kernel.path("state")).unwrap();
    write_growth(&kernel.path("state/history"), jiff::Timestamp::now());
    kernel
}

const UNLIMITED: &str = "Max data size  unlimited  unlimited  bytes\n\
                         Max open files  1024  524288  files\n\
                         Max address space  unlimited  unlimited  bytes\n";

/// The host as `doctor` sees it, checks of this machine left out.
fn examined(kernel: &FakeKernel) -> (Ran, Vec<Value>) {
    let ran = run(on(kernel), &["doctor", "--json"]);
    let document = ran.json();
    assert_valid("grey.doctor.v1", &document);
    assert_eq!(document["exit_code"], ran.exit);
    let counts = document["counts"].as_object().unwrap().values();
    let counted: u64 = counts.map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(counted, document["checks"].as_array().unwrap().len() as u64);
    for check in document["checks"].as_array().unwrap() {
        let is_found = ["problem", "warning", "note"].contains(&check["state"].as_str().unwrap());
        let has_command = !check["mend"].is_null();
        assert_eq!(
            is_found && !has_command,
            check["no_command"].is_string(),
            "{check}"
        );
    }
    let checks = document["checks"].as_array().unwrap().iter();
    let kept = checks.filter(|check| !OF_THIS_MACHINE.iter().any(|name| check["check"] == *name));
    (ran, kept.cloned().collect())
}

/// The check `name` of `kernel`.
fn check(kernel: &FakeKernel, name: &str) -> Value {
    let (_, checks) = examined(kernel);
    let one = checks.into_iter().find(|check| check["check"] == name);
    one.unwrap_or_else(|| panic!("there is no check `{name}`"))
}

fn state(kernel: &FakeKernel, name: &str) -> String {
    check(kernel, name)["state"].as_str().unwrap().to_owned()
}

#[test]
fn a_host_on_which_everything_is_well_needs_nothing() {
    let kernel = sound();
    let folder = kernel.path("state/history");
    let _recorder = HistoryWriter::open(&folder, HistoryOptions::default()).unwrap();
    let (ran, checks) = examined(&kernel);
    assert_eq!(ran.exit, 0, "{}", ran.stdout);
    for check in checks {
        assert_eq!(check["state"], "ok", "{check}");
        assert_eq!(check["mend"], Value::Null, "{check}");
    }
}

#[test]
fn each_thing_that_is_taken_or_set_wrong_is_told() {
    type Change = fn(FakeKernel) -> FakeKernel;
    let cases: [(&str, &str, Change); 19] = [
        ("pressure", "warning", |it| it.without("proc/pressure")),
        ("pressure", "warning", |it| {
            it.with("proc/pressure/memory", "")
        }),
        ("swap", "note", |it| {
            it.with("proc/swaps", "Filename Type Size Used Priority\n")
        }),
        ("memory_reclaim", "note", FakeKernel::with_v1_cgroups),
        ("control_groups", "warning", FakeKernel::with_hybrid_cgroups),
        ("generations", "note", |it| {
            it.without("sys/kernel/mm/lru_gen")
        }),
        ("damon", "note", |it| it.without("sys/kernel/mm/damon")),
        ("ksm", "warning", |it| {
            it.with("sys/kernel/mm/ksm/pages_sharing", "0\n")
                .with("sys/kernel/mm/ksm/ksm_zero_pages", "0\n")
        }),
        ("huge_pages", "note", |it| {
            it.with(
                "sys/kernel/mm/transparent_hugepage/enabled",
                "[always] madvise never\n",
            )
        }),
        ("zswap", "warning", |it| {
            it.with("sys/module/zswap/parameters/enabled", "Y\n")
        }),
        ("zram_backing", "note", |it| {
            it.with("sys/block/zram0/backing_dev", "/dev/sda3\n")
        }),
        ("overcommit", "problem", |it| {
            let meminfo = std::fs::read_to_string(it.path("proc/meminfo")).unwrap();
            let promised = meminfo.replace("512000 kB", "2084856 kB");
            it.with("proc/sys/vm/overcommit_memory", "2\n")
                .with("proc/meminfo", promised)
        }),
        ("vfs_cache_pressure", "problem", |it| {
            it.with("proc/sys/vm/vfs_cache_pressure", "0\n")
        }),
        ("panic_on_oom", "problem", |it| {
            it.with("proc/sys/vm/panic_on_oom", "2\n")
        }),
        ("min_free", "problem", |it| {
            it.with("proc/sys/vm/min_free_kbytes", "512\n")
        }),
        ("own_limit", "note", |it| {
            it.with("cgroup/user.slice/memory.max", "104857600\n")
        }),
        ("container", "note", |it| {
            it.with("proc/1/environ", "container=podman\0")
        }),
        ("open_files", "warning", |it| {
            it.with("proc/self/limits", "Max open files 256 4096 files\n")
        }),
        ("capabilities", "note", |it| {
            it.with("proc/self/status", "Uid:\t1000\t1000\t0\t0\nCapEff:\t0\n")
        }),
    ];
    for (name, expected, change) in cases {
        let kernel = change(sound());
        let check = check(&kernel, name);
        assert_eq!(check["state"], expected, "{check}");
    }
}

#[test]
fn programs_that_kill_are_found_by_name_and_by_script() {
    let process = |pid, name: &str, cgroup: &str| FakeProcess::new(pid, 1, name, cgroup);
    let one = sound().with_process(&process(
        400,
        "systemd-oomd",
        "/system.slice/systemd-oomd.service",
    ));
    assert_eq!(state(&one, "oom_daemons"), "ok");
    let mut nohang = process(401, "python3", "/system.slice/nohang-desktop.service");
    nohang.command_line = b"python3\0-u\0/usr/sbin/nohang\0--monitor\0".to_vec();
    let both = one.with_process(&nohang);
    let found = check(&both, "oom_daemons");
    assert_eq!(found["state"], "warning", "{found}");
    assert_eq!(
        found["mend"]["command"],
        "sudo systemctl disable --now nohang-desktop.service"
    );
    // Where processes are hidden, nobody can say that there is none.
    std::fs::remove_dir_all(both.path("proc/1")).unwrap();
    assert_eq!(state(&both, "oom_daemons"), "unknown");
    let hidden = check(&both, "hidden_processes");
    assert!(hidden["found"].to_string().contains("hidepid"), "{hidden}");
}

#[test]
fn a_tree_without_processes_hides_none() {
    let kernel = sound();
    for entry in std::fs::read_dir(kernel.procfs()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().parse::<u32>().is_ok() {
            std::fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    let found = check(&kernel, "hidden_processes");
    assert_eq!(found["state"], "note");
    assert!(
        found["found"].to_string().contains("no process is there"),
        "{found}"
    );
    assert!(!found.to_string().contains("hidepid"), "{found}");
    let diagnosis = run(on(&kernel), &["memory-diagnose"]).stdout;
    assert!(diagnosis.contains("no process at all"), "{diagnosis}");
    assert!(!diagnosis.contains("hidepid"), "{diagnosis}");
}

#[test]
fn a_journal_and_history_that_are_damaged_are_told() {
    let kernel = sound();
    let status = "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n";
    kernel.write("proc/self/status", status);
    let arguments = [
        "memory-enforce",
        "--observe=0s",
        "-t",
        "310",
        "--oom-score-adj",
        "100",
    ];
    assert_eq!(run(on(&kernel), &arguments).exit, 0);
    assert_eq!(state(&kernel, "changes"), "note");
    assert_eq!(state(&kernel, "journal"), "ok");
    let file = kernel.path("state/journal/journal.jsonl");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(state(&kernel, "journal"), "problem");

    let record = ["record", "--interval", "100ms", "--for", "200ms"];
    assert_eq!(run(on(&kernel), &record).exit, 0);
    assert_eq!(state(&kernel, "history"), "note", "nothing records now");
    let shard = newest_shard(&kernel.path("state/history"));
    let mut bytes = std::fs::read(&shard).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let history = check(&kernel, "history");
    assert_eq!(history["state"], "warning", "{history}");
    assert!(history["found"].as_str().unwrap().contains("damaged"));
}

#[test]
fn a_shard_that_cannot_be_read_is_not_called_damaged() {
    let kernel = sound();
    let folder = kernel.path("state/history");
    std::fs::create_dir(folder.join("2026-01-01-00.shard")).unwrap();
    let history = check(&kernel, "history");
    let found = history["found"].as_str().unwrap();
    assert_eq!(history["state"], "warning");
    assert!(
        found.starts_with("600 samples can be read, and its files take "),
        "{found}"
    );
    assert!(
        found.contains("cannot be read: 2026-01-01-00.shard"),
        "{found}"
    );
    assert!(!found.contains("damaged"), "{found}");
}

#[test]
fn more_shards_than_a_process_may_have_files_are_read() {
    let kernel = sound();
    let day = Duration::from_secs(24 * 3600);
    let options = HistoryOptions {
        max_age: day * 1000,
        ..HistoryOptions::default()
    };
    let folder = kernel.path("state/history");
    let mut writer = HistoryWriter::open(&folder, options).unwrap();
    // Each day has a shard of its own, the last one's is the tail.
    for number in 0..=112 {
        let since = u64::try_from((day * number).as_millis()).unwrap();
        let sample = Sample {
            at_unix_ms: 978_350_400_000 + since,
            since_boot_ms: since,
            boot: BootId("2b6a1d3c-0000-4000-8000-000000000000".to_owned()),
            system: SystemValues::default(),
            processes: Vec::new(),
            cgroups: None,
            groups: None,
        };
        writer.append(&sample).unwrap();
    }
    drop(writer);
    let names = std::fs::read_dir(&folder).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name());
    let shards = names.filter(|name| name.as_encoded_bytes().ends_with(b".shard"));
    assert!(shards.count() >= 112);
    let mut limited = Command::new("bash");
    limited.args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""]);
    let whole = on(&kernel);
    limited.arg(whole.get_program()).args(whole.get_args());
    let document = run(limited, &["doctor", "--json"]).json();
    let checks = document["checks"].as_array().unwrap();
    let history = checks.iter().find(|check| check["check"] == "history");
    let found = history.unwrap()["found"].as_str().unwrap();
    assert!(
        !found.contains("read") && !found.contains("damaged"),
        "{found}"
    );
}

#[test]
fn a_recorder_is_at_work_until_it_is_killed_and_not_a_moment_longer() {
    let kernel = sound();
    let history = || {
        check(&kernel, "history")["found"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let recorder = Recorder::start(&kernel, "100ms");
    wait_until(|| history().contains("being recorded"));
    drop(recorder);
    let found = history();
    assert!(found.ends_with("nothing records now"), "{found}");
}

fn newest_shard(folder: &Path) -> std::path::PathBuf {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_shard = |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "shard");
    paths.filter(is_shard).max().unwrap()
}

#[test]
fn a_state_directory_that_others_may_write_to_is_a_problem_with_its_mend() {
    use std::os::unix::fs::PermissionsExt as _;
    let kernel = sound();
    let state_dir = kernel.path("state");
    std::fs::set_permissions(&state_dir, std::fs::Permissions::from_mode(0o777)).unwrap();
    let found = check(&kernel, "state_directory");
    assert_eq!(found["state"], "problem", "{found}");
    let command = found["mend"]["command"].as_str().unwrap();
    assert_eq!(crate::harness::pasted(command).exit, 0, "{command}");
    assert_eq!(state(&kernel, "state_directory"), "ok");
    let folder = state_dir.join("history");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let found = check(&kernel, "history");
    assert_eq!(found["state"], "problem", "{found}");
    let command = found["mend"]["command"].as_str().unwrap();
    assert_eq!(crate::harness::pasted(command).exit, 0, "{command}");
    assert_ne!(state(&kernel, "history"), "problem");
}

#[test]
fn garbled_files_are_unknown_and_break_nothing() {
    for garbage in [
        &b""[..],
        b"\xff\xfe\0",
        b"99999999999999999999999\n",
        b"-1\n",
    ] {
        let kernel = sound();
        for name in [
            "proc/swaps",
            "proc/meminfo",
            "proc/self/status",
            "proc/self/limits",
            "proc/cmdline",
            "proc/sys/vm/swappiness",
            "proc/sys/vm/min_free_kbytes",
            "proc/sys/vm/overcommit_memory",
            "proc/sys/vm/panic_on_oom",
            "proc/sys/vm/vfs_cache_pressure",
            "sys/kernel/mm/lru_gen/enabled",
            "sys/kernel/mm/ksm/run",
            "sys/kernel/mm/transparent_hugepage/enabled",
            "state/history/tail",
        ] {
            kernel.write(name, garbage);
        }
        let (_, checks) = examined(&kernel);
        let unknown = [
            "swap",
            "min_free",
            "capabilities",
            "open_files",
            "swappiness",
        ]
        .into_iter()
        .chain([
            "overcommit",
            "panic_on_oom",
            "vfs_cache_pressure",
            "generations",
            "ksm",
        ])
        .chain(["huge_pages"]);
        for name in unknown {
            let check = checks.iter().find(|check| check["check"] == name).unwrap();
            assert_eq!(check["state"], "unknown", "{garbage:?}: {check}");
        }
    }
}

#[test]
fn what_is_no_file_is_unknown_and_nobody_waits_for_it() {
    let kernel = sound()
        .with_unreadable("proc/swaps")
        .with_unreadable("proc/sys/vm/swappiness")
        .without("proc/cmdline");
    let pipe = kernel.path("proc/cmdline");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(state(&kernel, "swap"), "unknown");
    assert_eq!(state(&kernel, "swappiness"), "unknown");
}

#[test]
fn who_is_not_root_is_told_what_cannot_be_seen_and_ends_well() {
    let kernel = sound().with(
        "proc/self/status",
        "Uid:\t65534\t65534\t65534\t65534\nCapEff:\t0000000000000000\n",
    );
    for path in [kernel.path("state/history"), kernel.path("state")] {
        forbid(&path);
    }
    forbid(&kernel.path("proc/sys/vm/swappiness"));
    let ran = run(unprivileged_on(&kernel), &["doctor", "--json"]);
    assert_eq!(ran.exit, 0, "{}{}", ran.stdout, ran.stderr);
    let document = ran.json();
    assert_valid("grey.doctor.v1", &document);
    let state = |name: &str| {
        let checks = document["checks"].as_array().unwrap();
        let one = checks.iter().find(|check| check["check"] == name).unwrap();
        (
            one["state"].as_str().unwrap().to_owned(),
            one["found"].to_string(),
        )
    };
    for name in ["journal", "history", "swappiness"] {
        let (state, found) = state(name);
        assert_eq!(state, "unknown", "{name}: {found}");
        assert!(found.contains("ermission"), "{name}: {found}");
    }
    assert_eq!(state("capabilities").0, "note");
    // Where they may make nothing, nobody knows whether there is something.
    let closed = kernel.path("closed");
    std::fs::create_dir(&closed).unwrap();
    forbid_writing(&closed);
    let mut nowhere = greyctl();
    nowhere.arg("--procfs").arg(kernel.procfs());
    nowhere.arg("--sysfs").arg(kernel.sysfs());
    nowhere.arg("--cgroupfs").arg(kernel.cgroupfs());
    nowhere.arg("--systemd-dir").arg(kernel.systemd());
    nowhere.arg("--state-dir").arg(closed.join("state"));
    let ran = run(as_nobody(&kernel, &nowhere), &["doctor", "--json"]);
    assert_eq!(ran.exit, 0, "{}{}", ran.stdout, ran.stderr);
    // Their own directory is theirs.
    let own = sound();
    give_away(&own.path("state"));
    give_away(&own.path("state/history"));
    let ran = run(unprivileged_on(&own), &["doctor"]);
    assert!(ran.stdout.contains("state directory: "), "{}", ran.stdout);
}

/// The host with faults of every kind, its directories named by the environment
/// and one option, as people see it at `columns`.
fn shown(columns: u16, arguments: &[&str]) -> String {
    let kernel = sound()
        .with("proc/sys/vm/vfs_cache_pressure", "0\n")
        .with("proc/sys/vm/oom_kill_allocating_task", "1\n")
        .with("proc/sys/vm/swappiness", "sixty\n")
        .with(
            "sys/kernel/mm/transparent_hugepage/enabled",
            "[always] madvise never\n",
        )
        .with_process(&FakeProcess::new(
            400,
            1,
            "redis-server",
            "/system.slice/redis.service",
        ));
    std::fs::remove_dir_all(kernel.path("state")).unwrap();
    let mut command = greyctl();
    command
        .current_dir(kernel.path("."))
        .env("GREY_PROCFS", "proc")
        .env("GREY_SYSFS", "sys")
        .env("GREY_CGROUPFS", "cgroup")
        .env("GREY_STATE_DIR", "state")
        .args(["--systemd-dir", "run/systemd/system"]);
    let ran = run_at(command, columns, arguments);
    assert_eq!(ran.exit, 3, "{}", ran.stderr);
    assert_eq!(ran.stderr, "");
    let of_machine = |line: &&str| {
        !["process_madvise:", "room for state:"]
            .iter()
            .any(|name| line.contains(name))
    };
    let lines: Vec<&str> = ran.stdout.lines().skip(1).filter(of_machine).collect();
    lines.join("\n")
}

#[test]
fn a_report_is_shown_at_80_columns() {
    insta::assert_snapshot!("doctor_80", shown(80, &["doctor"]));
}

#[test]
fn a_report_is_shown_at_120_columns() {
    insta::assert_snapshot!("doctor_120", shown(120, &["doctor"]));
}

#[test]
fn verbose_tells_why_what_is_well_matters() {
    let text = shown(80, &["doctor", "--verbose"]);
    assert!(
        text.contains("limits on groups, reclaim from them"),
        "{text}"
    );
    assert!(!shown(80, &["doctor"]).contains("limits on groups, reclaim from them"));
}

#[test]
fn commands_of_ours_can_be_pasted_and_others_are_of_a_shell() {
    let kernel = sound()
        .with("proc/sys/vm/vfs_cache_pressure", "0\n")
        .with("proc/sys/vm/page-cluster", "3\n")
        .with("proc/swaps", "Filename Type Size Used Priority\n")
        .with("sys/module/zswap/parameters/enabled", "Y\n")
        .with("proc/self/limits", "Max open files 256 4096 files\n")
        .with(
            "sys/kernel/mm/transparent_hugepage/enabled",
            "[always] madvise never\n",
        );
    std::fs::remove_dir_all(kernel.path("state")).unwrap();
    let (_, checks) = examined(&kernel);
    let mut seen = 0;
    for check in &checks {
        for key in ["command", "lasting", "undo"] {
            let Some(command) = check["mend"][key].as_str() else {
                continue;
            };
            seen += 1;
            if command.starts_with("greyctl ") {
                assert!(is_taken(command), "{command}");
            }
            let read = Command::new("bash").args(["-n", "-c", command]).status();
            assert!(read.unwrap().success(), "{command}");
            for place in ["<", "…", "NAME", "SIZE"] {
                assert!(!command.contains(place), "{command}");
            }
        }
    }
    assert!(seen >= 10, "{seen}");
}
