//! The journal's files under every misfortune: torn, damaged, full, read-only,
//! trapped, locked, grown.
//!
//! What the records mean is tested beside their types.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use grey_fake_kernel::Ended;
use grey_model::KsmFile;

use super::rig::{Fault, Rig, ksm, plan, plan_over_everything, step};
use crate::executor::{
    ApplyError, Enforcer, EnforcerOptions, RollbackError, RollbackOutcome, RollbackSelection,
};
use crate::journal::LockError;
use crate::{Journal, JournalError};

const FILE: &str = "state/journal/journal.jsonl";
const RUN: &str = "sys/kernel/mm/ksm/run";

fn switch_on(rig: &Rig) -> Result<crate::Applied, ApplyError> {
    rig.apply(&plan([step(ksm(KsmFile::Run), Some("0"), Some("1"))]))
}

fn journal_error(result: Result<crate::Applied, ApplyError>) -> JournalError {
    match result {
        Err(ApplyError::Journal { source }) => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tail_torn_at_any_byte_is_ignored_and_cut() {
    let rig = Rig::new();
    switch_on(&rig).unwrap();
    let whole = fs::read(rig.path(FILE)).unwrap();
    for end in 0..whole.len() {
        fs::write(rig.path(FILE), &whole[..end]).unwrap();
        let complete = whole[..end].iter().filter(|&&byte| byte == b'\n').count();
        let (entries, damage) = Journal::list(&rig.path("state"), None, None).unwrap();
        // The plan, the change, the reading back.
        assert_eq!(entries.len(), usize::from(complete >= 2), "{end} bytes");
        assert!(damage.is_empty(), "{damage:?}");
        rig.write(RUN, "1\n");
        let report = rig.roll_back(&RollbackSelection::All, false);
        assert_eq!(report.items.len(), entries.len());
        let text = fs::read_to_string(rig.path(FILE)).unwrap();
        for line in text.lines() {
            assert!(Journal::is_record(line.as_bytes()), "{line}");
        }
        assert_eq!(rig.read(RUN), if complete >= 2 { "0\n" } else { "1\n" });
    }
}

#[test]
fn a_damaged_record_in_the_middle_is_named_and_the_others_are_used() {
    let rig = Rig::new();
    let everything = plan_over_everything(&rig);
    rig.apply(&everything).unwrap();
    let whole = fs::read_to_string(rig.path(FILE)).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    for damaged in 1..lines.len() - 1 {
        let mut copy: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        copy[damaged] = copy[damaged].replace("grey", "GREY").replace('1', "2");
        fs::write(rig.path(FILE), copy.join("\n") + "\n").unwrap();
        let (entries, damage) = Journal::list(&rig.path("state"), None, None).unwrap();
        assert_eq!(damage.len(), 1, "{damage:?}");
        assert_eq!(damage[0].line, Some(damaged as u64 + 1));
        assert!(entries.len() >= everything.steps.len() - 1);
    }
}

#[test]
fn a_journal_of_another_version_is_not_written() {
    let rig = Rig::new();
    switch_on(&rig).unwrap();
    let text = "{\"schema\":99}";
    let line = format!(
        "{{\"crc32\":\"{:08x}\",\"record\":{text}}}\n",
        crc32fast::hash(text.as_bytes())
    );
    let whole = fs::read_to_string(rig.path(FILE)).unwrap() + &line;
    fs::write(rig.path(FILE), &whole).unwrap();
    let refused = rig
        .enforcer(Fault::None)
        .rollback(&RollbackSelection::All, false);
    assert!(matches!(
        refused,
        Err(RollbackError::Journal {
            source: JournalError::OtherVersion { .. }
        })
    ));
    assert_eq!(fs::read_to_string(rig.path(FILE)).unwrap(), whole);
    assert_eq!(rig.entries().len(), 1);
}

#[test]
fn the_state_directory_is_made_private() {
    let rig = Rig::new();
    switch_on(&rig).unwrap();
    for path in ["state", "state/journal"] {
        let mode = fs::metadata(rig.path(path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{path}");
    }
    let mode = fs::metadata(rig.path(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn traps_in_the_state_directory_are_refused() {
    let prepare: [fn(&Rig); 6] = [
        |rig| {
            fs::create_dir(rig.path("elsewhere")).unwrap();
            symlink(rig.path("elsewhere"), rig.path("state")).unwrap();
        },
        |rig| {
            fs::create_dir(rig.path("elsewhere")).unwrap();
            make(rig, "state", 0o700);
            symlink(rig.path("elsewhere"), rig.path("state/journal")).unwrap();
        },
        |rig| {
            make(rig, "state/journal", 0o700);
            rig.write("elsewhere", "precious");
            symlink(rig.path("elsewhere"), rig.path(FILE)).unwrap();
        },
        |rig| {
            make(rig, "state/journal", 0o700);
            rig.write("elsewhere", "precious");
            fs::hard_link(rig.path("elsewhere"), rig.path(FILE)).unwrap();
        },
        |rig| {
            make(rig, "state/journal", 0o777);
        },
        |rig| {
            make(rig, &format!("{FILE}/x"), 0o700);
        },
    ];
    for (number, prepare) in prepare.iter().enumerate() {
        let rig = Rig::new();
        prepare(&rig);
        let refused = journal_error(switch_on(&rig));
        let expected = number == 5 && matches!(refused, JournalError::Open { .. });
        assert!(
            expected || matches!(refused, JournalError::Unsafe { .. }),
            "{number}: {refused:?}"
        );
        assert_eq!(rig.read(RUN), "0\n");
        if rig.path("elsewhere").is_file() {
            assert_eq!(rig.read("elsewhere"), "precious");
        }
    }
}

#[test]
fn a_link_is_refused_however_its_name_is_written() {
    for tail in ["", "/", "//", "/.", "/./"] {
        let rig = Rig::new();
        fs::create_dir(rig.path("elsewhere")).unwrap();
        symlink(rig.path("elsewhere"), rig.path("link")).unwrap();
        let state = PathBuf::from(format!("{}{tail}", rig.path("link").display()));
        let listed = Journal::list(&state, None, None);
        assert!(
            matches!(listed, Err(JournalError::Unsafe { .. })),
            "{tail}: {listed:?}"
        );
        let options = EnforcerOptions {
            state_dir: state,
            ..rig.options()
        };
        let mut enforcer = Enforcer::open(options).unwrap();
        let refused = enforcer.rollback(&RollbackSelection::All, false);
        assert!(
            matches!(
                refused,
                Err(RollbackError::Journal {
                    source: JournalError::Unsafe { .. }
                })
            ),
            "{tail}: {refused:?}"
        );
        assert_eq!(fs::read_dir(rig.path("elsewhere")).unwrap().count(), 0);
    }
}

fn make(rig: &Rig, path: &str, mode: u32) {
    fs::create_dir_all(rig.path(path)).unwrap();
    fs::set_permissions(rig.path(path), fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_huge_journal_is_refused() {
    let rig = Rig::new();
    make(&rig, "state/journal", 0o700);
    let file = fs::File::create(rig.path(FILE)).unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o600))
        .unwrap();
    file.set_len(1 << 40).unwrap();
    let refused = journal_error(switch_on(&rig));
    assert!(matches!(refused, JournalError::TooLarge { .. }));
    assert_eq!(rig.read(RUN), "0\n");
}

#[test]
fn two_at_once_are_kept_apart_and_the_holder_is_named() {
    let rig = Rig::new();
    switch_on(&rig).unwrap();
    // A lock belongs to the open file: another opening is another program.
    let lock = fs::File::open(rig.path("state/journal/lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let refused = rig
        .enforcer(Fault::None)
        .rollback(&RollbackSelection::All, false)
        .unwrap_err();
    let RollbackError::Journal {
        source: JournalError::Lock(LockError::Busy { pid, .. }),
    } = &refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(*pid, Some(std::process::id()));
    assert_eq!(rig.read(RUN), "1\n");
    assert_eq!(rig.entries().len(), 1, "listing takes no lock");
    drop(lock);
    let report = rig.roll_back(&RollbackSelection::All, false);
    assert_eq!(report.items[0].outcome, RollbackOutcome::Restored);
}

#[test]
fn a_finished_journal_is_compacted_and_numbers_go_on() {
    let rig = Rig::new();
    switch_on(&rig).unwrap();
    rig.roll_back(&RollbackSelection::All, false);
    let text = fs::read_to_string(rig.path(FILE)).unwrap();
    let last = text.lines().last().unwrap().to_owned() + "\n";
    let copies = 2 * (1 << 20) / last.len();
    fs::write(rig.path(FILE), text.clone() + &last.repeat(copies)).unwrap();
    let second = switch_on(&rig).unwrap();
    let length = fs::metadata(rig.path(FILE)).unwrap().len();
    assert!(length < 1 << 20, "{length}");
    assert!(second.journal_ids[0] > 4, "{:?}", second.journal_ids);
    rig.roll_back(&RollbackSelection::All, false);
    assert_eq!(rig.read(RUN), "0\n");
}

#[test]
fn a_large_journal_with_open_changes_is_kept() {
    let rig = Rig::new();
    switch_on(&rig).unwrap();
    let text = fs::read_to_string(rig.path(FILE)).unwrap();
    let first = text.lines().next().unwrap().to_owned() + "\n";
    let copies = 2 * (1 << 20) / first.len();
    fs::write(rig.path(FILE), text + &first.repeat(copies)).unwrap();
    let report = rig.roll_back(&RollbackSelection::All, false);
    assert_eq!(report.items[0].outcome, RollbackOutcome::Restored);
}

#[test]
fn a_large_journal_with_a_damaged_line_is_kept_whole() {
    let rig = Rig::new();
    switch_on(&rig).unwrap();
    rig.roll_back(&RollbackSelection::All, false);
    let text = fs::read_to_string(rig.path(FILE)).unwrap();
    let last = text.lines().last().unwrap().to_owned() + "\n";
    let copies = 2 * (1 << 20) / last.len();
    let large = text + "damaged\n" + &last.repeat(copies);
    fs::write(rig.path(FILE), &large).unwrap();
    let report = rig.roll_back(&RollbackSelection::All, false);
    assert_eq!(report.losses.len(), 1, "{:?}", report.losses);
    assert!(fs::read_to_string(rig.path(FILE)).unwrap() == large);
}

const NO_TMPFS: Ended = Ended::Skipped {
    reason: "mounting a tmpfs needs root",
};

/// A tiny file system of its own; needs root.
struct Tmpfs {
    path: std::path::PathBuf,
}

impl Tmpfs {
    fn mount(path: &Path, options: &str) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let done = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(path)
            .stderr(std::process::Stdio::null())
            .status();
        if !done.is_ok_and(|status| status.success()) {
            return None;
        }
        Some(Self {
            path: path.to_owned(),
        })
    }

    fn remount(&self, options: &str) {
        let done = std::process::Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.path)
            .status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg(&self.path)
            .status();
    }
}

#[test]
fn a_full_disk_refuses_before_the_first_change() -> Ended {
    let rig = Rig::new();
    let Some(disk) = Tmpfs::mount(&rig.path("state"), "size=64k,mode=700") else {
        return NO_TMPFS;
    };
    make(&rig, "state/journal", 0o700);
    // One page is left for the lock, and one more: enough for a few records,
    // not for what the plan may need.
    fs::write(disk.path.join("ballast"), vec![1u8; 56 << 10]).unwrap();
    let refused = journal_error(switch_on(&rig));
    assert!(
        matches!(&refused, JournalError::Write { source, .. }
            if source.kind() == std::io::ErrorKind::StorageFull),
        "{refused:?}"
    );
    assert_eq!(rig.read(RUN), "0\n");
    Ended::Done
}

#[test]
fn a_disk_that_fills_up_later_does_not_stop_the_rollback() -> Ended {
    let rig = Rig::new();
    let Some(disk) = Tmpfs::mount(&rig.path("state"), "size=128k,mode=700") else {
        return NO_TMPFS;
    };
    switch_on(&rig).unwrap();
    let mut size = 128 << 10;
    while size > 0 && fs::write(disk.path.join("ballast"), vec![1u8; size]).is_err() {
        size -= 4096;
    }
    let report = rig.roll_back(&RollbackSelection::All, false);
    assert_eq!(report.items[0].outcome, RollbackOutcome::Restored);
    assert_eq!(rig.read(RUN), "0\n");
    Ended::Done
}

#[test]
fn a_read_only_disk_refuses_and_can_be_listed() -> Ended {
    let rig = Rig::new();
    let Some(disk) = Tmpfs::mount(&rig.path("state"), "size=256k,mode=700") else {
        return NO_TMPFS;
    };
    switch_on(&rig).unwrap();
    disk.remount("ro");
    let refused = journal_error(rig.apply(&plan([step(
        ksm(KsmFile::SleepMillisecs),
        Some("200"),
        Some("20"),
    )])));
    assert!(refused.is_denied(), "{refused:?}");
    assert_eq!(rig.entries().len(), 1);
    assert_eq!(rig.read("sys/kernel/mm/ksm/sleep_millisecs"), "200\n");
    Ended::Done
}

#[test]
fn a_journal_of_garbage_is_not_cut_and_stays_lost() {
    for garbage in ["no journal\nat all\n", "no newline"] {
        let rig = Rig::new();
        make(&rig, "state/journal", 0o700);
        rig.write(FILE, garbage);
        for _ in 0..2 {
            let report = rig.roll_back(&RollbackSelection::All, false);
            assert!(!report.losses.is_empty(), "{garbage}");
        }
        switch_on(&rig).unwrap();
        let text = fs::read_to_string(rig.path(FILE)).unwrap();
        assert!(text.starts_with(garbage), "{text}");
        assert_eq!(rig.entries().len(), 1);
        let report = rig.roll_back(&RollbackSelection::All, false);
        assert_eq!(report.items.len(), 1);
        assert!(!report.losses.is_empty(), "{garbage}");
        assert_eq!(rig.read(RUN), "0\n");
    }
}

/// What stands in the state directory's place, by name.
type Trap = (&'static str, fn(&Rig));

#[test]
fn looking_tells_what_opening_would_and_makes_nothing() {
    let traps: [Trap; 9] = [
        ("nothing", |_| {}),
        ("no journal", |rig| make(rig, "state", 0o700)),
        ("an empty one", |rig| make(rig, "state/journal", 0o700)),
        ("open to others", |rig| make(rig, "state", 0o777)),
        ("an open journal", |rig| make(rig, "state/journal", 0o722)),
        ("a link", |rig| {
            make(rig, "elsewhere", 0o700);
            symlink(rig.path("elsewhere"), rig.path("state")).unwrap();
        }),
        ("a file", |rig| rig.write("state", "")),
        ("a directory as lock", |rig| {
            make(rig, "state/journal/lock", 0o700);
        }),
        ("a second name", |rig| {
            make(rig, "state/journal", 0o700);
            switch_on(rig).unwrap();
            rig.roll_back(&RollbackSelection::All, false);
            fs::hard_link(rig.path(FILE), rig.path("another name")).unwrap();
        }),
    ];
    let mut refused = 0;
    for (name, set_up) in traps {
        let rig = Rig::new();
        set_up(&rig);
        let names = || {
            let found = std::process::Command::new("find")
                .arg(rig.path("."))
                .output();
            found.unwrap().stdout
        };
        let before = names();
        let looked = Journal::check(&rig.path("state"));
        assert!(before == names(), "{name}");
        let opened = match switch_on(&rig) {
            Err(ApplyError::Journal { source }) => Err(source),
            Err(other) => panic!("{name}: {other:?}"),
            Ok(_) => Ok(()),
        };
        refused += u32::from(looked.is_err());
        let shown = |error: JournalError| error.to_string();
        assert_eq!(looked.map_err(shown), opened.map_err(shown), "{name}");
    }
    assert_eq!(refused, 6);
}
