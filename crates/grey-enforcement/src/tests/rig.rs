//! A machine made of files: the real code writes them, and the rig does what
//! the kernel would do next (round, move, create, remove).
//!
//! Never replaces a reader or a writer of ours; faults are injected around them.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use grey_model::{
    Bytes, CgroupFile, CgroupId, CgroupPath, Change, Knob, KnobValue, KsmFile, Plan, PlanStep,
    ProcessId, Risk, UnitMemoryProperty,
};
use grey_telemetry::{Kernel, Roots};

use super::units::FakeUnits;
use crate::disposable::{Job, JobEnd, JobResult, JobRunner};
use crate::executor::{
    Actor, Applied, ApplyContext, ApplyError, Deadlines, Enforcer, EnforcerOptions, RollbackReport,
    RollbackSelection,
};
use crate::knob::{KernelKnobs, KnobAccess, KnobError, Restored, Saved};
use crate::lease::{KeeperError, KeeperRequest, KeeperStarter};
use crate::{DisposableProgram, Journal, JournalEntry};

pub(super) const PROCESS: ProcessId = ProcessId {
    pid: 4242,
    start_time_ticks: 1000,
};

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

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) calls: usize,
    pub(super) sets: usize,
    pub(super) keepers: usize,
    pub(super) jobs: Vec<Job>,
}

/// The machine.
pub(super) struct Rig {
    pub(super) directory: tempfile::TempDir,
    pub(super) counters: Rc<RefCell<Counters>>,
    pub(super) units: FakeUnits,
}

pub(super) fn cgroup(path: &str) -> CgroupPath {
    CgroupPath::new(path.as_bytes()).unwrap()
}

pub(super) fn value(text: &str) -> KnobValue {
    KnobValue(text.to_owned())
}

pub(super) fn step(knob: Knob, before: Option<&str>, after: Option<&str>) -> PlanStep {
    PlanStep {
        action: "test".to_owned(),
        change: Change::Set {
            knob,
            before: before.map(value),
            after: after.map(value),
        },
        predicted: None,
        risk: Risk::Low,
        reason: "a test".to_owned(),
        undo: "put back".to_owned(),
        guards: Vec::new(),
        may_block: false,
    }
}

pub(super) fn plan(steps: impl IntoIterator<Item = PlanStep>) -> Plan {
    Plan {
        steps: steps.into_iter().collect(),
        warnings: Vec::new(),
    }
}

pub(super) fn file_knob(rig: &Rig, path: &str, file: CgroupFile) -> Knob {
    Knob::CgroupFile {
        cgroup: cgroup(path),
        id: Some(rig.cgroup_id(path)),
        file,
    }
}

pub(super) fn ksm(file: KsmFile) -> Knob {
    Knob::Ksm { file }
}

impl Rig {
    pub(super) fn new() -> Self {
        // In memory where that is possible: the journal waits for the disk at
        // every record.
        let directory =
            tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
        let root = directory.path();
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "proc/sys/kernel/random/boot_id",
            "11111111-1111-4111-8111-111111111111\n",
        );
        write("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 500 kB\n");
        write("sys/kernel/mm/ksm/run", "0\n");
        write("sys/kernel/mm/ksm/pages_to_scan", "100\n");
        write("sys/kernel/mm/ksm/sleep_millisecs", "200\n");
        write("sys/kernel/mm/ksm/advisor_mode", "none [scan-time]\n");
        write("cgroup/cgroup.controllers", "memory pids\n");
        write("cgroup/cgroup.subtree_control", "memory pids\n");
        write("cgroup/cgroup.procs", "4242\n");
        write("systemd/placeholder", "");
        let rig = Self {
            units: FakeUnits::new(root),
            counters: Rc::default(),
            directory,
        };
        rig.add_process(PROCESS, "/");
        make_children_files(&rig.path("cgroup"), "web", true);
        rig
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    pub(super) fn add_process(&self, process: ProcessId, cgroup: &str) {
        let directory = self.path("proc").join(process.pid.to_string());
        fs::create_dir_all(&directory).unwrap();
        let stat = format!(
            "{} (a b) S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 {} 1 2\n",
            process.pid, process.start_time_ticks
        );
        fs::write(directory.join("stat"), stat).unwrap();
        fs::write(directory.join("cgroup"), format!("0::{cgroup}\n")).unwrap();
        fs::write(directory.join("oom_score_adj"), "17\n").unwrap();
        let limits = "Max data size             unlimited            unlimited            bytes\n";
        fs::write(directory.join("limits"), limits).unwrap();
        fs::write(directory.join("smaps_rollup"), "Pss: 100 kB\n").unwrap();
    }

