//! What of a cgroup is the kernel's without being slab, and what cgroups below
//! it that were removed still take.
//!
//! Pure. What the kernel does not tell apart is not guessed.

use std::cmp::Reverse;

use grey_model::{Bytes, CgroupMemory, CgroupMemoryStat};

use super::document::{Account, Finding, Topic};
use super::findings::{MOST_NAMED, finding};
use crate::count::counted;

/// A part below this share of it is not named, in percent.
const LEAST_PERCENT: u64 = 5;

/// So many removed cgroups are worth a sentence: fewer come and go.
pub(super) const MANY: u64 = 100;

/// The account of the cgroup that was asked for.
pub(super) fn own(account: &Account) -> Option<&CgroupMemory> {
    let mut groups = account.cgroups.iter();
    groups.find(|group| account.target.cgroup.as_ref() == Some(&group.path))
}

/// `whole` of kernel memory other than slab, with its largest parts.
pub(super) fn told(account: &Account, whole: Bytes) -> String {
    let stat = own(account).and_then(|own| own.stat.as_ref());
    let mut parts = stat.map(parts).unwrap_or_default();
    parts.retain(|(bytes, _)| {
        bytes.get().saturating_mul(100) >= whole.get().saturating_mul(LEAST_PERCENT)
            && *bytes > Bytes::ZERO
    });
    parts.sort_by_key(|(bytes, _)| Reverse(*bytes));
    parts.truncate(MOST_NAMED);
    let named: Vec<String> = parts
        .iter()
        .map(|(bytes, what)| format!("{bytes} {what}"))
        .collect();
    let text = format!("{whole} is other memory of the kernel for it");
    match named.is_empty() {
        true => format!("{text}, which does not tell what most of it is"),
        false => format!("{text}: {}", named.join(", ")),
    }
}

fn parts(stat: &CgroupMemoryStat) -> Vec<(Bytes, &'static str)> {
    let parts = [
        (stat.pagetables, "page tables"),
        (
            stat.sec_pagetables,
            "page tables of virtual machines and devices",
        ),
        (stat.kernel_stack, "kernel stacks, one for each thread"),
        (
            stat.percpu,
            "per-CPU memory (counters of cgroups, BPF maps)",
        ),
        (stat.sock, "network buffers"),
        (
            stat.vmalloc,
            "vmalloc (large tables: BPF maps, firewall rules)",
        ),
    ];
    let known = parts.into_iter();
    known
        .filter_map(|(bytes, what)| Some((bytes?, what)))
        .collect()
}

/// How many cgroups below it were removed and have not gone, where they are many.
pub(super) fn many_removed(account: &Account) -> Option<u64> {
    account.dying_cgroups.filter(|count| *count >= MANY)
}

/// The sentence on them.
pub(super) fn removed(account: &Account) -> Option<Finding> {
    let count = counted(many_removed(account)?, "cgroup", "cgroups");
    let text = format!(
        "{count} below it were removed and have not gone: each stays as long as memory is charged \
         to it (page cache, tmpfs files, objects of the kernel that others use), and takes memory \
         of the kernel itself; page cache goes when it is taken back, tmpfs files keep theirs until \
         they are deleted"
    );
    Some(finding(Topic::Removed, None, text))
}
