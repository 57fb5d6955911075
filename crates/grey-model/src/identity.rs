//! Identities that survive reuse: a process is a pid and its start time, a
//! cgroup is a path and the kernel's id for it, a boot is its random id.
//!
//! Never looks anything up; telemetry finds identities, this module only
//! compares them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::KernelText;

/// A process: its pid together with its start time, so that a reused pid is
/// another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessId {
    /// The pid in our pid namespace.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    ///
    /// # Kernel
    /// Field 22 of `/proc/PID/stat`.
    pub start_time_ticks: u64,
}

impl ProcessId {
    /// The end of the tick in which it started, in milliseconds since boot;
    /// `None` when there are no ticks in a second.
    #[must_use]
    pub fn started_by_ms(self, ticks_per_second: u64) -> Option<u64> {
        let end = (u128::from(self.start_time_ticks) + 1) * 1000;
        let started = end.checked_div(ticks_per_second.into())?;
        Some(u64::try_from(started).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.pid)
    }
}

/// Names one boot of one machine.
///
/// # Kernel
/// `/proc/sys/kernel/random/boot_id`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct BootId(pub String);

impl fmt::Display for BootId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// A cgroup's path inside the hierarchy; begins with `/`, the root is `/`
/// itself, and there is no other trailing slash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct CgroupPath(KernelText);

impl CgroupPath {
    /// The root cgroup.
    #[must_use]
    pub fn root() -> Self {
        Self(KernelText::from("/"))
    }

    /// The path made of `bytes`: a missing leading slash is added, empty and
    /// `.` components go. `None` when a component is `..`: such a path points
    /// outside the hierarchy that we see.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut path = Vec::with_capacity(bytes.len() + 1);
        for component in bytes.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return None,
                name if name.contains(&0) => return None,
                name => {
                    path.push(b'/');
                    path.extend_from_slice(name);
                }
            }
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Some(Self(KernelText(path)))
    }

    /// The path's bytes, with the leading slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The path relative to the hierarchy's mount point; empty for the root.
    #[must_use]
    pub fn relative(&self) -> &[u8] {
        &self.as_bytes()[1..]
    }

    /// Whether this is the root cgroup.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.as_bytes() == b"/"
    }

    /// The names from the root downwards.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.relative()
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty())
    }

    /// The last name; `None` for the root.
    #[must_use]
    pub fn name(&self) -> Option<&[u8]> {
        self.components().next_back()
    }

    /// The cgroup above; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.as_bytes().iter().rposition(|&byte| byte == b'/')?;
        Self::new(&self.as_bytes()[..end])
    }

    /// The cgroup `name` below this one; `None` when the name is not one name.
    #[must_use]
    pub fn child(&self, name: &[u8]) -> Option<Self> {
        if name.is_empty() || name == b"." || name.contains(&b'/') {
            return None;
        }
        Self::new(&[self.as_bytes(), b"/", name].concat())
    }

    /// Whether `other` is this cgroup or lies below it.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.is_root()
            || other
                .as_bytes()
                .strip_prefix(self.as_bytes())
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The kernel's id of a cgroup: the inode number of its directory. A cgroup
/// removed and made again under the same path has another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct CgroupId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> CgroupPath {
        CgroupPath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn cgroup_paths_are_normal() {
        assert_eq!(path("a//b/./c/").as_bytes(), b"/a/b/c");
        assert_eq!(path("").as_bytes(), b"/");
        assert_eq!(CgroupPath::new(b"/../escape"), None);
        assert_eq!(CgroupPath::new(b"/a\0b"), None);
    }

    #[test]
    fn parents_end_at_the_root() {
        assert_eq!(path("/a/b").parent(), Some(path("/a")));
        assert_eq!(path("/a").parent(), Some(CgroupPath::root()));
        assert_eq!(CgroupPath::root().parent(), None);
    }

    #[test]
    fn a_sibling_with_a_longer_name_is_not_below() {
        assert!(path("/a").contains(&path("/a/b")));
        assert!(path("/a").contains(&path("/a")));
        assert!(!path("/a").contains(&path("/ab")));
        assert!(CgroupPath::root().contains(&path("/x")));
    }

    #[test]
    fn a_child_is_one_name() {
        assert_eq!(CgroupPath::root().child(b"a"), Some(path("/a")));
        assert_eq!(path("/a").child(b"b/c"), None);
        assert_eq!(path("/a").child(b".."), None);
    }
}
