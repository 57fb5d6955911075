//! The tree of control groups, walked relative to kept directories.
//!
//! Never follows a link, never goes deeper or further than its bounds, and
//! passes over cgroups that vanish on the way.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use grey_model::{CgroupMemory, CgroupPath, MemoryLimit};

use crate::cgroup::memory::{inherited_limit, read_account};
use crate::cgroup::mount::{NoV2Memory, v2_memory};
use crate::cgroup::processes::open_cgroup;
use crate::read::{KernelDirectory, Wanted};
use crate::roots::Kernel;

/// How far a walk may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeBounds {
    /// Levels below the start. Each level keeps one directory open.
    pub depth: usize,
    /// Cgroups in all.
    pub count: usize,
}

impl Default for TreeBounds {
    fn default() -> Self {
        Self {
            depth: 32,
            count: 20_000,
        }
    }
}

/// The accounts of a part of the tree.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CgroupTree {
    /// Each cgroup, a parent before its children, siblings by name.
    pub groups: Vec<CgroupMemory>,
    /// Why there are none: memory is not accounted by version 2 here.
    pub missing: Option<NoV2Memory>,
    /// Cgroups that exist and could not be read.
    pub unreadable: u64,
    /// Whether the bounds left something out.
    pub cut: bool,
}

impl CgroupTree {
    /// Whether the start was there no more, or went while it was read.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.groups.is_empty() && self.missing.is_none() && self.unreadable == 0
    }
}

/// Reads the accounts of `start` and of everything below it. On a machine
/// without version 2 memory accounting the tree is empty and says why; a
/// `start` that is gone gives an empty tree.
#[must_use]
pub fn read_tree(
    kernel: &Kernel,
    start: &CgroupPath,
    bounds: TreeBounds,
    buffer: &mut Vec<u8>,
) -> CgroupTree {
    let mut tree = CgroupTree::default();
    let root = match v2_memory(kernel, buffer) {
        Ok(root) => root,
        Err(missing) => {
            tree.missing = Some(missing);
            return tree;
        }
    };
    let directory = match open_cgroup(root, start) {
        Ok(directory) => directory,
        Err(error) => {
            tree.unreadable = u64::from(!error.is_vanished());
            return tree;
        }
    };
    let inherited = inherited_limit(root, start, buffer);
    let walk = visit(
        &directory,
        start,
        bounds,
        &inherited,
        &mut |cgroup, path, inherited: &Option<MemoryLimit>| {
            let Ok(account) = read_account(cgroup, path, *inherited, buffer) else {
                return *inherited;
            };
            let limit = account.effective_limit;
            tree.groups.push(account);
            limit
        },
    );
    tree.unreadable = walk.unreadable;
    tree.cut = walk.cut;
    tree
}

/// What a walk met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Walk {
    /// Cgroups visited.
    pub(crate) visited: usize,
    /// Cgroups that exist and could not be opened or listed.
    pub(crate) unreadable: u64,
    /// Whether the bounds left something out.
    pub(crate) cut: bool,
}

/// Visits `start` and everything below it, parents first. What the visitor
/// returns for a cgroup is handed to it with each child.
pub(crate) fn visit<State>(
    start: &KernelDirectory,
    path: &CgroupPath,
    bounds: TreeBounds,
    state: &State,
    visitor: &mut impl FnMut(&KernelDirectory, &CgroupPath, &State) -> State,
) -> Walk {
    let mut walk = Walk::default();
    descend(start, path, bounds, state, visitor, &mut walk);
    walk
}

fn descend<State>(
    directory: &KernelDirectory,
    path: &CgroupPath,
    bounds: TreeBounds,
    state: &State,
    visitor: &mut impl FnMut(&KernelDirectory, &CgroupPath, &State) -> State,
    walk: &mut Walk,
) {
    if walk.visited >= bounds.count {
        walk.cut = true;
        return;
    }
    walk.visited += 1;
    let state = visitor(directory, path, state);
    let names = match directory.names(Wanted::Directories) {
        Ok(names) => names,
        Err(error) => {
            walk.unreadable += u64::from(!error.is_vanished());
            return;
        }
    };
    if bounds.depth == 0 {
        walk.cut |= !names.is_empty();
        return;
    }
    let below = TreeBounds {
        depth: bounds.depth - 1,
        ..bounds
    };
    for name in names {
        let Some(child) = path.child(&name) else {
            continue;
        };
        match directory.open_directory(Path::new(OsStr::from_bytes(&name))) {
            Ok(directory) => descend(&directory, &child, below, &state, visitor, walk),
            Err(error) => walk.unreadable += u64::from(!error.is_vanished()),
        }
    }
}
