//! The real settings with faults injected around them, and with what the kernel
//! would do next.
//!
//! Never replaces a reader or a writer of ours.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use grey_model::{CgroupId, CgroupPath, Knob, KnobValue, ProcessId};

use super::rig::Counters;
use crate::knob::{KernelKnobs, KnobAccess, KnobError, Restored, Saved};

/// What goes wrong, and when: counted over the calls of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// The n-th setting that is written fails, and nothing is written.
    FailSet(usize),
    /// The n-th setting is written, and the kernel makes something else of it.
    SetToSomethingElse(usize),
    /// We are killed at the n-th call, before it did anything.
    DieBefore(usize),
    /// We are killed right after the n-th call.
    DieAfter(usize),
}

/// A cgroup as the kernel makes it.
pub(super) fn make_children_files(parent: &Path, name: &str, memory: bool) {
    let directory = parent.join(name);
    fs::create_dir_all(&directory).unwrap();
    let mut files = vec![("cgroup.procs", ""), ("cgroup.subtree_control", "\n")];
    if memory {
        files.extend([
            ("memory.current", "52428800\n"),
            ("memory.high", "max\n"),
            (
                "memory.max",
                if name == "web" {
                    "314572800\n"
                } else {
                    "max\n"
                },
            ),
            ("memory.reclaim", ""),
            (
                "memory.stat",
                "workingset_refault_anon 1\nworkingset_refault_file 2\n",
            ),
        ]);
        if name != "web" {
            files.retain(|(file, _)| *file != "memory.current");
            files.push(("memory.current", "4096\n"));
        }
    }
    for (file, text) in files {
        fs::write(directory.join(file), text).unwrap();
    }
}

/// The real settings, and around them the kernel's reactions and the faults.
pub(super) struct FaultyKnobs {
    pub(super) inner: KernelKnobs,
    pub(super) root: PathBuf,
    pub(super) fault: Fault,
    pub(super) counters: Rc<RefCell<Counters>>,
}

impl FaultyKnobs {
    fn around<T>(&self, call: impl FnOnce() -> T) -> T {
        let number = {
            let mut counters = self.counters.borrow_mut();
            counters.calls += 1;
            counters.calls
        };
        self.die_if(self.fault == Fault::DieBefore(number));
        let result = call();
        self.die_if(self.fault == Fault::DieAfter(number));
        result
    }

    /// Ends us without a word, as SIGKILL would.
    fn die_if(&self, now: bool) {
        if now {
            std::panic::resume_unwind(Box::new("killed"));
        }
    }

    pub(super) fn tree(&self, path: &CgroupPath) -> PathBuf {
        let relative = String::from_utf8(path.relative().to_vec()).unwrap();
        self.root.join("cgroup").join(relative)
    }

    /// What the kernel makes of a write: only of what is in the file, so that
    /// a write that never happened is noticed.
    fn react(&self, knob: &Knob) {
        match knob {
            Knob::CgroupFile { cgroup, file, .. } => {
                self.rewrite(&self.tree(cgroup).join(file.file_name()), |line| {
                    line.parse::<u64>()
                        .map_or(line.to_owned(), |bytes| (bytes / 4096 * 4096).to_string())
                });
            }
            Knob::MemoryController { cgroup } => {
                let path = self.tree(cgroup).join("cgroup.subtree_control");
                self.rewrite(&path, |line| match line {
                    "+memory" => "memory".to_owned(),
                    "-memory" => String::new(),
                    other => other.to_owned(),
                });
            }
            Knob::CgroupDirectory { cgroup, .. } => {
                let path = self.tree(cgroup);
                if path.exists() && !path.join("cgroup.procs").exists() {
                    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                    make_children_files(path.parent().unwrap(), &name, true);
                }
            }
            Knob::Ksm { file } => {
                let path = self.root.join("sys/kernel/mm/ksm").join(file.file_name());
                self.rewrite(&path, |line| match line {
                    "none" => "[none] scan-time".to_owned(),
                    "scan-time" => "none [scan-time]".to_owned(),
                    other => other.to_owned(),
                });
            }
            Knob::OomScoreAdj { process } => {
                let path = format!("proc/{}/oom_score_adj", process.pid);
                self.rewrite(&self.root.join(path), str::to_owned);
            }
            _ => {}
        }
        super::units::settle(&self.root);
    }

