//! The commands that hints recommend, as they can be typed or pasted.
//!
//! Never leaves a place to fill in, and never names what the environment of
//! the same shell says already.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use grey_model::{Target, shell_word};

use crate::cli::GlobalOptions;
use crate::environment;
use crate::parse::parse;

/// `greyctl` with `words`, and with what it needs to look at the same machine
/// and to find the same journal.
pub(crate) fn command(global: &GlobalOptions, words: &str) -> String {
    with_places(global, words, &|name| std::env::var_os(name))
}

/// The same about a target, which is named so that a shell and greyctl take it
/// for what it is; `None` where no word does that.
pub(crate) fn command_on(global: &GlobalOptions, words: &str, target: &Target) -> Option<String> {
    command_on_all(global, words, std::slice::from_ref(target))
}

/// The same about several; without one, it is about the machine.
pub(crate) fn command_on_all(
    global: &GlobalOptions,
    words: &str,
    targets: &[Target],
) -> Option<String> {
    let all = format!("{words}{}", " --target /".repeat(targets.len()));
    debug_assert!(is_command(&all), "greyctl has no `{all}`");
    let mut command = format!("greyctl {words}");
    for target in targets {
        command.push_str(" --target ");
        command.push_str(&target.to_word()?);
    }
    push_places(&mut command, global, &|name| std::env::var_os(name));
    Some(command)
}

/// The same where the target is the command's argument.
pub(crate) fn command_about(
    global: &GlobalOptions,
    words: &str,
    target: &Target,
) -> Option<String> {
    let all = format!("{words} /");
    debug_assert!(is_command(&all), "greyctl has no `{all}`");
    let mut command = format!("greyctl {words} {}", target.to_word()?);
    push_places(&mut command, global, &|name| std::env::var_os(name));
    Some(command)
}

/// The same with one more option, whose value may be any text.
pub(crate) fn command_with(
    global: &GlobalOptions,
    words: &str,
    option: &str,
    value: &str,
) -> String {
    let joint = format!("{option}={value}");
    let all = words.split_whitespace().chain([joint.as_str()]);
    debug_assert!(parses(all), "greyctl has no `{words}` with {joint}");
    let mut command = format!("greyctl {words}");
    push_option(&mut command, option, OsStr::new(value));
    push_places(&mut command, global, &|name| std::env::var_os(name));
    command
}

/// The same for another user, whose environment and home are others: `state`
/// is named in full.
pub(crate) fn command_of(user: &str, global: &GlobalOptions, words: &str, state: &Path) -> String {
    let mut command = with_places(global, words, &|name| {
        // It is named below, wherever it came from.
        let given = global
            .state_dir
            .as_ref()
            .filter(|_| name == environment::STATE_DIR);
        given.map(|directory| directory.clone().into_os_string())
    });
    push_option(&mut command, "--state-dir", state.as_os_str());
    format!("sudo -u {} {command}", shell_word(user.as_bytes()))
}

/// Programs whose command in a sentence only root may run.
const ROOTS: [&str; 3] = [
    ": greyctl memory-enforce ",
    ": systemctl set-property ",
    ": sysctl -w ",
];

/// A sentence of advice for who is not root: with sudo before what needs it. A
/// plan alone needs no root.
pub(crate) fn with_sudo(advice: &str) -> String {
    let needs_root = |program: &&&str| advice.contains(**program);
    match ROOTS.iter().find(needs_root) {
        Some(program) if !advice.contains(" --simulation") => {
            advice.replacen(program, &program.replacen(": ", ": sudo ", 1), 1)
        }
        _ => advice.to_owned(),
    }
}

/// A sentence of advice that may end with a command of greyctl: with what that
/// needs to look at the same machine and to find the same journal.
pub(crate) fn at_places(global: &GlobalOptions, advice: &str) -> String {
    let mut advice = advice.to_owned();
    if advice.contains(": greyctl ") {
        push_places(&mut advice, global, &|name| std::env::var_os(name));
    }
    advice
}

