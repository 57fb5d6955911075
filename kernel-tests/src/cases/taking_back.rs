//! Taking memory back: reclaim, page-out, dropping caches. What
//! greyctl says it freed is held against the kernel's own accounts.
//!
//! Nothing here sets a limit: that is `limits`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use super::documents::{
    Enforced, Kills, MIB, assert_close, assert_unchanged, enforce, number, text,
};
use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::cgroup::Cgroup;
use crate::guest::Guest;
use crate::hog::{HogContent, HogKind, HogOptions};
use crate::processes;
use crate::state::KernelState;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "reclaim_frees_what_it_reports",
        guests: GuestName::WITH_RECLAIM,
        deadline: DEADLINE,
        run: reclaim_frees_what_it_reports,
    },
    Case {
        name: "reclaim_without_swap_leaves_anonymous_memory",
        guests: GuestName::WITH_RECLAIM,
        deadline: DEADLINE,
        run: reclaim_without_swap_leaves_anonymous_memory,
    },
    Case {
        name: "reclaim_without_swap_takes_file_cache",
        guests: GuestName::WITH_RECLAIM,
        deadline: DEADLINE,
        run: reclaim_without_swap_takes_file_cache,
    },
    Case {
        name: "memory_that_comes_back_is_told",
        guests: GuestName::WITH_RECLAIM,
        deadline: DEADLINE,
        run: memory_that_comes_back_is_told,
    },
    Case {
        name: "a_protected_child_is_not_counted_as_reclaimable",
        guests: GuestName::WITH_RECLAIM,
        deadline: DEADLINE,
        run: a_protected_child_is_not_counted_as_reclaimable,
    },
    Case {
        name: "reclaim_is_not_supported_without_its_file",
        guests: &[GuestName::Linux5_10],
        deadline: DEADLINE,
        run: reclaim_is_not_supported_without_its_file,
    },
    Case {
        name: "page_out_moves_a_process_to_zram",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: page_out_moves_a_process_to_zram,
    },
    Case {
        name: "page_out_without_swap_has_no_effect",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: page_out_without_swap_has_no_effect,
    },
    Case {
        name: "page_out_leaves_bystanders_alone",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: page_out_leaves_bystanders_alone,
    },
    Case {
        name: "page_out_survives_a_target_that_dies",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: page_out_survives_a_target_that_dies,
    },
    Case {
        name: "drop_caches_frees_the_file_cache",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: drop_caches_frees_the_file_cache,
    },
    Case {
        name: "drop_caches_frees_no_tmpfs",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: drop_caches_frees_no_tmpfs,
    },
    Case {
        name: "dirty_cache_is_written_before_it_is_dropped",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: dirty_cache_is_written_before_it_is_dropped,
    },
];

fn reclaim_frees_what_it_reports(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(256)?;
    let cgroup = guest.cgroup("grey-case")?;
    let mut hog = guest.hog(&HogOptions::anonymous(200).in_cgroup(cgroup.path()))?;
    let kills = Kills::note(guest)?;
    let settings = KernelState::read();
    let before = cgroup.read_number("memory.current")?;
    let done = enforce(guest, &["--target", "/grey-case", "--reclaim", "100M"])?.expect_code(0)?;
    let fell = before.saturating_sub(cgroup.read_number("memory.current")?);
    let effect = done.effect()?;
    let freed = number(effect, "freed_bytes")?;
    assert_eq!(text(effect, "verdict")?, "worked");
    assert_close("freed and the fall of memory.current", freed, fell, 10);
    assert_close("freed and predicted", freed, predicted(effect)?, 10);
    assert_eq!(predicted(effect)?, 100 * MIB);
    let swapped = cgroup.read_number("memory.swap.current")?;
    assert_close("freed and memory.swap.current", freed, swapped, 10);
    kills.assert_none(guest, &[&hog])?;
    // What was taken is still there for its owner, and nothing else changed.
    hog.touch_again()?;
    assert_unchanged(&settings);
    Ok(Outcome::Passed)
}

