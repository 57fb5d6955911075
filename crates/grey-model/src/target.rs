//! What a person points at, and what it turned out to be.
//!
//! Only the words are read here; telemetry looks for the thing itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::identity::{CgroupPath, ProcessId};
use crate::owner::Owner;
use crate::shell::shell_word;
use crate::text::KernelText;

/// A target as it was typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// `1234` or `pid:1234`.
    Pid(u32),
    /// `nginx.service`, `unit:nginx.service`, a scope or a slice.
    Unit(String),
    /// `/build/web`, `/sys/fs/cgroup/build/web` or `cgroup:build/web`.
    Cgroup(CgroupPath),
    /// `name:postgres`: processes with this command name.
    Name(String),
    /// A bare word: the processes of that name, else the cgroup of that path.
    Word(String),
}

/// Words that cannot be a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseTargetError {
    /// Nothing was given.
    #[error("the target is empty")]
    Empty,
    /// `pid:` with something that is not a pid.
    #[error("`{text}` is not a pid")]
    NotAPid {
        /// What was typed.
        text: String,
    },
    /// A path that leads out of the hierarchy.
    #[error("`{text}` is not the path of a cgroup")]
    NotACgroupPath {
        /// What was typed.
        text: String,
    },
}

impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if let Some((kind, rest)) = text.split_once(':') {
            match kind {
                "pid" => return parse_pid(rest),
                "name" if !rest.is_empty() => return Ok(Self::Name(rest.to_owned())),
                "unit" if !rest.is_empty() => return Ok(Self::Unit(rest.to_owned())),
                "cgroup" => return parse_cgroup(rest),
                _ => {}
            }
        }
        if text.is_empty() {
            return Err(ParseTargetError::Empty);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return parse_pid(text);
        }
        if text.starts_with('/') {
            return parse_cgroup(text);
        }
        let unit = [".service", ".scope", ".slice"]
            .iter()
            .any(|suffix| text.ends_with(suffix));
        if unit && !text.contains('/') {
            return Ok(Self::Unit(text.to_owned()));
        }
        Ok(Self::Word(text.to_owned()))
    }
}

impl Target {
    /// The target as one word of a shell's command line that is read as this
    /// very target again, whatever is in its name; `None` where there is none: a
    /// name that is not UTF-8, or one of a process that ends in a space.
    #[must_use]
    pub fn to_word(&self) -> Option<String> {
        let forms = match self {
            Self::Pid(pid) => vec![pid.to_string()],
            // What is before and behind is no part of the path, and keeps it from
            // being taken for the path of a mount, and its spaces from going.
            Self::Cgroup(path) => {
                let path = std::str::from_utf8(path.as_bytes()).ok()?;
                vec![path.to_owned(), format!("/.{path}/.")]
            }
            Self::Unit(unit) => vec![unit.clone(), format!("unit:{unit}")],
            Self::Name(name) => vec![format!("name:{name}")],
            Self::Word(word) => vec![word.clone()],
        };
        let is_this = |form: &String| {
            // One with a dash would be taken for an option.
            !form.starts_with('-') && form.parse().as_ref() == Ok(self)
        };
        let form = forms.into_iter().find(is_this)?;
        Some(shell_word(form.as_bytes()))
    }
}

/// The words as they can be shown: never what to type, see
/// [`to_word`](Target::to_word).
impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => write!(formatter, "{pid}"),
            Self::Cgroup(path) => path.fmt(formatter),
            Self::Unit(text) | Self::Name(text) | Self::Word(text) => {
                KernelText::from(text).fmt(formatter)
            }
        }
    }
}

fn parse_pid(text: &str) -> Result<Target, ParseTargetError> {
    match text.parse::<u32>() {
        Ok(pid) if pid > 0 && i32::try_from(pid).is_ok() => Ok(Target::Pid(pid)),
        _ => Err(ParseTargetError::NotAPid {
            text: text.to_owned(),
        }),
    }
}

