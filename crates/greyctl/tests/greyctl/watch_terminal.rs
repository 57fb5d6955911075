//! `memory-watch` in a real terminal: tmux runs the binary on a fake kernel,
//! types keys and reads the screen. The screens that it reads are those of
//! `docs/memory-watch.md`; `UPDATE_DOCS=1` writes them anew.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use grey_fake_kernel::{Ended, FakeKernel, FakeProcess};

use crate::harness::{host, on, run};

/// What is waited for takes at most this long, or the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

const NO_TMUX: Ended = Ended::Skipped {
    reason: "there is no tmux",
};

/// A terminal of its own, whose server ends with the test.
struct Terminal {
    folder: tempfile::TempDir,
    kernel: FakeKernel,
}

impl Terminal {
    /// A shell in a terminal of this size. `None` where there is no tmux.
    fn open(kernel: FakeKernel, size: (u16, u16)) -> Option<Self> {
        let version = Command::new("tmux").arg("-V").output();
        if !version.is_ok_and(|ran| ran.status.success()) {
            return None;
        }
        let terminal = Self {
            folder: tempfile::tempdir().unwrap(),
            kernel,
        };
        let (columns, lines) = (size.0.to_string(), size.1.to_string());
        let started = terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &lines,
            "env",
            "-i",
            "TERM=screen",
            "LANG=C.UTF-8",
            "TZ=UTC",
            "PATH=/usr/bin:/bin",
            "PS1=ready> ",
            "bash",
            "--norc",
            "--noprofile",
            "-i",
        ]);
        assert!(started.status.success(), "{started:?}");
        terminal.wait_for("ready>");
        Some(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        Command::new("tmux")
            .arg("-u")
            .arg("-S")
            .arg(self.folder.path().join("socket"))
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .env("TERM", "screen")
            .output()
            .unwrap()
    }

    /// Types `keys`, as tmux names them.
    fn press(&self, keys: &[&str]) {
        let mut all = vec!["send-keys"];
        all.extend(keys);
        assert!(self.tmux(&all).status.success(), "{keys:?}");
    }

    /// Types a line into the shell.
    fn run(&self, line: &str) {
        self.press(&["-l", line]);
        self.press(&["Enter"]);
    }

    /// The command line of a watch of the fake kernel, for the shell.
    fn watch(&self, options: &str) -> String {
        let command = on(&self.kernel);
        let mut line = env!("CARGO_BIN_EXE_greyctl").to_owned();
        for argument in command.get_args() {
            line.push_str(&format!(" '{}'", argument.to_str().unwrap()));
        }
        format!("{line} memory-watch {options}")
    }

    fn screen(&self) -> String {
        let captured = self.tmux(&["capture-pane", "-p"]);
        String::from_utf8(captured.stdout).unwrap()
    }

    /// The screen when it `is_there` and stands still: half of it may have been
    /// drawn.
    fn wait(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        let mut before = String::new();
        loop {
            let screen = self.screen();
            if is_there(&screen) && screen == before {
                return screen;
            }
            before.clone_from(&screen);
            assert!(
                start.elapsed() < PATIENCE,
                "waited too long for {what}; the screen:\n{screen}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_for(&self, text: &str) -> String {
        self.wait(text, |screen| screen.contains(text))
    }

    fn wait_without(&self, text: &str) -> String {
        self.wait(&format!("no {text}"), |screen| !screen.contains(text))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
    }
}

/// A machine whose memory is worth a look.
fn machine() -> FakeKernel {
    let process = |pid, parent, name: &str, cgroup: &str, mib: u64| FakeProcess {
        anon_kib: mib * 1024,
        ..FakeProcess::new(pid, parent, name, cgroup)
    };
    host()
        .with_process(&process(310, 1, "builder", "/build/web", 48))
        .with_process(&process(312, 310, "indexer", "/build/web", 24))
        .with_process(&process(313, 310, "indexer", "/build/web", 20))
}

#[test]
fn every_screen_is_there_in_a_real_terminal() -> Ended {
    let Some(terminal) = Terminal::open(machine(), (80, 24)) else {
        return NO_TMUX;
    };
    // One look is enough: the machine stands still.
    terminal.run(&terminal.watch("--interval 1h"));
    let mut screens = Vec::new();
    let mut keep = |title: &'static str, screen: String| screens.push((title, timeless(&screen)));
    keep("groups", terminal.wait_for("[Programs]").clone());
    terminal.press(&["b"]);
    keep(
        "units",
        terminal.wait("units", |screen| {
            screen.contains("[Units]") && screen.contains("nginx.service")
        }),
    );
    terminal.press(&["Tab"]);
    keep("processes", terminal.wait_for("[Processes]"));
    terminal.press(&["F5"]);
    terminal.press(&["P"]);
    keep("tree", terminal.wait_for("by pid"));
    terminal.press(&["F5"]);
    terminal.press(&["M"]);
    terminal.wait_for("by memory");
    terminal.press(&["/"]);
    terminal.press(&["-l", "some other"]);
    terminal.press(&["C-w"]);
    terminal.wait_for("filter: some _");
    terminal.press(&["C-u"]);
    terminal.wait_for("filter: _");
    terminal.press(&["-l", "index"]);
    keep("filter", terminal.wait_for("filter: index_"));
    terminal.press(&["Enter"]);
    terminal.press(&["Enter"]);
    keep(
        "process",
        terminal.wait("the parts of a process", |screen| {
            screen.contains("its share (PSS)") && !screen.contains("  shared ")
        }),
    );
    terminal.press(&["c"]);
    let command = terminal.wait_for("The same, printed:");
    assert!(
        command.contains("memory-diagnose --target pid:312"),
        "{command}"
    );
    // It leaves what it lay on.
    terminal.press(&["Escape"]);
    terminal.wait_for("its share (PSS)");
    terminal.press(&["Escape"]);
    terminal.wait_for("[Processes]");
    terminal.press(&["c"]);
    let command = terminal.wait_for("The same, printed:");
    let printed = pasted(&command, 80);
    assert!(
        printed.contains("indexer") && !printed.contains("builder"),
        "{command}\n{printed}"
    );
    terminal.press(&["Escape"]);
    terminal.wait_for("[Processes]");
    terminal.press(&["Escape"]);
    terminal.wait_without("filter index");
    terminal.press(&["Tab"]);
    keep(
        "cgroups",
        terminal.wait("control groups", |screen| {
            screen.contains("[Control groups]") && screen.contains("init.scope")
        }),
    );
    terminal.press(&["Down", "Down", "Enter"]);
    keep("cgroup", terminal.wait_for("slab, reclaimable"));
    // A key after Escape at once would be one key with Alt.
    terminal.press(&["Escape"]);
    terminal.wait_for("[Control groups]");
    terminal.press(&["F1"]);
    keep("help", terminal.wait_for("PgDn more"));
    terminal.press(&["NPage"]);
    keep("help-end", terminal.wait_for("PgUp back"));
    terminal.press(&["Escape"]);
    terminal.wait_for("[Control groups]");
    terminal.press(&["a"]);
    terminal.wait_for("nothing was changed");
    terminal.press(&["Escape"]);
    terminal.wait_for("[Control groups]");
    terminal.press(&["Z"]);
    terminal.wait_for("FROZEN");
    terminal.press(&["q"]);
    let after = terminal.wait_without("FROZEN");
    assert!(after.contains("ready>"), "{after}");
    renew_or_compare(&screens);
    Ended::Done
}

/// What a shell prints when the command on the screen is pasted into it.
fn pasted(screen: &str, width: usize) -> String {
    let mut lines = screen
        .lines()
        .skip_while(|line| !line.starts_with("greyctl "));
    let mut script = String::new();
    for line in lines.by_ref() {
        script.push_str(&format!("{line}\n"));
        if !line.ends_with('\\') {
            break;
        }
        assert_eq!(line.chars().count(), width, "{screen}");
    }
    let binary = env!("CARGO_BIN_EXE_greyctl");
    let script = script.replacen("greyctl", binary, 1);
    let ran = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(ran.status.success(), "{script}{ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

/// The screen with the one thing that is not the same each time made constant.
fn timeless(screen: &str) -> String {
    let is_clock =
        |word: &str| word.len() == 8 && word.bytes().filter(|byte| *byte == b':').count() == 2;
    let mut text = String::new();
    for line in screen.lines() {
        let clock = line.split(' ').find(|word| is_clock(word));
        match clock {
            Some(clock) => text.push_str(&line.replace(clock, "12:00:00")),
            None => text.push_str(line.trim_end()),
        }
        text.push('\n');
    }
    text
}

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/memory-watch.md")
}

/// Writes the screens into the document, or looks whether they are there.
fn renew_or_compare(screens: &[(&str, String)]) {
    let mut text = std::fs::read_to_string(document()).unwrap();
    for (title, screen) in screens {
        let begin = format!("<!-- screen: {title} -->\n```text\n");
        let (before, rest) = text
            .split_once(&begin)
            .unwrap_or_else(|| panic!("no {title}"));
        let (old, after) = rest.split_once("```").unwrap();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            text = format!("{before}{begin}{screen}```{after}");
        } else {
            assert_eq!(
                old, screen,
                "{title} in the document; UPDATE_DOCS=1 renews it"
            );
        }
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(document(), text).unwrap();
    }
}

#[test]
fn a_change_of_ours_is_listed_and_undone_after_a_question() -> Ended {
    let root = "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n";
    let kernel = machine()
        .with("proc/self/status", root)
        .with("cgroup/build/web/memory.high", "314572800\n");
    let Some(terminal) = Terminal::open(kernel, (100, 30)) else {
        return NO_TMUX;
    };
    let high = terminal.kernel.path("cgroup/build/web/memory.high");
    let changed = run(
        on(&terminal.kernel),
        &[
            "memory-enforce",
            "--observe",
            "0s",
            "-t",
            "/build/web",
            "--high",
            "200M",
        ],
    );
    let set = std::fs::read_to_string(&high).unwrap();
    assert_eq!(
        set.trim(),
        "209715200",
        "{} {}",
        changed.stdout,
        changed.stderr
    );
    terminal.run(&terminal.watch("--readonly --interval 1h"));
    terminal.wait_for("[Programs]");
    terminal.press(&["a"]);
    terminal.wait_for("memory.high of /build/web");
    terminal.press(&["u"]);
    terminal.wait_for("--readonly was given");
    terminal.press(&["q"]);
    terminal.wait_without("memory.high of");
    terminal.run("clear");
    terminal.run(&terminal.watch("--interval 1h"));
    terminal.wait_for("[Programs]");
    terminal.press(&["a"]);
    terminal.wait_for("memory.high of /build/web");
    terminal.press(&["u"]);
    let question = terminal.wait_for("undo change ");
    assert!(question.contains("back to 300.0 MiB"), "{question}");
    assert_eq!(std::fs::read_to_string(&high).unwrap().trim(), "209715200");
    terminal.press(&["y"]);
    terminal.wait_for("press Enter to go back");
    assert_eq!(std::fs::read_to_string(&high).unwrap().trim(), "314572800");
    terminal.press(&["Enter"]);
    let screen = terminal.wait_for(" was undone");
    assert!(screen.contains("undone"), "{screen}");
    Ended::Done
}

#[test]
fn the_shell_gets_the_terminal_back_when_it_stops_ends_or_is_told_to_end() -> Ended {
    let Some(terminal) = Terminal::open(machine(), (80, 24)) else {
        return NO_TMUX;
    };
    terminal.run(&terminal.watch("--show-processes"));
    terminal.wait_for("[Processes]");
    terminal.press(&["C-z"]);
    let stopped = terminal.wait_without("[Processes]");
    assert!(stopped.contains("Stopped"), "{stopped}");
    // What is typed is seen, and the shell obeys it.
    terminal.run("echo the shell has $((40+2))");
    terminal.wait_for("the shell has 42");
    terminal.run("fg");
    terminal.wait_for("[Processes]");
    terminal.press(&["Down", "F1"]);
    terminal.wait_for("Keys");
    terminal.press(&["C-c"]);
    terminal.wait_without("Keys");
    for signal in ["TERM", "HUP", "INT"] {
        terminal.run("clear");
        terminal.run(&terminal.watch("--interval 1h"));
        terminal.wait_for("[Programs]");
        let pids = terminal.tmux(&["list-panes", "-F", "#{pane_pid}"]).stdout;
        let shell: u32 = String::from_utf8(pids).unwrap().trim().parse().unwrap();
        let child = child_of(shell);
        let sent = Command::new("kill")
            .args(["-s", signal, &child.to_string()])
            .status();
        assert!(sent.unwrap().success());
        terminal.wait_without("[Programs]");
        terminal.run("echo still $((40+2))");
        terminal.wait_for("still 42");
    }
    Ended::Done
}

#[test]
fn a_terminal_that_is_closed_ends_it() -> Ended {
    let Some(terminal) = Terminal::open(machine(), (80, 24)) else {
        return NO_TMUX;
    };
    terminal.run(&terminal.watch("--interval 1h"));
    terminal.wait_for("free");
    let shell = terminal.tmux(&["display-message", "-p", "#{pane_pid}"]);
    let shell: u32 = String::from_utf8(shell.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let watch = child_of(shell);
    assert!(terminal.tmux(&["kill-server"]).status.success());
    let start = Instant::now();
    while Path::new(&format!("/proc/{watch}/fd/0")).exists() {
        assert!(start.elapsed() < PATIENCE, "{watch} goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ended::Done
}

/// The greyctl that a shell runs.
fn child_of(shell: u32) -> u32 {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_it = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.split_once(" (greyctl) ").map(|(_, rest)| rest);
        let parent = rest.and_then(|rest| rest.split(' ').nth(1));
        parent.is_some_and(|parent| parent == shell.to_string())
    };
    pids.into_iter().find(is_it).unwrap()
}

#[test]
fn a_terminal_of_20_by_5_and_one_that_changes_its_size_show_what_fits() -> Ended {
    let Some(terminal) = Terminal::open(machine(), (20, 5)) else {
        return NO_TMUX;
    };
    terminal.run(&terminal.watch("--show-processes --interval 1h"));
    terminal.wait_for("nginx");
    terminal.tmux(&["resize-window", "-x", "100", "-y", "30"]);
    terminal.wait_for("[Processes]");
    terminal.tmux(&["resize-window", "-x", "2", "-y", "2"]);
    terminal.tmux(&["resize-window", "-x", "60", "-y", "12"]);
    terminal.wait_for("[Processes]");
    terminal.press(&["q"]);
    terminal.wait_without("[Processes]");
    Ended::Done
}

#[test]
fn without_utf8_the_screen_is_ascii_and_a_dumb_terminal_gets_lines() -> Ended {
    let Some(terminal) = Terminal::open(machine(), (80, 24)) else {
        return NO_TMUX;
    };
    terminal.run(&format!("LANG=C {}", terminal.watch("--interval 1h")));
    let screen = terminal.wait_for("[Programs]");
    assert!(screen.is_ascii(), "{screen}");
    terminal.press(&["q"]);
    terminal.wait_without("[Programs]");
    terminal.run("clear");
    terminal.run(&format!("TERM=dumb {}", terminal.watch("--count 1")));
    let screen = terminal.wait_for("used 580.0 MiB of 1000.0 MiB");
    assert!(!screen.contains("[Programs]"), "{screen}");
    Ended::Done
}

#[test]
fn history_is_stepped_through_with_the_arrows() -> Ended {
    let kernel = machine();
    let recorded = run(
        on(&kernel),
        &["record", "--interval", "1s", "--for", "2500ms"],
    );
    assert_eq!(recorded.exit, 0, "{}", recorded.stderr);
    let Some(terminal) = Terminal::open(kernel, (80, 24)) else {
        return NO_TMUX;
    };
    terminal.run(&terminal.watch("--at now --show-processes"));
    let last = moment(&terminal.wait_for("HISTORY"));
    terminal.press(&["Left"]);
    let before = terminal.wait("an earlier moment", |screen| {
        screen.contains("HISTORY") && moment(screen) < last
    });
    assert!(before.contains("builder"), "{before}");
    terminal.press(&["Right"]);
    terminal.wait("the last moment", |screen| moment(screen) == last);
    terminal.press(&["Right"]);
    terminal.wait_for("this is the last sample");
    terminal.press(&["q"]);
    terminal.wait_without("HISTORY");
    Ended::Done
}

#[test]
fn the_command_of_a_process_that_is_gone_names_no_pid_as_a_target() -> Ended {
    let kernel = machine();
    let recorded = ["record", "--interval", "100ms", "--for", "300ms"];
    assert_eq!(run(on(&kernel), &recorded).exit, 0);
    let Some(terminal) = Terminal::open(kernel, (120, 40)) else {
        return NO_TMUX;
    };
    terminal.run(&terminal.watch("--show-processes --interval 200ms --filter index"));
    terminal.wait_for("2, by memory");
    terminal.press(&["Enter"]);
    terminal.wait_for("indexer, process 312");
    terminal.press(&["c"]);
    terminal.wait_for("--target pid:312");
    // While its command is on the screen.
    terminal.kernel.remove("proc/312");
    let screen = terminal.wait_for("process 312 (indexer) is gone");
    assert!(!screen.contains("--target"), "{screen}");
    for says in [
        "greyctl why name:indexer ",
        "greyctl history --at ",
        "greyctl why --killed --pid 312 ",
    ] {
        assert!(screen.contains(says), "{says}: {screen}");
    }
    let (_, history) = screen
        .split_once("History of when it was there:\n")
        .unwrap();
    let printed = pasted(history, 120);
    assert!(printed.contains("312"), "{printed}");
    Ended::Done
}

#[test]
fn what_is_frozen_stays_whatever_is_asked_of_it() -> Ended {
    let Some(terminal) = Terminal::open(machine(), (80, 24)) else {
        return NO_TMUX;
    };
    terminal.run(&terminal.watch("--interval 200ms"));
    terminal.wait_for("builder");
    terminal.press(&["Z"]);
    let head = |screen: &str| screen.lines().next().unwrap_or_default().to_owned();
    let frozen = head(&terminal.wait_for("FROZEN"));
    // All of it changes: what is used, and a process that everything is listed with.
    let path = terminal.kernel.path("proc/meminfo");
    let text = std::fs::read_to_string(&path).unwrap();
    let other = text.replace("MemAvailable:", "MemAvailable: 1 kB\nOther:");
    assert_ne!(text, other);
    std::fs::write(path, other).unwrap();
    let statm = "300000 200000 10 10 0 200000 0\n";
    terminal.kernel.write("proc/310/statm", statm);
    for (keys, shows) in [
        (&["b"][..], "[Units]"),
        (&["b", "b", "b", "b", "b"], "[Programs]"),
        (&["Tab"], "[Processes]"),
        (&["F5"], "  nginx"),
        (&["P"], "by pid"),
        (&["/", "b", "u", "i"], "filter: bui_"),
        (&["Enter", "Enter"], "builder, process 310"),
        (&["Escape"], "[Processes]"),
        (&["Tab"], "not read before this was frozen"),
        (&["1"], "[Programs]"),
    ] {
        terminal.press(keys);
        let screen = terminal.wait_for(shows);
        assert_eq!(head(&screen), frozen, "{keys:?}: {screen}");
        let has_old = screen.contains("72.0 MiB") || shows.contains("not read");
        assert!(has_old || shows == "[Units]", "{keys:?}: {screen}");
        assert!(!screen.contains("781."), "{keys:?}: {screen}");
    }
    // It goes on with what is wanted by then.
    terminal.press(&["Tab", "Tab", "Z"]);
    let on = terminal.wait_for("/build");
    assert!(
        !on.contains("FROZEN") && !on.contains("available 420.0"),
        "{on}"
    );
    terminal.press(&["2"]);
    terminal.wait_for("781.2 MiB");
    Ended::Done
}

fn moment(screen: &str) -> String {
    let at = screen.find("HISTORY ").map(|at| at + "HISTORY ".len());
    let rest = at.and_then(|at| screen.get(at..at + "2026-11-21 12:00:00".len()));
    rest.unwrap_or_default().to_owned()
}
