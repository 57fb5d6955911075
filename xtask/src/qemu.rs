//! Starts QEMU, listens to a guest's verdict port, and ends what does not end
//! by itself.
//!
//! Never judges what a guest says.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::workspace::Workspace;

/// Says which acceleration to use instead of trying: `kvm` or `tcg`.
pub(crate) const ACCELERATION_VARIABLE: &str = "GREY_GUEST_ACCELERATION";

/// Lines of the console that are shown when something went wrong.
const CONSOLE_LINES: usize = 120;

/// What ends a kernel. A soft lockup is not among them: an emulated guest on a
/// busy machine has them and goes on.
const PANIC_MARKERS: &[&str] = &[
    "Kernel panic",
    "BUG: unable to handle",
    "kernel BUG at",
    "Oops: ",
];

/// Why QEMU could not be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QemuError {
    /// It is missing, or has no pipes.
    #[error("failed to start qemu-system-x86_64")]
    Start(#[source] io::Error),
    /// The answer of a probe cannot be kept.
    #[error("failed to use the cache for `{name}`")]
    Cache {
        name: &'static str,
        #[source]
        source: io::Error,
    },
}

/// Who runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acceleration {
    /// The processor itself.
    Kvm,
    /// QEMU, one instruction after the other. With one thread: with several,
    /// QEMU 7.2 races with the kernel's patching of its own text ("Oops: int3").
    Emulated,
}

/// A machine that can be started.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) acceleration: Acceleration,
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    /// Disks in the guest's order; what it writes to them is thrown away.
    pub(crate) disks: Vec<PathBuf>,
    /// Where the console's text goes.
    pub(crate) console: PathBuf,
    /// More words for the kernel's command line.
    pub(crate) kernel_arguments: &'static str,
}

/// How a machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It powered off, or panicked and was stopped by that.
    Off,
    /// Nothing was heard for too long, or it ran too long; it was killed.
    TimedOut,
}

/// A machine that runs. Killed when dropped.
#[derive(Debug)]
pub(crate) struct RunningMachine {
    child: Child,
    lines: Receiver<String>,
    end: Instant,
}

impl Machine {
    /// Starts it; it is killed after `limit` at the latest.
    ///
    /// # Errors
    /// When QEMU cannot be started.
    pub(crate) fn start(&self, limit: Duration) -> Result<RunningMachine, QemuError> {
        let mut child = self.command().spawn().map_err(QemuError::Start)?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| QemuError::Start(io::Error::other("no pipe to it")))?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(RunningMachine {
            child,
            lines,
            end: Instant::now() + limit,
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        command.args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
        ]);
        command.args(["-m", "1024", "-smp", "2", "-cpu", "max", "-accel"]);
        command.arg(match self.acceleration {
            Acceleration::Kvm => "kvm",
            Acceleration::Emulated => "tcg,thread=single",
        });
        command
            .arg("-chardev")
            .arg(format!("file,id=console,path={}", self.console.display()));
        command.args(["-serial", "chardev:console"]);
        command.args([
            "-chardev",
            "stdio,id=verdicts,signal=off",
            "-serial",
            "chardev:verdicts",
        ]);
        for disk in &self.disks {
            let disk = disk.display();
            command.arg("-drive").arg(format!(
                "file={disk},if=virtio,format=raw,snapshot=on,cache=unsafe"
            ));
        }
        command
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initramfs);
        command.arg("-append").arg(format!(
            "console=ttyS0 loglevel=4 psi=1 panic=-1 oops=panic {}",
            self.kernel_arguments
        ));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

impl RunningMachine {
    /// The next line of the verdict port; `Err` when there will be none, because
    /// it is off, or silent for longer than `silence`.
    pub(crate) fn next_line(&mut self, silence: Duration) -> Result<String, Ending> {
        let left = self.end.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(silence.min(left)) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Disconnected) => Err(Ending::Off),
            Err(RecvTimeoutError::Timeout) => Err(Ending::TimedOut),
        }
    }

    /// Ends it and gives what QEMU itself complained about.
    pub(crate) fn stop(mut self) -> String {
        let mut said = String::new();
        // It may have ended: that is what we want.
        let _ = self.child.kill();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut said);
        }
        let _ = self.child.wait();
        said
    }
}

impl Drop for RunningMachine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first line of a console that shows that the kernel died.
pub(crate) fn panic_in(console: &str) -> Option<&str> {
    console
        .lines()
        .find(|line| PANIC_MARKERS.iter().any(|marker| line.contains(marker)))
}

/// The end of a console's text, for people.
pub(crate) fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n")
}

/// All of a console's text.
pub(crate) fn console_text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Can this machine use KVM? A device that is there proves little (nested
/// machines have ones that do not work), so a guest is booted once per boot of
/// this machine, by `works`.
///
/// # Errors
/// When the answer cannot be kept.
pub(crate) fn acceleration(
    workspace: &Workspace,
    works: impl FnOnce() -> bool,
) -> Result<Acceleration, QemuError> {
    match std::env::var(ACCELERATION_VARIABLE).as_deref() {
        Ok("kvm") => return Ok(Acceleration::Kvm),
        Ok("tcg") => return Ok(Acceleration::Emulated),
        _ => {}
    }
    let usable = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok();
    if !usable {
        return Ok(Acceleration::Emulated);
    }
    let cache_error = |source| QemuError::Cache {
        name: "acceleration",
        source,
    };
    let file = workspace
        .cache("guests")
        .map_err(cache_error)?
        .join("acceleration");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let known = fs::read_to_string(&file).unwrap_or_default();
    if let Some(answer) = known.strip_prefix(&boot) {
        return Ok(if answer == "kvm" {
            Acceleration::Kvm
        } else {
            Acceleration::Emulated
        });
    }
    let (acceleration, answer) = if works() {
        (Acceleration::Kvm, "kvm")
    } else {
        (Acceleration::Emulated, "tcg")
    };
    fs::write(&file, boot + answer).map_err(cache_error)?;
    Ok(acceleration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_seen_and_a_soft_lockup_is_none() {
        let console = "[1.0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!\n";
        assert_eq!(panic_in(console), None);
        let console = "ok\n[2.0] Oops: int3: 0000 [#1] SMP\n[2.1] Kernel panic - not syncing\n";
        assert!(panic_in(console).unwrap().contains("int3"));
    }
}
