//! What greyctl says of the machine and of targets, beside the kernel's own
//! files; and simulations, which change nothing.
//!
//! Nothing here changes more than simulated plans would.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::documents::{
    MIB, array, assert_close, assert_unchanged, diagnose, enforce, number, roll_back, text,
};
use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::guest::Guest;
use crate::hog::{HogContent, HogKind, HogOptions};
use crate::state::KernelState;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "every_byte_is_attributed_once",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: every_byte_is_attributed_once,
    },
    Case {
        name: "swap_on_zram_is_told_as_the_kernel_has_it",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: swap_on_zram_is_told_as_the_kernel_has_it,
    },
    Case {
        name: "a_group_is_told_as_the_kernel_has_it",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_group_is_told_as_the_kernel_has_it,
    },
    Case {
        name: "a_diagnosed_target_comes_alone",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_diagnosed_target_comes_alone,
    },
    Case {
        name: "what_an_old_kernel_does_not_tell_is_null",
        guests: &[GuestName::Linux5_10],
        deadline: DEADLINE,
        run: what_an_old_kernel_does_not_tell_is_null,
    },
    Case {
        name: "a_simulation_changes_nothing_and_plans_the_same",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_simulation_changes_nothing_and_plans_the_same,
    },
    Case {
        name: "a_name_that_many_have_is_listed_and_not_chosen",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_name_that_many_have_is_listed_and_not_chosen,
    },
    Case {
        name: "an_unknown_target_changes_nothing",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: an_unknown_target_changes_nothing,
    },
    Case {
        name: "process_1_and_kernel_threads_are_refused",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: process_1_and_kernel_threads_are_refused,
    },
];

/// What drivers, the network and the kernel itself took at its start without
/// counting it does not grow with the machine: on one of 1 GiB it may be more
/// than a percent.
const UNCOUNTED: u64 = 16 * MIB;

/// In four states of the machine: at rest, full of file cache and tmpfs, with
/// much anonymous memory, and with that in zram. What is not attributed stays
/// the same.
fn every_byte_is_attributed_once(guest: &Guest) -> Result<Outcome, Failure> {
    let total = guest.meminfo_kib("MemTotal")? * 1024;
    let at_rest = residual(guest, "at rest")?;
    assert!(
        at_rest.unsigned_abs() < UNCOUNTED.max(total / 100),
        "{at_rest} of {total}"
    );
    let check = |when: &str| -> Result<(), Failure> {
        let now = residual(guest, when)?;
        assert!(
            now.abs_diff(at_rest) < total / 100,
            "{when}: {now}, was {at_rest}, of {total}"
        );
        Ok(())
    };
    let cached = guest.hog(&HogOptions::anonymous(100).of(HogKind::FileCache))?;
    let path = guest.directory.join("filled");
    fill(&path, 60)?;
    check("with file cache and tmpfs")?;
    drop(cached);
    fs::remove_file(&path)?;
    let _swap = guest.zram_swap(256)?;
    let cgroup = guest.cgroup("grey-case")?;
    let hog = guest.hog(
        &HogOptions::anonymous(128)
            .filled_with(HogContent::Incompressible)
            .in_cgroup(cgroup.path()),
    )?;
    check("with anonymous memory")?;
    let pid = hog.pid().to_string();
    // What does not compress only moves: that is told, and accounted for.
    enforce(guest, &["--target", &pid, "--page-out"])?.expect_code(4)?;
    check("with zram in use")?;
    Ok(Outcome::Passed)
}

fn fill(path: &Path, mebibytes: u32) -> Result<(), Failure> {
    let block = vec![0x5a_u8; 1 << 20];
    let mut file = File::create(path)?;
    for _ in 0..mebibytes {
        file.write_all(&block)?;
    }
    Ok(())
}

/// The residual, in bytes, of a breakdown that sums to the total.
fn residual(guest: &Guest, when: &str) -> Result<i64, Failure> {
    let found = diagnose(guest, &[])?;
    let total = number(&found["system"], "total_bytes")?;
    assert_eq!(total, guest.meminfo_kib("MemTotal")? * 1024);
    let rows = array(&found, "breakdown")?;
    let bytes = |row: &Value| row["bytes"].as_i64().unwrap_or(i64::MIN / 64);
    let sum: i64 = rows.iter().map(bytes).sum();
    assert_eq!(u64::try_from(sum), Ok(total), "{when}: {rows:?}");
    let residual = rows
        .iter()
        .find(|row| row["name"] == "residual")
        .map(bytes)
        .ok_or_else(|| Failure::new(format!("{when}: no residual in {rows:?}")))?;
    guest.say(&format!("{when}: residual {residual} of {total}"));
    Ok(residual)
}

