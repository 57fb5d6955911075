//! Logs that tell of memory that was out, and of no kill: the kernel stopped the
//! machine, or found nobody.

use super::*;

/// What Linux 6.x writes where all may not be killed.
const DEADLOCK: [&str; 6] = [
    "db invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0, oom_score_adj=-1000",
    "Total swap = 0kB",
    "Tasks state (memory values in pages):",
    "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
    "[    310]     0   310   200000   150000  1200000        0         -1000 db",
    "Out of memory and no killable processes...",
];

const PANIC: &str = "Kernel panic - not syncing: System is deadlocked on memory";

/// How a form of a log puts a line, which has a number.
type Wrap<'a> = &'a dyn Fn(usize, &str) -> String;

/// The log with each line as `wrap` puts it.
fn log_of(wrap: Wrap<'_>) -> String {
    let lines = DEADLOCK.iter().chain([&PANIC]).enumerate();
    lines
        .map(|(number, line)| wrap(number, line) + "\n")
        .collect()
}

fn explain(kernel: &FakeKernel, text: &str, more: &[&str]) -> (Value, Ran) {
    kernel.write("kern.log", text);
    let path = kernel.path("kern.log").to_str().unwrap().to_owned();
    let shown = run(
        on(kernel),
        &[&["why", "--killed", "--log", &path], more].concat(),
    );
    assert_eq!(shown.exit, 0, "{}", shown.stderr);
    (explained(&path, more), shown)
}

#[test]
fn a_machine_that_stopped_for_want_of_memory_is_no_log_without_kills() {
    let kernel = host();
    let journal = |number: usize, line: &str| {
        let entry = json!({
            "__REALTIME_TIMESTAMP": format!("17637500000000{number:02}"),
            "_TRANSPORT": "kernel",
            "SYSLOG_IDENTIFIER": "kernel",
            "MESSAGE": line,
        });
        entry.to_string()
    };
    let forms: [(&str, Wrap<'_>); 5] = [
        ("dmesg", &|number, line| {
            format!("[   12.00000{number}] {line}")
        }),
        ("kmsg", &|number, line| {
            format!("4,{number},1200000{number},-;{line}")
        }),
        ("syslog", &|number, line| {
            format!("Nov 21 10:04:05 box kernel: [   12.00000{number}] {line}")
        }),
        ("pstore", &|number, line| {
            format!("<4>[   12.00000{number}][    T1] {line}")
        }),
        ("journal", &journal),
    ];
    for (form, wrap) in forms {
        let mut log = log_of(wrap);
        if form == "pstore" {
            log.insert_str(0, "Panic#1 Part1\n");
        }
        let (document, shown) = explain(&kernel, &log, &[]);
        assert_eq!(document["kills"], json!([]), "{form}: nobody was killed");
        let all = document["nobody_killed"].as_array().unwrap();
        assert_eq!(all.len(), 1, "{form}: {document:#}");
        assert_eq!(all[0]["machine_stopped"], true, "{form}");
        assert_eq!(all[0]["reason"], "no_candidate", "{form}");
        assert_eq!(all[0]["asked_by"], "db", "{form}");
        assert_eq!(all[0]["consumers"][0]["oom_score_adj"], -1000, "{form}");
        let told = shown.stdout;
        assert!(
            told.starts_with("Out of memory, and nobody killed  1 time"),
            "{form}: {told}"
        );
        for sentence in [
            "the machine stopped (kernel panic: System is deadlocked on memory)",
            "the only process of the report has an oom_score_adj of -1000",
            "      sysctl -w kernel.panic=30",
            "      greyctl record",
        ] {
            assert!(told.contains(sentence), "{form}: {sentence}: {told}");
        }
    }
}

#[test]
fn a_machine_that_is_set_to_stop_is_told_of_the_setting() {
    let kernel = host();
    for (word, reason) in [
        ("system-wide", "panic_on_oom"),
        ("compulsory", "panic_on_oom_compulsory"),
    ] {
        let panic = format!("Out of memory: {word} panic_on_oom is enabled");
        let text = format!(
            "[    1.0] {}\n[    1.1] Kernel panic - not syncing: {panic}\n\
             [    1.2] ---[ end Kernel panic - not syncing: {panic} ]---\n",
            DEADLOCK[0]
        );
        let (document, shown) = explain(&kernel, &text, &[]);
        assert_eq!(document["nobody_killed"].as_array().unwrap().len(), 1);
        assert_eq!(document["nobody_killed"][0]["reason"], reason);
        let command = "      sysctl -w vm.panic_on_oom=0";
        assert!(shown.stdout.contains(command), "{}", shown.stdout);
    }
}

#[test]
fn who_asks_for_one_process_is_told_of_a_stop_and_not_of_another_cgroup() {
    let kernel = host();
    let stop = log_of(&|_, line| format!("[    1.0] {line}"));
    let lines = KILLED.lines().take(3);
    let mut cgroup: String = lines.map(|line| format!("{line}\n")).collect();
    cgroup.push_str("6,13,1000003,-;Out of memory and no killable processes...\n");
    let count = |text: &str, more: &[&str]| {
        let (document, _) = explain(&kernel, text, more);
        document["nobody_killed"].as_array().unwrap().len()
    };
    for (more, of_stop, of_cgroup) in [
        (&[][..], 1, 1),
        (&["--name", "web"], 1, 1),
        (&["--name", "other"], 1, 0),
        (&["--pid", "7"], 1, 0),
    ] {
        let counted = (count(&stop, more), count(&cgroup, more));
        assert_eq!(counted, (of_stop, of_cgroup), "{more:?}");
    }
    let (document, _) = explain(&kernel, &cgroup, &[]);
    assert_eq!(document["nobody_killed"][0]["machine_stopped"], false);
    assert_eq!(document["nobody_killed"][0]["limit_cgroup"], "/build/web");
}
