//! Machines that do not cooperate: no room or no permission for the journal, a
//! read-only kernel, another boot, two people at once.
//!
//! What cannot be done is refused before the first change.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use serde_json::Value;

use super::undo::{
    assert_as_before, enforce, enforce_arguments, every_knob, journal, list, outcomes, rollback,
    text,
};
use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::guest::{GREYCTL_DEADLINE, Guest, Run, greyctl_path, run};
use crate::hog::HogOptions;
use crate::state::KernelState;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a_read_only_state_directory_refuses_before_the_first_change",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_read_only_state_directory_refuses_before_the_first_change,
    },
    Case {
        name: "a_full_disk_under_the_journal_refuses_before_the_first_change",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_full_disk_under_the_journal_refuses_before_the_first_change,
    },
    Case {
        name: "a_full_disk_does_not_keep_rollback_from_restoring",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_full_disk_does_not_keep_rollback_from_restoring,
    },
    Case {
        name: "a_read_only_sys_is_refused",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: a_read_only_sys_is_refused,
    },
    Case {
        name: "records_of_another_boot_are_void",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: records_of_another_boot_are_void,
    },
    Case {
        name: "two_rollbacks_at_once_undo_each_change_once",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: two_rollbacks_at_once_undo_each_change_once,
    },
    Case {
        name: "an_enforcement_and_a_rollback_at_once_end_well",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: an_enforcement_and_a_rollback_at_once_end_well,
    },
    Case {
        name: "without_permission_diagnose_counts_and_enforce_refuses",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: without_permission_diagnose_counts_and_enforce_refuses,
    },
];

/// The same guest with another state directory.
fn with_state_dir(guest: &Guest, state_dir: &Path) -> Guest {
    Guest {
        name: guest.name,
        directory: guest.directory.clone(),
        state_dir: state_dir.to_owned(),
    }
}

/// A refusal before the first change: exit code, a hint that holds this text,
/// and not one byte different.
fn assert_refused(run: Run, code: i32, hint: &str, before: &KernelState) -> Result<Value, Failure> {
    let run = run.expect_code(code)?;
    assert!(run.stderr.contains(hint), "no `{hint}` in {}", run.stderr);
    let document = run.json()?;
    assert_eq!(document["effects"], serde_json::json!([]), "{document}");
    assert_eq!(document["journal_ids"], serde_json::json!([]), "{document}");
    assert_as_before(before);
    Ok(document)
}

/// A read-only tmpfs over a directory, until dropped.
struct ReadOnlyMount {
    path: PathBuf,
}

impl ReadOnlyMount {
    fn over(guest: &Guest, path: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(path)?;
        let place = path.display().to_string();
        guest
            .run(
                "mount",
                &["-t", "tmpfs", "-o", "ro,mode=700", "tmpfs", &place],
            )?
            .expect_code(0)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }
}

impl Drop for ReadOnlyMount {
    fn drop(&mut self) {
        // It is in the case's own directory, and goes with the guest at last.
        let _ = Command::new("umount").arg(&self.path).status();
    }
}

/// What a case has put on the tiny disk, until dropped.
struct TinyDisk {
    state_dir: PathBuf,
    filling: PathBuf,
}

impl TinyDisk {
    fn new(guest: &Guest) -> Self {
        Self {
            state_dir: guest.tiny_disk().join("state"),
            filling: guest.tiny_disk().join("filling"),
        }
    }