fn parse_cgroup(text: &str) -> Result<Target, ParseTargetError> {
    let inside = text
        .strip_prefix("/sys/fs/cgroup")
        .filter(|rest| rest.is_empty() || rest.starts_with('/'));
    CgroupPath::new(inside.unwrap_or(text).as_bytes())
        .map(Target::Cgroup)
        .ok_or_else(|| ParseTargetError::NotACgroupPath {
            text: text.to_owned(),
        })
}

/// What kind of thing a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// One process.
    Process,
    /// A cgroup with all that is below it.
    Cgroup,
    /// A systemd unit: its cgroup.
    Unit,
}

/// A target, found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ResolvedTarget {
    /// As it was typed.
    pub typed: String,
    /// What it is.
    pub kind: TargetKind,
    /// The process's or cgroup's name.
    pub name: KernelText,
    /// The process, for [`TargetKind::Process`].
    pub process: Option<ProcessId>,
    /// The cgroup that the target is, or that the process is in.
    pub cgroup: Option<CgroupPath>,
    /// Whose cgroup that is.
    pub owner: Option<Owner>,
    /// All processes of the target: the one process, or everything in the
    /// cgroup and below it.
    pub processes: Vec<ProcessId>,
    /// Processes in the same cgroup that are not the target's: an action on
    /// the cgroup would touch them too. 0 for cgroups and units, and of history,
    /// which does not tell whose child a process was.
    pub bystanders: u64,
}

impl ResolvedTarget {
    /// Whether it is a systemd slice, which holds several units.
    #[must_use]
    pub fn name_is_slice(&self) -> bool {
        self.owner
            .as_ref()
            .and_then(Owner::unit)
            .is_some_and(|unit| self.process.is_none() && unit.ends_with(".slice"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn targets_are_recognised_by_their_shape() {
        let cgroup = |path: &str| Target::Cgroup(CgroupPath::new(path.as_bytes()).unwrap());
        assert_eq!("1234".parse(), Ok(Target::Pid(1234)));
        assert_eq!(
            "nginx.service".parse(),
            Ok(Target::Unit("nginx.service".to_owned()))
        );
        assert_eq!("/build/web".parse(), Ok(cgroup("/build/web")));
        assert_eq!("/sys/fs/cgroup/build".parse(), Ok(cgroup("/build")));
        assert_eq!("/sys/fs/cgroup2".parse(), Ok(cgroup("/sys/fs/cgroup2")));
        assert_eq!("cgroup:build".parse(), Ok(cgroup("/build")));
        assert_eq!("postgres".parse(), Ok(Target::Word("postgres".to_owned())));
        assert_eq!("name:1234".parse(), Ok(Target::Name("1234".to_owned())));
    }

    #[test]
    fn impossible_targets_are_refused() {
        for text in [
            "",
            "  ",
            "0",
            "pid:abc",
            "99999999999",
            "2147483648",
            "/../x",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_target_is_typed_so_that_it_is_read_as_itself() {
        let cgroup = |path: &[u8]| Target::Cgroup(CgroupPath::new(path).unwrap());
        for (target, expected) in [
            (Target::Pid(7), Some("7")),
            (cgroup(b"/build/web"), Some("/build/web")),
            (cgroup(b"/a b's"), Some(r"'/a b'\''s'")),
            (cgroup(b"/-x"), Some("/-x")),
            (cgroup(b"/x\x1b[2J\n"), Some(r"$'/./x\033[2J\012/.'")),
            (cgroup(b"/x "), Some("'/./x /.'")),
            (cgroup(b"/sys/fs/cgroup/x"), Some("/./sys/fs/cgroup/x/.")),
            (cgroup(b"/x\xff"), None),
            (Target::Unit("a.service".to_owned()), Some("a.service")),
            (
                Target::Unit("-a.service".to_owned()),
                Some("unit:-a.service"),
            ),
            (
                Target::Unit("pid:a.service".to_owned()),
                Some("unit:pid:a.service"),
            ),
            (Target::Name("it's".to_owned()), Some(r"'name:it'\''s'")),
            (Target::Name("x ".to_owned()), None),
            (Target::Word("12".to_owned()), None),
        ] {
            assert_eq!(target.to_word().as_deref(), expected, "{target:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".{0,60}") {
            let _ = text.parse::<Target>();
        }
    }
}
