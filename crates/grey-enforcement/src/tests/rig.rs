//! A machine made of files: the real code writes them, and `faults` does what
//! the kernel would do next (round, move, create, remove).
//!
//! Never replaces a reader or a writer of ours; faults are injected around them.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use grey_model::{
    CgroupFile, CgroupId, CgroupPath, Change, Knob, KnobValue, KsmFile, Plan, PlanStep, ProcessId,
    Risk, UnitMemoryProperty,
};
use grey_telemetry::{Kernel, Roots};

pub(super) use super::faults::Fault;
use super::faults::{FaultyKnobs, make_children_files};
use super::in_process::{CountedKeepers, InProcess};
use super::units::FakeUnits;
use crate::disposable::Job;
use crate::executor::{
    Actor, Applied, ApplyContext, ApplyError, Deadlines, Enforcer, EnforcerOptions, RollbackReport,
    RollbackSelection,
};
use crate::knob::KernelKnobs;
use crate::{DisposableProgram, Journal, JournalEntry};

pub(super) const PROCESS: ProcessId = ProcessId {
    pid: 4242,
    start_time_ticks: 1000,
};

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
        // That it is there tells that systemd runs.
        fs::create_dir(root.join("systemd")).unwrap();
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
