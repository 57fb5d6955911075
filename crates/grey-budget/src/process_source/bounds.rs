//! What bounds this process from outside: the cgroup, its own rlimits, the
//! machine. The strictest holds.
//!
//! Never sets a limit.

use grey_model::{Bytes, MemoryLimit};
use rustix::process::{Resource, getrlimit};

use crate::source::Reading;

/// What a bound is called and what it bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BoundKind {
    /// `memory.max` or `memory.high` of the cgroup or one above it: bounds
    /// resident memory and page cache.
    Cgroup,
    /// RLIMIT_AS: bounds address space, which is more than resident memory.
    AddressSpace,
    /// RLIMIT_DATA: bounds private writable memory, touched or not.
    Data,
    /// The machine's memory.
    Machine,
}

impl BoundKind {
    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup limit",
            Self::AddressSpace => "RLIMIT_AS",
            Self::Data => "RLIMIT_DATA",
            Self::Machine => "machine",
        }
    }
}

/// All bounds that are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessBounds {
    /// The strictest limit of the cgroup and all above it.
    pub cgroup: Option<MemoryLimit>,
    /// The soft RLIMIT_AS; `None` without a limit.
    pub address_space: Option<Bytes>,
    /// The soft RLIMIT_DATA; `None` without a limit.
    pub data: Option<Bytes>,
    /// `MemTotal`.
    pub machine: Option<Bytes>,
}

impl ProcessBounds {
    pub(super) fn of(reading: &Reading) -> Self {
        Self {
            cgroup: reading.cgroup_limit,
            address_space: getrlimit(Resource::As).current.map(Bytes),
            data: getrlimit(Resource::Data).current.map(Bytes),
            machine: reading.machine_total,
        }
    }

    /// The strictest, and which it is. A budget above it is never reached.
    #[must_use]
    pub fn strictest(&self) -> Option<(BoundKind, Bytes)> {
        [
            (BoundKind::Cgroup, self.cgroup.and_then(MemoryLimit::bytes)),
            (BoundKind::AddressSpace, self.address_space),
            (BoundKind::Data, self.data),
            (BoundKind::Machine, self.machine),
        ]
        .into_iter()
        .filter_map(|(kind, bytes)| Some((kind, bytes?)))
        .min_by_key(|(_, bytes)| *bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_bound_holds_whichever_it_is() {
        let mut bounds = ProcessBounds {
            cgroup: Some(MemoryLimit::Max),
            address_space: None,
            data: None,
            machine: Some(Bytes(100)),
        };
        assert_eq!(bounds.strictest(), Some((BoundKind::Machine, Bytes(100))));
        bounds.cgroup = Some(MemoryLimit::Bytes(Bytes(90)));
        assert_eq!(bounds.strictest(), Some((BoundKind::Cgroup, Bytes(90))));
        bounds.address_space = Some(Bytes(80));
        assert_eq!(
            bounds.strictest(),
            Some((BoundKind::AddressSpace, Bytes(80)))
        );
        bounds.data = Some(Bytes(70));
        assert_eq!(bounds.strictest(), Some((BoundKind::Data, Bytes(70))));
    }

    #[test]
    fn nothing_known_bounds_nothing() {
        assert_eq!(ProcessBounds::default().strictest(), None);
    }
}
