//! Names of units, checked before they become part of a path or a message.
//!
//! Only the form of a name is judged; whether the unit exists is for systemd
//! to say.

use std::fmt;

use super::error::SystemdError;

/// The longest name that systemd takes, in bytes.
const LONGEST: usize = 255;

/// The kinds of units that have a cgroup, and so memory settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnitKind {
    /// `.service`
    Service,
    /// `.scope`
    Scope,
    /// `.slice`
    Slice,
    /// `.socket`
    Socket,
    /// `.mount`
    Mount,
    /// `.swap`
    Swap,
}

impl UnitKind {
    const ALL: [Self; 6] = [
        Self::Service,
        Self::Scope,
        Self::Slice,
        Self::Socket,
        Self::Mount,
        Self::Swap,
    ];

    /// What a name of this kind ends with, without the dot.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Scope => "scope",
            Self::Slice => "slice",
            Self::Socket => "socket",
            Self::Mount => "mount",
            Self::Swap => "swap",
        }
    }

    /// The D-Bus interface of this kind, where its memory settings are.
    #[must_use]
    pub const fn interface(self) -> &'static str {
        match self {
            Self::Service => "org.freedesktop.systemd1.Service",
            Self::Scope => "org.freedesktop.systemd1.Scope",
            Self::Slice => "org.freedesktop.systemd1.Slice",
            Self::Socket => "org.freedesktop.systemd1.Socket",
            Self::Mount => "org.freedesktop.systemd1.Mount",
            Self::Swap => "org.freedesktop.systemd1.Swap",
        }
    }
}

/// A name that systemd could have given to a unit with a cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnitName {
    text: String,
    kind: UnitKind,
}

impl UnitName {
    /// Checks a name as systemd does: at most 255 bytes; ASCII letters, digits
    /// and `:-_.\@`; a prefix, and the suffix of a kind that has a cgroup. A
    /// template (`x@.service`) is no unit.
    ///
    /// # Errors
    /// [`SystemdError::InvalidName`], with what is wrong.
    pub fn parse(text: &str) -> Result<Self, SystemdError> {
        let invalid = |problem| SystemdError::InvalidName {
            name: text.to_owned(),
            problem,
        };
        if text.len() > LONGEST {
            return Err(invalid("it is longer than 255 bytes"));
        }
        if !text.bytes().all(is_allowed) {
            return Err(invalid(
                "it has characters other than ASCII letters, digits and `:-_.\\@`",
            ));
        }
        let (stem, suffix) = text
            .rsplit_once('.')
            .ok_or_else(|| invalid("it has no suffix such as `.service`"))?;
        let kind = UnitKind::ALL
            .into_iter()
            .find(|kind| kind.suffix() == suffix)
            .ok_or_else(|| {
                invalid("units of this kind have no memory settings (service, scope, slice, socket, mount and swap do)")
            })?;
        if stem.is_empty() || stem.starts_with('@') {
            return Err(invalid("there is nothing before its suffix"));
        }
        if stem.ends_with('@') && stem.matches('@').count() == 1 {
            return Err(invalid("it is a template; name an instance of it"));
        }
        Ok(Self {
            text: text.to_owned(),
            kind,
        })
    }

    /// The same, for a name that must be of one kind.
    ///
    /// # Errors
    /// [`SystemdError::InvalidName`], with what is wrong.
    pub fn parse_as(text: &str, kind: UnitKind) -> Result<Self, SystemdError> {
        let name = Self::parse(text)?;
        if name.kind == kind {
            return Ok(name);
        }
        Err(SystemdError::InvalidName {
            name: text.to_owned(),
            problem: match kind {
                UnitKind::Scope => "it does not end with `.scope`",
                UnitKind::Service => "it does not end with `.service`",
                _ => "it is of another kind",
            },
        })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What kind of unit it names.
    #[must_use]
    pub const fn kind(&self) -> UnitKind {
        self.kind
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}

const fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'_' | b'.' | b'\\' | b'@')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_systemd_gives_are_taken() {
        for (name, kind) in [
            ("nginx.service", UnitKind::Service),
            ("getty@tty1.service", UnitKind::Service),
            ("session-3.scope", UnitKind::Scope),
            ("-.slice", UnitKind::Slice),
            ("user-1000.slice", UnitKind::Slice),
            ("home-a\\x2db.mount", UnitKind::Mount),
            ("dbus-:1.2-org.x@0.service", UnitKind::Service),
        ] {
            let parsed = UnitName::parse(name).unwrap();
            assert_eq!((parsed.as_str(), parsed.kind()), (name, kind));
        }
    }

    #[test]
    fn names_that_systemd_cannot_give_are_refused() {
        let long = format!("{}.service", "a".repeat(248));
        for name in [
            "",
            "nginx",
            ".service",
            "@x.service",
            "getty@.service",
            "../../etc/x.service",
            "a/b.service",
            "a b.service",
            "a\n.service",
            "a\0.service",
            "ü.service",
            "x.timer",
            "x.service.d",
            &long,
        ] {
            assert!(UnitName::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_name_of_the_longest_size_is_taken() {
        let name = format!("{}.service", "a".repeat(247));
        assert_eq!(name.len(), 255);
        assert!(UnitName::parse(&name).is_ok());
    }

    #[test]
    fn another_kind_is_not_taken_for_a_scope() {
        assert!(UnitName::parse_as("a.scope", UnitKind::Scope).is_ok());
        assert!(UnitName::parse_as("a.service", UnitKind::Scope).is_err());
    }

    proptest! {
        #[test]
        fn a_name_that_is_taken_is_one_component_of_a_path(text in ".{0,40}(\\.service)?") {
            if let Ok(name) = UnitName::parse(&text) {
                prop_assert!(!name.as_str().contains('/'));
                prop_assert!(!name.as_str().contains('\0'));
                prop_assert_ne!(name.as_str(), "..");
            }
        }
    }
}
