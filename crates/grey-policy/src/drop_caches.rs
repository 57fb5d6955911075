//! `drop_caches`: the whole machine's clean caches.
//!
//! Never counts tmpfs as something that can be dropped.

use grey_model::{Bytes, Change, DropCaches, OneShot, PlanStep, PreflightFacts, Risk};

use crate::plan::Draft;
use crate::refusals::needs_root;

pub(crate) fn plan(what: DropCaches, facts: &PreflightFacts, draft: &mut Draft) {
    if !facts.privileges.root {
        draft.refuse(needs_root("drop_caches"));
        return;
    }
    let predicted = match what {
        DropCaches::PageCache | DropCaches::Both => droppable(facts),
        // How much slab its users let go of cannot be known.
        DropCaches::Slab => None,
    };
    draft.warn("drop_caches is for the whole machine: everybody reads from disk again");
    let meminfo = &facts.meminfo;
    let shared = meminfo.shmem.unwrap_or_default();
    if shared > meminfo.cached.unwrap_or_default().scale(1, 2) && shared > Bytes::from_mib(16) {
        draft.warn(format!(
            "{shared} of the cache is tmpfs or shared memory and stays"
        ));
    }
    draft.steps.push(PlanStep {
        action: "drop_caches".to_owned(),
        change: Change::Once {
            shot: OneShot::DropCaches { what },
        },
        predicted,
        risk: Risk::Medium,
        reason: match what {
            DropCaches::PageCache => "clean page cache that nobody maps".to_owned(),
            DropCaches::Slab => "slab objects that nobody uses".to_owned(),
            DropCaches::Both => "clean page cache that nobody maps, and unused slab".to_owned(),
        },
        undo: "the cache fills again as files are read".to_owned(),
        guards: Vec::new(),
        may_block: true,
    });
}

/// The file lists without what is mapped. `Mapped` counts shared memory too,
/// so this is a floor.
fn droppable(facts: &PreflightFacts) -> Option<Bytes> {
    let meminfo = &facts.meminfo;
    let listed = meminfo.active_file?.saturating_add(meminfo.inactive_file?);
    Some(listed.saturating_sub(meminfo.mapped.unwrap_or_default()))
}
