//! Boots the guests, lets them run the cases, and turns what they say into a
//! report per guest.
//!
//! A guest that gives no verdict is no failed test but a broken tool: it is
//! told apart, and it is booted once more only after the panic that QEMU's
//! emulation is known for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::initramfs::{self, Contents, InitramfsError, Work};
use crate::kernels::{self, KernelsError};
use crate::program::{self, ProgramError};
use crate::qemu::{self, Acceleration, Ending, Machine, QemuError};
use crate::systemd_root::{self, SystemdRootError};
use crate::talk;
use crate::verdicts::{self, Outcome, Received, Record};
use crate::workspace::Workspace;

/// The guests, by the names that kernel-tests knows them by.
pub(crate) const GUESTS: &[&str] = &["5.10", "6.1", "6.12", "systemd"];

/// The kernel that the guest with systemd runs.
const SYSTEMD_KERNEL: &str = "6.12";
/// The disks of every guest, in the order of its device names; ext4.
const DISKS: &[(&str, &str)] = &[("scratch", "480M"), ("tiny", "8M")];
/// Time for a guest to say that it is up.
const BOOT_SILENCE: Duration = Duration::from_secs(420);
/// Time between two lines of a guest that is up: longer than any case's
/// deadline and the cleaning up behind it.
const CASE_SILENCE: Duration = Duration::from_secs(600);
/// Time for a guest in all.
const LIMIT: Duration = Duration::from_secs(45 * 60);
/// Time for a guest to show that KVM works here.
const PROBE_LIMIT: Duration = Duration::from_secs(15);

