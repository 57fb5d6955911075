//! What grows in the kernel and not in a program: removed cgroups that something
//! keeps, and files in a tmpfs. `memory-diagnose --detect-leaks` names both.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::case::{Case, DEADLINE, Failure, GuestName, Outcome};
use crate::cgroup::Cgroup;
use crate::guest::{Guest, Running};
use crate::program::spawn;

pub(super) const CASES: &[Case] = &[Case {
    name: "dying_cgroups_and_a_growing_tmpfs_are_named_as_what_they_are",
    guests: GuestName::PLAIN,
    deadline: DEADLINE,
    run: dying_cgroups_and_a_growing_tmpfs_are_named_as_what_they_are,
}];

/// Makes cgroups below `$1`, writes a file to the tmpfs `$2` from within, and
/// removes them: the file's page keeps each. A few thousand at most.
const LEAVE_CGROUPS: &str = r#"
number=0
while [ $number -lt 4000 ]; do
    number=$((number + 1))
    mkdir "$1/$number"
    echo $$ >"$1/$number/cgroup.procs"
    echo kept >"$2/kept-$number"
    echo $$ >"$1/own/cgroup.procs"
    rmdir "$1/$number"
    sleep 0.15
done
sleep 600
"#;

/// Adds to one file in the tmpfs `$2` from within the cgroup `$1`; 160 MiB at
/// most.
const GROW_FILE: &str = r#"
echo $$ >"$1/cgroup.procs"
number=0
while [ $number -lt 320 ]; do
    number=$((number + 1))
    head -c 524288 /dev/zero >>"$2/grows"
    sleep 0.2
done
sleep 600
"#;

fn in_background(guest: &Guest, script: &str, cgroup: &Cgroup) -> Result<Running, Failure> {
    let mut command = Command::new("sh");
    command
        .args(["-c", script, "sh"])
        .arg(cgroup.path())
        .arg(&guest.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    spawn(command)
}

/// The first of `list` for which `key` is `value`.
fn entry<'a>(list: &'a Value, key: &str, value: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|entry| entry[key] == value)
}

/// Whether its verdict is one of growth: which of the two it is depends on how
/// evenly an emulated machine ran.
fn grows(judged: &Value) -> bool {
    judged["verdict"] == "leak" || judged["verdict"] == "growing"
}

fn dying_cgroups_and_a_growing_tmpfs_are_named_as_what_they_are(
    guest: &Guest,
) -> Result<Outcome, Failure> {
    let left = guest.cgroup("grey-case-left")?;
    let _own = left.child("own")?;
    let files = guest.cgroup("grey-case-files")?;
    let _leaving = in_background(guest, LEAVE_CGROUPS, &left)?;
    let _growing = in_background(guest, GROW_FILE, &files)?;
    let mut recorder = guest.spawn_greyctl(&["record", "--interval", "400ms", "--for", "45s"])?;
    let found = guest
        .greyctl(&[
            "memory-diagnose",
            "--detect-leaks",
            "--for",
            "40s",
            "--interval",
            "1s",
            "--json",
        ])?
        .json()?;
    are_named(&found)?;
    // The recorder saw the same.
    recorder.wait(DEADLINE)?;
    let since = [
        "memory-diagnose",
        "--detect-leaks",
        "--since",
        "2m ago",
        "--json",
    ];
    are_named(&guest.greyctl(&since)?.json()?)?;
    Ok(Outcome::Passed)
}

/// What grows is called that, and as what it is; what does not grow is not.
fn are_named(found: &Value) -> Result<(), Failure> {
    let dying = entry(&found["dying_cgroups"], "cgroup", "/grey-case-left");
    let dying = dying.ok_or_else(|| Failure::new(format!("{:#}", found["dying_cgroups"])))?;
    assert!(grows(dying), "{dying:#}");
    assert!(
        dying["growth"].as_i64().is_some_and(|count| count >= 20),
        "{dying:#}"
    );
    let of_files: Vec<&Value> = found["leak_cgroups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|leak| leak["cgroup"] == "/grey-case-files")
        .collect();
    for leak in of_files {
        if leak["of"] == "shmem" {
            assert!(grows(leak), "{leak:#}");
        } else {
            assert!(!grows(leak), "{leak:#}");
        }
    }
    let shmem = found["leak_cgroups"].as_array().is_some_and(|all| {
        all.iter()
            .any(|leak| leak["cgroup"] == "/grey-case-files" && leak["of"] == "shmem")
    });
    assert!(shmem, "{:#}", found["leak_cgroups"]);
    // No program is blamed for what is in no program.
    let blamed = entry(&found["leaks"], "verdict", "leak");
    assert!(blamed.is_none(), "{blamed:#?}");
    Ok(())
}