fn swap_on_zram_is_told_as_the_kernel_has_it(guest: &Guest) -> Result<Outcome, Failure> {
    let empty = diagnose(guest, &[])?;
    assert_eq!(number(&empty["swap"], "total_bytes")?, 0);
    assert!(array(&empty["swap"], "devices")?.is_empty());
    let swap = guest.zram_swap(256)?;
    let cgroup = guest.cgroup("grey-case")?;
    let hog = guest.hog(&HogOptions::anonymous(64).in_cgroup(cgroup.path()))?;
    let pid = hog.pid().to_string();
    enforce(guest, &["--target", &pid, "--page-out"])?.expect_code(0)?;
    let found = diagnose(guest, &[])?;
    let told = &found["swap"];
    let total = guest.meminfo_kib("SwapTotal")? * 1024;
    let used = total - guest.meminfo_kib("SwapFree")? * 1024;
    assert_eq!(number(told, "total_bytes")?, total);
    assert_close("used", number(told, "used_bytes")?, used, 2);
    assert!(used > 56 * MIB, "{used}");
    let device = &array(told, "devices")?[0];
    assert_eq!(text(device, "path")?, swap.device().display().to_string());
    assert_eq!(text(device, "kind")?, "zram");
    let zram = &array(told, "zram")?[0];
    assert_close(
        "original",
        number(zram, "original_bytes")?,
        swap.mm_stat(0)?,
        2,
    );
    assert_close("stored", number(zram, "stored_bytes")?, swap.mm_stat(1)?, 2);
    assert_close(
        "pool",
        number(zram, "memory_used_bytes")?,
        swap.mm_stat(2)?,
        2,
    );
    let process = array(&found, "processes")?
        .iter()
        .find(|process| process["pid"] == hog.pid())
        .ok_or_else(|| Failure::new("the hog is not in the list"))?;
    let of_hog = guest.status_kib(hog.pid(), "VmSwap")? * 1024;
    // The kernel counts in batches, so that the two readings may differ.
    assert_close("swap of the hog", number(process, "swap_bytes")?, of_hog, 2);
    Ok(Outcome::Passed)
}

fn a_group_is_told_as_the_kernel_has_it(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    cgroup.write("memory.low", "32M")?;
    cgroup.write("memory.high", "500M")?;
    let hog = guest.hog(&HogOptions::anonymous(100).in_cgroup(cgroup.path()))?;
    let found = diagnose(guest, &[])?;
    let group = array(&found, "cgroups")?
        .iter()
        .find(|group| group["path"] == "/grey-case")
        .ok_or_else(|| Failure::new(format!("no /grey-case in {}", found["cgroups"])))?;
    let current = cgroup.read_number("memory.current")?;
    assert_close("current", number(group, "current_bytes")?, current, 1);
    assert!(current > 100 * MIB);
    let anon = cgroup.read_key("memory.stat", "anon")?;
    assert_close("anon", number(&group["stat"], "anon_bytes")?, anon, 1);
    assert_eq!(number(group, "min_bytes")?, 0);
    assert_eq!(number(group, "low_bytes")?, 32 * MIB);
    assert_eq!(number(group, "high_bytes")?, 500 * MIB);
    assert_eq!(text(group, "max_bytes")?, "max");
    assert_eq!(number(group, "effective_limit_bytes")?, 500 * MIB);
    assert_eq!(text(group, "swap_max_bytes")?, "max");
    assert_eq!(number(&group["events"], "oom_kill")?, 0);
    let process = array(&found, "processes")?
        .iter()
        .find(|process| process["pid"] == hog.pid())
        .ok_or_else(|| Failure::new("the hog is not in the list"))?;
    let resident = guest.status_kib(hog.pid(), "VmRSS")? * 1024;
    assert_close("rss", number(process, "rss_bytes")?, resident, 1);
    assert_close("uss", number(process, "uss_bytes")?, 100 * MIB, 3);
    assert_eq!(text(process, "cgroup")?, "/grey-case");
    Ok(Outcome::Passed)
}