fn reclaim_without_swap_leaves_anonymous_memory(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    let hog = guest.hog(&HogOptions::anonymous(200).in_cgroup(cgroup.path()))?;
    let kills = Kills::note(guest)?;
    let before = cgroup.read_number("memory.current")?;
    let done = enforce(guest, &["--target", "/grey-case", "--reclaim", "100M"])?.expect_code(4)?;
    let after = cgroup.read_number("memory.current")?;
    let effect = done.effect()?;
    assert!(predicted(effect)? < 2 * MIB, "{effect}");
    assert!(number(effect, "freed_bytes")? < 2 * MIB, "{effect}");
    assert!(before.abs_diff(after) < 2 * MIB, "{before} then {after}");
    assert_eq!(text(effect, "verdict")?, "no_effect");
    let detail = text(effect, "detail")?;
    assert!(detail.contains("no swap"), "{detail}");
    assert!(done.warnings()?.contains("no swap"), "{done:?}");
    kills.assert_none(guest, &[&hog])?;
    Ok(Outcome::Passed)
}

fn reclaim_without_swap_takes_file_cache(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    let hog = guest.hog(
        &HogOptions::anonymous(100)
            .of(HogKind::FileCache)
            .in_cgroup(cgroup.path()),
    )?;
    let file_before = cgroup.read_key("memory.stat", "file")?;
    let before = cgroup.read_number("memory.current")?;
    let done = enforce(guest, &["--target", "/grey-case", "--reclaim", "64M"])?.expect_code(0)?;
    let fell = before.saturating_sub(cgroup.read_number("memory.current")?);
    let file_fell = file_before.saturating_sub(cgroup.read_key("memory.stat", "file")?);
    let effect = done.effect()?;
    let freed = number(effect, "freed_bytes")?;
    assert_eq!(text(effect, "verdict")?, "worked");
    assert_close("freed and predicted", freed, predicted(effect)?, 10);
    assert_close("freed and the fall of memory.current", freed, fell, 10);
    assert_close("freed and the fall of the file cache", freed, file_fell, 10);
    assert!(hog.is_alive());
    Ok(Outcome::Passed)
}

/// The hog uses its memory again while greyctl only watches.
fn memory_that_comes_back_is_told(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(256)?;
    let cgroup = guest.cgroup("grey-case")?;
    let mut hog = guest.hog(&HogOptions::anonymous(64).in_cgroup(cgroup.path()))?;
    let refaults = || cgroup.read_key("memory.stat", "workingset_refault_anon");
    let before = refaults()?;
    let done: Enforced = thread::scope(|scope| {
        let arguments = [
            "--target",
            "/grey-case",
            "--reclaim",
            "32M",
            "--observe",
            "20s",
        ];
        let running = scope.spawn(move || enforce(guest, &arguments));
        let watching = guest.wait_until("greyctl only watches", Duration::from_secs(60), || {
            let swapped = cgroup.read_number("memory.swap.current");
            swapped.is_ok_and(|bytes| bytes > 28 * MIB) && journal_is_free(guest)
        });
        let touched = watching.and_then(|()| hog.touch_again());
        let done = running
            .join()
            .map_err(|_| Failure::new("the thread of greyctl panicked"))?;
        touched.and(done)
    })?;
    let most = (refaults()? - before) * 4096;
    let effect = done.effect()?;
    assert_close("freed", number(effect, "freed_bytes")?, 32 * MIB, 10);
    let back = number(effect, "refaulted_bytes")?;
    assert_close("refaulted and freed", back, 32 * MIB, 10);
    assert!(back <= most, "{back} told, {most} happened");
    assert_eq!(text(effect, "verdict")?, "partly_worked");
    let detail = text(effect, "detail")?;
    assert!(detail.contains("came back"), "{detail}");
    assert_eq!(done.code(), Some(4));
    Ok(Outcome::Passed)
}

