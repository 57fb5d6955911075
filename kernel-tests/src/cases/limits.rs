//! Limits: one below the present usage is reached or refused, and nobody is
//! killed for it.
//!
//! What rollback does in every order and after every kill -9 is not here.

use std::fs;

use super::documents::{
    Kills, MIB, array, assert_close, assert_unchanged, diagnose, enforce, number, roll_back, text,
};
use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::guest::Guest;
use crate::hog::{HogKind, HogOptions};
use crate::state::KernelState;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a_limit_below_usage_is_reached_with_swap",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_limit_below_usage_is_reached_with_swap,
    },
    Case {
        name: "a_limit_without_memory_reclaim_goes_through_high",
        guests: &[GuestName::Linux5_10],
        deadline: DEADLINE,
        run: a_limit_without_memory_reclaim_goes_through_high,
    },
    Case {
        name: "a_limit_below_usage_is_refused_without_swap",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_limit_below_usage_is_refused_without_swap,
    },
    Case {
        name: "a_limit_under_the_floor_is_refused",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_limit_under_the_floor_is_refused,
    },
    Case {
        name: "a_high_that_can_never_be_met_is_refused",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_high_that_can_never_be_met_is_refused,
    },
    Case {
        name: "a_high_below_usage_is_reached_and_put_back",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_high_below_usage_is_reached_and_put_back,
    },
    Case {
        name: "a_high_on_memory_in_use_is_judged_by_its_effect",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_high_on_memory_in_use_is_judged_by_its_effect,
    },
    Case {
        name: "a_limit_on_memory_in_use_holds_or_is_taken_back",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_limit_on_memory_in_use_holds_or_is_taken_back,
    },
    Case {
        name: "a_limit_below_what_is_locked_is_refused",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_limit_below_what_is_locked_is_refused,
    },
    Case {
        name: "a_limit_below_what_is_protected_is_refused",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_limit_below_what_is_protected_is_refused,
    },
    Case {
        name: "an_unkillable_target_is_warned_about",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: an_unkillable_target_is_warned_about,
    },
    Case {
        name: "a_stricter_limit_above_is_named",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_stricter_limit_above_is_named,
    },
    Case {
        name: "a_group_that_may_not_swap_has_no_swap_room",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_group_that_may_not_swap_has_no_swap_room,
    },
    Case {
        name: "a_whole_group_kill_is_warned_about",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_whole_group_kill_is_warned_about,
    },
];

fn a_limit_below_usage_is_reached_with_swap(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(256)?;
    let cgroup = guest.cgroup("grey-case")?;
    let mut hog = guest.hog(&HogOptions::anonymous(150).in_cgroup(cgroup.path()))?;
    let settings = KernelState::read();
    let kills = Kills::note(guest)?;
    let done = enforce(guest, &["--target", "/grey-case", "--limit", "100M"])?.expect_code(0)?;
    assert_eq!(text(&done.document, "outcome")?, "done");
    assert_eq!(cgroup.read_number("memory.max")?, 100 * MIB);
    assert!(cgroup.read_number("memory.current")? <= 100 * MIB);
    assert_eq!(cgroup.read("memory.high")?, "max");
    // Reclaimed before the limit was there: the kernel never met it.
    assert_eq!(cgroup.read_key("memory.events", "max")?, 0);
    assert_eq!(cgroup.read_key("memory.events", "oom_kill")?, 0);
    kills.assert_none(guest, &[&hog])?;
    roll_back(guest)?;
    assert_unchanged(&settings);
    hog.touch_again()?;
    kills.assert_none(guest, &[&hog])?;
    Ok(Outcome::Passed)
}

