//! `why TARGET`: where a target's memory is, on a host that has everything and
//! on ones that lack something, and of real processes.

use std::process::Stdio;

use grey_fake_kernel::{FakeCgroup, FakeKernel, FakeProcess};
use grey_telemetry::history::{HistoryOptions, HistoryWriter};
use serde_json::Value;

use crate::harness::{Ran, as_nobody, greyctl, host, is_taken, on, run, run_at};
use crate::leaks::wait_until_it_handles_interrupts;

mod kernel_memory;
mod no_name;
mod shared_memory;

/// The commands that the report recommends, each on a line of its own.
fn recommended(ran: &Ran) -> Vec<String> {
    let lines = ran.stdout.lines().map(str::trim);
    let commands: Vec<String> = lines
        .filter(|line| line.starts_with("greyctl "))
        .map(str::to_owned)
        .collect();
    for command in &commands {
        assert!(is_taken(command), "`{command}` cannot be pasted");
    }
    commands
}

fn finding(account: &Value, topic: &str) -> String {
    let findings = account["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["topic"] == topic);
    let found = found.unwrap_or_else(|| panic!("nothing of {topic} in {findings:#?}"));
    found["text"].as_str().unwrap().to_owned()
}

#[test]
fn a_process_is_explained() {
    let kernel = with_sharers(host());
    let ran = run_at(on(&kernel), 80, &["why", "310"]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    assert!(!recommended(&ran).is_empty());
    insta::assert_snapshot!("why_process", with_places_hidden(&ran.stdout));
}

const MAPS: &str =
    "7f0000000000-7f0010000000 r-xp 00000000 fe:00 4711               /usr/lib/libfake.so\n";

/// The same, where 300 and 301 map what 310 maps.
fn with_sharers(kernel: FakeKernel) -> FakeKernel {
    kernel
        .with("proc/310/maps", MAPS)
        .with("proc/300/maps", MAPS)
        .with("proc/301/maps", MAPS)
}

/// The command lines without the directories of this run.
fn with_places_hidden(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| match line.split_once(" --procfs ") {
            Some((before, _)) => before,
            None => line,
        });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_cgroup_that_is_removed_while_it_is_looked_at_is_said_to_have_been() {
    for arguments in [
        &["why", "/build/web/empty", "--for", "1h"][..],
        &[
            "memory-diagnose",
            "-t",
            "/build/web/empty",
            "--detect-leaks",
            "--for",
            "1h",
        ],
    ] {
        let kernel = host();
        let child = on(&kernel)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It was found, and is being watched.
        wait_until_it_handles_interrupts(&child);
        kernel.remove("cgroup/build/web/empty");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        let stdout = String::from_utf8(ended.stdout).unwrap();
        assert!(
            stdout.contains("was removed while it was looked at"),
            "{stdout}"
        );
        assert!(!stdout.contains("no account of memory"), "{stdout}");
    }
}

#[test]
fn what_is_no_pss_says_that_it_is_rss() {
    let parts = |target: &str| {
        let document = run(on(&host()), &["why", "--json", target]).json();
        let account = document["targets"][0].clone();
        let findings = account["findings"].as_array().unwrap().clone();
        let parts = findings.into_iter().filter(|it| it["topic"] == "part");
        let texts: Vec<String> = parts.map(|it| it["text"].to_string()).collect();
        assert!(!texts.is_empty());
        (account["held_by"].clone(), texts)
    };
    for (target, held_by, of) in [
        ("310", "pss", " of its RSS is "),
        ("/build/web", "memory.current", " is "),
    ] {
        let (by, texts) = parts(target);
        assert_eq!(by, held_by);
        let is_said =
            |text: &String| text.contains(of) && (held_by == "pss" || !text.contains("RSS"));
        assert!(texts.iter().all(is_said), "{texts:?}");
    }
}

#[test]
fn no_recorder_is_advised_where_one_is_at_work() {
    let kernel = host();
    let advice = || {
        let document = run(on(&kernel), &["why", "--json", "310"]).json();
        document["targets"][0]["advice"].to_string()
    };
    assert!(advice().contains("greyctl record"), "{}", advice());
    std::fs::create_dir(kernel.path("state")).unwrap();
    let folder = kernel.path("state/history");
    let _recorder = HistoryWriter::open(&folder, HistoryOptions::default()).unwrap();
    let said = advice();
    assert!(!said.contains("greyctl record"), "{said}");
    assert!(
        said.contains("--detect-leaks --for 60s --target 310"),
        "{said}"
    );
}

#[test]
fn what_stands_behind_two_dashes_is_a_target() {
    for (typed, name) in [("--help", "--help"), ("--json", "--json"), ("-V", "-V")] {
        let kernel = host().with_process(&FakeProcess::new(400, 1, name, "/solo"));
        let ran = run(on(&kernel), &["why", "--", typed]);
        assert_eq!(ran.exit, 0, "{typed}: {}", ran.stderr);
        let title = format!("Why {name} (400)");
        assert!(ran.stdout.starts_with(&title), "{}", ran.stdout);
        let gone = run(on(&host()), &["why", "--", typed]);
        assert_eq!(gone.exit, 2, "{typed}");
        assert!(
            gone.stderr.contains(&format!("`{typed}`")),
            "{}",
            gone.stderr
        );
        assert!(gone.stdout.is_empty(), "{}", gone.stdout);
    }
    assert_eq!(run(greyctl(), &["why", "--nonsense"]).exit, 2);
}

#[test]
fn a_cgroup_is_explained() {
    let ran = run_at(on(&host()), 80, &["why", "/build/web"]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    assert!(!recommended(&ran).is_empty());
    insta::assert_snapshot!("why_cgroup", with_places_hidden(&ran.stdout));
}

#[test]
fn no_line_but_a_command_is_wider_than_the_terminal() {
    for target in [
        "310",
        "/build/web",
        "/build/web/empty",
        "nginx.service",
        "2",
        "/",
    ] {
        let ran = run_at(on(&host()), 60, &["why", target]);
        let wide: Vec<&str> = ran
            .stdout
            .lines()
            .filter(|line| line.chars().count() > 60 && !line.trim().starts_with("greyctl "))
            .collect();
        assert!(wide.is_empty(), "{target}: {wide:#?}");
    }
}

#[test]
fn the_causes_come_by_size() {
    let document = run(on(&host()), &["why", "--json", "/build/web"]).json();
    let findings = document["targets"][0]["findings"].as_array().unwrap();
    let sizes: Vec<u64> = findings
        .iter()
        .filter(|finding| finding["topic"] != "total")
        .filter_map(|finding| finding["bytes"].as_u64())
        .collect();
    assert!(
        sizes.len() > 2 && sizes.is_sorted_by(|a, b| a >= b),
        "{sizes:?}"
    );
}

#[test]
fn the_nearest_limit_is_that_of_whoever_has_the_least_left() {
    let document = run(on(&host()), &["why", "--json", "/build/web"]).json();
    let limits = document["targets"][0]["limits"].as_array().unwrap();
    // /build: 150 MiB, 140 used; /build/web itself: 300 MiB, 100 used.
    assert_eq!(limits[0]["cgroup"], "/build");
    assert_eq!(limits[0]["file"], "memory.high");
    assert_eq!(limits[0]["left_bytes"], 10 << 20);
    assert_eq!(limits[1]["cgroup"], "/build/web");
    let advice = document["targets"][0]["advice"][0].as_str().unwrap();
    assert!(
        advice.contains("--high 188M --simulation --target /build"),
        "{advice}"
    );
}

#[test]
fn what_holds_nothing_is_told_as_what_it_is() {
    let document = |target: &str| {
        let ran = run(on(&host()), &["why", "--json", target]);
        assert_eq!(ran.exit, 0, "{}", ran.stderr);
        ran.json()["targets"][0].clone()
    };
    for (target, kind, words) in [
        ("2", "kernel_thread", "a thread of the kernel"),
        ("110", "zombie", "its parent (pid 100)"),
        ("/", "root_cgroup", "the whole machine"),
    ] {
        let account = document(target);
        assert_eq!(account["kind"], kind, "{target}");
        assert_eq!(account["held_bytes"], Value::Null);
        assert!(finding(&account, "total").contains(words), "{account:#}");
    }
}

/// The account of a cgroup without processes that is charged so many MiB, with
/// these lines of `memory.stat`, in MiB.
fn without_processes(charged: u64, stat: &[(&str, u64)]) -> Value {
    let group = "cgroup/build/web/empty";
    let lines: String = stat
        .iter()
        .map(|(key, mebibytes)| format!("{key} {}\n", mebibytes << 20))
        .collect();
    let kernel = host()
        .with(
            format!("{group}/memory.current"),
            format!("{}\n", charged << 20),
        )
        .with(format!("{group}/memory.stat"), &lines);
    let ran = run(on(&kernel), &["why", "--json", "/build/web/empty"]);
    ran.json()["targets"][0].clone()
}

#[test]
fn a_cgroup_without_processes_says_what_they_left_behind() {
    let cache = [("file", 40), ("slab_reclaimable", 10)];
    let account = without_processes(50, &cache);
    assert_eq!(account["kind"], "empty_cgroup");
    let total = finding(&account, "total");
    assert!(
        total.contains("no processes any more and is still charged 50.0 MiB"),
        "{total}"
    );
    assert!(
        total.contains("50.0 MiB of it goes when memory is needed"),
        "{total}"
    );
    assert!(!total.contains("stay"), "{total}");
    let advice = account["advice"].to_string();
    assert!(advice.contains("--reclaim 50M"), "{advice}");
}

#[test]
fn what_stays_in_a_cgroup_without_processes_is_not_said_to_go() {
    let mixed = [
        ("file", 580),
        ("shmem", 560),
        ("slab_reclaimable", 3),
        ("slab_unreclaimable", 20),
        ("kernel", 30),
    ];
    let account = without_processes(610, &mixed);
    let total = finding(&account, "total");
    for words in [
        "23.0 MiB of it goes when memory is needed, or is taken back: file cache, and objects",
        "560.0 MiB is tmpfs and shared memory, which stays until its files are deleted",
        "27.0 MiB is memory that the kernel has in use",
    ] {
        assert!(total.contains(words), "no {words}: {total}");
    }
    let advice = account["advice"].to_string();
    assert!(advice.contains("--reclaim 23M"), "{advice}");
    // Nothing goes: nothing of the kind is said or advised.
    let tmpfs = without_processes(560, &[("file", 560), ("shmem", 560)]);
    let total = finding(&tmpfs, "total");
    assert!(!total.contains("when memory is needed"), "{total}");
    assert!(!tmpfs["advice"].to_string().contains("--reclaim"));
    let total = finding(&without_processes(0, &[]), "total");
    assert!(total.contains("is charged nothing"), "{total}");
}

#[test]
fn a_process_that_is_gone_is_no_account() {
    let ran = run(on(&host()), &["why", "999"]);
    assert_eq!(ran.exit, 2);
    assert!(
        ran.stderr.contains("no process has the pid 999"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_process_that_may_not_be_read_says_why() {
    let document = run(on(&host()), &["why", "--json", "230"]).json();
    let account = &document["targets"][0];
    assert_eq!(account["kind"], "unreadable");
    assert_eq!(account["mappings"], Value::Null);
    assert!(finding(account, "total").contains("did not let us read"));
}

#[test]
fn every_target_of_a_name_is_explained() {
    let document = run(on(&host()), &["why", "--json", "nginx"]).json();
    let targets = document["targets"].as_array().unwrap();
    let pids: Vec<&Value> = targets
        .iter()
        .map(|account| &account["target"]["process"]["pid"])
        .collect();
    assert_eq!(pids, [100, 101]);
}

#[test]
fn cold_memory_is_told_where_the_kernel_keeps_ages() {
    let old = host().without("sys/kernel/mm/lru_gen");
    let without = run(on(&old), &["why", "--json", "/build/web"]).json();
    let cold = finding(&without["targets"][0], "cold");
    assert!(
        cold.contains("this kernel keeps no generations of pages"),
        "{cold}"
    );
    let kernel = host()
        .with("sys/kernel/mm/lru_gen/enabled", "0x0007\n")
        .with(
            "sys/kernel/debug/lru_gen",
            "memcg 7 /build\n node 0\n 1 900000 99999 0\nmemcg 9 /build/web\n node 0\n \
             1 900000 5120 0\n 2 400000 0 0\n 3 20000 10240 0\n",
        );
    let document = run(on(&kernel), &["why", "--json", "/build/web"]).json();
    let account = &document["targets"][0];
    assert_eq!(account["cold"]["method"], "generation-ages");
    assert_eq!(account["cold"]["counted_bytes"], 60 << 20);
    let text = finding(account, "cold");
    assert!(
        text.starts_with("20.0 MiB (33.3 % of 60.0 MiB) had not been seen in use for 5m"),
        "{text}"
    );
    let advice = account["advice"].to_string();
    assert!(advice.contains("--reclaim 20M --simulation"), "{advice}");
}

#[test]
fn a_machine_without_accounts_tells_of_the_processes() {
    let kernel = host().with_v1_cgroups();
    let document = run(on(&kernel), &["why", "--json", "310"]).json();
    let account = &document["targets"][0];
    assert_eq!(account["kind"], "process");
    assert_eq!(account["cgroups"].as_array().unwrap().len(), 0);
    assert_eq!(account["limits"].as_array().unwrap().len(), 0);
}

#[test]
fn options_of_kills_and_of_a_target_do_not_mix() {
    for arguments in [
        &["why"][..],
        &["why", "310", "--killed"],
        &["why", "310", "--pid", "3"],
        &["why", "--killed", "--for", "1s"],
    ] {
        assert_eq!(run(greyctl(), arguments).exit, 2, "{arguments:?}");
    }
}

#[test]
fn we_ourselves_are_explained_on_the_real_machine() {
    let pid = std::process::id().to_string();
    let ran = run(greyctl(), &["why", "--json", &pid]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let account = &ran.json()["targets"][0];
    assert_eq!(account["kind"], "process");
    assert!(account["held_bytes"].as_u64().unwrap() > 1 << 20);
    let mappings = account["mappings"].as_array().unwrap();
    assert!(mappings.iter().any(|mapped| mapped["kind"] == "heap"));
    assert!(finding(account, "sharing").contains("USS"));
}

#[test]
fn a_process_of_another_user_on_the_real_machine_is_not_looked_into() {
    let kernel = host();
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let pid = std::process::id().to_string();
    let mut given = greyctl();
    given.args(["why", "--json", &pid]);
    let ran = run(as_nobody(&kernel, &given), &[]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let account = &ran.json()["targets"][0];
    assert_eq!(account["held_by"], "rss");
    let unseen = account["unseen"][0].as_str().unwrap();
    assert!(unseen.contains("only root may look into it"), "{unseen}");
}

#[test]
fn a_cgroup_that_is_called_like_a_command_makes_none() {
    let name = "x: sudo reboot #'\u{1b}[2J";
    let kernel = host().with_cgroup(&FakeCgroup::new(name, 64 << 20, &[]));
    kernel.write(format!("cgroup/{name}/memory.high"), "67108865\n");
    let ran = run(on(&kernel), &["why", &format!("/{name}")]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let advised = ran.stdout.split_once("What would help").unwrap().1;
    let lines = advised.lines().filter(|line| line.starts_with("      "));
    let lines: Vec<&str> = lines.map(str::trim).collect();
    assert!(
        lines.iter().all(|line| line.starts_with("greyctl ")),
        "{lines:#?}"
    );
    let wider = recommended(&ran);
    let wider = wider.iter().find(|line| line.contains("--high")).unwrap();
    let word = r"--target $'/x: sudo reboot #\'\033[2J'";
    assert!(wider.contains(word), "{wider}");
}

#[test]
fn a_group_whose_name_cannot_be_typed_has_no_command_and_is_told_why() {
    use std::os::unix::ffi::OsStrExt as _;
    let name = std::ffi::OsStr::from_bytes(b"odd\xff");
    let kernel = host()
        .with_cgroup(&FakeCgroup::new("odd", 64 << 20, &[400]))
        .with_process(&FakeProcess::new(400, 1, "holder", "/odd"));
    std::fs::rename(kernel.path("cgroup/odd"), kernel.path("cgroup").join(name)).unwrap();
    std::fs::write(kernel.path("proc/400/cgroup"), b"0::/odd\xff\n").unwrap();
    let high = kernel.path("cgroup").join(name).join("memory.high");
    std::fs::write(high, "67108865\n").unwrap();
    let ran = run(on(&kernel), &["why", "400"]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let commands = recommended(&ran);
    assert!(
        !commands.iter().any(|line| line.contains("odd")),
        "{commands:#?}"
    );
    assert!(ran.stdout.contains("name is not UTF-8"), "{}", ran.stdout);
}

#[test]
fn a_large_group_without_the_controller_is_told_why_it_has_no_limit() {
    let advice = |kernel: &FakeKernel| {
        let document = run(on(kernel), &["why", "--json", "/solo"]).json();
        document["targets"][0]["advice"].to_string()
    };
    let holder = FakeProcess {
        anon_kib: 300 << 10,
        ..FakeProcess::new(400, 1, "holder", "/solo")
    };
    let group = FakeCgroup::new("solo", 300 << 20, &[400]);
    let v2 = host().with_cgroup(&group).with_process(&holder);
    assert!(advice(&v2).contains("--high 375M"), "{}", advice(&v2));
    let v1 = host().with_v1_cgroups().with_process(&holder);
    v1.write("cgroup/memory/solo/cgroup.procs", "400\n");
    v1.write("proc/400/cgroup", "4:memory:/solo\n");
    let said = advice(&v1);
    assert!(!said.contains("memory-enforce"), "{said}");
    assert!(
        said.contains("needs the memory controller of cgroup version 2"),
        "{said}"
    );
}

#[test]
fn paging_out_is_advised_only_where_swap_takes_it() {
    let advised = |kernel: &FakeKernel| {
        let document = run(on(kernel), &["why", "--json", "400"]).json();
        document["targets"][0]["advice"]
            .to_string()
            .contains("--page-out")
    };
    let holder = FakeProcess {
        anon_kib: 64 << 10,
        ..FakeProcess::new(400, 1, "holder", "/solo")
    };
    let kernel = host()
        .with_cgroup(&FakeCgroup::new("solo", 64 << 20, &[400]))
        .with_process(&holder);
    assert!(advised(&kernel));
    let without = kernel.with("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n");
    assert!(!advised(&without));
}