    pub(super) fn cgroup_id(&self, path: &str) -> CgroupId {
        use std::os::unix::fs::MetadataExt;
        let path = self.path("cgroup").join(path.trim_start_matches('/'));
        CgroupId(fs::metadata(path).unwrap().ino())
    }

    pub(super) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    /// Everything outside the state directory: what the kernel remembers.
    pub(super) fn kernel_state(&self) -> Vec<(PathBuf, String)> {
        let mut state = Vec::new();
        for part in ["proc", "sys", "cgroup"] {
            collect(&self.path(part), &mut state);
        }
        state.sort();
        state.push((PathBuf::from("units"), self.units.state()));
        state
    }

    pub(super) fn options(&self) -> EnforcerOptions {
        EnforcerOptions {
            roots: Roots {
                procfs: self.path("proc"),
                sysfs: self.path("sys"),
                cgroupfs: self.path("cgroup"),
                systemd: self.path("systemd"),
            },
            state_dir: self.path("state"),
            actor: Actor {
                user: "tester".to_owned(),
                program: "test".to_owned(),
                pid: 1,
            },
            disposable: DisposableProgram {
                executable: "/nonexistent".into(),
                argument: "kernel-write".into(),
            },
            keeper_argument: "lease-keeper".into(),
            deadlines: Deadlines {
                lock: Duration::ZERO,
                settle: Duration::ZERO,
                ..Deadlines::default()
            },
        }
    }

    pub(super) fn enforcer(&self, fault: Fault) -> Enforcer {
        let options = self.options();
        let open = || Kernel::open(&options.roots).unwrap();
        let knobs = FaultyKnobs {
            inner: KernelKnobs::with_units(open(), Box::new(self.units.clone())),
            root: self.directory.path().to_owned(),
            fault,
            counters: Rc::clone(&self.counters),
        };
        let jobs = InProcess {
            knobs: FaultyKnobs {
                inner: KernelKnobs::with_units(open(), Box::new(self.units.clone())),
                root: self.directory.path().to_owned(),
                fault: Fault::None,
                counters: Rc::default(),
            },
            counters: Rc::clone(&self.counters),
        };
        let keepers = CountedKeepers(Rc::clone(&self.counters));
        *self.counters.borrow_mut() = Counters::default();
        Enforcer::with_parts(options, Box::new(knobs), Box::new(jobs), Box::new(keepers)).unwrap()
    }

    pub(super) fn apply(&self, plan: &Plan) -> Result<Applied, ApplyError> {
        self.apply_with(plan, Fault::None)
    }

    pub(super) fn apply_with(&self, plan: &Plan, fault: Fault) -> Result<Applied, ApplyError> {
        let context = ApplyContext {
            reason: "a test".to_owned(),
            observe: Duration::ZERO,
            ..ApplyContext::default()
        };
        self.enforcer(fault).apply(plan, &context, &mut |_| {})
    }

    /// Applies and is killed on the way; false when the fault never came.
    pub(super) fn die_while_applying(&self, plan: &Plan, fault: Fault) -> bool {
        let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = self.apply_with(plan, fault);
        }));
        died.is_err()
    }

    pub(super) fn roll_back(&self, selection: &RollbackSelection, force: bool) -> RollbackReport {
        self.enforcer(Fault::None)
            .rollback(selection, force)
            .unwrap()
    }

    pub(super) fn entries(&self) -> Vec<JournalEntry> {
        Journal::list(&self.path("state"), None, None).unwrap().0
    }
}

