//! Rollback on a real kernel: every value as it was, nobody else's touched.
//!
//! Here are the plain ways to undo; programs that are killed on the way are in
//! `killed_midway`, machines that do not cooperate in `bad_surroundings`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::guest::Guest;
use crate::hog::HogOptions;
use crate::state::KernelState;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "an_administrators_limits_survive_apply_and_rollback",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: an_administrators_limits_survive_apply_and_rollback,
    },
    Case {
        name: "rollback_leaves_a_value_alone_that_somebody_edited",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: rollback_leaves_a_value_alone_that_somebody_edited,
    },
    Case {
        name: "rollback_restores_every_knob_byte_for_byte",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: rollback_restores_every_knob_byte_for_byte,
    },
    Case {
        name: "rollback_turns_the_memory_controller_off_again",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: rollback_turns_the_memory_controller_off_again,
    },
    Case {
        name: "rollback_of_one_id_restores_only_that_one",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: rollback_of_one_id_restores_only_that_one,
    },
    Case {
        name: "changes_can_be_rolled_back_in_the_wrong_order",
        guests: GuestName::PLAIN,
        deadline: DEADLINE,
        run: changes_can_be_rolled_back_in_the_wrong_order,
    },
];

/// Everything in the kernel is as it was, byte for byte.
pub(super) fn assert_as_before(before: &KernelState) {
    assert_eq!(
        before.differences(&KernelState::read()),
        Vec::<String>::new()
    );
}

/// Runs `memory-enforce` to a good end, without watching for refaults.
pub(super) fn enforce(guest: &Guest, arguments: &[&str]) -> Result<Value, Failure> {
    guest
        .greyctl(&enforce_arguments(arguments))?
        .expect_code(0)?
        .json()
}

/// `memory-enforce` with these arguments, as JSON, without watching for refaults.
pub(super) fn enforce_arguments<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["memory-enforce", "--json", "--observe", "0s"];
    all.extend_from_slice(arguments);
    all
}

/// Runs `rollback` with these arguments; it must end with `code`.
pub(super) fn rollback(guest: &Guest, arguments: &[&str], code: i32) -> Result<Value, Failure> {
    let mut all = vec!["rollback", "--json"];
    all.extend_from_slice(arguments);
    guest.greyctl(&all)?.expect_code(code)?.json()
}

/// Every change that the journal knows, oldest first.
pub(super) fn journal(guest: &Guest) -> Result<Vec<Value>, Failure> {
    let listing = guest
        .greyctl(&["journal", "--all", "--json"])?
        .expect_code(0)?
        .json()?;
    assert_eq!(listing["lost"], serde_json::json!([]), "{listing}");
    Ok(list(&listing["changes"]))
}

/// The outcomes of a rollback, in its order.
pub(super) fn outcomes(rollback: &Value) -> Vec<String> {
    list(&rollback["changes"])
        .iter()
        .map(|change| text(&change["outcome"]))
        .collect()
}

