//! The programs that look each second, and what they use.
//!
//! Never leaves one running: each is killed by its pid when it is dropped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use procfs::process::Process;

/// What a program used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Used {
    /// User and system time, of all its threads, in percent of one core.
    pub(super) cpu_percent: f64,
    /// Resident memory at the end, and the most.
    pub(super) rss_kib: u64,
    pub(super) peak_kib: u64,
}

/// One program.
pub(super) struct Peer {
    pub(super) name: String,
    running: Result<Child, String>,
    /// Which process below the child is meant; itself where there is none.
    below: Option<&'static str>,
    ticks_before: Result<u64, String>,
}

impl Peer {
    fn start(name: &str, command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self {
            name: name.to_owned(),
            running: child.map_err(|error| error.to_string()),
            below: None,
            ticks_before: Err("it was not measured".to_owned()),
        }
    }

    fn absent(name: &str, reason: &str) -> Self {
        Self {
            name: name.to_owned(),
            running: Err(reason.to_owned()),
            below: None,
            ticks_before: Err(reason.to_owned()),
        }
    }

    /// Counts from here on.
    pub(super) fn begin(&mut self) {
        self.ticks_before = self.process().and_then(|process| ticks(&process));
    }

    /// What it used since, in `lasted`.
    pub(super) fn used(&mut self, lasted: Duration) -> Result<Used, String> {
        let before = self.ticks_before.clone()?;
        let process = self.process()?;
        let ticks = ticks(&process)?.saturating_sub(before);
        let status = process.status().map_err(|error| error.to_string())?;
        let seconds = ticks as f64 / procfs::ticks_per_second() as f64;
        Ok(Used {
            cpu_percent: seconds / lasted.as_secs_f64() * 100.0,
            rss_kib: status.vmrss.unwrap_or_default(),
            peak_kib: status.vmhwm.unwrap_or_default(),
        })
    }

    fn process(&mut self) -> Result<Process, String> {
        let child = self.running.as_mut().map_err(|reason| reason.clone())?;
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("it ended: {status}"));
        }
        let pid = i32::try_from(child.id()).map_err(|error| error.to_string())?;
        match self.below {
            None => Process::new(pid).map_err(|error| error.to_string()),
            Some(name) => descendant(pid, name).ok_or_else(|| format!("no {name} was started")),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Of those below, the pseudo-terminal's end is the end.
        if let Ok(child) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn ticks(process: &Process) -> Result<u64, String> {
    let stat = process.stat().map_err(|error| error.to_string())?;
    Ok(stat.utime + stat.stime)
}

/// The process called `name` that `ancestor` or one below it has started.
fn descendant(ancestor: i32, name: &str) -> Option<Process> {
    let all: Vec<_> = procfs::process::all_processes()
        .ok()?
        .flatten()
        .filter_map(|process| process.stat().ok())
        .collect();
    let mut wanted = vec![ancestor];
    let mut next = 0;
    while let Some(&parent) = wanted.get(next) {
        next += 1;
        for stat in all.iter().filter(|stat| stat.ppid == parent) {
            if stat.comm == name {
                return Process::new(stat.pid).ok();
            }
            wanted.push(stat.pid);
        }
    }
    None
}

/// All of them, started.
pub(super) fn all(greyctl: &Path, folder: &Path, python: Result<&str, &String>) -> Vec<Peer> {
    let record = |name: &str, state: &str, arguments: &[&str]| {
        let mut command = Command::new(greyctl);
        command
            .args(["record", "--state-dir"])
            .arg(folder.join(state));
        Peer::start(name, command.args(arguments))
    };
    let script = include_str!("../../python/recorder.py");
    let psutil = |name: &str, field: &str| match python {
        Ok(python) => Peer::start(name, Command::new(python).args(["-c", script, field])),
        Err(reason) => Peer::absent(name, reason),
    };
    vec![
        record("greyctl record", super::size::STATE, &[]),
        record(
            "greyctl record --pss-budget 0",
            "without-pss",
            &["--pss-budget", "0"],
        ),
        psutil("psutil, RSS", "rss"),
        psutil("psutil, PSS", "pss"),
        htop(),
        below(folder),
    ]
}

/// htop draws only on a terminal: `script` gives it one.
fn htop() -> Peer {
    const NAME: &str = "htop -d 10";
    for program in ["htop", "script"] {
        if find(program).is_none() {
            return Peer::absent(NAME, &format!("{program} is not installed"));
        }
    }
    let mut command = Command::new("script");
    command
        .args(["-q", "-c", "exec htop -d 10", "/dev/null"])
        .env("TERM", "xterm");
    let mut peer = Peer::start(NAME, &mut command);
    peer.below = Some("htop");
    peer
}

fn below(folder: &Path) -> Peer {
    const NAME: &str = "below record";
    if find("below").is_none() {
        return Peer::absent(NAME, "below is not installed");
    }
    let (config, store) = (folder.join("below.conf"), folder.join("below"));
    let text = format!("log_dir = '{0}'\nstore_dir = '{0}'\n", store.display());
    let written = std::fs::create_dir_all(&store).and_then(|()| std::fs::write(&config, text));
    if let Err(error) = written {
        return Peer::absent(NAME, &error.to_string());
    }
    let mut command = Command::new("below");
    Peer::start(
        NAME,
        command
            .arg("--config")
            .arg(config)
            .args(["record", "--interval-s", "1"]),
    )
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}