    /// Only the first line is what was written: a kernel file has no rest.
    fn rewrite(&self, path: &Path, change: impl Fn(&str) -> String) {
        if let Ok(text) = fs::read_to_string(path) {
            let line = text.lines().next().unwrap_or_default();
            fs::write(path, change(line) + "\n").unwrap();
        }
    }

    /// RLIMIT_DATA has no file that is written: `prlimit` on a made-up pid
    /// would hit a stranger. Tests on real processes cover the call itself.
    fn set_rlimit(&self, process: ProcessId, text: &str) {
        let (soft, hard) = text.split_once(':').unwrap();
        let path = self.root.join(format!("proc/{}/limits", process.pid));
        let row = format!("Max data size             {soft:<20} {hard:<20} bytes\n");
        fs::write(path, row).unwrap();
    }

    /// rmdir of a cgroup takes its files with it; of a test tree it does not.
    fn empty_directory(&self, knob: &Knob) {
        let Knob::CgroupDirectory { cgroup, .. } = knob else {
            return;
        };
        let path = self.tree(cgroup);
        let procs = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
        if !procs.trim().is_empty() {
            return;
        }
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            if entry.path().is_file() {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}

impl KnobAccess for FaultyKnobs {
    fn read(&self, knob: &Knob) -> Result<Option<KnobValue>, KnobError> {
        self.around(|| self.inner.read(knob))
    }

    fn saved_before(&self, knob: &Knob) -> Result<Saved, KnobError> {
        self.around(|| self.inner.saved_before(knob))
    }

    fn set(&self, knob: &Knob, value: Option<&KnobValue>) -> Result<(), KnobError> {
        self.around(|| {
            let number = {
                let mut counters = self.counters.borrow_mut();
                counters.sets += 1;
                counters.sets
            };
            if self.fault == Fault::FailSet(number) {
                return Err(KnobError::Write {
                    path: "injected".into(),
                    value: String::new(),
                    source: std::io::ErrorKind::InvalidInput.into(),
                });
            }
            if let (Knob::RlimitData { process }, Some(value)) = (knob, value) {
                self.set_rlimit(*process, &value.0);
            } else {
                self.inner.set(knob, value)?;
            }
            if self.fault == Fault::SetToSomethingElse(number) {
                self.inner.set(knob, Some(&KnobValue("8192".to_owned())))?;
            }
            self.react(knob);
            Ok(())
        })
    }

    fn check_unit(&self, knob: &Knob, saved: &Saved) -> Result<(), KnobError> {
        self.around(|| self.inner.check_unit(knob, saved))
    }

    fn unit_cgroup(&self, unit: &str) -> Result<Option<CgroupPath>, KnobError> {
        self.around(|| self.inner.unit_cgroup(unit))
    }

    fn made_cgroup(&self, knob: &Knob) -> Result<Option<CgroupId>, KnobError> {
        self.around(|| self.inner.made_cgroup(knob))
    }

    fn restore(
        &self,
        knob: &Knob,
        before: Option<&KnobValue>,
        saved: &Saved,
        force: bool,
    ) -> Result<Restored, KnobError> {
        self.around(|| {
            self.empty_directory(knob);
            if let (Knob::RlimitData { process }, Some(value)) = (knob, before) {
                self.set_rlimit(*process, &value.0);
                return Ok(Restored::exactly());
            }
            let restored = self.inner.restore(knob, before, saved, force)?;
            self.react(knob);
            Ok(restored)
        })
    }
}
