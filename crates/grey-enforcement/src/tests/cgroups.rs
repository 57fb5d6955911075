//! Cgroups with strange names, strange processes, and settings of others.
//!
//! What the kernel itself would answer is tested on real kernels.

use std::fs;

use grey_model::Knob;

use super::rig::{PROCESS, Rig, cgroup, plan, step, value};
use crate::executor::{RollbackOutcome, RollbackSelection};

const CONTROL: &str = "cgroup/user/cgroup.subtree_control";

/// The controller was turned on below `/user`, where `theirs` is.
fn with_controller() -> Rig {
    let rig = Rig::new();
    fs::create_dir_all(rig.path("cgroup/user/theirs")).unwrap();
    rig.write(CONTROL, "\n");
    let knob = Knob::MemoryController {
        cgroup: cgroup("/user"),
    };
    rig.apply(&plan([step(knob, Some("-memory"), Some("+memory"))]))
        .unwrap();
    rig
}

fn outcome(rig: &Rig) -> RollbackOutcome {
    let report = rig.roll_back(&RollbackSelection::All, false);
    report.items[0].outcome.clone()
}

#[test]
fn the_controller_stays_for_every_memory_setting_of_somebody_else() {
    for (file, default, theirs) in [
        ("memory.max", "max", "1048576"),
        ("memory.high", "max", "1048576"),
        ("memory.min", "0", "4096"),
        ("memory.low", "0", "4096"),
        ("memory.oom.group", "0", "1"),
        ("memory.swap.max", "max", "0"),
        ("memory.swap.high", "max", "4096"),
        ("memory.zswap.max", "max", "0"),
        ("memory.zswap.writeback", "1", "0"),
    ] {
        let rig = with_controller();
        let path = format!("cgroup/user/theirs/{file}");
        rig.write(&path, &format!("{theirs}\n"));
        let refused = outcome(&rig);
        let wanted = format!("theirs has {file} {theirs}");
        assert!(
            matches!(&refused, RollbackOutcome::Failed(why) if why.contains(&wanted)),
            "{refused:?}"
        );
        assert_eq!(rig.read(CONTROL), "memory\n");
        rig.write(&path, &format!("{default}\n"));
        assert_eq!(outcome(&rig), RollbackOutcome::Restored, "{file}");
    }
}

#[test]
fn the_controller_stays_when_a_cgroup_below_cannot_be_looked_at() {
    let rig = with_controller();
    // Reading it fails in another way than by being missing.
    fs::create_dir(rig.path("cgroup/user/theirs/memory.max")).unwrap();
    let refused = outcome(&rig);
    assert!(
        matches!(&refused, RollbackOutcome::Failed(why) if why.contains("memory settings")),
        "{refused:?}"
    );
    assert_eq!(rig.read(CONTROL), "memory\n");
}

#[test]
fn a_process_without_a_pid_here_is_never_moved() {
    let rig = Rig::new();
    let knob = Knob::CgroupDirectory {
        cgroup: cgroup("/ours"),
        refuge: cgroup("/web"),
    };
    rig.apply(&plan([step(knob, None, Some("present"))]))
        .unwrap();
    rig.write("cgroup/ours/cgroup.procs", "0\n");
    rig.write("cgroup/web/cgroup.procs", "untouched");
    let refused = outcome(&rig);
    assert!(
        matches!(&refused, RollbackOutcome::Failed(why) if why.contains("pid namespace")),
        "{refused:?}"
    );
    assert_eq!(rig.read("cgroup/web/cgroup.procs"), "untouched");
    assert_eq!(rig.read("cgroup/ours/cgroup.procs"), "0\n");
    rig.write("cgroup/ours/cgroup.procs", "");
    assert_eq!(outcome(&rig), RollbackOutcome::Restored);
}

#[test]
fn a_cgroup_that_is_really_named_deleted_is_one() {
    let rig = Rig::new();
    let name = "x (deleted)";
    rig.add_process(PROCESS, &format!("/{name}"));
    let read = || {
        let enforcer = rig.enforcer(super::rig::Fault::None);
        enforcer.read_setting(&Knob::ProcessCgroup { process: PROCESS })
    };
    assert!(read().unwrap_err().is_gone());
    fs::create_dir(rig.path("cgroup").join(name)).unwrap();
    rig.write(&format!("cgroup/{name}/cgroup.procs"), "7\n");
    assert!(read().unwrap_err().is_gone());
    rig.write(&format!("cgroup/{name}/cgroup.procs"), "7\n4242\n");
    assert_eq!(read().unwrap(), Some(value("/x (deleted)")));
}
