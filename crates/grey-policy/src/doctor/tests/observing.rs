//! What can be seen here, on both sides of each line.

use grey_model::{DoctorFacts, ProcessListing, Reading};

use super::super::CheckState::{Note, Warning};
use super::machine::found;

#[test]
fn what_the_kernel_lacks_is_worth_knowing_and_no_fault() {
    for (check, change) in [
        (
            "memory_reclaim",
            (|it| it.setup.features.memory_reclaim = false) as fn(&mut DoctorFacts),
        ),
        ("process_madvise", |it| {
            it.setup.features.process_madvise = false
        }),
        ("generations", |it| it.setup.mglru = Reading::Absent),
        ("generations", |it| it.setup.mglru = Reading::Known(6)),
        ("damon", |it| it.setup.damon = Reading::Absent),
        ("pagemap_scan", |it| it.setup.pagemap_scan = Reading::Absent),
        ("hidden_processes", |it| {
            it.setup.processes = ProcessListing::HidesOthers
        }),
        ("hidden_processes", |it| {
            it.setup.processes = ProcessListing::Empty
        }),
    ] {
        assert_eq!(found(check, change).state, Note, "{check}");
    }
}

#[test]
fn where_no_process_is_there_nobody_hides_them() {
    let empty = found("hidden_processes", |it| {
        it.setup.processes = ProcessListing::Empty
    });
    assert!(empty.found.contains("no process is there"), "{empty:?}");
    assert!(empty.remedy.is_none() && empty.advice.unwrap().contains("--procfs"));
    let hidden = found("hidden_processes", |it| {
        it.setup.processes = ProcessListing::HidesOthers;
    });
    assert!(hidden.found.contains("hidepid"), "{hidden:?}");
}

#[test]
fn pressure_that_is_off_is_told_with_the_way_to_have_it() {
    fn advice(change: fn(&mut DoctorFacts)) -> Option<String> {
        let finding = found("pressure", change);
        assert_eq!(finding.state, Warning);
        finding.advice
    }
    let off = advice(|it| it.setup.pressure = Reading::Known(None));
    assert!(off.unwrap().starts_with("add psi=1"));
    let turned_off = advice(|it| {
        it.setup.pressure = Reading::Absent;
        it.setup.psi_parameter = Some(false);
    });
    assert!(turned_off.unwrap().starts_with("take psi=0"));
    let not_built_in = advice(|it| {
        it.setup.pressure = Reading::Absent;
        it.setup.psi_parameter = Some(true);
    });
    assert!(not_built_in.unwrap().contains("CONFIG_PSI"));
    assert!(advice(|it| it.setup.pressure = Reading::Absent).is_some());
}