fn a_diagnosed_target_comes_alone(guest: &Guest) -> Result<Outcome, Failure> {
    let one = guest.cgroup("grey-one")?;
    let other = guest.cgroup("grey-other")?;
    let in_one = guest.hog(&HogOptions::anonymous(16).in_cgroup(one.path()))?;
    let in_other = guest.hog(&HogOptions::anonymous(16).in_cgroup(other.path()))?;
    let pids = |found: &Value| -> Result<Vec<u64>, Failure> {
        array(found, "processes")?
            .iter()
            .map(|process| number(process, "pid"))
            .collect()
    };
    let expected = |hog: &crate::hog::Hog| vec![u64::try_from(hog.pid()).unwrap_or(0)];
    let by_group = diagnose(guest, &["--target", "/grey-one"])?;
    assert_eq!(pids(&by_group)?, expected(&in_one));
    let paths: Vec<&Value> = array(&by_group, "cgroups")?
        .iter()
        .map(|group| &group["path"])
        .collect();
    assert!(paths.iter().any(|path| *path == "/grey-one"), "{paths:?}");
    assert!(
        !paths.iter().any(|path| *path == "/grey-other"),
        "{paths:?}"
    );
    let by_pid = diagnose(guest, &["--target", &in_other.pid().to_string()])?;
    assert_eq!(pids(&by_pid)?, expected(&in_other));
    let targets = array(&by_pid, "targets")?;
    assert_eq!(targets.len(), 1);
    assert_eq!(text(&targets[0], "cgroup")?, "/grey-other");
    // The machine's own account is whole in any case.
    let total = guest.meminfo_kib("MemTotal")? * 1024;
    assert_eq!(number(&by_pid["system"], "total_bytes")?, total);
    Ok(Outcome::Passed)
}

fn what_an_old_kernel_does_not_tell_is_null(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    let _hog = guest.hog(&HogOptions::anonymous(16).in_cgroup(cgroup.path()))?;
    let found = diagnose(guest, &["--target", "/grey-case"])?;
    let group = array(&found, "cgroups")?
        .iter()
        .find(|group| group["path"] == "/grey-case")
        .ok_or_else(|| Failure::new(format!("no /grey-case in {}", found["cgroups"])))?;
    for key in ["peak_bytes", "zswap_current_bytes"] {
        assert_eq!(group.get(key), Some(&Value::Null), "{key}");
    }
    assert_eq!(group["can_reclaim"], false);
    assert_eq!(group["events"].get("oom_group_kill"), Some(&Value::Null));
    for key in [
        "kernel_bytes",
        "vmalloc_bytes",
        "zswap_bytes",
        "zswapped_bytes",
    ] {
        assert_eq!(group["stat"].get(key), Some(&Value::Null), "{key}");
    }
    // What it does tell is a number, even when that is 0.
    assert_eq!(number(&group["stat"], "shmem_bytes")?, 0);
    assert_eq!(number(&group["events"], "oom_kill")?, 0);
    let ksm = &found["ksm"];
    assert_eq!(ksm.get("advisor_mode"), Some(&Value::Null), "{ksm}");
    Ok(Outcome::Passed)
}

/// What each action is simulated and then done with.
fn actions(guest: &Guest, pid: &str) -> Vec<Vec<String>> {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let mut all: Vec<Vec<String>> = vec![
        owned(&["--target", "/grey-case", "--high", "100M"]),
        owned(&["--target", "/grey-case", "--limit", "90M"]),
        owned(&["--target", pid, "--page-out"]),
        owned(&["--drop-caches", "3"]),
        owned(&["--enable-ksm", "--aggressive"]),
        owned(&["--target", pid, "--oom-score-adj", "300"]),
        owned(&["--target", pid, "--rlimit-data", "1G"]),
    ];
    if guest.name != GuestName::Linux5_10 {
        all.insert(0, owned(&["--target", "/grey-case", "--reclaim", "16M"]));
    }
    all
}

