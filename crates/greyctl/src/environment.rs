//! Every environment variable that `greyctl` reads.
//!
//! No other file names one. The first four are the defaults of the options of
//! the same name, and not set when they are empty; the rest follow common
//! conventions.

use std::ffi::OsString;
use std::path::PathBuf;

/// Where procfs is mounted; the default of `--procfs`.
pub(crate) const PROCFS: &str = "GREY_PROCFS";
/// Where sysfs is mounted; the default of `--sysfs`.
pub(crate) const SYSFS: &str = "GREY_SYSFS";
/// Where the control groups are mounted; the default of `--cgroupfs`.
pub(crate) const CGROUPFS: &str = "GREY_CGROUPFS";
/// Where the journal is kept; the default of `--state-dir`.
pub(crate) const STATE_DIR: &str = "GREY_STATE_DIR";
/// No colours when it is set and not empty (no-color.org).
pub(crate) const NO_COLOR: &str = "NO_COLOR";
/// The width to write for, instead of the terminal's.
pub(crate) const COLUMNS: &str = "COLUMNS";
/// Where a user's state is kept (XDG base directories).
pub(crate) const XDG_STATE_HOME: &str = "XDG_STATE_HOME";
/// The user's home; `.local/state` below it is the fallback.
pub(crate) const HOME: &str = "HOME";

/// Who called sudo; the journal names them beside root.
pub(crate) const SUDO_USER: &str = "SUDO_USER";

/// What kind of terminal it is; `dumb` is one without a screen.
pub(crate) const TERM: &str = "TERM";
/// The character set of the terminal; the first of these three that is set.
pub(crate) const LC_ALL: &str = "LC_ALL";
/// See [`LC_ALL`].
pub(crate) const LC_CTYPE: &str = "LC_CTYPE";
/// See [`LC_ALL`].
pub(crate) const LANG: &str = "LANG";

/// Where state is kept for everybody.
const SYSTEM_STATE: &str = "/var/lib/grey-optimizer";

/// Every variable with its meaning, as the help prints it.
pub(crate) const TABLE: &[(&str, &str)] = &[
    (PROCFS, "default of --procfs"),
    (SYSFS, "default of --sysfs"),
    (CGROUPFS, "default of --cgroupfs"),
    (STATE_DIR, "default of --state-dir"),
    (NO_COLOR, "no colours when set"),
    (COLUMNS, "width of tables"),
    (
        XDG_STATE_HOME,
        "base of the state directory of other users than root",
    ),
    (
        SUDO_USER,
        "who is named beside root in our journal of changes",
    ),
    (HOME, "the same, when XDG_STATE_HOME is not set"),
    (TERM, "dumb: memory-watch prints plain lines"),
    (LC_ALL, "without UTF-8 in it memory-watch draws in ASCII"),
    (LC_CTYPE, "the same, when LC_ALL is not set"),
    (LANG, "the same, when neither is set"),
];

