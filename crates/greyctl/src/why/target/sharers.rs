//! Who else maps the files of the targets: asked once for all of them.
//!
//! Never searches for more than a few files of each target, the most shared.

use std::cmp::Reverse;

use grey_model::{Bytes, MappedMemory, ResolvedTarget};
use grey_telemetry::Kernel;
use grey_telemetry::process::{SharedFile, SharedFiles, Sharer, read_sharers};

use super::document::{Account, Other, SharedWith};

/// So many files of a target are searched for in other processes.
const MOST_FILES: usize = 5;

/// A file of which others map less than this is not searched for.
const LEAST_SHARED: Bytes = Bytes::from_kib(64);

/// The files of a target that others map, too.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    asked: SharedFiles,
    /// How much of each is shared.
    shared: Vec<Bytes>,
}

impl Candidates {
    /// The most shared of these mappings, each with its inode.
    pub(super) fn of(target: &ResolvedTarget, mappings: &[(u64, MappedMemory)]) -> Self {
        let mut largest: Vec<&(u64, MappedMemory)> = mappings
            .iter()
            .filter(|(inode, mapped)| *inode != 0 && mapped.shared >= LEAST_SHARED)
            .filter(|(_, mapped)| mapped.name.is_some())
            .collect();
        largest.sort_by_key(|(_, mapped)| Reverse(mapped.shared));
        largest.truncate(MOST_FILES);
        let files = largest.iter().filter_map(|(inode, mapped)| {
            Some(SharedFile {
                inode: *inode,
                name: mapped.name.clone()?,
                sharers: Vec::new(),
            })
        });
        Self {
            asked: SharedFiles {
                own: target.processes.iter().map(|id| id.pid).collect(),
                files: files.collect(),
                unseen: 0,
            },
            shared: largest.iter().map(|(_, mapped)| mapped.shared).collect(),
        }
    }
}

/// Fills in who shares what with each account whose mappings were read; nothing
/// where the processes cannot be listed.
pub(super) fn fill(kernel: &Kernel, accounts: &mut [Account], candidates: Vec<Candidates>) {
    let (mut asked, shared): (Vec<SharedFiles>, Vec<Vec<Bytes>>) = candidates
        .into_iter()
        .map(|candidates| (candidates.asked, candidates.shared))
        .unzip();
    if read_sharers(kernel, &mut asked, &mut Vec::new()).is_err() {
        return;
    }
    for ((account, answer), shared) in accounts.iter_mut().zip(asked).zip(shared) {
        let (Some(sharing), Some(_)) = (&mut account.sharing, &account.mappings) else {
            continue;
        };
        sharing.unseen_processes = answer.unseen;
        let files = answer.files.into_iter().zip(shared);
        sharing.files = Some(files.map(shared_with).collect());
    }
}

fn shared_with((file, shared): (SharedFile, Bytes)) -> SharedWith {
    let other = |sharer: Sharer| Other {
        pid: sharer.pid,
        name: sharer.name,
    };
    SharedWith {
        name: file.name,
        shared,
        processes: file.sharers.into_iter().map(other).collect(),
    }
}