    /// Takes every last block of it.
    fn fill(&self) -> Result<(), Failure> {
        let mut file = fs::File::create(&self.filling)?;
        for block in [64 * 1024, 512] {
            let bytes = vec![0xa5_u8; block];
            loop {
                match std::io::Write::write_all(&mut file, &bytes).and_then(|()| file.sync_data()) {
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn make_room(&self) -> Result<(), Failure> {
        fs::remove_file(&self.filling)?;
        Ok(())
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        // What is missing already needs no removal.
        let _ = fs::remove_file(&self.filling);
        let _ = fs::remove_dir_all(&self.state_dir);
    }
}

fn a_read_only_state_directory_refuses_before_the_first_change(
    guest: &Guest,
) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    cgroup.write("memory.high", "400M")?;
    let hog = guest.hog(&HogOptions::anonymous(16))?;
    let before = KernelState::read();
    let pid = hog.pid().to_string();
    let mount = ReadOnlyMount::over(guest, &guest.state_dir)?;
    let refused = guest.greyctl(&enforce_arguments(&every_knob(&pid)))?;
    let document = assert_refused(refused, 6, "--state-dir", &before)?;
    assert_eq!(document["outcome"], "refused", "{document}");
    // A lease is refused before its keeper is started.
    let lease = ["--target", "/grey-case", "--high", "200M", "--for", "1h"];
    let refused = guest.greyctl(&enforce_arguments(&lease))?;
    assert_refused(refused, 6, "--state-dir", &before)?;
    let undone = guest.greyctl(&["rollback", "--json"])?.expect_code(6)?;
    // Another directory would know nothing of what was changed.
    assert!(undone.stderr.contains("remount"), "{}", undone.stderr);
    assert!(!undone.stderr.contains("--state-dir"), "{}", undone.stderr);
    drop(mount);
    enforce(guest, &["--target", "/grey-case", "--high", "200M"])?;
    rollback(guest, &[], 0)?;
    assert_as_before(&before);
    Ok(Outcome::Passed)
}

fn a_full_disk_under_the_journal_refuses_before_the_first_change(
    guest: &Guest,
) -> Result<Outcome, Failure> {
    let disk = TinyDisk::new(guest);
    let guest = with_state_dir(guest, &disk.state_dir);
    let cgroup = guest.cgroup("grey-case")?;
    cgroup.write("memory.high", "400M")?;
    let hog = guest.hog(&HogOptions::anonymous(16))?;
    let before = KernelState::read();
    let pid = hog.pid().to_string();
    // Without a journal, and with one that has no room for another record.
    for attempt in ["new", "old"] {
        guest.say(&format!("with a {attempt} journal"));
        disk.fill()?;
        let refused = guest.greyctl(&enforce_arguments(&every_knob(&pid)))?;
        let document = assert_refused(refused, 7, "make room", &before)?;
        assert_eq!(document["outcome"], "refused", "{document}");
        let lease = ["--target", "/grey-case", "--high", "200M", "--for", "1h"];
        let refused = guest.greyctl(&enforce_arguments(&lease))?;
        assert_refused(refused, 7, "make room", &before)?;
        disk.make_room()?;
        enforce(&guest, &["--target", "/grey-case", "--high", "200M"])?;
        rollback(&guest, &[], 0)?;
        assert_as_before(&before);
    }
    Ok(Outcome::Passed)
}

fn a_full_disk_does_not_keep_rollback_from_restoring(guest: &Guest) -> Result<Outcome, Failure> {
    let disk = TinyDisk::new(guest);
    let guest = with_state_dir(guest, &disk.state_dir);
    let hog = guest.hog(&HogOptions::anonymous(16))?;
    let before = KernelState::read();
    let pid = hog.pid().to_string();
    enforce(&guest, &every_knob(&pid))?;
    disk.fill()?;
    let undone = rollback(&guest, &[], 0)?;
    assert!(
        outcomes(&undone)
            .iter()
            .all(|outcome| outcome == "restored"),
        "{undone}"
    );
    assert_as_before(&before);
    disk.make_room()?;
    let again = rollback(&guest, &[], 0)?;
    assert!(
        !outcomes(&again).iter().any(|outcome| outcome == "restored"),
        "{again}"
    );
    assert_as_before(&before);
    assert!(
        journal(&guest)?
            .iter()
            .all(|change| change["state"] == "undone")
    );
    Ok(Outcome::Passed)
}

/// Runs `greyctl` in a mount namespace of its own, after these shell commands.
fn greyctl_after(guest: &Guest, commands: &str, arguments: &[&str]) -> Result<Run, Failure> {
    let script = format!("set -e; {commands}; exec \"$0\" \"$@\"");
    let program = greyctl_path().to_string_lossy().into_owned();
    let state_dir = guest.state_dir.display().to_string();
    let mut all = vec![
        "-m",
        "sh",
        "-c",
        &script,
        &program,
        "--state-dir",
        &state_dir,
    ];
    all.extend_from_slice(arguments);
    guest.run("unshare", &all)
}

fn a_read_only_sys_is_refused(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    cgroup.write("memory.high", "400M")?;
    let hog = guest.hog(&HogOptions::anonymous(16))?;
    let pid = hog.pid().to_string();
    let before = KernelState::read();
    let cgroups = "mount --bind /sys/fs/cgroup /sys/fs/cgroup; \
                   mount -o remount,bind,ro /sys/fs/cgroup";
    for target in ["/grey-case", &pid] {
        for action in ["--high", "--limit"] {
            let plan = enforce_arguments(&["--target", target, action, "200M"]);
            let refused = greyctl_after(guest, cgroups, &plan)?;
            assert_refused(refused, 9, "run on the host", &before)?;
        }
    }
    let sys = "mount --bind /sys /sys; mount -o remount,bind,ro /sys";
    let plan = enforce_arguments(&["--enable-ksm", "--aggressive"]);
    let refused = greyctl_after(guest, sys, &plan)?;
    assert_refused(refused, 9, "run on the host", &before)?;
    // It was the mount that was read-only, and nothing else.
    enforce(
        guest,
        &["--target", &pid, "--limit", "200M", "--enable-ksm"],
    )?;
    // A rollback that may not write says so, and loses nothing.
    let applied = KernelState::read();
    let kept = greyctl_after(guest, cgroups, &["rollback", "--json"])?.expect_code(4)?;
    let kept = kept.json()?;
    for change in list(&kept["changes"]) {
        let is_cgroup = change["setting"]["kind"] != "ksm";
        let expected = if is_cgroup { "failed" } else { "restored" };
        assert_eq!(change["outcome"], expected, "{change}");
    }
    let changed = applied.differences(&KernelState::read());
    assert!(
        changed.iter().all(|line| line.contains("/ksm/")),
        "{changed:?}"
    );
    rollback(guest, &[], 0)?;
    assert_as_before(&before);
    Ok(Outcome::Passed)
}

fn records_of_another_boot_are_void(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    let hog = guest.hog(&HogOptions::anonymous(16).in_cgroup(cgroup.path()))?;
    let before = KernelState::read();
    let other = guest.directory.join("other-boot");
    fs::write(&other, "5a1e7c3d-0000-4000-8000-00000000b007\n")?;
    let commands = format!(
        "mount --bind {} /proc/sys/kernel/random/boot_id",
        other.display()
    );
    let actions = ["--target", "/grey-case", "--high", "200M", "--enable-ksm"];
    let plan = enforce_arguments(&[&actions[..], &["--oom-score-adj", "500"]].concat());
    greyctl_after(guest, &commands, &plan)?.expect_code(0)?;
    let applied = KernelState::read();
    let undone = rollback(guest, &[], 0)?;
    assert_eq!(outcomes(&undone), ["void"; 3], "{undone}");
    // Not even where our value is still there.
    assert_eq!(
        applied.differences(&KernelState::read()),
        Vec::<String>::new()
    );
    let forced = rollback(guest, &["--force"], 0)?;
    assert_eq!(forced["outcome"], "nothing_to_do", "{forced}");
    assert!(
        journal(guest)?
            .iter()
            .all(|change| change["state"] == "void")
    );
    // Changes of this boot are not mixed up with them.
    enforce(guest, &["--target", "/grey-case", "--high", "150M"])?;
    let undone = rollback(guest, &[], 0)?;
    assert_eq!(outcomes(&undone), ["restored"], "{undone}");
    assert_eq!(cgroup.read("memory.high")?, (200 << 20).to_string());
    cgroup.write("memory.high", "max")?;
    guest.write("/sys/kernel/mm/ksm/run", "0")?;
    guest.write(format!("/proc/{}/oom_score_adj", hog.pid()), "0")?;
    assert_as_before(&before);
    Ok(Outcome::Passed)
}

/// The changes whose end was recorded, in the journal's order.
fn ended_changes(guest: &Guest) -> Result<Vec<u64>, Failure> {
    let journal = guest.read(guest.state_dir.join("journal/journal.jsonl"))?;
    let mut ended = Vec::new();
    for line in journal.lines() {
        let line: Value = serde_json::from_str(line)?;
        let record = &line["record"];
        if record["record"] == "undone" {
            ended.extend(record["change"].as_u64());
        }
    }
    Ok(ended)
}

/// Runs two `greyctl` at the same time.
fn at_once(guest: &Guest, first: &[&str], second: &[&str]) -> Result<(Run, Run), Failure> {
    thread::scope(|threads| {
        let other = threads.spawn(|| guest.greyctl(second));
        let one = guest.greyctl(first);
        let other = other
            .join()
            .map_err(|_| Failure::new("a thread panicked"))?;
        Ok((one?, other?))
    })
}

fn two_rollbacks_at_once_undo_each_change_once(guest: &Guest) -> Result<Outcome, Failure> {
    let hog = guest.hog(&HogOptions::anonymous(16))?;
    let pid = hog.pid().to_string();
    let before = KernelState::read();
    let mut made = 0;
    for _ in 0..3 {
        let applied = enforce(guest, &every_knob(&pid))?;
        made += list(&applied["journal_ids"]).len();
        let rollback = ["rollback", "--json"];
        let (one, other) = at_once(guest, &rollback, &rollback)?;
        let mut all = outcomes(&one.expect_code(0)?.json()?);
        all.extend(outcomes(&other.expect_code(0)?.json()?));
        assert_eq!(all.len(), list(&applied["journal_ids"]).len());
        assert!(all.iter().all(|outcome| outcome == "restored"), "{all:?}");
        assert_as_before(&before);
    }
    let mut ended = ended_changes(guest)?;
    assert_eq!(ended.len(), made);
    ended.sort_unstable();
    ended.dedup();
    assert_eq!(ended.len(), made, "a change was undone twice");
    Ok(Outcome::Passed)
}

fn an_enforcement_and_a_rollback_at_once_end_well(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    cgroup.write("memory.high", "400M")?;
    let before = KernelState::read();
    let plan = enforce_arguments(&["--target", "/grey-case", "--high", "200M"]);
    for _ in 0..4 {
        enforce(guest, &["--target", "/grey-case", "--high", "300M"])?;
        let (enforced, undone) = at_once(guest, &plan, &["rollback", "--json"])?;
        undone.expect_code(0)?;
        // Either it came first or last, or the value that it was planned for
        // went away under it, and then it changed nothing.
        let was = enforced.json()?["outcome"].clone();
        match enforced.code {
            Some(0) => assert_eq!(was, "done", "{}", enforced.stdout),
            Some(7) => assert_eq!(was, "refused", "{}", enforced.stdout),
            _ => return Err(Failure::new(format!("{enforced:?}"))),
        }
        rollback(guest, &[], 0)?;
        assert_as_before(&before);
        assert!(
            journal(guest)?
                .iter()
                .all(|change| change["state"] == "undone")
        );
    }
    Ok(Outcome::Passed)
}

/// Runs `greyctl` as a user who may do nothing.
fn greyctl_as_nobody(guest: &Guest, arguments: &[&str]) -> Result<Run, Failure> {
    const NOBODY: u32 = 65534;
    let mut command = Command::new(greyctl_path());
    command
        .arg("--state-dir")
        .arg(&guest.state_dir)
        .args(arguments)
        .uid(NOBODY)
        .gid(NOBODY);
    run(command, GREYCTL_DEADLINE)
}

fn without_permission_diagnose_counts_and_enforce_refuses(
    guest: &Guest,
) -> Result<Outcome, Failure> {
    // Where it may write a journal, it is still not allowed to change anything.
    let place = guest.directory.join("writable");
    fs::create_dir(&place)?;
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777))?;
    let guest = with_state_dir(guest, &place.join("state"));
    let cgroup = guest.cgroup("grey-case")?;
    let inside = guest.hog(&HogOptions::anonymous(16).in_cgroup(cgroup.path()))?;
    let bare = guest.hog(&HogOptions::anonymous(16))?;
    let before = KernelState::read();
    let diagnosis = greyctl_as_nobody(&guest, &["memory-diagnose", "--json"])?
        .expect_code(0)?
        .json()?;
    let unreadable = diagnosis["unreadable_processes"].as_u64().unwrap_or(0);
    assert!(unreadable >= 2, "{unreadable}");
    for hog in [&inside, &bare] {
        let found = list(&diagnosis["processes"])
            .into_iter()
            .find(|process| process["pid"] == hog.pid())
            .ok_or_else(|| Failure::new("a process is missing"))?;
        for key in ["pss_bytes", "uss_bytes"] {
            assert_eq!(found[key], Value::Null, "{key} of {found}");
        }
        // What everybody may read is there: it holds 16 MiB.
        assert!(found["rss_bytes"].as_u64() > Some(16 << 20), "{found}");
    }
    assert!(text(&diagnosis["schema"]).starts_with("grey.diagnosis/"));
    let pid = bare.pid().to_string();
    for plan in [
        &["--target", "/grey-case", "--high", "200M"][..],
        &["--target", "/grey-case", "--limit", "300M"],
        &["--target", &pid, "--limit", "300M"],
        &["--target", &pid, "--oom-score-adj", "-5"],
        &["--target", &pid, "--oom-score-adj", "5"],
        &["--target", &pid, "--rlimit-data", "4G"],
        &["--target", &pid, "--page-out"],
        &["--drop-caches"],
        &["--enable-ksm"],
    ] {
        let refused = greyctl_as_nobody(&guest, &enforce_arguments(plan))?;
        assert_refused(refused, 6, "sudo", &before)
            .map_err(|failure| Failure::new(format!("{plan:?}: {failure}")))?;
    }
    assert!(inside.is_alive() && bare.is_alive());
    Ok(Outcome::Passed)
}
