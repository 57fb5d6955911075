//! What goes to zram and does not compress: it leaves the target, and the
//! machine gains nothing. greyctl's word is held against `mm_stat`.
//!
//! Nothing here says how well zram compresses: only what it takes.

use serde_json::Value;

use super::documents::{MIB, assert_close, enforce, number, text};
use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::guest::Guest;
use crate::hog::{HogContent, HogOptions};
use crate::zram::ZramSwap;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a_reclaim_into_zram_that_gains_nothing_is_no_success",
        guests: GuestName::WITH_RECLAIM,
        deadline: DEADLINE,
        run: a_reclaim_into_zram_that_gains_nothing_is_no_success,
    },
    Case {
        name: "a_page_out_into_zram_that_gains_nothing_is_no_success",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_page_out_into_zram_that_gains_nothing_is_no_success,
    },
    Case {
        name: "what_zram_takes_is_taken_off_what_was_freed",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: what_zram_takes_is_taken_off_what_was_freed,
    },
];

/// The third column of `mm_stat`: memory used in all.
fn taken(swap: &ZramSwap) -> Result<u64, Failure> {
    swap.mm_stat(2)
}

/// What greyctl says zram grew by, against the device's own account.
fn assert_growth(effect: &Value, before: u64, swap: &ZramSwap) -> Result<u64, Failure> {
    let grew = taken(swap)?.saturating_sub(before);
    let told = number(effect, "compressed_growth_bytes")?;
    assert_close("growth told and mm_stat", told, grew, 5);
    Ok(told)
}

fn assert_only_moved(effect: &Value, least: u64) -> Result<(), Failure> {
    assert_eq!(text(effect, "verdict")?, "moved_not_freed", "{effect}");
    let freed = number(effect, "freed_bytes")?;
    assert!(freed >= least, "{effect}");
    let net = effect["net_freed_bytes"].as_i64();
    assert!(net.is_some_and(|net| net < 10 << 20), "{effect}");
    let detail = text(effect, "detail")?;
    assert!(detail.contains("not freed"), "{detail}");
    Ok(())
}

fn a_reclaim_into_zram_that_gains_nothing_is_no_success(guest: &Guest) -> Result<Outcome, Failure> {
    let swap = guest.zram_swap(256)?;
    let cgroup = guest.cgroup("grey-case")?;
    let hog = guest.hog(
        &HogOptions::anonymous(200)
            .filled_with(HogContent::Incompressible)
            .in_cgroup(cgroup.path()),
    )?;
    let before = taken(&swap)?;
    let arguments = ["--target", "/grey-case", "--reclaim", "100M"];
    let done = enforce(guest, &arguments)?.expect_code(4)?;
    let effect = done.effect()?;
    assert_only_moved(effect, 95 * MIB)?;
    let growth = assert_growth(effect, before, &swap)?;
    assert_close("growth and freed", growth, 100 * MIB, 10);
    assert_eq!(text(&done.document, "outcome")?, "no_effect");
    // Now zram has something to judge by: who asks again is told before.
    let again = guest
        .greyctl(&[
            "memory-enforce",
            "--target",
            "/grey-case",
            "--reclaim",
            "20M",
            "--simulation",
            "--json",
        ])?
        .expect_code(0)?
        .json()?;
    let warned = again["warnings"].to_string();
    assert!(warned.contains("zram keeps"), "{again}");
    assert!(hog.is_alive());
    Ok(Outcome::Passed)
}

fn a_page_out_into_zram_that_gains_nothing_is_no_success(
    guest: &Guest,
) -> Result<Outcome, Failure> {
    let swap = guest.zram_swap(256)?;
    let cgroup = guest.cgroup("grey-case")?;
    let hog = guest.hog(
        &HogOptions::anonymous(100)
            .filled_with(HogContent::Incompressible)
            .in_cgroup(cgroup.path()),
    )?;
    let before = taken(&swap)?;
    let target = hog.pid().to_string();
    let done = enforce(guest, &["--target", &target, "--page-out"])?.expect_code(4)?;
    let effect = done.effect()?;
    assert_only_moved(effect, 90 * MIB)?;
    assert_growth(effect, before, &swap)?;
    assert!(hog.is_alive());
    Ok(Outcome::Passed)
}

fn what_zram_takes_is_taken_off_what_was_freed(guest: &Guest) -> Result<Outcome, Failure> {
    let swap = guest.zram_swap(256)?;
    let cgroup = guest.cgroup("grey-case")?;
    let hog = guest.hog(
        &HogOptions::anonymous(100)
            .filled_with(HogContent::Compressible)
            .in_cgroup(cgroup.path()),
    )?;
    let before = taken(&swap)?;
    let target = hog.pid().to_string();
    let done = enforce(guest, &["--target", &target, "--page-out"])?.expect_code(0)?;
    let effect = done.effect()?;
    assert_eq!(text(effect, "verdict")?, "worked", "{effect}");
    let freed = number(effect, "freed_bytes")?;
    let growth = assert_growth(effect, before, &swap)?;
    // A quarter of each page is random.
    assert!((20 * MIB..=60 * MIB).contains(&growth), "{effect}");
    assert_eq!(number(effect, "net_freed_bytes")?, freed - growth);
    assert!(hog.is_alive());
    Ok(Outcome::Passed)
}
