//! `why --killed` on saved logs that real kernels wrote, and on a fake host
//! with a kernel log and a `journalctl` of its own.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use grey_fake_kernel::{FakeCgroup, FakeKernel};
use serde_json::{Value, json};

use crate::documents::assert_valid;
use crate::harness::{Ran, forbid, greyctl, host, is_taken, on, pasted, run, unprivileged_on};
use crate::history::{holding, write_from, write_growth, write_growth_of};

mod before_them;
mod no_kill;
mod nobody_killed;
mod reasons;

fn captured(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/captured")
        .join(name);
    path.canonicalize().unwrap().to_str().unwrap().to_owned()
}

/// The document of a saved log, which is as its schema says.
fn explained(log: &str, more: &[&str]) -> Value {
    let arguments = [&["why", "--killed", "--json", "--log", log][..], more].concat();
    let ran = run(on(&host()), &arguments);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let document = ran.json();
    assert_valid("grey.kills.v1", &document);
    document
}

/// The host with a kernel log in `kmsg` and a `journalctl` that prints
/// `journal`, or fails if there is none.
fn with_logs(kernel: &FakeKernel, kmsg: &str, journal: Option<&str>) -> Command {
    kernel.write("kmsg", kmsg);
    let script = match journal {
        Some(entries) => {
            kernel.write("journal", entries);
            format!(
                "#!/bin/sh\nexec cat '{}'\n",
                kernel.path("journal").display()
            )
        }
        None => "#!/bin/sh\nexit 1\n".to_owned(),
    };
    kernel.write("bin/journalctl", script);
    let program = kernel.path("bin/journalctl");
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = on(kernel);
    command.env(
        "PATH",
        format!("{}:/usr/bin:/bin", kernel.path("bin").display()),
    );
    command
}

fn why(kernel: &FakeKernel, mut command: Command, more: &[&str]) -> Ran {
    command
        .args(["why", "--killed", "--kmsg"])
        .arg(kernel.path("kmsg"));
    run(command, more)
}

