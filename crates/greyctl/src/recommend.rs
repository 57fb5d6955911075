//! The commands that hints recommend, as they can be typed or pasted.
//!
//! Never leaves a place to fill in, and never names what the environment of
//! the same shell says already.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use grey_model::shell_word;

use crate::cli::GlobalOptions;
use crate::environment;

/// `greyctl` with `words`, and with what it needs to look at the same machine
/// and to find the same journal.
pub(crate) fn command(global: &GlobalOptions, words: &str) -> String {
    with_places(global, words, &|name| std::env::var_os(name))
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

fn with_places(
    global: &GlobalOptions,
    words: &str,
    lookup: &dyn Fn(&str) -> Option<OsString>,
) -> String {
    let mut command = format!("greyctl {words}");
    for (option, variable, given) in [
        ("--procfs", environment::PROCFS, &global.procfs),
        ("--sysfs", environment::SYSFS, &global.sysfs),
        ("--cgroupfs", environment::CGROUPFS, &global.cgroupfs),
        ("--systemd-dir", "", &global.systemd_dir),
        ("--state-dir", environment::STATE_DIR, &global.state_dir),
    ] {
        let Some(given) = given else { continue };
        if lookup(variable).as_deref() != Some(given.as_os_str()) {
            push_option(&mut command, option, given.as_os_str());
        }
    }
    command
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
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn given(arguments: &[&str]) -> GlobalOptions {
        let all = ["greyctl", "journal"].iter().chain(arguments);
        Cli::try_parse_from(all).unwrap().global
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
}