pub(super) fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The number of the first change of a setting of this kind (and of this file,
/// where the kind has several).
fn id_of(changes: &[Value], kind: &str, file: Option<&str>) -> Result<String, Failure> {
    changes
        .iter()
        .find(|change| {
            change["setting"]["kind"] == kind
                && file.is_none_or(|file| change["setting"]["file"] == file)
        })
        .map(|change| change["id"].to_string())
        .ok_or_else(|| Failure::new(format!("no change of {kind} {file:?} in {changes:?}")))
}

/// KSM as an administrator may have set it: slow, and with the advisor at work
/// where the kernel has one (6.8). Dropping it sets everything back.
pub(super) struct KsmSetByHand {
    advisor: bool,
    sleep: String,
}

const KSM_SLEEP: &str = "/sys/kernel/mm/ksm/sleep_millisecs";
const KSM_ADVISOR: &str = "/sys/kernel/mm/ksm/advisor_mode";

impl KsmSetByHand {
    pub(super) fn start(guest: &Guest) -> Result<Self, Failure> {
        let ksm = Self {
            advisor: Path::new(KSM_ADVISOR).exists(),
            sleep: guest.read(KSM_SLEEP)?,
        };
        guest.write(KSM_SLEEP, "200")?;
        if ksm.advisor {
            guest.write(KSM_ADVISOR, "scan-time")?;
        }
        Ok(ksm)
    }
}

impl Drop for KsmSetByHand {
    fn drop(&mut self) {
        // The harness finds it, should this fail.
        let _ = fs::write(KSM_SLEEP, &self.sleep);
        if self.advisor {
            let _ = fs::write(KSM_ADVISOR, "none");
        }
    }
}

/// The plan that has every knob of a machine without systemd in it.
pub(super) fn every_knob(target: &str) -> Vec<&str> {
    vec![
        "--target",
        target,
        "--high",
        "200M",
        "--limit",
        "300M",
        "--enable-ksm",
        "--aggressive",
        "--oom-score-adj",
        "500",
        "--rlimit-data",
        "4G",
    ]
}

fn an_administrators_limits_survive_apply_and_rollback(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    cgroup.write("memory.max", "300M")?;
    cgroup.write("memory.high", "250M")?;
    let hog = guest.hog(&HogOptions::anonymous(32).in_cgroup(cgroup.path()))?;
    let before = KernelState::read();
    let plan = [
        "--target",
        "/grey-case",
        "--high",
        "150M",
        "--limit",
        "200M",
    ];
    enforce(guest, &plan)?;
    assert_eq!(cgroup.read("memory.high")?, (150 << 20).to_string());
    assert_eq!(cgroup.read("memory.max")?, (200 << 20).to_string());
    let undone = rollback(guest, &[], 0)?;
    assert_eq!(outcomes(&undone), ["restored", "restored"], "{undone}");
    assert_eq!(cgroup.read("memory.high")?, (250 << 20).to_string());
    assert_eq!(cgroup.read("memory.max")?, (300 << 20).to_string());
    assert_as_before(&before);
    let again = rollback(guest, &[], 0)?;
    assert_eq!(again["outcome"], "nothing_to_do", "{again}");
    assert_as_before(&before);
    assert!(hog.is_alive());
    Ok(Outcome::Passed)
}

fn rollback_leaves_a_value_alone_that_somebody_edited(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    cgroup.write("memory.high", "400M")?;
    let hog = guest.hog(&HogOptions::anonymous(16).in_cgroup(cgroup.path()))?;
    let score = format!("/proc/{}/oom_score_adj", hog.pid());
    let before = KernelState::read();
    let plan = [
        "--target",
        "/grey-case",
        "--high",
        "200M",
        "--limit",
        "300M",
    ];
    enforce(guest, &[&plan[..], &["--oom-score-adj", "500"]].concat())?;
    cgroup.write("memory.high", "100M")?;
    guest.write(&score, "600")?;
    let edited = KernelState::read();
    for attempt in ["first", "second"] {
        let undone = rollback(guest, &[], 4)?;
        let found: Vec<String> = list(&undone["changes"])
            .iter()
            .filter(|change| change["outcome"] == "conflict")
            .map(|change| text(&change["found"]))
            .collect();
        let edits = [(100 << 20).to_string(), "600".to_owned()];
        assert_eq!(found, edits, "the {attempt} time: {undone}");
    }
    // Only the limit, which nobody had touched, went back.
    let changed = edited.differences(&KernelState::read());
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert!(changed[0].contains("memory.max"), "{changed:?}");
    assert_eq!(cgroup.read("memory.max")?, "max");
    let open = journal(guest)?;
    let conflicts = open
        .iter()
        .filter(|change| change["state"] == "conflict")
        .count();
    assert_eq!(conflicts, 2, "{open:?}");
    let forced = rollback(guest, &["--force"], 0)?;
    for (change, value) in list(&forced["changes"]).iter().zip(["104857600", "600"]) {
        assert_eq!(change["outcome"], "restored", "{forced}");
        assert_eq!(change["overrode"], true, "{forced}");
        assert_eq!(change["found"], value, "{forced}");
    }
    assert_as_before(&before);
    Ok(Outcome::Passed)
}

fn rollback_restores_every_knob_byte_for_byte(guest: &Guest) -> Result<Outcome, Failure> {
    let _ksm = KsmSetByHand::start(guest)?;
    let hog = guest.hog(&HogOptions::anonymous(16))?;
    let pid = hog.pid().to_string();
    guest.write(format!("/proc/{pid}/oom_score_adj"), "-77")?;
    let before = KernelState::read();
    enforce(guest, &every_knob(&pid))?;
    let changes = journal(guest)?;
    let kinds: BTreeSet<String> = changes
        .iter()
        .map(|change| {
            let setting = &change["setting"];
            format!("{} {}", text(&setting["kind"]), text(&setting["file"]))
        })
        .collect();
    let mut expected = BTreeSet::from(
        [
            "cgroup_directory ",
            "cgroup_file memory.high",
            "cgroup_file memory.max",
            "ksm pages_to_scan",
            "ksm run",
            "ksm sleep_millisecs",
            "memory_controller ",
            "oom_score_adj ",
            "process_cgroup ",
            "rlimit_data ",
        ]
        .map(str::to_owned),
    );
    if guest.name == GuestName::Linux6_12 {
        expected.insert("ksm advisor_mode".to_owned());
    }
    assert_eq!(kinds, expected);
    let differences = before.differences(&KernelState::read());
    assert!(differences.len() > changes.len(), "{differences:?}");
    let group = guest
        .cgroup_root()
        .join(format!("grey-optimizer/kernel-cases-{pid}"));
    assert_eq!(guest.read(group.join("cgroup.procs"))?, pid);
    assert_eq!(
        guest.read(group.join("memory.max"))?,
        (300 << 20).to_string()
    );
    assert_eq!(guest.read("/sys/kernel/mm/ksm/run")?, "1");
    let undone = rollback(guest, &[], 0)?;
    for change in list(&undone["changes"]) {
        assert_eq!(change["outcome"], "restored", "{change}");
        // No other undo had to make up for it, such as a process that is
        // moved away only because its cgroup goes.
        assert_eq!(change["detail"], "", "{change}");
    }
    assert_eq!(list(&undone["changes"]).len(), changes.len());
    assert_as_before(&before);
    assert!(hog.is_alive());
    Ok(Outcome::Passed)
}

fn rollback_turns_the_memory_controller_off_again(guest: &Guest) -> Result<Outcome, Failure> {
    let control = guest.cgroup_root().join("cgroup.subtree_control");
    let hog = guest.hog(&HogOptions::anonymous(16))?;
    // The root hands memory down in every guest: here it does not.
    let _back = WrittenAtTheEnd {
        path: &control,
        text: "+memory",
    };
    guest.write(&control, "-memory")?;
    let before = KernelState::read();
    let pid = hog.pid().to_string();
    enforce(guest, &["--target", &pid, "--limit", "300M"])?;
    let words = guest.read(&control)?;
    assert!(words.split(' ').any(|word| word == "memory"), "{words}");
    let undone = rollback(guest, &[], 0)?;
    assert!(
        outcomes(&undone)
            .iter()
            .all(|outcome| outcome == "restored"),
        "{undone}"
    );
    assert_as_before(&before);
    Ok(Outcome::Passed)
}

/// Writes a setting back when the case is over, however it ends.
struct WrittenAtTheEnd<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Drop for WrittenAtTheEnd<'_> {
    fn drop(&mut self) {
        // The cases that follow fail loudly, should this fail.
        let _ = fs::write(self.path, self.text);
    }
}