const KILLED: &str = "\
4,10,1000000,-;x invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
6,11,1000001,-;memory: usage 102400kB, limit 102400kB, failcnt 3
6,12,1000002,-;Memory cgroup stats for /build/web:
6,13,1000003,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/build/web,task_memcg=/build/web,task=evil\\x1b[2J,pid=77,uid=0
3,14,1000004,-;Memory cgroup out of memory: Killed process 77 (evil\\x1b[2J) total-vm:9kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:9kB oom_score_adj:0
";

#[test]
fn a_saved_log_of_each_kernel_is_explained() {
    for kernel in ["5.10", "6.1", "6.12"] {
        let document = explained(&captured(&format!("{kernel}/dev/kmsg")), &[]);
        let killers: Vec<_> = document["kills"]
            .as_array()
            .unwrap()
            .iter()
            .map(|kill| kill["killer"].as_str().unwrap())
            .collect();
        let expected = [
            "kernel-cgroup",
            "kernel-cgroup",
            "kernel-cgroup",
            "kernel-global",
        ];
        assert_eq!(killers, expected, "{kernel}");
        let first = &document["kills"][0];
        assert_eq!(first["limit_cgroup"], "/capture");
        assert_eq!(first["cgroup"], "/capture/inner");
        assert_eq!(first["limit_bytes"], 32 << 20);
        assert_eq!(first["grew"], Value::Null, "there is no history yet");
        // It is not known of which boot a saved log is.
        assert_eq!(first["at"], Value::Null);
        assert!(first["since_boot_seconds"].is_f64());
        assert_eq!(document["unlogged"], Value::Null);
    }
}

#[test]
fn the_journal_tells_a_limit_a_sigterm_and_a_sigkill_apart() {
    let document = explained(&captured("6.12/log/journal-json"), &["--exit-code", "143"]);
    let kills = document["kills"].as_array().unwrap();
    let facts: Vec<_> = kills
        .iter()
        .map(|kill| (&kill["unit"], &kill["killer"], &kill["signal"]))
        .collect();
    assert_eq!(
        facts,
        [
            (&json!("web.service"), &json!("kernel-cgroup"), &json!(9)),
            (&json!("once.service"), &json!("signal"), &json!(15)),
            (&json!("third.service"), &json!("signal"), &json!(9)),
        ]
    );
    assert_eq!(kills[0]["at"], "2026-11-21T18:29:06.638044Z");
    assert_eq!(document["exit_code"]["can_be_oom_killer"], false);
    assert_eq!(document["exit_code"]["signal"], 15);
}

#[test]
fn only_what_was_asked_for_is_shown() {
    let log = captured("6.12/log/journal-json");
    let count = |more: &[&str]| explained(&log, more)["kills"].as_array().unwrap().len();
    assert_eq!(count(&["--since", "2026-11-21T18:29:07Z"]), 2);
    assert_eq!(count(&["--name", "web.service"]), 1);
    // As for systemctl, `web` stands for it.
    assert_eq!(count(&["--name", "web"]), 1);
    assert_eq!(count(&["--name", "once"]), 1);
    assert_eq!(count(&["--name", "onc"]), 0);
    assert_eq!(count(&["--name", "kernel-cases"]), 1);
    assert_eq!(count(&["--pid", "1"]), 0);
    let pid = explained(&log, &[])["kills"][0]["pid"].to_string();
    assert_eq!(count(&["--pid", &pid]), 1);
}

#[test]
fn the_standard_input_is_a_log() {
    let mut command = greyctl();
    command
        .args(["why", "--killed", "--json", "--log", "-"])
        .stdin(Stdio::from(
            std::fs::File::open(captured("6.1/log/dmesg")).unwrap(),
        ));
    let document = run(command, &[]).json();
    assert_eq!(document["kills"].as_array().unwrap().len(), 4);
    assert_eq!(document["searched"][0]["kind"], "file");
}

/// The lines that end in blanks.
fn trailing(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.ends_with(' ')).collect()
}

#[test]
fn no_line_ends_in_blanks() {
    let kernel = host();
    kernel.write("log", std::fs::read(captured("6.12/dev/kmsg")).unwrap());
    let path = kernel.path("log").to_str().unwrap().to_owned();
    for log in [path, captured("6.12/log/journal-json")] {
        let arguments = ["why", "--killed", "--exit-code", "137", "--log", &log];
        let shown = run(on(&kernel), &arguments).stdout;
        assert!(shown.contains("OOM ADJ"), "{shown}");
        assert_eq!(trailing(&shown), [""; 0]);
    }
}

#[test]
fn of_a_saved_log_it_is_told_that_history_was_not_asked() {
    let kernel = host();
    kernel.write("kernel.log", KILLED);
    let path = kernel.path("kernel.log").to_str().unwrap().to_owned();
    let told = |document: &Value| document["notes"].to_string().contains("history");
    assert!(told(&explained(&path, &[])));
    assert!(
        !told(&explained(&path, &["--name", "nobody"])),
        "there is no kill"
    );
    let own = why(&kernel, with_logs(&kernel, KILLED, None), &["--json"]).json();
    assert!(!told(&own));
}

#[test]
fn the_kernels_log_is_explained_and_no_name_reaches_the_terminal() {
    let kernel = host();
    let ran = why(&kernel, with_logs(&kernel, KILLED, Some("")), &[]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    assert!(!ran.stdout.contains('\x1b'), "{}", ran.stdout);
    assert!(ran.stdout.contains("evil\\x1b[2J (77)"), "{}", ran.stdout);
    assert!(
        ran.stdout
            .contains("the control group /build/web was at its limit")
    );
    assert!(
        ran.stdout.contains("no longer has its first records"),
        "{}",
        ran.stdout
    );
    let document = why(&kernel, with_logs(&kernel, KILLED, Some("")), &["--json"]).json();
    assert_valid("grey.kills.v1", &document);
    assert_eq!(document["kills"][0]["name"], "evil\u{1b}[2J");
    assert!(document["kills"][0]["at"].is_string());
    assert_eq!(document["searched"][0]["incomplete"], true);
}

#[test]
fn kills_that_only_the_counters_know_are_told() {
    let kernel = host();
    let events = "low 0\nhigh 0\nmax 9\noom 3\noom_kill 3\n";
    for group in ["cgroup/build", "cgroup/build/web"] {
        kernel.write(format!("{group}/memory.events"), events);
    }
    let document = why(&kernel, with_logs(&kernel, KILLED, Some("")), &["--json"]).json();
    assert_valid("grey.kills.v1", &document);
    let unlogged = document["unlogged"].as_array().unwrap();
    let told = json!({"cgroup": "/build/web", "oom_kills": 3, "logged": 1});
    assert!(unlogged.contains(&told), "{unlogged:?}");
    assert!(
        !unlogged.iter().any(|group| group["cgroup"] == "/build"),
        "{unlogged:?}"
    );
    let ran = why(&kernel, with_logs(&kernel, KILLED, Some("")), &[]);
    assert!(
        ran.stdout.contains("Kills that no log shows"),
        "{}",
        ran.stdout
    );
}

/// When the journal's entries were logged.
const LOGGED: i64 = 1_795_285_746;

/// An entry of the journal, so many seconds after that.
fn entry_after(seconds: i64, text: &str, more: &str) -> String {
    let text = text.replace('"', "\\\"");
    let at = LOGGED + seconds;
    format!("{{\"MESSAGE\":\"{text}\",\"__REALTIME_TIMESTAMP\":\"{at}000000\",{more}}}\n")
}

#[test]
fn one_kill_in_the_kernels_log_and_in_the_journal_is_one() {
    let kernel = host();
    let entry = |text: &str, more: &str| entry_after(0, text, more);
    let journal = [
        entry(
            "Memory cgroup out of memory: Killed process 77 (evil\\u001b[2J) total-vm:9kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB, UID:0",
            "\"_TRANSPORT\":\"kernel\",\"SYSLOG_IDENTIFIER\":\"kernel\",\"_SOURCE_MONOTONIC_TIMESTAMP\":\"1000004\"",
        ),
        entry(
            "web.service: Main process exited, code=killed, status=15/TERM",
            "\"SYSLOG_IDENTIFIER\":\"systemd\"",
        ),
    ]
    .concat();
    let document = why(
        &kernel,
        with_logs(&kernel, KILLED, Some(&journal)),
        &["--json"],
    )
    .json();
    let kills = document["kills"].as_array().unwrap();
    assert_eq!(kills.len(), 2, "{kills:#?}");
    let by = |killer: &str| kills.iter().find(|kill| kill["killer"] == killer).unwrap();
    assert_eq!(
        by("kernel-cgroup")["limit_cgroup"],
        "/build/web",
        "the kernel's log has more"
    );
    assert_eq!(by("signal")["unit"], "web.service");
}

#[test]
fn the_unit_of_whom_earlyoom_killed_is_told_where_history_has_its_cgroup() {
    let kernel = host();
    let earlyoom = r#"sending SIGTERM to process 412 uid 0 "worker": badness 700, VmRSS 80 MiB"#;
    let ended = |unit: &str| format!("{unit}: Main process exited, code=killed, status=15/TERM");
    let systemd = "\"SYSLOG_IDENTIFIER\":\"systemd\"";
    let journal = [
        entry_after(0, earlyoom, "\"SYSLOG_IDENTIFIER\":\"earlyoom\""),
        entry_after(1, &ended("other.service"), systemd),
        entry_after(2, &ended("web.service"), systemd),
    ]
    .concat();
    let units = || {
        let command = with_logs(&kernel, "", Some(&journal));
        let document = why(&kernel, command, &["--json"]).json();
        assert_valid("grey.kills.v1", &document);
        let kills = document["kills"].as_array().unwrap().clone();
        let unit = |program: &str| {
            let mut kills = kills.iter();
            let kill = kills.find(|kill| kill["program"] == program).unwrap();
            kill["unit"].clone()
        };
        (unit("earlyoom"), kills.len())
    };
    assert_eq!(units(), (Value::Null, 3), "nothing tells where it was");
    let at = jiff::Timestamp::from_second(LOGGED).unwrap();
    let known = |name| [(412, name, Some("/system.slice/web.service"), 1)];
    let folder = kernel.path("state/history");
    write_growth_of(&folder, at, &known("another"));
    assert_eq!(units(), (Value::Null, 3), "its pid was another's");
    std::fs::remove_dir_all(&folder).unwrap();
    write_growth_of(&folder, at, &known("worker"));
    assert_eq!(units(), (json!("web.service"), 2));
}

#[test]
fn a_journal_that_cannot_be_read_is_told_and_stops_nothing() {
    let kernel = host();
    let document = why(&kernel, with_logs(&kernel, KILLED, None), &["--json"]).json();
    assert_eq!(document["kills"].as_array().unwrap().len(), 1);
    let journal = &document["searched"][1];
    assert_eq!(journal["kind"], "journal");
    assert!(
        journal["problem"]
            .as_str()
            .unwrap()
            .contains("exit status: 1"),
        "{journal}"
    );
}

#[test]
fn without_the_permission_the_refusal_says_what_to_do() {
    let kernel = host();
    let _ = with_logs(&kernel, KILLED, None);
    forbid(&kernel.path("kmsg"));
    let path = format!("{}:/usr/bin:/bin", kernel.path("bin").display());
    let refused = |more: &[&str]| {
        let mut command = unprivileged_on(&kernel);
        command.env("PATH", &path);
        why(&kernel, command, more)
    };
    let ran = refused(&[]);
    assert_eq!(ran.exit, 6, "{}", ran.stderr);
    assert!(ran.stderr.contains("CAP_SYSLOG"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--log"), "{}", ran.stderr);
    let document = refused(&["--json"]).json();
    assert_valid("grey.error.v1", &document);
}

#[test]
fn who_is_not_root_is_told_of_sudo_where_it_is_needed() {
    let log = std::fs::read_to_string(captured("6.12/dev/kmsg")).unwrap();
    let kernel = host();
    kernel.write("log", &log);
    let path = kernel.path("log").to_str().unwrap().to_owned();
    let arguments = ["why", "--killed", "--json", "--log", &path];
    let shown = |command| run(command, &arguments).stdout;
    let user = shown(unprivileged_on(&kernel));
    assert!(user.contains(": sudo greyctl memory-enforce"), "{user}");
    assert!(user.contains(": greyctl memory-diagnose"), "{user}");
    assert!(!user.contains(": greyctl memory-enforce"), "{user}");
    if rustix::process::geteuid().is_root() {
        let root = shown(on(&kernel));
        assert!(root.contains(": greyctl memory-enforce"), "{root}");
    }
}

#[test]
fn without_a_kernel_log_it_is_not_supported() {
    let kernel = host();
    let command = with_logs(&kernel, KILLED, None);
    std::fs::remove_file(kernel.path("kmsg")).unwrap();
    let ran = why(&kernel, command, &[]);
    assert_eq!(ran.exit, 9, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("greyctl why --killed --log kernel.log"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_unit_that_ends_long_after_its_kill_was_killed_once() {
    let kill = |second: u32| {
        let group = "/system.slice/web.service";
        let pid = 100 + second;
        format!(
            "[{second:>5}.000000] box kernel: oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),\
             cpuset=/,mems_allowed=0,oom_memcg={group},task_memcg={group},task=web,pid={pid},uid=0\n\
             [{second:>5}.000001] box kernel: Memory cgroup out of memory: Killed process {pid} \
             (web) total-vm:9kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:9kB \
             oom_score_adj:0\n"
        )
    };
    let said = |second: u32, said: &str| {
        format!("[{second:>5}.000000] box systemd[1]: web.service: {said}\n")
    };
    let failed = |second| said(second, "Failed with result 'oom-kill'.");
    let killers = |lines: &[String]| -> Vec<String> {
        let kernel = host();
        kernel.write("log", lines.concat());
        let document = explained(kernel.path("log").to_str().unwrap(), &[]);
        let kills = document["kills"].as_array().unwrap().iter();
        kills
            .map(|kill| kill["killer"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(killers(&[kill(10), failed(910)]), ["kernel-cgroup"]);
    // Of the next run the kernel's report is not there, but it was killed, too.
    let succeeded = said(500, "Deactivated successfully.");
    for end in [succeeded, failed(500)] {
        let found = killers(&[kill(10), end, failed(520)]);
        assert_eq!(found, ["kernel-cgroup", "unknown"]);
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for arguments in [
        &["why"][..],
        &["why", "--killed", "nginx.service"],
        &["why", "--since", "2h", "1"],
        &["why", "--log", "/dev/null", "1"],
        &["why", "--exit-code", "137", "1"],
        &["why", "--name", "nginx", "1"],
        &["why", "--pid", "3", "1"],
        &["memory-diagnose", "--at", "now", "--interval", "1s"],
        &["memory-diagnose", "--at", "now", "--since", "1h"],
        &["why", "--killed", "--since", "soon"],
        &["why", "--killed", "--exit-code", "256"],
        &["why", "--killed", "--log", "/nonexistent/log"],
        &["why", "--killed", "--log", "/"],
        &["why", "--killed", "--log", "/dev/zero"],
    ] {
        let ran = run(on(&host()), arguments);
        assert_eq!(ran.exit, 2, "{arguments:?}: {}", ran.stderr);
    }
}

/// The command lines of a report, each of which a shell and greyctl take.
fn commands(ran: &Ran) -> Vec<String> {
    let lines = ran
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("      "));
    let commands: Vec<String> = lines.map(str::to_owned).collect();
    for command in &commands {
        assert!(is_taken(command), "`{command}` cannot be pasted");
    }
    commands
}

#[test]
fn the_commands_of_a_hostile_cgroup_hit_that_one_and_nothing_else() {
    let name = "/x: sudo reboot #'$(id)\u{1b}[2J \"";
    let kernel = host().with_cgroup(&FakeCgroup::new(&name[1..], 64 << 20, &[]));
    let log = KILLED.replace("/build/web", &name.replace('\u{1b}', "\\x1b"));
    let ran = why(&kernel, with_logs(&kernel, &log, None), &[]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let commands = commands(&ran);
    assert_eq!(commands.len(), 3, "{}", ran.stdout);
    assert!(
        commands
            .iter()
            .all(|command| command.starts_with("greyctl "))
    );
    let seen = pasted(&format!("{} --json", commands[0]));
    assert_eq!(seen.exit, 0, "{}", seen.stderr);
    assert_eq!(seen.json()["targets"][0]["cgroup"], name);
}

#[test]
fn no_command_is_given_for_a_limit_that_cannot_be_set() {
    let advice = |kernel: &FakeKernel| {
        let document = why(kernel, with_logs(kernel, KILLED, None), &["--json"]).json();
        let kills = document["kills"].as_array().unwrap();
        kills[0]["advice"].to_string()
    };
    let there = advice(&host());
    assert!(
        there.contains("--limit") && there.contains("--target /build/web"),
        "{there}"
    );
    for kernel in [host().with_v1_cgroups(), host().with_hybrid_cgroups()] {
        kernel.write("cgroup/memory/build/web/cgroup.procs", "");
        let said = advice(&kernel);
        assert!(!said.contains("memory-enforce --"), "{said}");
        assert!(
            said.contains("needs the memory controller of cgroup version 2"),
            "{said}"
        );
    }
    let gone = advice(&host().without("cgroup/build/web"));
    assert!(!gone.contains("--target"), "{gone}");
    assert!(gone.contains("not there now"), "{gone}");
}
