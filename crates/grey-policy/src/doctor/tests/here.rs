//! What surrounds us, on both sides of each line.

use grey_model::{
    Bytes, Capabilities, CgroupMode, DoctorFacts, OwnMemoryLimit, Reading, ResourceLimit,
};

use super::super::CheckState::{Note, Ok, Unknown, Warning};
use super::super::Remedy;
use super::machine::{GIB, assert_sides, found, value};

#[test]
fn without_the_memory_controller_of_version_2_it_is_said_what_does_not_work() {
    assert_sides(
        "control_groups",
        &[
            (
                |it| it.setup.host.cgroup_mode = CgroupMode::V2WithoutMemory,
                Warning,
            ),
            (|it| it.setup.host.cgroup_mode = CgroupMode::Hybrid, Warning),
            (|it| it.setup.host.cgroup_mode = CgroupMode::V1, Warning),
            (|it| it.setup.host.cgroup_mode = CgroupMode::None, Warning),
        ],
    );
    let hybrid = found("control_groups", |it| {
        it.setup.host.cgroup_mode = CgroupMode::Hybrid;
    });
    assert!(
        hybrid
            .advice
            .unwrap()
            .contains("unified_cgroup_hierarchy=1")
    );
}

#[test]
fn a_limit_on_ourselves_counts_only_below_what_the_machine_has() {
    fn limited(facts: &mut DoctorFacts, bytes: u64) {
        facts.setup.own_limit = Reading::Known(OwnMemoryLimit {
            cgroup: "/".to_owned(),
            limit: Bytes(bytes),
        });
    }
    assert_sides(
        "own_limit",
        &[
            (|it| limited(it, 8 * GIB - 1), Note),
            (|it| limited(it, 8 * GIB), Ok),
            (
                |it| {
                    limited(it, GIB);
                    it.setup.meminfo = Reading::Absent;
                },
                Unknown,
            ),
        ],
    );
}

#[test]
fn what_may_not_be_done_is_a_note_for_a_user_and_a_warning_for_root() {
    fn may(facts: &mut DoctorFacts, root: bool, missing: u64) {
        facts.setup.capabilities = Reading::Known(Capabilities {
            root,
            effective: !missing,
        });
    }
    assert_sides(
        "capabilities",
        &[
            (|it| may(it, false, 0), Ok),
            (|it| may(it, false, u64::MAX), Note),
            // CAP_SYS_NICE is 23; nobody needs 0.
            (|it| may(it, true, 1 << 23), Warning),
            (|it| may(it, true, 1), Ok),
            (
                |it| {
                    may(it, true, 1 << 23);
                    it.setup.host.container = true;
                },
                Note,
            ),
        ],
    );
    let named = found("capabilities", |it| may(it, false, 1 << 19 | 1 << 1));
    assert_eq!(
        named.found,
        "not root, without CAP_SYS_PTRACE, CAP_DAC_OVERRIDE"
    );
}

#[test]
fn limits_of_the_session_are_told() {
    fn files(facts: &mut DoctorFacts, soft: Option<u64>, hard: Option<u64>) {
        value(&mut facts.setup.limits).open_files = Some(ResourceLimit { soft, hard });
    }
    assert_sides(
        "open_files",
        &[
            (|it| files(it, Some(1023), Some(4096)), Warning),
            (|it| files(it, Some(1024), Some(1024)), Ok),
            (|it| files(it, None, None), Ok),
            (|it| value(&mut it.setup.limits).open_files = None, Unknown),
        ],
    );
    let raised = found("open_files", |it| files(it, Some(256), None));
    let expected = Remedy::Shell {
        command: "ulimit -S -n 1024".to_owned(),
        undo: Some("ulimit -S -n 256".to_owned()),
    };
    assert_eq!(raised.remedy, Some(expected));
    assert_eq!(
        found("open_files", |it| files(it, Some(256), Some(512))).remedy,
        None
    );
    assert_sides(
        "address_limits",
        &[(
            |it| {
                value(&mut it.setup.limits).data = Some(ResourceLimit {
                    soft: Some(GIB),
                    hard: None,
                });
            },
            Note,
        )],
    );
}