fn a_limit_without_memory_reclaim_goes_through_high(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(256)?;
    let cgroup = guest.cgroup("grey-case")?;
    cgroup.write("memory.high", "300M")?;
    let hog = guest.hog(&HogOptions::anonymous(150).in_cgroup(cgroup.path()))?;
    let settings = KernelState::read();
    let kills = Kills::note(guest)?;
    let done = enforce(guest, &["--target", "/grey-case", "--limit", "100M"])?.expect_code(0)?;
    let knobs: Vec<String> = done
        .plan()?
        .iter()
        .map(|step| text(step, "knob"))
        .collect::<Result<_, _>>()?;
    let high = "memory.high of /grey-case".to_owned();
    let max = "memory.max of /grey-case".to_owned();
    assert_eq!(knobs, [high.clone(), max, high]);
    assert_eq!(cgroup.read_number("memory.high")?, 300 * MIB);
    assert_eq!(cgroup.read_number("memory.max")?, 100 * MIB);
    assert!(cgroup.read_number("memory.current")? <= 100 * MIB);
    kills.assert_none(guest, &[&hog])?;
    roll_back(guest)?;
    assert_unchanged(&settings);
    Ok(Outcome::Passed)
}

fn a_limit_below_usage_is_refused_without_swap(guest: &Guest) -> Result<Outcome, Failure> {
    refused(
        guest,
        &HogOptions::anonymous(150),
        &["--limit", "100M"],
        "would kill",
    )
}

fn a_limit_under_the_floor_is_refused(guest: &Guest) -> Result<Outcome, Failure> {
    refused(
        guest,
        &HogOptions::anonymous(8),
        &["--limit", "63M"],
        "floor",
    )?;
    refused(
        guest,
        &HogOptions::anonymous(8),
        &["--high", "63M"],
        "floor",
    )
}

fn a_high_that_can_never_be_met_is_refused(guest: &Guest) -> Result<Outcome, Failure> {
    refused(
        guest,
        &HogOptions::anonymous(150),
        &["--high", "100M"],
        "throttled",
    )
}

fn a_limit_below_what_is_locked_is_refused(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(256)?;
    let locked = HogOptions::anonymous(150).of(HogKind::Locked);
    refused(guest, &locked, &["--limit", "100M"], "cannot be reclaimed")?;
    refused(guest, &locked, &["--high", "100M"], "cannot be reclaimed")
}

/// Lets greyctl refuse an action on a hog that the kernel may not kill
/// gently, and shows that nothing at all was done.
fn refused(
    guest: &Guest,
    options: &HogOptions,
    action: &[&str],
    reason: &str,
) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    let hog = guest.hog(&options.clone().in_cgroup(cgroup.path()))?;
    let settings = KernelState::read();
    let kills = Kills::note(guest)?;
    let events = cgroup.read("memory.events")?;
    let mut arguments = vec!["--target", "/grey-case"];
    arguments.extend(action);
    let done = enforce(guest, &arguments)?.expect_code(7)?;
    assert_eq!(text(&done.document, "outcome")?, "refused");
    assert!(done.refusals()?.contains(reason), "{done:?}");
    assert!(done.stderr().contains("hint:"), "{done:?}");
    assert!(done.effects()?.is_empty(), "{done:?}");
    assert!(array(&done.document, "journal_ids")?.is_empty());
    assert_unchanged(&settings);
    assert_eq!(cgroup.read("memory.events")?, events);
    kills.assert_none(guest, &[&hog])?;
    Ok(Outcome::Passed)
}

fn a_high_below_usage_is_reached_and_put_back(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(256)?;
    let cgroup = guest.cgroup("grey-case")?;
    let hog = guest.hog(&HogOptions::anonymous(150).in_cgroup(cgroup.path()))?;
    let settings = KernelState::read();
    let kills = Kills::note(guest)?;
    let before = cgroup.read_number("memory.current")?;
    let done = enforce(guest, &["--target", "/grey-case", "--high", "100M"])?.expect_code(0)?;
    let after = cgroup.read_number("memory.current")?;
    assert_eq!(cgroup.read_number("memory.high")?, 100 * MIB);
    assert!(after <= 101 * MIB, "{after}");
    let effect = done.effect()?;
    let freed = number(effect, "freed_bytes")?;
    assert_close("freed and the fall", freed, before - after, 10);
    kills.assert_none(guest, &[&hog])?;
    roll_back(guest)?;
    assert_eq!(cgroup.read("memory.high")?, "max");
    assert_unchanged(&settings);
    Ok(Outcome::Passed)
}