/// Whether nobody holds the journal: greyctl lets go of it when all is done and
/// it begins to watch.
fn journal_is_free(guest: &Guest) -> bool {
    let lock = File::open(guest.state_dir.join("journal/lock"));
    lock.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
}

/// Three groups of 64 MiB below the target, two of them protected.
fn a_protected_child_is_not_counted_as_reclaimable(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(256)?;
    let cgroup = guest.cgroup("grey-case")?;
    let children = ["one", "two", "open"]
        .iter()
        .map(|name| cgroup.child(name))
        .collect::<Result<Vec<Cgroup>, Failure>>()?;
    let hogs = children
        .iter()
        .map(|child| guest.hog(&HogOptions::anonymous(64).in_cgroup(child.path())))
        .collect::<Result<Vec<_>, Failure>>()?;
    children[0].write("memory.min", "max")?;
    children[1].write("memory.min", "1G")?;
    let done = enforce(guest, &["--target", "/grey-case", "--reclaim", "190M"])?;
    let effect = done.effect()?;
    let foreseen = predicted(effect)?;
    assert!((50 * MIB..=70 * MIB).contains(&foreseen), "{effect}");
    let freed = number(effect, "freed_bytes")?;
    assert_close("freed and predicted", freed, foreseen, 15);
    for child in &children[..2] {
        assert_eq!(child.read_number("memory.swap.current")?, 0);
    }
    assert!(hogs.iter().all(crate::hog::Hog::is_alive));
    Ok(Outcome::Passed)
}

fn reclaim_is_not_supported_without_its_file(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(128)?;
    let cgroup = guest.cgroup("grey-case")?;
    let hog = guest.hog(&HogOptions::anonymous(64).in_cgroup(cgroup.path()))?;
    let settings = KernelState::read();
    let done = enforce(guest, &["--target", "/grey-case", "--reclaim", "16M"])?.expect_code(9)?;
    assert!(done.refusals()?.contains("memory.reclaim"), "{done:?}");
    assert_eq!(text(&done.document, "outcome")?, "refused");
    assert!(done.effects()?.is_empty());
    assert_unchanged(&settings);
    assert_eq!(cgroup.read_number("memory.swap.current")?, 0);
    assert!(hog.is_alive());
    Ok(Outcome::Passed)
}

fn page_out_moves_a_process_to_zram(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(256)?;
    let cgroup = guest.cgroup("grey-case")?;
    let mut hog = guest.hog(&HogOptions::anonymous(100).in_cgroup(cgroup.path()))?;
    let pid = hog.pid();
    let resident = guest.status_kib(pid, "VmRSS")?;
    let current = cgroup.read_number("memory.current")?;
    let done = enforce(guest, &["--target", &pid.to_string(), "--page-out"])?.expect_code(0)?;
    let fell = (resident - guest.status_kib(pid, "VmRSS")?) * 1024;
    let current_fell = current.saturating_sub(cgroup.read_number("memory.current")?);
    let swapped = guest.status_kib(pid, "VmSwap")? * 1024;
    let effect = done.effect()?;
    let freed = number(effect, "freed_bytes")?;
    assert_eq!(text(effect, "verdict")?, "worked");
    assert!(freed > 90 * MIB, "{effect}");
    assert_close("freed and predicted", freed, predicted(effect)?, 10);
    assert_close("freed and the fall of RSS", freed, fell, 10);
    assert_close(
        "freed and the fall of memory.current",
        freed,
        current_fell,
        10,
    );
    assert_close("freed and VmSwap", freed, swapped, 10);
    hog.touch_again()?;
    Ok(Outcome::Passed)
}