fn rollback_of_one_id_restores_only_that_one(guest: &Guest) -> Result<Outcome, Failure> {
    let hog = guest.hog(&HogOptions::anonymous(16))?;
    let pid = hog.pid().to_string();
    let before = KernelState::read();
    enforce(guest, &every_knob(&pid))?;
    let changes = journal(guest)?;
    let mut earlier = KernelState::read();
    for (kind, file, entries) in [
        ("oom_score_adj", None, 1),
        ("rlimit_data", None, 1),
        ("ksm", Some("pages_to_scan"), 1),
        ("ksm", Some("run"), 1),
        ("cgroup_file", Some("memory.high"), 1),
        ("cgroup_file", Some("memory.max"), 1),
        // It leaves one list of processes, joins another, and says so itself.
        ("process_cgroup", None, 3),
    ] {
        let id = id_of(&changes, kind, file)?;
        guest.say(&format!("rolling back {kind} {file:?}"));
        let undone = rollback(guest, &[&id], 0)?;
        assert_eq!(outcomes(&undone), ["restored"], "{undone}");
        let now = KernelState::read();
        let differences = earlier.differences(&now);
        assert_eq!(differences.len(), entries, "{kind}: {differences:?}");
        for difference in &differences {
            let named = difference.contains(file.unwrap_or(match kind {
                "oom_score_adj" => "oom_score_adj",
                "rlimit_data" => "limits",
                _ => "cgroup",
            }));
            assert!(named, "{kind}: {difference}");
        }
        // What has changed by this is as it was, where it was there before.
        let still = before.differences(&now);
        for (name, _) in differences
            .iter()
            .filter_map(|line| line.split_once(": was"))
        {
            let wrong = still.iter().find(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(": was"))
            });
            assert_eq!(wrong, None, "{kind}");
        }
        earlier = now;
    }
    rollback(guest, &[], 0)?;
    assert_as_before(&before);
    let unknown = rollback(guest, &["99999"], 2)?;
    assert!(text(&unknown["error"]).contains("99999"), "{unknown}");
    Ok(Outcome::Passed)
}