/// A group that uses all of its memory all the time, under a limit of less.
fn a_high_on_memory_in_use_is_judged_by_its_effect(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(256)?;
    let cgroup = guest.cgroup("grey-case")?;
    let hog = guest.hog(
        &HogOptions::anonymous(120)
            .touching()
            .in_cgroup(cgroup.path()),
    )?;
    let settings = KernelState::read();
    let kills = Kills::note(guest)?;
    let arguments = ["--target", "/grey-case", "--high", "80M", "--observe", "5s"];
    let done = enforce(guest, &arguments)?;
    let effect = done.effect()?;
    let verdict = text(effect, "verdict")?;
    kills.assert_none(guest, &[&hog])?;
    match done.code() {
        // It holds at the price of pages that come back all the time, which
        // has to be told.
        Some(4) => assert!(number(effect, "refaulted_bytes")? > MIB, "{effect}"),
        // The write was stopped and taken back.
        Some(8) => assert_unchanged(&settings),
        _ => return Err(Failure::new(format!("ended with {:?}", done.code()))),
    }
    assert_ne!(verdict, "worked", "{effect}");
    roll_back(guest)?;
    assert_unchanged(&settings);
    kills.assert_none(guest, &[&hog])?;
    Ok(Outcome::Passed)
}

/// A hog that uses all of its memory all the time, and that the kernel may not
/// kill: no preflight can know whether usage will go down.
fn a_limit_on_memory_in_use_holds_or_is_taken_back(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(256)?;
    let cgroup = guest.cgroup("grey-case")?;
    let hog = guest.hog(
        &HogOptions::anonymous(120)
            .touching()
            .in_cgroup(cgroup.path()),
    )?;
    fs::write(format!("/proc/{}/oom_score_adj", hog.pid()), "-1000")?;
    let settings = KernelState::read();
    let kills = Kills::note(guest)?;
    let done = enforce(guest, &["--target", "/grey-case", "--limit", "80M"])?;
    let current = cgroup.read_number("memory.current")?;
    kills.assert_none(guest, &[&hog])?;
    if array(&done.document, "journal_ids")?.is_empty() {
        assert!(matches!(done.code(), Some(1 | 7 | 8)), "{done:?}");
        let error = text(&done.document, "error")?;
        assert!(error.contains("/grey-case"), "{error}");
        assert_unchanged(&settings);
    } else {
        assert!(matches!(done.code(), Some(0 | 4)), "{done:?}");
        assert_eq!(cgroup.read_number("memory.max")?, 80 * MIB);
        assert!(current <= 80 * MIB, "{current}");
    }
    roll_back(guest)?;
    assert_unchanged(&settings);
    kills.assert_none(guest, &[&hog])?;
    Ok(Outcome::Passed)
}

/// Under such a limit the kernel may take nothing from the child and would have
/// to kill it.
fn a_limit_below_what_is_protected_is_refused(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(256)?;
    let cgroup = guest.cgroup("grey-case")?;
    let child = cgroup.child("protected")?;
    let hog = guest.hog(&HogOptions::anonymous(120).in_cgroup(child.path()))?;
    child.write("memory.min", "max")?;
    let settings = KernelState::read();
    let kills = Kills::note(guest)?;
    for action in ["--limit", "--high"] {
        let arguments = ["--target", "/grey-case", action, "80M"];
        let done = enforce(guest, &arguments)?.expect_code(7)?;
        assert!(done.refusals()?.contains("cannot be reclaimed"), "{done:?}");
    }
    assert_unchanged(&settings);
    assert_eq!(cgroup.read_number("memory.swap.current")?, 0);
    kills.assert_none(guest, &[&hog])?;
    Ok(Outcome::Passed)
}