/// Why a guest could not be started, or gave no verdict.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuestError {
    /// Its kernel is not there.
    #[error(transparent)]
    Kernels(#[from] KernelsError),
    /// Its first file system cannot be made.
    #[error(transparent)]
    Initramfs(#[from] InitramfsError),
    /// Its root cannot be made.
    #[error(transparent)]
    SystemdRoot(#[from] SystemdRootError),
    /// QEMU cannot be run.
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// A disk cannot be made.
    #[error("failed to make a disk for a guest")]
    Disk(#[source] ProgramError),
    /// The cache cannot be used.
    #[error("failed to use the cache for a guest")]
    Cache(#[source] io::Error),
}

/// What became of one guest.
#[derive(Debug)]
pub(crate) struct Report {
    /// What it said.
    pub(crate) received: Received,
    /// Lines that were no records: the output of a command.
    pub(crate) text: String,
    /// Why it gave no full verdict; `None` when it did.
    pub(crate) broken: Option<String>,
    /// All of its console.
    pub(crate) console: String,
    /// Until it said that it was up.
    pub(crate) boot_time: Option<Duration>,
    /// In all.
    pub(crate) time: Duration,
}

/// Boots guests with the programs that cargo has built.
#[derive(Debug)]
pub(crate) struct Guests<'a> {
    workspace: &'a Workspace,
    programs: Vec<PathBuf>,
    acceleration: Acceleration,
}

impl<'a> Guests<'a> {
    /// Looks what this machine can do. `programs` go into every guest.
    ///
    /// # Errors
    /// When not even a kernel is there.
    pub(crate) fn prepare(
        workspace: &'a Workspace,
        programs: Vec<PathBuf>,
    ) -> Result<Self, GuestError> {
        let mut guests = Self {
            workspace,
            programs,
            acceleration: Acceleration::Emulated,
        };
        // What several guests share is made before any of them starts.
        kernels::ready(workspace, SYSTEMD_KERNEL)?;
        for (name, size) in DISKS {
            guests.disk(name, size)?;
        }
        guests.acceleration = qemu::acceleration(workspace, || guests.kvm_works())?;
        talk::step(&format!(
            "guests run with {:?} acceleration",
            guests.acceleration
        ));
        Ok(guests)
    }

    /// Boots one guest and hears it to the end; a second time after a panic
    /// that is the emulator's fault.
    ///
    /// # Errors
    /// When it cannot be started at all.
    pub(crate) fn run(&self, guest: &str, work: &Work) -> Result<Report, GuestError> {
        let report = self.run_once(guest, work)?;
        let panicked = qemu::panic_in(&report.console);
        let at_boot = !report.received.has_begun;
        match panicked {
            Some(line) if report.broken.is_some() && (at_boot || line.contains("int3")) => {
                talk::step(&format!(
                    "{guest}: the kernel panicked, booting once more: {line}"
                ));
                self.run_once(guest, work)
            }
            _ => Ok(report),
        }
    }

    fn run_once(&self, guest: &str, work: &Work) -> Result<Report, GuestError> {
        let folder = RunFolder::create(self.workspace, guest)?;
        let machine = self.machine(guest, work, self.acceleration, &folder.path)?;
        let start = Instant::now();
        let mut running = machine.start(LIMIT)?;
        let mut report = Report::silent();
        let ending = loop {
            let may_be_busy = report.received.has_begun || matches!(work, Work::Command(_));
            let silence = if may_be_busy {
                CASE_SILENCE
            } else {
                BOOT_SILENCE
            };
            match running.next_line(silence) {
                Ok(line) => report.hear(guest, &line, start),
                Err(ending) => break ending,
            }
        };
        let complaints = running.stop();
        report.time = start.elapsed();
        report.console = qemu::console_text(&machine.console);
        if !report.received.has_ended && !matches!(work, Work::Command(_)) {
            report.broken = Some(why_broken(&report, ending, &complaints));
        }
        self.keep_console(guest, &machine.console)?;
        Ok(report)
    }

    fn machine(
        &self,
        guest: &str,
        work: &Work,
        acceleration: Acceleration,
        folder: &Path,
    ) -> Result<Machine, GuestError> {
        let with_systemd = guest == "systemd";
        let series = if with_systemd { SYSTEMD_KERNEL } else { guest };
        let kernel = kernels::ready(self.workspace, series)?;
        let contents = Contents {
            kernel: &kernel,
            guest,
            work,
            programs: &self.programs,
        };
        let initramfs = initramfs::pack(&contents, folder)?;
        let mut disks = Vec::new();
        if !matches!(work, Work::Probe) {
            for (name, size) in DISKS {
                disks.push(self.disk(name, size)?);
            }
        }
        if with_systemd {
            disks.push(systemd_root::ready(self.workspace)?);
        }
        Ok(Machine {
            acceleration,
            kernel: kernel.image,
            initramfs,
            disks,
            console: folder.join("console"),
            kernel_arguments: if with_systemd {
                systemd_root::KERNEL_ARGUMENTS
            } else {
                "quiet"
            },
        })
    }

    /// An empty ext4 disk; made once, since what guests write is thrown away.
    fn disk(&self, name: &str, size: &str) -> Result<PathBuf, GuestError> {
        let folder = self.workspace.cache("guests").map_err(GuestError::Cache)?;
        let path = folder.join(format!("{name}-{size}.ext4"));
        if path.exists() {
            return Ok(path);
        }
        let partial = folder.join(format!("{name}-{}.partial", std::process::id()));
        let mut command = program::administrators("mke2fs");
        command
            .args(["-q", "-t", "ext4", "-m", "0", "-F"])
            .arg(&partial)
            .arg(size);
        program::output(&mut command).map_err(GuestError::Disk)?;
        fs::rename(&partial, &path).map_err(GuestError::Cache)?;
        Ok(path)
    }

    fn kvm_works(&self) -> bool {
        talk::step("trying KVM");
        let heard = || -> Result<bool, GuestError> {
            let folder = RunFolder::create(self.workspace, "probe")?;
            let machine = self.machine(
                SYSTEMD_KERNEL,
                &Work::Probe,
                Acceleration::Kvm,
                &folder.path,
            )?;
            let mut running = machine.start(PROBE_LIMIT)?;
            loop {
                match running.next_line(PROBE_LIMIT) {
                    Ok(line) if line.contains("grey-probe-works") => return Ok(true),
                    Ok(_) => {}
                    Err(_) => return Ok(false),
                }
            }
        };
        heard().unwrap_or(false)
    }

    /// The last console of each guest stays in the cache.
    fn keep_console(&self, guest: &str, console: &Path) -> Result<(), GuestError> {
        let logs = self.workspace.cache("logs").map_err(GuestError::Cache)?;
        fs::copy(console, logs.join(format!("{guest}.log"))).map_err(GuestError::Cache)?;
        Ok(())
    }
}

impl Report {
    /// What is known of a guest that has said nothing.
    pub(crate) fn silent() -> Self {
        Self {
            received: Received::default(),
            text: String::new(),
            broken: None,
            console: String::new(),
            boot_time: None,
            time: Duration::ZERO,
        }
    }

    /// The end of its console, for people.
    pub(crate) fn console_end(&self) -> String {
        qemu::end_of(&self.console)
    }

    fn hear(&mut self, guest: &str, line: &str, start: Instant) {
        let Some(record) = verdicts::parse(line) else {
            if !line.is_empty() {
                self.text.push_str(line);
                self.text.push('\n');
            }
            return;
        };
        match &record {
            Record::Begin { kernel, cases } => {
                self.boot_time = Some(start.elapsed());
                let seconds = start.elapsed().as_secs_f64();
                talk::step(&format!(
                    "{guest}: Linux {kernel} is up after {seconds:.1} s, {cases} cases"
                ));
            }
            Record::Started { .. } | Record::End => {}
            Record::Verdict(verdict) => {
                let (case, seconds) = (&verdict.case, verdict.seconds);
                let word = match verdict.outcome {
                    Outcome::Passed => "passed",
                    Outcome::Failed => "FAILED",
                    Outcome::Skipped => "skipped",
                };
                talk::step(&format!("{guest}: {word} {case} ({seconds:.1} s)"));
                if verdict.outcome != Outcome::Passed {
                    talk::line(&format!("    {}", verdict.detail.replace('\n', "\n    ")));
                }
                if verdict.outcome == Outcome::Failed {
                    talk::line(&format!(
                        "    | {}",
                        verdict.log.trim_end().replace('\n', "\n    | ")
                    ));
                }
            }
        }
        self.received.take(record);
    }
}

fn why_broken(report: &Report, ending: Ending, complaints: &str) -> String {
    let during = match (&report.received.running, report.received.has_begun) {
        (Some(case), _) => format!("during case {case}"),
        (None, true) => "between two cases".to_owned(),
        (None, false) => "before its first case".to_owned(),
    };
    let what = match (qemu::panic_in(&report.console), ending) {
        (Some(line), _) => format!("its kernel died: {line}"),
        (None, Ending::TimedOut) => "it was silent for too long".to_owned(),
        (None, Ending::Off) => "it went off".to_owned(),
    };
    format!(
        "{what} ({during}){}{complaints}",
        if complaints.is_empty() { "" } else { "\n" }
    )
}

/// A folder for one run of one guest; several may run at once. It goes with the
/// run.
#[derive(Debug)]
struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    fn create(workspace: &Workspace, guest: &str) -> Result<Self, GuestError> {
        let all = workspace.cache("guests").map_err(GuestError::Cache)?;
        remove_stale(&all);
        let path = all.join(format!("run-{guest}-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(GuestError::Cache)?;
        Ok(Self { path })
    }
}

/// What runs left that were interrupted: their process is gone.
fn remove_stale(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name
            .strip_prefix("run-")
            .and_then(|rest| rest.rsplit('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // Only space in the cache.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // Only space in the cache.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The cases there are and the guests of each, asked of the program itself.
///
/// # Errors
/// When it does not answer.
pub(crate) fn listed_cases(kernel_cases: &Path) -> Result<Vec<ListedCase>, ProgramError> {
    let text = program::output(Command::new(kernel_cases).arg("list"))?;
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

/// A case, as `kernel-cases list` tells it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct ListedCase {
    pub(crate) case: String,
    pub(crate) guests: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_gone_process_left_is_removed() {
        let all = tempfile::tempdir().unwrap();
        let mine = all.path().join(format!("run-6.1-{}", std::process::id()));
        // No process has a number beyond the kernel's highest.
        let stale = all.path().join("run-6.1-99999999");
        let disk = all.path().join("scratch-480M.ext4");
        for folder in [&mine, &stale, &disk] {
            fs::create_dir(folder).unwrap();
        }
        remove_stale(all.path());
        assert!(mine.exists() && disk.exists() && !stale.exists());
    }

    #[test]
    fn a_broken_guest_is_told_with_the_case_and_the_panic() {
        let mut report = Report::silent();
        report.console = "x\nKernel panic - not syncing: y\n".to_owned();
        report.received.has_begun = true;
        report.received.running = Some("a_case".to_owned());
        let why = why_broken(&report, Ending::Off, "");
        assert!(
            why.contains("Kernel panic") && why.contains("a_case"),
            "{why}"
        );
        assert!(
            why_broken(&Report::silent(), Ending::TimedOut, "").contains("silent for too long")
        );
    }
}