/// The state directory when none is given: the system's for root, the user's
/// own otherwise. `lookup` reads the environment.
pub(crate) fn default_state_dir(
    root: bool,
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Option<PathBuf> {
    if root {
        return Some(PathBuf::from(SYSTEM_STATE));
    }
    // The specification says that a relative path is to be ignored.
    let absolute = |name| {
        lookup(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = absolute(XDG_STATE_HOME)
        .or_else(|| absolute(HOME).map(|home| home.join(".local/state")))?;
    Some(base.join("grey-optimizer"))
}

/// Who called sudo.
pub(crate) fn sudo_user(lookup: impl Fn(&str) -> Option<OsString>) -> Option<String> {
    let name = lookup(SUDO_USER)?.into_string().ok()?;
    Some(name).filter(|name| !name.is_empty())
}

/// The width that the environment asks for.
pub(crate) fn columns(lookup: impl Fn(&str) -> Option<OsString>) -> Option<usize> {
    let text = lookup(COLUMNS)?;
    text.to_str()?
        .trim()
        .parse()
        .ok()
        .filter(|width| *width > 0)
}

/// Whether the terminal has a screen to draw on.
pub(crate) fn has_screen(lookup: impl Fn(&str) -> Option<OsString>) -> bool {
    lookup(TERM).is_none_or(|term| term != "dumb")
}

/// Whether the terminal takes UTF-8, as the locale says.
pub(crate) fn takes_utf8(lookup: impl Fn(&str) -> Option<OsString>) -> bool {
    [LC_ALL, LC_CTYPE, LANG]
        .into_iter()
        .filter_map(lookup)
        .find(|value| !value.is_empty())
        .is_some_and(|value| {
            let value = value.to_string_lossy().to_ascii_lowercase();
            value.contains("utf-8") || value.contains("utf8")
        })
}

/// The table for the end of the help.
pub(crate) fn help_text() -> String {
    let widest = TABLE.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::from("Environment:");
    for (name, meaning) in TABLE {
        text.push_str(&format!("\n  {name:widest$}  {meaning}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(
        pairs: &'static [(&'static str, &'static str)],
    ) -> impl Fn(&str) -> Option<OsString> {
        move |name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        }
    }

    #[test]
    fn root_keeps_state_for_everybody() {
        let home = environment(&[("HOME", "/root"), ("XDG_STATE_HOME", "/x")]);
        assert_eq!(
            default_state_dir(true, home),
            Some(PathBuf::from("/var/lib/grey-optimizer"))
        );
    }

    #[test]
    fn a_user_keeps_state_where_xdg_says() {
        let both = environment(&[("HOME", "/home/u"), ("XDG_STATE_HOME", "/x/state")]);
        assert_eq!(
            default_state_dir(false, both),
            Some(PathBuf::from("/x/state/grey-optimizer"))
        );
    }

    #[test]
    fn a_relative_xdg_path_is_ignored_and_home_is_the_fallback() {
        let relative = environment(&[("HOME", "/home/u"), ("XDG_STATE_HOME", "state")]);
        assert_eq!(
            default_state_dir(false, relative),
            Some(PathBuf::from("/home/u/.local/state/grey-optimizer"))
        );
    }

    #[test]
    fn without_a_home_there_is_no_default() {
        assert_eq!(default_state_dir(false, environment(&[])), None);
    }

    #[test]
    fn whoever_called_sudo_is_known_by_name() {
        let sudo = environment(&[("SUDO_USER", "ana")]);
        assert_eq!(sudo_user(sudo), Some("ana".to_owned()));
        assert_eq!(sudo_user(environment(&[("SUDO_USER", "")])), None);
    }

    #[test]
    fn the_first_locale_that_is_set_says_the_character_set() {
        let utf8 = [("LANG", "de_DE.UTF-8")];
        let none = [("LANG", "C")];
        let first = [("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")];
        let empty = [("LC_ALL", ""), ("LC_CTYPE", "C.utf8"), ("LANG", "C")];
        let looked_up = |pairs: &[(&str, &str)]| {
            takes_utf8(|name| {
                let found = pairs.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| OsString::from(value))
            })
        };
        assert!(looked_up(&utf8));
        assert!(!looked_up(&none));
        assert!(!looked_up(&first));
        assert!(looked_up(&empty));
        assert!(!looked_up(&[]));
    }

    #[test]
    fn only_a_dumb_terminal_has_no_screen() {
        assert!(!has_screen(environment(&[("TERM", "dumb")])));
        assert!(has_screen(environment(&[("TERM", "vt100")])));
        assert!(has_screen(environment(&[])));
    }

    #[test]
    fn columns_must_be_a_positive_number() {
        assert_eq!(columns(environment(&[("COLUMNS", "132")])), Some(132));
        assert_eq!(columns(environment(&[("COLUMNS", "0")])), None);
        assert_eq!(columns(environment(&[("COLUMNS", "wide")])), None);
        assert_eq!(columns(environment(&[])), None);
    }
}