fn an_unkillable_target_is_warned_about(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(256)?;
    let cgroup = guest.cgroup("grey-case")?;
    let hog = guest.hog(&HogOptions::anonymous(128).in_cgroup(cgroup.path()))?;
    fs::write(format!("/proc/{}/oom_score_adj", hog.pid()), "-1000")?;
    let settings = KernelState::read();
    let kills = Kills::note(guest)?;
    let done = enforce(guest, &["--target", "/grey-case", "--limit", "100M"])?.expect_code(0)?;
    assert!(done.warnings()?.contains("-1000"), "{done:?}");
    assert!(cgroup.read_number("memory.current")? <= 100 * MIB);
    kills.assert_none(guest, &[&hog])?;
    roll_back(guest)?;
    assert_unchanged(&settings);
    Ok(Outcome::Passed)
}

fn a_stricter_limit_above_is_named(guest: &Guest) -> Result<Outcome, Failure> {
    let above = guest.cgroup("grey-case")?;
    let below = above.child("below")?;
    above.write("memory.max", "150M")?;
    below.write("memory.max", "400M")?;
    let hog = guest.hog(&HogOptions::anonymous(16).in_cgroup(below.path()))?;
    let found = diagnose(guest, &["--target", "/grey-case/below"])?;
    let groups = array(&found, "cgroups")?;
    let limit_of = |path: &str| {
        groups
            .iter()
            .find(|group| group["path"] == path)
            .map(|group| group["effective_limit_bytes"].clone())
    };
    let strict = Some(serde_json::json!(150 * MIB));
    assert_eq!(limit_of("/grey-case/below"), strict, "{groups:?}");
    assert_eq!(limit_of("/grey-case"), strict, "{groups:?}");
    let arguments = ["--target", "/grey-case/below", "--limit", "300M"];
    let done = enforce(guest, &arguments)?.expect_code(0)?;
    let warnings = done.warnings()?;
    assert!(
        warnings.contains("/grey-case above it already limits it to 150.0 MiB"),
        "{warnings}"
    );
    assert_eq!(below.read_number("memory.max")?, 300 * MIB);
    roll_back(guest)?;
    assert_eq!(below.read_number("memory.max")?, 400 * MIB);
    assert!(hog.is_alive());
    Ok(Outcome::Passed)
}

fn a_group_that_may_not_swap_has_no_swap_room(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(256)?;
    let above = guest.cgroup("grey-above")?;
    let below = above.child("below")?;
    let hog = guest.hog(&HogOptions::anonymous(130).in_cgroup(below.path()))?;
    let kills = Kills::note(guest)?;
    for forbidding in [&below, &above] {
        forbidding.write("memory.swap.max", "0")?;
        let settings = KernelState::read();
        for action in ["--limit", "--high"] {
            let arguments = ["--target", "/grey-above/below", action, "100M"];
            let done = enforce(guest, &arguments)?.expect_code(7)?;
            assert!(done.refusals()?.contains("0 B of swap room"), "{done:?}");
        }
        assert_unchanged(&settings);
        forbidding.write("memory.swap.max", "max")?;
    }
    kills.assert_none(guest, &[&hog])?;
    // With the ban lifted the same limit is reached.
    let arguments = ["--target", "/grey-above/below", "--limit", "100M"];
    enforce(guest, &arguments)?.expect_code(0)?;
    assert!(below.read_number("memory.current")? <= 100 * MIB);
    kills.assert_none(guest, &[&hog])?;
    roll_back(guest)?;
    Ok(Outcome::Passed)
}

fn a_whole_group_kill_is_warned_about(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    let hog = guest.hog(&HogOptions::anonymous(16).in_cgroup(cgroup.path()))?;
    let simulate = ["--target", "/grey-case", "--limit", "200M", "--simulation"];
    let without = enforce(guest, &simulate)?.expect_code(0)?;
    assert!(!without.warnings()?.contains("memory.oom.group"));
    cgroup.write("memory.oom.group", "1")?;
    let with = enforce(guest, &simulate)?.expect_code(0)?;
    assert!(with.warnings()?.contains("memory.oom.group"), "{with:?}");
    assert!(hog.is_alive());
    Ok(Outcome::Passed)
}