fn page_out_without_swap_has_no_effect(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    let hog = guest.hog(&HogOptions::anonymous(64).in_cgroup(cgroup.path()))?;
    let current = cgroup.read_number("memory.current")?;
    let arguments = ["--target", &hog.pid().to_string(), "--page-out"];
    let done = enforce(guest, &arguments)?.expect_code(4)?;
    let effect = done.effect()?;
    assert_eq!(text(effect, "verdict")?, "no_effect");
    // The kernel says that it was advised of 64 MiB; nothing of that is free.
    assert!(number(effect, "freed_bytes")? < MIB, "{effect}");
    assert!(predicted(effect)? < 4 * MIB, "{effect}");
    assert!(cgroup.read_number("memory.current")? + MIB > current);
    assert!(guest.status_kib(hog.pid(), "RssAnon")? >= 64 << 10);
    let detail = text(effect, "detail")?;
    assert!(detail.contains("no swap"), "{detail}");
    assert!(done.warnings()?.contains("no swap"), "{done:?}");
    Ok(Outcome::Passed)
}

fn page_out_leaves_bystanders_alone(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(256)?;
    let cgroup = guest.cgroup("grey-case")?;
    let hog = guest.hog(&HogOptions::anonymous(64).in_cgroup(cgroup.path()))?;
    let bystander = guest.hog(&HogOptions::anonymous(64).in_cgroup(cgroup.path()))?;
    let resident = guest.status_kib(bystander.pid(), "RssAnon")?;
    let target = hog.pid().to_string();
    let done = enforce(guest, &["--target", &target, "--page-out"])?.expect_code(0)?;
    let effect = done.effect()?;
    assert_close("freed", number(effect, "freed_bytes")?, 64 * MIB, 10);
    assert!(guest.status_kib(hog.pid(), "VmSwap")? > 58 << 10);
    assert_eq!(guest.status_kib(bystander.pid(), "VmSwap")?, 0);
    assert_eq!(guest.status_kib(bystander.pid(), "RssAnon")?, resident);
    Ok(Outcome::Passed)
}

/// The process is killed when a part of it is in swap. What goes with a process
/// was not freed by paging it out.
fn page_out_survives_a_target_that_dies(guest: &Guest) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(512)?;
    let cgroup = guest.cgroup("grey-case")?;
    let hog = guest.hog(
        &HogOptions::anonymous(256)
            .filled_with(HogContent::Incompressible)
            .in_cgroup(cgroup.path()),
    )?;
    let pid = hog.pid();
    let target = pid.to_string();
    let arguments = ["--target", target.as_str(), "--page-out"];
    let done: Enforced = thread::scope(|scope| {
        let running = scope.spawn(|| enforce(guest, &arguments));
        let under_way = guest.wait_until("a part is in swap", Duration::from_secs(60), || {
            guest.status_kib(pid, "VmSwap").is_ok_and(|kib| kib > 0)
        });
        processes::kill_hard(pid);
        let done = running
            .join()
            .map_err(|_| Failure::new("the thread of greyctl panicked"))?;
        under_way.and(done)
    })?;
    let effect = done.effect()?;
    assert_eq!(text(&done.document, "error").ok(), None, "{done:?}");
    assert_ne!(text(effect, "verdict")?, "worked", "{effect}");
    assert!(text(effect, "detail")?.contains("1 gone"), "{effect}");
    assert!(effect["freed_bytes"].is_null(), "{effect}");
    assert_eq!(done.code(), Some(4));
    Ok(Outcome::Passed)
}

