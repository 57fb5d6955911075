//! Cold memory on real kernels: generations where the kernel keeps them, marks
//! of use where it does not.

use serde_json::Value;

use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::guest::Guest;
use crate::hog::HogOptions;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "half_of_a_cgroup_is_found_cold_by_aging_its_generations",
        guests: &[GuestName::Linux6_12],
        deadline: DEADLINE,
        run: half_of_a_cgroup_is_found_cold_by_aging_its_generations,
    },
    Case {
        name: "half_of_a_cgroup_is_found_cold_by_marks_without_generations",
        guests: &[GuestName::Linux5_10, GuestName::Linux6_1],
        deadline: DEADLINE,
        run: half_of_a_cgroup_is_found_cold_by_marks_without_generations,
    },
    Case {
        name: "an_idle_process_is_cold_and_a_busy_one_is_not",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: an_idle_process_is_cold_and_a_busy_one_is_not,
    },
];

/// MiB of each hog.
const HELD: u64 = 48;

fn cold(guest: &Guest, target: &str, window: &str) -> Result<Value, Failure> {
    let arguments = [
        "memory-diagnose",
        "--cold",
        "--for",
        window,
        "--json",
        "--target",
        target,
    ];
    let document = guest.greyctl(&arguments)?.expect_code(0)?.json()?;
    Ok(document["cold"][0].clone())
}

fn mebibytes(cold: &Value) -> u64 {
    cold["windows"][0]["cold_bytes"]
        .as_u64()
        .unwrap_or_default()
        >> 20
}

/// What is idle is cold, and what is busy is not; the rest is the programs' own.
fn assert_about_half(cold: &Value) {
    let found = mebibytes(cold);
    let counted = cold["counted_bytes"].as_u64().unwrap_or_default() >> 20;
    assert!(found >= HELD - 4, "{cold:#}");
    assert!(counted.saturating_sub(found) >= HELD - 4, "{cold:#}");
}

/// One hog that is in use and one that is not, in one cgroup.
fn half(guest: &Guest) -> Result<Value, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    let _busy = guest.hog(
        &HogOptions::anonymous(HELD)
            .in_cgroup(cgroup.path())
            .touching(),
    )?;
    let _idle = guest.hog(&HogOptions::anonymous(HELD).in_cgroup(cgroup.path()))?;
    cold(guest, "/grey-case", "10s")
}

fn half_of_a_cgroup_is_found_cold_by_aging_its_generations(
    guest: &Guest,
) -> Result<Outcome, Failure> {
    let cold = half(guest)?;
    assert_eq!(cold["method"], "generation-aging", "{cold:#}");
    assert_about_half(&cold);
    assert!(cold["cost"]["writes"].as_u64() >= Some(2), "{cold:#}");
    Ok(Outcome::Passed)
}

fn half_of_a_cgroup_is_found_cold_by_marks_without_generations(
    guest: &Guest,
) -> Result<Outcome, Failure> {
    let cold = half(guest)?;
    assert_eq!(cold["method"], "cleared-references", "{cold:#}");
    assert_about_half(&cold);
    Ok(Outcome::Passed)
}

fn an_idle_process_is_cold_and_a_busy_one_is_not(guest: &Guest) -> Result<Outcome, Failure> {
    let busy = guest.hog(&HogOptions::anonymous(HELD).touching())?;
    let idle = guest.hog(&HogOptions::anonymous(HELD))?;
    let of_busy = cold(guest, &busy.pid().to_string(), "8s")?;
    assert_eq!(of_busy["method"], "cleared-references", "{of_busy:#}");
    assert!(mebibytes(&of_busy) < HELD / 8, "{of_busy:#}");
    let of_idle = cold(guest, &idle.pid().to_string(), "8s")?;
    assert!(mebibytes(&of_idle) > HELD * 7 / 8, "{of_idle:#}");
    Ok(Outcome::Passed)
}
