//! Merging pages (KSM): that it happens, and that its settings go back.
//!
//! Unmerging is never asked for: it needs memory.

use std::time::Duration;

use serde_json::Value;

use super::documents::{MIB, array, assert_unchanged, enforce, roll_back};
use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::guest::Guest;
use crate::hog::{HogContent, HogKind, HogOptions};
use crate::state::KernelState;

/// Time for KSM to merge a few thousand pages; it needs two full scans.
const MERGE_BOUND: Duration = Duration::from_secs(120);

pub(super) const CASES: &[Case] = &[
    Case {
        name: "ksm_merges_and_is_put_back",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: ksm_merges_and_is_put_back,
    },
    Case {
        name: "the_advisor_of_ksm_is_put_back",
        guests: &[GuestName::Linux6_12],
        deadline: DEADLINE,
        run: the_advisor_of_ksm_is_put_back,
    },
];

fn ksm_merges_and_is_put_back(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    let options = HogOptions::anonymous(16)
        .of(HogKind::Mergeable)
        .filled_with(HogContent::Identical)
        .in_cgroup(cgroup.path());
    let _one = guest.hog(&options)?;
    let _two = guest.hog(&options)?;
    let settings = KernelState::read();
    let before = cgroup.read_number("memory.current")?;
    let done = enforce(guest, &["--enable-ksm", "--aggressive"])?.expect_code(0)?;
    assert_eq!(guest.read("/sys/kernel/mm/ksm/run")?, "1");
    assert_eq!(guest.read("/sys/kernel/mm/ksm/pages_to_scan")?, "1000");
    // What was so already is a step without a record.
    let settings_made = array(&done.document, "journal_ids")?.len();
    let effects = done.effects()?;
    let worked = effects
        .iter()
        .filter(|effect| effect["verdict"] == "worked");
    assert_eq!(settings_made, worked.count(), "{effects:?}");
    // Nearly all of the 8192 pages become uses of a few that are kept.
    guest.wait_until("the pages are merged", MERGE_BOUND, || {
        guest
            .read("/sys/kernel/mm/ksm/pages_sharing")
            .is_ok_and(|text| text.parse().is_ok_and(|pages: u64| pages > 7900))
    })?;
    let fell = before.saturating_sub(cgroup.read_number("memory.current")?);
    assert!(fell > 28 * MIB, "memory.current fell by {fell}");
    roll_back(guest)?;
    assert_unchanged(&settings);
    // Stopped, not unmerged: that would have needed the memory again.
    let sharing: u64 = guest.read("/sys/kernel/mm/ksm/pages_sharing")?.parse()?;
    assert!(sharing > 7900, "{sharing}");
    Ok(Outcome::Passed)
}

fn the_advisor_of_ksm_is_put_back(guest: &Guest) -> Result<Outcome, Failure> {
    let untouched = KernelState::read_settings();
    guest.write("/sys/kernel/mm/ksm/advisor_mode", "scan-time")?;
    let settings = KernelState::read();
    let done = enforce(guest, &["--enable-ksm", "--aggressive"])?.expect_code(0)?;
    let effects = done.effects()?;
    let is_fine =
        |effect: &Value| effect["verdict"] == "worked" || effect["verdict"] == "already_so";
    assert!(effects.iter().all(is_fine), "{effects:?}");
    let mode = guest.read("/sys/kernel/mm/ksm/advisor_mode")?;
    assert_eq!(mode, "[none] scan-time");
    assert_eq!(guest.read("/sys/kernel/mm/ksm/pages_to_scan")?, "1000");
    roll_back(guest)?;
    assert_unchanged(&settings);
    guest.write("/sys/kernel/mm/ksm/advisor_mode", "none")?;
    untouched.write_back_settings(&KernelState::read_settings());
    Ok(Outcome::Passed)
}
