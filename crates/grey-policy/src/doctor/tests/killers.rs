//! Programs that kill, on both sides of each line.

use grey_model::{CgroupMode, DoctorFacts, OomDaemon, Reading};

use super::super::CheckState::{Ok, Warning};
use super::super::Remedy;
use super::machine::{assert_sides, found};

fn daemon(name: &'static str, unit: Option<&str>) -> OomDaemon {
    OomDaemon {
        name,
        pid: 7,
        unit: unit.map(str::to_owned),
    }
}

#[test]
fn two_programs_that_kill_are_one_too_many() {
    assert_sides(
        "oom_daemons",
        &[
            (
                |it| it.setup.daemons = Reading::Known(vec![daemon("earlyoom", None)]),
                Ok,
            ),
            (
                |it| it.setup.daemons = Reading::Known(vec![daemon("systemd-oomd", None)]),
                Ok,
            ),
        ],
    );
    let both = found("oom_daemons", |it| {
        it.setup.daemons = Reading::Known(vec![
            daemon("systemd-oomd", Some("systemd-oomd.service")),
            daemon("nohang", Some("nohang-desktop.service")),
        ]);
    });
    assert_eq!(both.state, Warning);
    let unit = "nohang-desktop.service".to_owned();
    assert_eq!(both.remedy, Some(Remedy::StopService { unit }));
    // Who is in no unit is stopped in a way that we do not know.
    let unknown = found("oom_daemons", |it| {
        it.setup.daemons = Reading::Known(vec![daemon("earlyoom", None), daemon("oomd", None)]);
    });
    assert_eq!((unknown.state, unknown.remedy), (Warning, None));
}

#[test]
fn systemd_oomd_needs_swap_and_pressure_and_version_2() {
    fn runs(facts: &mut DoctorFacts) {
        facts.setup.daemons = Reading::Known(vec![daemon("systemd-oomd", None)]);
    }
    assert_sides(
        "oom_daemons",
        &[
            (
                |it| {
                    runs(it);
                    it.setup.swap = Reading::Known(Vec::new());
                },
                Warning,
            ),
            (
                |it| {
                    runs(it);
                    it.setup.pressure = Reading::Known(None);
                },
                Warning,
            ),
            (
                |it| {
                    runs(it);
                    it.setup.host.cgroup_mode = CgroupMode::Hybrid;
                },
                Warning,
            ),
            // earlyoom needs neither.
            (
                |it| {
                    it.setup.daemons = Reading::Known(vec![daemon("earlyoom", None)]);
                    it.setup.swap = Reading::Known(Vec::new());
                    it.setup.pressure = Reading::Absent;
                },
                Ok,
            ),
        ],
    );
}
