//! What `greyctl doctor` says of a kernel that is known, held against what the
//! kernel itself shows; and that what it recommends mends, and is taken back.
//!
//! Every setting that a case changes goes back to what it was.

use std::path::Path;

use serde_json::Value;

use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::guest::Guest;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a_doctor_tells_what_this_kernel_has",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_doctor_tells_what_this_kernel_has,
    },
    Case {
        name: "what_a_doctor_recommends_mends_and_is_taken_back",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: what_a_doctor_recommends_mends_and_is_taken_back,
    },
];

const HUGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// The checks of a run, whichever exit code it had.
fn examine(guest: &Guest) -> Result<(Value, Option<i32>), Failure> {
    let run = guest.greyctl(&["doctor", "--json"])?;
    Ok((run.json()?, run.code))
}

fn check<'document>(document: &'document Value, name: &str) -> Result<&'document Value, Failure> {
    let checks = document["checks"].as_array();
    checks
        .and_then(|checks| checks.iter().find(|check| check["check"] == name))
        .ok_or_else(|| Failure::new(format!("no check `{name}` in {document}")))
}

fn a_doctor_tells_what_this_kernel_has(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    let (document, _) = examine(guest)?;
    let state = |name: &str| -> Result<String, Failure> {
        let check = check(&document, name)?;
        Ok(check["state"].as_str().unwrap_or_default().to_owned())
    };
    let expected = |there: bool| if there { "ok" } else { "note" };
    // What each kernel is known to have,
    let has_reclaim = guest.name != GuestName::Linux5_10;
    assert_eq!(
        state("memory_reclaim")?,
        expected(has_reclaim),
        "{document}"
    );
    let scans_pages = guest.name == GuestName::Linux6_12;
    assert_eq!(state("pagemap_scan")?, expected(scans_pages), "{document}");
    for name in [
        "process_madvise",
        "control_groups",
        "pressure",
        "capabilities",
    ] {
        assert_eq!(state(name)?, "ok", "{name}: {document}");
    }
    // and what it shows itself.
    assert_eq!(cgroup.path().join("memory.reclaim").exists(), has_reclaim);
    let damon = Path::new("/sys/kernel/mm/damon/admin").exists();
    assert_eq!(state("damon")?, expected(damon), "{document}");
    let generations = guest.read("/sys/kernel/mm/lru_gen/enabled");
    let is_on = generations.is_ok_and(|mask| mask.trim() != "0x0000");
    assert_eq!(state("generations")?, expected(is_on), "{document}");
    if guest.name == GuestName::Linux6_12 {
        assert!(damon && is_on, "{document}");
    }
    assert_eq!(state("swap")?, "note", "{document}");
    let unknown = &document["counts"]["unknown"];
    assert_eq!(unknown, 0, "{document}");

    let _swap = guest.zram_swap(256)?;
    let (document, _) = examine(guest)?;
    let swap = check(&document, "swap")?;
    assert_eq!(swap["state"], "ok", "{swap}");
    let found = swap["found"].as_str().unwrap_or_default();
    assert!(found.contains("zram 256.0 MiB"), "{found}");
    let size = check(&document, "zram_size")?;
    assert_eq!(size["state"], "ok", "{size}");
    Ok(Outcome::Passed)
}

/// Everything here runs as root, without sudo.
fn paste(guest: &Guest, command: &Value) -> Result<(), Failure> {
    let Some(command) = command.as_str() else {
        return Err(Failure::new("there is no command".to_owned()));
    };
    let plain = command.replace("sudo ", "");
    guest.run("sh", &["-c", &plain])?.expect_code(0)?;
    Ok(())
}

fn what_a_doctor_recommends_mends_and_is_taken_back(guest: &Guest) -> Result<Outcome, Failure> {
    let before = guest.read(HUGE_PAGES)?;
    guest.write(HUGE_PAGES, "always")?;
    guest.write("/proc/sys/vm/vfs_cache_pressure", "0")?;
    let (document, code) = examine(guest)?;
    assert_eq!(code, Some(3), "{document}");
    let mut undo = Vec::new();
    for (name, state) in [("huge_pages", "note"), ("vfs_cache_pressure", "problem")] {
        let check = check(&document, name)?;
        assert_eq!(check["state"], state, "{check}");
        paste(guest, &check["mend"]["command"])?;
        undo.push(check["mend"]["undo"].clone());
    }
    let (mended, _) = examine(guest)?;
    for name in ["huge_pages", "vfs_cache_pressure"] {
        let check = check(&mended, name)?;
        assert_eq!(check["state"], "ok", "{check}");
    }
    for command in &undo {
        paste(guest, command)?;
    }
    let (again, _) = examine(guest)?;
    assert_eq!(check(&again, "huge_pages")?["state"], "note");
    assert_eq!(check(&again, "vfs_cache_pressure")?["found"], "0");
    guest.write("/proc/sys/vm/vfs_cache_pressure", "100")?;
    let chosen = before
        .split_ascii_whitespace()
        .find(|word| word.starts_with('['));
    let chosen = chosen.unwrap_or("[madvise]").trim_matches(['[', ']']);
    guest.write(HUGE_PAGES, chosen)?;
    Ok(Outcome::Passed)
}
