//! What a target consists of, in sentences: its parts, its largest mappings, and
//! what of a process is locked or merged.
//!
//! Pure: an account becomes sentences. What is not known makes no sentence.

use grey_model::{Bytes, MappedMemory, ProcessMemory, TargetKind};
use grey_policy::reclaimable::free_swap;

use super::document::{Account, AccountKind, Finding, PartKind, Topic};
use super::findings::{MOST_NAMED, finding};
use super::{kernel_memory, shared_memory};
use crate::diagnose::document::Diagnosis;

/// A part below this share of the whole makes no sentence, in percent.
const LEAST_PERCENT: u64 = 1;

/// Every sentence on that, as they come.
pub(super) fn all(account: &Account, diagnosis: &Diagnosis) -> Vec<Finding> {
    let mut found = consists_of(account, diagnosis);
    found.extend(swap(account));
    found.extend(mappings(account));
    found.extend(of_the_process(account, diagnosis));
    found
}

/// What swap still takes.
pub(super) fn swap_room(diagnosis: &Diagnosis) -> Bytes {
    let zram: Vec<_> = diagnosis
        .swap
        .zram
        .iter()
        .map(|zram| zram.device.clone())
        .collect();
    free_swap(&diagnosis.swap.devices, &zram)
}

/// What swap can take of memory that is no file's, in words.
fn who_can_take_it(account: &Account, diagnosis: &Diagnosis) -> String {
    let is_member = |process: &ProcessMemory| {
        let mut members = account.processes.iter();
        members.any(|member| member.id == process.id)
    };
    let mut members = diagnosis.processes.iter().filter(|it| is_member(it));
    let is_locked = members.any(|it| it.locked.is_some_and(|locked| locked > Bytes::ZERO));
    let unlocked = if is_locked {
        ", as far as it is not locked (mlock)"
    } else {
        ""
    };
    let room = swap_room(diagnosis);
    if room == Bytes::ZERO {
        format!("only swap could take it{unlocked}, and there is no room in swap")
    } else {
        format!("only swap can take it{unlocked}, which has room for {room}")
    }
}

/// What the parts of processes are of, where it is not what they hold: the kernel
/// tells parts of RSS, which together are more than PSS.
fn of_rss(account: &Account) -> &'static str {
    match (account.held_by, account.kind) {
        (Some("pss"), AccountKind::Process) => " of its RSS",
        (Some("pss"), _) => " of the RSS of its processes",
        _ => "",
    }
}

fn consists_of(account: &Account, diagnosis: &Diagnosis) -> Vec<Finding> {
    let whole: Bytes = account.parts.iter().map(|part| part.bytes).sum();
    let swap = who_can_take_it(account, diagnosis);
    let of_processes = account.held_by != Some("memory.current");
    let of = of_rss(account);
    account
        .parts
        .iter()
        .filter(|part| part.bytes.get().saturating_mul(100) >= whole.get() * LEAST_PERCENT)
        .map(|part| {
            let bytes = part.bytes;
            let text = match part.kind {
                PartKind::Anonymous => format!(
                    "{bytes}{of} is anonymous memory, what programs allocate for themselves (heaps, \
                     stacks, buffers): {swap}"
                ),
                PartKind::File if of_processes => format!(
                    "{bytes}{of} is files that it maps (programs, libraries, data): the kernel can \
                     drop what is like the file, and read it again"
                ),
                PartKind::File => format!(
                    "{bytes} is page cache, files that were read or written: the kernel drops it \
                     when memory is needed"
                ),
                PartKind::Shared => {
                    let what = shared_memory::kinds(account, bytes);
                    format!("{bytes}{of} is {what}; {swap}")
                }
                PartKind::SlabReclaimable => format!(
                    "{bytes} is objects of the kernel that it can free (directory entries, inodes)"
                ),
                PartKind::SlabUnreclaimable => {
                    format!("{bytes} is objects of the kernel that are in use")
                }
                PartKind::Kernel => kernel_memory::told(account, bytes),
                PartKind::Zswap => {
                    format!("{bytes} is swapped pages, compressed in memory (zswap)")
                }
            };
            finding(Topic::Part, Some(bytes), text)
        })
        .collect()
}

fn swap(account: &Account) -> Option<Finding> {
    let swap = account.swap.filter(|swap| *swap > Bytes::ZERO)?;
    Some(finding(
        Topic::Swap,
        Some(swap),
        format!("{swap} more of it is in swap, and comes back into memory when it is used"),
    ))
}

fn mappings(account: &Account) -> Option<Finding> {
    let mappings = account.mappings.as_ref()?;
    let weight = |mapped: &MappedMemory| mapped.rss.saturating_add(mapped.swap);
    let named: Vec<&MappedMemory> = mappings
        .iter()
        .filter(|mapped| weight(mapped) > Bytes::ZERO)
        .take(MOST_NAMED)
        .collect();
    let sum: Bytes = named.iter().map(|mapped| mapped.rss).sum();
    if named.is_empty() {
        return None;
    }
    let list: Vec<String> = named.iter().map(|mapped| mapping(mapped)).collect();
    let whose = match (account.target.kind, account.processes.first()) {
        (TargetKind::Process, _) => "its largest mappings".to_owned(),
        (_, Some(member)) => format!(
            "the largest mappings of {} ({})",
            member.name.to_process_name(),
            member.id
        ),
        (_, None) => "the largest mappings".to_owned(),
    };
    let by = match account.held_by {
        Some("pss") => ", by RSS",
        _ => "",
    };
    Some(finding(
        Topic::Mappings,
        Some(sum),
        format!("{whose}{by}: {}", list.join(", ")),
    ))
}

fn mapping(mapped: &MappedMemory) -> String {
    let what = match &mapped.name {
        Some(name) => format!("{} {name}", mapped.kind.label()),
        None => mapped.kind.label().to_owned(),
    };
    if mapped.swap == Bytes::ZERO {
        format!("{what} {}", mapped.rss)
    } else {
        format!("{what} {} and {} in swap", mapped.rss, mapped.swap)
    }
}

/// What only a process has: locked and merged pages.
fn of_the_process(account: &Account, diagnosis: &Diagnosis) -> Vec<Finding> {
    let process: Option<&ProcessMemory> = diagnosis
        .processes
        .iter()
        .find(|process| Some(process.id) == account.target.process);
    let mut found = Vec::new();
    let Some(process) = process else { return found };
    if let Some(locked) = process.locked.filter(|locked| *locked > Bytes::ZERO) {
        // VmLck counts addresses: what of them was never touched is not there.
        let most = process.rss.map_or(locked, |rss| locked.min(rss));
        found.push(finding(
            Topic::Part,
            Some(most),
            format!(
                "up to {most} is locked in memory (mlock): neither reclaim nor swap can take that"
            ),
        ));
    }
    let merged = process
        .ksm
        .and_then(|ksm| ksm.merging_pages)
        .filter(|pages| pages.0 > 0);
    if let (Some(pages), Some(size)) = (
        merged,
        grey_model::PageSize::new(diagnosis.host.page_size_bytes),
    ) {
        let bytes = pages.bytes(size);
        found.push(finding(
            Topic::Sharing,
            Some(bytes),
            format!(
                "{bytes} of its pages are merged with equal ones (KSM), which RSS counts whole"
            ),
        ));
    }
    found
}