fn with_places(
    global: &GlobalOptions,
    words: &str,
    lookup: &dyn Fn(&str) -> Option<OsString>,
) -> String {
    debug_assert!(is_command(words), "greyctl has no `{words}`");
    let mut command = format!("greyctl {words}");
    push_places(&mut command, global, lookup);
    command
}

fn push_places(
    command: &mut String,
    global: &GlobalOptions,
    lookup: &dyn Fn(&str) -> Option<OsString>,
) {
    for (option, variable, given) in [
        ("--procfs", environment::PROCFS, &global.procfs),
        ("--sysfs", environment::SYSFS, &global.sysfs),
        ("--cgroupfs", environment::CGROUPFS, &global.cgroupfs),
        ("--systemd-dir", "", &global.systemd_dir),
        ("--state-dir", environment::STATE_DIR, &global.state_dir),
    ] {
        let Some(given) = given else { continue };
        if lookup(variable).as_deref() != Some(given.as_os_str()) {
            push_option(command, option, given.as_os_str());
        }
    }
}

fn is_command(words: &str) -> bool {
    parses(words.split_whitespace())
}

fn parses<'word>(words: impl Iterator<Item = &'word str>) -> bool {
    parse(std::iter::once("greyctl").chain(words)).is_ok()
}

/// One whose value begins with a dash is written with `=`, or it would be
/// taken for an option.
fn push_option(command: &mut String, option: &str, value: &OsStr) {
    let joint = if value.as_bytes().starts_with(b"-") {
        '='
    } else {
        ' '
    };
    command.push(' ');
    command.push_str(option);
    command.push(joint);
    command.push_str(&shell_word(value.as_bytes()));
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    fn given(arguments: &[&str]) -> GlobalOptions {
        let all = ["greyctl", "journal"].iter().chain(arguments);
        parse(all).unwrap().global
    }

    fn nowhere(_: &str) -> Option<OsString> {
        None
    }

    #[test]
    fn a_command_finds_the_same_machine_and_the_same_journal() {
        let global = given(&["--procfs", "/host/proc", "--state-dir", "/my state"]);
        let expected = "greyctl rollback 2 --procfs /host/proc --state-dir '/my state'";
        assert_eq!(with_places(&global, "rollback 2", &nowhere), expected);
        assert_eq!(
            with_places(&given(&[]), "rollback 2", &nowhere),
            "greyctl rollback 2"
        );
    }

    #[test]
    fn a_command_in_a_sentence_finds_the_same_machine_and_another_sentence_is_left_alone() {
        let global = given(&["--cgroupfs", "/host/sys/fs/cgroup"]);
        let advice = "see it: greyctl memory-diagnose";
        let expected = format!("{advice} --cgroupfs /host/sys/fs/cgroup");
        assert_eq!(at_places(&global, advice), expected);
        assert_eq!(at_places(&given(&[]), advice), advice);
        for other in [
            "give the machine swap",
            "see what greyctl does: man greyctl",
        ] {
            assert_eq!(at_places(&global, other), other);
        }
    }

    #[test]
    fn a_command_names_exactly_its_target_or_is_not_given() {
        let cgroup = |path: &[u8]| Target::Cgroup(grey_model::CgroupPath::new(path).unwrap());
        let global = given(&["--procfs", "/p"]);
        let on = |target: &Target| command_on(&global, "memory-diagnose", target);
        let expected = r"greyctl memory-diagnose --target $'/a\033b; c\'d' --procfs /p";
        assert_eq!(on(&cgroup(b"/a\x1bb; c'd")).as_deref(), Some(expected));
        assert_eq!(on(&cgroup(b"/a\xff")), None);
    }

    #[test]
    fn what_the_environment_says_is_not_said_again() {
        let global = given(&["--state-dir", "/s"]);
        let same = |name: &str| (name == environment::STATE_DIR).then(|| OsString::from("/s"));
        assert_eq!(with_places(&global, "rollback", &same), "greyctl rollback");
        let another = |name: &str| (name == environment::STATE_DIR).then(|| OsString::from("/t"));
        assert_eq!(
            with_places(&global, "rollback", &another),
            "greyctl rollback --state-dir /s"
        );
    }

    #[test]
    fn what_needs_root_has_sudo_before_it_and_a_plan_has_not() {
        for (advice, expected) in [
            (
                "give it more: greyctl memory-enforce --target /a --limit 64M",
                "give it more: sudo greyctl memory-enforce --target /a --limit 64M",
            ),
            (
                "for good: systemctl set-property a.service MemoryMax=1",
                "for good: sudo systemctl set-property a.service MemoryMax=1",
            ),
            (
                "plan it: greyctl memory-enforce --target /a --limit 64M --simulation",
                "plan it: greyctl memory-enforce --target /a --limit 64M --simulation",
            ),
            (
                "set it: sysctl -w kernel.panic=30",
                "set it: sudo sysctl -w kernel.panic=30",
            ),
            (
                "see it: greyctl memory-diagnose",
                "see it: greyctl memory-diagnose",
            ),
        ] {
            assert_eq!(with_sudo(advice), expected);
        }
    }

    #[test]
    fn a_directory_that_begins_with_a_dash_is_no_option() {
        let global = given(&["--state-dir=-odd"]);
        let text = with_places(&global, "rollback", &nowhere);
        assert_eq!(text, "greyctl rollback --state-dir=-odd");
    }

    #[test]
    fn another_user_is_told_the_directory_wherever_it_came_from() {
        let owner = "'#1000'";
        assert_eq!(shell_word(b"#1000"), owner);
        for arguments in [&[][..], &["--state-dir", "/my state"]] {
            assert_eq!(
                command_of(
                    "#1000",
                    &given(arguments),
                    "rollback",
                    Path::new("/my state")
                ),
                "sudo -u '#1000' greyctl rollback --state-dir '/my state'"
            );
        }
    }

    /// Every production line of our crates that people's hints come from.
    fn sources() -> Vec<(PathBuf, String)> {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut folders: Vec<PathBuf> = ["greyctl", "grey-policy", "grey-telemetry"]
            .iter()
            .chain(&["grey-enforcement"])
            .map(|name| crates.join(name).join("src"))
            .collect();
        let mut found = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = fs::read_to_string(&path).unwrap();
                let end = text.find("#[cfg(test)]").unwrap_or(text.len());
                found.push((path, text[..end].to_owned()));
            }
        }
        found
    }

    /// Sentences that are broken over lines, joined.
    fn in_one_line(text: &str) -> String {
        let mut joined = String::new();
        for line in text.lines() {
            let begun = joined.ends_with('\\');
            if begun {
                joined.pop();
                joined.push_str(line.trim_start());
            } else {
                joined.push('\n');
                joined.push_str(line);
            }
        }
        joined
    }

    /// What is filled in when the sentence is made: a size is a target's name,
    /// too.
    fn with_values(words: &str) -> String {
        let mut text = words.to_owned();
        while let Some((begin, rest)) = text.split_once('{') {
            let end = rest.split_once('}').map_or("", |(_, end)| end);
            text = format!("{begin}64M{end}");
        }
        text
    }

    #[test]
    fn every_command_in_a_sentence_is_one() {
        let mut checked = 0;
        for (path, text) in sources() {
            let text = in_one_line(&text);
            let code = text.lines().filter(|line| !line.trim().starts_with("//"));
            for line in code {
                let Some((_, rest)) = line.split_once(": greyctl ") else {
                    continue;
                };
                let words = rest.split(['"', '`', ';', ',']).next().unwrap();
                if words.is_empty() {
                    continue;
                }
                let (path, words) = (path.display(), with_values(words));
                assert!(is_command(&words), "{path}: greyctl has no `{words}`");
                checked += 1;
            }
        }
        assert!(checked > 0, "nothing was looked at");
    }

    #[test]
    fn no_hint_leaves_something_to_fill_in() {
        for (path, text) in sources() {
            let code = text.lines().filter(|line| !line.trim().starts_with("//"));
            for line in code.filter(|line| line.contains("greyctl ") || line.contains("hint(")) {
                for place in ["…", "SIZE", " ID ", "<"] {
                    let quoted = line.split('"').skip(1).step_by(2);
                    let left = quoted.clone().any(|text| text.contains(place));
                    assert!(!left, "{}: `{place}` in {line}", path.display());
                }
            }
        }
    }
}