fn a_simulation_changes_nothing_and_plans_the_same(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(256)?;
    let cgroup = guest.cgroup("grey-case")?;
    let hog = guest.hog(&HogOptions::anonymous(128).in_cgroup(cgroup.path()))?;
    for action in actions(guest, &hog.pid().to_string()) {
        let mut words: Vec<&str> = action.iter().map(String::as_str).collect();
        let settings = KernelState::read();
        let swapped = cgroup.read_number("memory.swap.current")?;
        let used = cgroup.read_number("memory.current")?;
        let journal = journal_size(guest);
        words.push("--simulation");
        let simulated = enforce(guest, &words)?.expect_code(0)?;
        assert_eq!(simulated.document["simulation"], true);
        assert_eq!(text(&simulated.document, "outcome")?, "simulated");
        assert!(simulated.effects()?.is_empty());
        assert_unchanged(&settings);
        assert_eq!(cgroup.read_number("memory.swap.current")?, swapped);
        assert_close("usage", cgroup.read_number("memory.current")?, used, 1);
        assert_eq!(journal_size(guest), journal);
        words.pop();
        let done = enforce(guest, &words)?;
        assert!(matches!(done.code(), Some(0 | 4)), "{done:?}");
        assert_same_plan(simulated.plan()?, done.plan()?);
        roll_back(guest)?;
        assert_unchanged(&settings);
    }
    Ok(Outcome::Passed)
}

/// Bytes in the state directory; `None` while there is none.
fn journal_size(guest: &Guest) -> Option<u64> {
    let entries = fs::read_dir(&guest.state_dir).ok()?;
    let sizes = entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
    Some(sizes.sum())
}

/// The same steps. Amounts are of two moments, so they may differ a little.
fn assert_same_plan(simulated: &[Value], real: &[Value]) {
    assert_eq!(simulated.len(), real.len(), "{simulated:?}\n{real:?}");
    for (one, other) in simulated.iter().zip(real) {
        for key in ["action", "knob", "before", "after", "risk", "undo"] {
            assert_eq!(one[key], other[key], "{key} of {one} and {other}");
        }
        assert_eq!(
            one["predicted_bytes"].is_null(),
            other["predicted_bytes"].is_null()
        );
        if let (Some(one), Some(other)) = (
            one["predicted_bytes"].as_u64(),
            other["predicted_bytes"].as_u64(),
        ) {
            assert_close("predicted", one, other, 5);
        }
    }
}

/// Every hog has the name of the program that the cases are in.
fn a_name_that_many_have_is_listed_and_not_chosen(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(128)?;
    let cgroup = guest.cgroup("grey-case")?;
    let one = guest.hog(&HogOptions::anonymous(16).in_cgroup(cgroup.path()))?;
    let other = guest.hog(&HogOptions::anonymous(16).in_cgroup(cgroup.path()))?;
    let name = guest.read(format!("/proc/{}/comm", one.pid()))?;
    let settings = KernelState::read();
    for target in [name.clone(), format!("name:{name}")] {
        let done = enforce(guest, &["--target", &target, "--page-out"])?.expect_code(2)?;
        for hog in [&one, &other] {
            let listed = done
                .stderr()
                .lines()
                .any(|line| line.trim_start().starts_with(&format!("{} ", hog.pid())));
            assert!(listed, "{} is not listed: {}", hog.pid(), done.stderr());
        }
        assert!(done.effects()?.is_empty());
    }
    assert_eq!(cgroup.read_number("memory.swap.current")?, 0);
    assert_unchanged(&settings);
    Ok(Outcome::Passed)
}

fn an_unknown_target_changes_nothing(guest: &Guest) -> Result<Outcome, Failure> {
    let settings = KernelState::read();
    for target in [
        "4000000",
        "no-such-name",
        "name:no-such-name",
        "/no/such/group",
        "cgroup:no-such-group",
    ] {
        for action in [&["--page-out"][..], &["--high", "100M"]] {
            let mut arguments = vec!["--target", target];
            arguments.extend(action);
            let done = enforce(guest, &arguments)?.expect_code(2)?;
            assert!(done.stderr().contains("error:"), "{done:?}");
            assert_eq!(text(&done.document, "outcome")?, "refused");
        }
    }
    assert_unchanged(&settings);
    assert!(!guest.state_dir.exists(), "a journal for nothing");
    Ok(Outcome::Passed)
}

fn process_1_and_kernel_threads_are_refused(guest: &Guest) -> Result<Outcome, Failure> {
    let settings = KernelState::read();
    let first = enforce(guest, &["--target", "1", "--oom-score-adj", "500"])?.expect_code(7)?;
    assert!(first.refusals()?.contains("process 1"), "{first:?}");
    let thread = enforce(guest, &["--target", "2", "--page-out"])?.expect_code(9)?;
    assert!(thread.refusals()?.contains("kernel thread"), "{thread:?}");
    assert_unchanged(&settings);
    Ok(Outcome::Passed)
}
