//! Runs the real binary, in an environment that holds nothing by chance.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use grey_fake_kernel::FakeKernel;
use serde_json::Value;

/// Whom the tests run as when they must not be root.
const NOBODY: u32 = 65534;

/// What a run left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The document on stdout.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in {}\n{}", self.stdout, self.stderr))
    }

    /// The output with the time that reading took made constant.
    pub(crate) fn timeless(&self) -> String {
        self.stdout
            .lines()
            .map(|line| match line.rsplit_once(", read in ") {
                Some((before, _)) => format!("{before}, read in N s"),
                None => line.to_owned(),
            })
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// The binary with an empty environment.
pub(crate) fn greyctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_greyctl"));
    command.env_clear().env("TZ", "UTC").stdin(Stdio::null());
    command
}

/// The binary, looking at a fake kernel, with a state directory of its own.
pub(crate) fn on(kernel: &FakeKernel) -> Command {
    let mut command = greyctl();
    command
        .arg("--procfs")
        .arg(kernel.procfs())
        .arg("--sysfs")
        .arg(kernel.sysfs())
        .arg("--cgroupfs")
        .arg(kernel.cgroupfs())
        .arg("--systemd-dir")
        .arg(kernel.systemd())
        .arg("--state-dir")
        .arg(kernel.path("state"));
    command
}

/// The same as a user who is not root, whoever runs the tests.
pub(crate) fn unprivileged_on(kernel: &FakeKernel) -> Command {
    as_nobody(kernel, &on(kernel))
}

/// The same with the arguments of `given`. `kernel` gives it a place.
pub(crate) fn as_nobody(kernel: &FakeKernel, given: &Command) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        // The build folder may be closed to others.
        let program = kernel.path("greyctl");
        // Another process copies it: while we had it open for writing, a test
        // that forks at that moment would keep it so, and it could not be run.
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_greyctl"))
            .arg(&program)
            .status();
        assert!(copied.unwrap().success());
        for path in [kernel.path("."), program.clone()] {
            std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = Command::new("setpriv");
        command
            .args([
                &format!("--reuid={NOBODY}"),
                &format!("--regid={NOBODY}"),
                "--clear-groups",
                "--",
            ])
            .arg(program)
            .stdin(Stdio::null());
        command
    } else {
        greyctl()
    };
    command.args(given.get_args());
    command
}

/// Takes away everybody's permission to read a file.
pub(crate) fn forbid(path: &Path) {
    std::fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap();
}

/// Gives `path` to the user that [`unprivileged_on`] runs as.
pub(crate) fn give_away(path: &Path) {
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// Takes away everybody's permission to write into a directory
/// of the user that [`unprivileged_on`] runs as.
pub(crate) fn forbid_writing(path: &Path) {
    give_away(path);
    std::fs::set_permissions(path, Permissions::from_mode(0o555)).unwrap();
}

/// Runs `command` with `arguments`. Whatever was run, each command that was
/// recommended is one that a shell and greyctl take.
pub(crate) fn run(mut command: Command, arguments: &[&str]) -> Ran {
    let output = command.args(arguments).output().unwrap();
    let ran = Ran {
        exit: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    };
    for line in ran.stderr.lines() {
        if let Some(recommended) = recommended(line) {
            let taken = is_taken(&recommended);
            assert!(taken, "`{recommended}` cannot be pasted: {line}");
        }
    }
    ran
}

/// The command of greyctl at the end of a line of talk, without whom it is to
/// be run by.
pub(crate) fn recommended(line: &str) -> Option<String> {
    let talk = ["hint: ", "warning: "];
    let text = talk.iter().find_map(|label| line.strip_prefix(label))?;
    let start = text.find("greyctl ")?;
    let (before, command) = text.split_at(start);
    (before.ends_with(": ") || before.contains("sudo ")).then(|| command.to_owned())
}

/// The one command that was recommended.
pub(crate) fn only_command(ran: &Ran) -> String {
    let all: Vec<String> = ran.stderr.lines().filter_map(recommended).collect();
    let [one] = all.as_slice() else {
        panic!("not one command: {}", ran.stderr)
    };
    one.clone()
}

/// Whether `line` is a command of greyctl, pasted into a shell; it is not run.
pub(crate) fn is_taken(line: &str) -> bool {
    let shown = pasted(&format!("{line} --help"));
    shown.exit == 0 && shown.stdout.contains("Usage: greyctl")
}

/// Pastes `line` into a shell that finds this greyctl.
pub(crate) fn pasted(line: &str) -> Ran {
    let folder = Path::new(env!("CARGO_BIN_EXE_greyctl")).parent().unwrap();
    let output = Command::new("bash")
        .args(["--norc", "-c", line])
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", folder.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ran {
        exit: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The same for a terminal of `columns`, without colours.
pub(crate) fn run_at(mut command: Command, columns: u16, arguments: &[&str]) -> Ran {
    command.env("COLUMNS", columns.to_string());
    run(command, arguments)
}

/// A fake host whose users have names.
pub(crate) fn host() -> FakeKernel {
    FakeKernel::full().with(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nana:x:1000:1000::/home/ana:/bin/bash\n",
    )
}

/// Every file below `folder` with its bytes, to see that nothing was changed.
pub(crate) fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let facts = std::fs::symlink_metadata(&path).unwrap();
            if facts.is_dir() {
                folders.push(path);
            } else if facts.is_file() {
                let bytes = std::fs::read(&path).unwrap();
                found.push((path.to_string_lossy().into_owned(), bytes));
            }
        }
    }
    found.sort();
    found
}