fn changes_can_be_rolled_back_in_the_wrong_order(guest: &Guest) -> Result<Outcome, Failure> {
    let cgroup = guest.cgroup("grey-case")?;
    cgroup.write("memory.high", "400M")?;
    let hog = guest.hog(&HogOptions::anonymous(16))?;
    let pid = hog.pid().to_string();
    let before = KernelState::read();
    // The older of two changes of one file: the younger takes over its value.
    let first = enforce(guest, &["--target", "/grey-case", "--high", "300M"])?;
    let second = enforce(guest, &["--target", "/grey-case", "--high", "200M"])?;
    let undone = rollback(guest, &[&first["journal_ids"][0].to_string()], 4)?;
    assert_eq!(outcomes(&undone), ["merged"], "{undone}");
    assert_eq!(cgroup.read("memory.high")?, (200 << 20).to_string());
    let undone = rollback(guest, &[&second["journal_ids"][0].to_string()], 0)?;
    assert_eq!(outcomes(&undone), ["restored"], "{undone}");
    assert_as_before(&before);
    // Our directory while our group is in it; then the group while its
    // process is in it.
    enforce(guest, &["--target", &pid, "--limit", "300M"])?;
    let applied = KernelState::read();
    let changes = journal(guest)?;
    let directories: Vec<String> = changes
        .iter()
        .filter(|change| change["setting"]["kind"] == "cgroup_directory")
        .map(|change| change["id"].to_string())
        .collect();
    assert_eq!(directories.len(), 2, "{changes:?}");
    let undone = rollback(guest, &[&directories[0]], 1)?;
    assert_eq!(outcomes(&undone), ["failed"], "{undone}");
    assert_eq!(
        applied.differences(&KernelState::read()),
        Vec::<String>::new()
    );
    let undone = rollback(guest, &[&directories[1]], 0)?;
    assert_eq!(outcomes(&undone), ["restored"], "{undone}");
    assert!(hog.is_alive());
    rollback(guest, &[], 0)?;
    assert_as_before(&before);
    Ok(Outcome::Passed)
}