fn drop_caches_frees_the_file_cache(guest: &Guest) -> Result<Outcome, Failure> {
    let hog = guest.hog(&HogOptions::anonymous(128).of(HogKind::FileCache))?;
    // Pages of files, of the disk below them, and the slab that kept account.
    let cached = || -> Result<u64, Failure> {
        let keys = ["Cached", "Buffers", "SReclaimable"];
        keys.iter().map(|key| guest.meminfo_kib(key)).sum()
    };
    let before = cached()?;
    let free = free_bytes(guest)?;
    let done = enforce(guest, &["--drop-caches"])?.expect_code(0)?;
    let fell = (before - cached()?) * 1024;
    let rose = free_bytes(guest)?.saturating_sub(free);
    let effect = done.effect()?;
    let freed = number(effect, "freed_bytes")?;
    assert_eq!(text(effect, "verdict")?, "worked");
    assert!(fell > 120 * MIB, "{fell}");
    assert_close("freed and the fall of the caches", freed, fell, 10);
    // More may become free: what earlier cases leave is freed late. Never less.
    assert!(rose > freed / 10 * 9, "rose {rose}, freed {freed}");
    // The prediction is a floor: shared memory that is mapped is taken off it.
    assert_close("freed and predicted", freed, predicted(effect)?, 25);
    assert!(done.warnings()?.contains("whole machine"), "{done:?}");
    assert!(hog.is_alive());
    Ok(Outcome::Passed)
}

/// What nobody has: `MemFree`, and what the lists of each processor keep of it,
/// which can be tens of megabytes behind a large freeing.
fn free_bytes(guest: &Guest) -> Result<u64, Failure> {
    let zones = guest.read("/proc/zoneinfo")?;
    let pages: u64 = zones
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("count:"))
        .filter_map(|count| count.trim().parse::<u64>().ok())
        .sum();
    let page = rustix::param::page_size() as u64;
    Ok(guest.meminfo_kib("MemFree")? * 1024 + pages * page)
}

fn drop_caches_frees_no_tmpfs(guest: &Guest) -> Result<Outcome, Failure> {
    // Nothing is cached but what cannot go.
    rustix::fs::sync();
    guest.write("/proc/sys/vm/drop_caches", "3")?;
    let path = guest.directory.join("cached");
    let block = vec![0xa5_u8; 1 << 20];
    let mut file = File::create(&path)?;
    for _ in 0..200 {
        file.write_all(&block)?;
    }
    assert!(guest.meminfo_kib("Cached")? > 200 << 10);
    let done = enforce(guest, &["--drop-caches"])?;
    let effect = done.effect()?;
    assert!(number(effect, "freed_bytes")? < 8 * MIB, "{effect}");
    assert!(predicted(effect)? < 8 * MIB, "{effect}");
    assert!(guest.meminfo_kib("Cached")? > 200 << 10);
    assert!(done.warnings()?.contains("tmpfs"), "{done:?}");
    assert_eq!(fs::metadata(&path)?.len(), 200 * MIB);
    Ok(Outcome::Passed)
}

fn dirty_cache_is_written_before_it_is_dropped(guest: &Guest) -> Result<Outcome, Failure> {
    let path = guest.scratch().join("dirty");
    let block = |number: u32| number.to_le_bytes().repeat(1 << 18);
    let mut file = File::create(&path)?;
    for number in 0..64 {
        file.write_all(&block(number))?;
    }
    drop(file);
    let dirty = guest.meminfo_kib("Dirty")?;
    assert!(dirty > 16 << 10, "only {dirty} KiB are dirty");
    let cached = guest.meminfo_kib("Cached")?;
    let done = enforce(guest, &["--drop-caches"])?.expect_code(0)?;
    let fell = (cached - guest.meminfo_kib("Cached")?) * 1024;
    assert!(fell > 60 * MIB, "what was dirty stayed: {fell}");
    let freed = number(done.effect()?, "freed_bytes")?;
    assert_close("freed and the fall of Cached", freed, fell, 10);
    let mut file = File::open(&path)?;
    let mut read = vec![0_u8; 1 << 20];
    for number in 0..64 {
        file.read_exact(&mut read)?;
        assert!(
            read == block(number),
            "block {number} is not what was written"
        );
    }
    fs::remove_file(&path)?;
    Ok(Outcome::Passed)
}

/// What was foreseen, in bytes.
fn predicted(effect: &Value) -> Result<u64, Failure> {
    number(effect, "predicted_bytes")
}