/// Steps over every kind of setting.
pub(super) fn plan_over_everything(rig: &Rig) -> Plan {
    let ours = || cgroup("/grey-optimizer");
    let group = "/grey-optimizer/app-4242";
    let directory = |path: CgroupPath| Knob::CgroupDirectory {
        cgroup: path,
        refuge: CgroupPath::root(),
    };
    let controller = |cgroup| Knob::MemoryController { cgroup };
    let new_file = |file| Knob::CgroupFile {
        cgroup: cgroup(group),
        id: None,
        file,
    };
    let second = ProcessId {
        pid: 77,
        start_time_ticks: 5,
    };
    rig.add_process(second, "/user");
    fs::create_dir_all(rig.path("cgroup/user")).unwrap();
    rig.write("cgroup/user/cgroup.procs", "77\n");
    rig.write("cgroup/user/cgroup.subtree_control", "\n");
    let unit = |unit: &str, property| Knob::UnitProperty {
        unit: unit.to_owned(),
        property,
    };
    let scope = Knob::TransientScope {
        scope: "grey-optimizer-77.scope".to_owned(),
        process: second,
        origin: cgroup("/user"),
    };
    let high = UnitMemoryProperty::MemoryHigh;
    plan([
        step(
            Knob::OomScoreAdj { process: PROCESS },
            Some("17"),
            Some("500"),
        ),
        step(
            Knob::RlimitData { process: PROCESS },
            Some("unlimited:unlimited"),
            Some("1073741824:unlimited"),
        ),
        step(ksm(KsmFile::AdvisorMode), Some("scan-time"), Some("none")),
        step(ksm(KsmFile::PagesToScan), Some("100"), Some("1000")),
        step(ksm(KsmFile::SleepMillisecs), Some("200"), Some("20")),
        step(ksm(KsmFile::Run), Some("0"), Some("1")),
        step(
            file_knob(rig, "/web", CgroupFile::MemoryHigh),
            Some("max"),
            Some("104857601"),
        ),
        step(
            file_knob(rig, "/web", CgroupFile::MemoryMax),
            Some("314572800"),
            Some("209715200"),
        ),
        // As policy does without memory.reclaim: squeeze, then put back.
        step(
            file_knob(rig, "/web", CgroupFile::MemoryHigh),
            Some("104857601"),
            Some("max"),
        ),
        step(
            controller(cgroup("/user")),
            Some("-memory"),
            Some("+memory"),
        ),
        step(directory(ours()), None, Some("present")),
        step(controller(ours()), Some("-memory"), Some("+memory")),
        step(directory(cgroup(group)), None, Some("present")),
        step(
            Knob::ProcessCgroup { process: PROCESS },
            Some("/"),
            Some(group),
        ),
        step(
            new_file(CgroupFile::MemoryMax),
            Some("max"),
            Some("67108864"),
        ),
        step(
            unit("db.service", high),
            Some("536870912"),
            Some("104857600"),
        ),
        step(scope, None, Some("present")),
        step(
            unit("grey-optimizer-77.scope", high),
            Some("infinity"),
            Some("67108864"),
        ),
    ])
}

fn collect(directory: &Path, state: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            state.push((path.clone(), "directory".to_owned()));
            collect(&path, state);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            state.push((path, text));
        }
    }
}

/// A cgroup as the kernel makes it.
fn make_children_files(parent: &Path, name: &str, memory: bool) {
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
struct FaultyKnobs {
    inner: KernelKnobs,
    root: PathBuf,
    fault: Fault,
    counters: Rc<RefCell<Counters>>,
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

    fn tree(&self, path: &CgroupPath) -> PathBuf {
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

/// Runs jobs here, and notes them.
struct InProcess {
    knobs: FaultyKnobs,
    counters: Rc<RefCell<Counters>>,
}

impl JobRunner for InProcess {
    fn run(
        &self,
        job: Job,
        _deadline: Duration,
        _lock: std::os::fd::BorrowedFd<'_>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> JobEnd {
        self.counters.borrow_mut().jobs.push(job.clone());
        match job {
            Job::SetKnob { knob, value } => match self.knobs.set(&knob, value.as_ref()) {
                Ok(()) => JobEnd::Done(JobResult::Written),
                Err(error) => JobEnd::Failed {
                    message: error.to_string(),
                    errno: None,
                    gone: error.is_gone(),
                },
            },
            Job::Reclaim { cgroup, amount, .. } => {
                if !self.knobs.tree(&cgroup).join("memory.reclaim").exists() {
                    return JobEnd::Failed {
                        message: "no memory.reclaim".to_owned(),
                        errno: None,
                        gone: false,
                    };
                }
                let path = self.knobs.tree(&cgroup).join("memory.current");
                let before: u64 = fs::read_to_string(&path).unwrap().trim().parse().unwrap();
                fs::write(&path, format!("{}\n", before.saturating_sub(amount.0))).unwrap();
                progress(amount.0, amount.0);
                JobEnd::Done(JobResult::Reclaimed {
                    freed: amount.min(Bytes(before)),
                    stopped: crate::disposable::ReclaimStop::Amount,
                })
            }
            Job::PageOut { .. } => JobEnd::TimedOut {
                message: "too slow".to_owned(),
            },
            Job::DropCaches { .. } => JobEnd::Done(JobResult::Dropped),
            // No plan has such a step.
            Job::ClearReferences { .. } | Job::Age { .. } => JobEnd::TimedOut {
                message: "not of a plan".to_owned(),
            },
        }
    }
}

struct CountedKeepers(Rc<RefCell<Counters>>);

impl KeeperStarter for CountedKeepers {
    fn start(
        &self,
        _kernel: &Kernel,
        _options: &EnforcerOptions,
        _request: &KeeperRequest,
    ) -> Result<(), KeeperError> {
        let mut counters = self.0.borrow_mut();
        assert_eq!(counters.sets, 0, "the keeper comes before the first write");
        counters.keepers += 1;
        Ok(())
    }
}
