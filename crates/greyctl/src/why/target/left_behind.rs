//! What a cgroup is still charged without having a process: what of it goes when
//! memory is needed, and what stays, and why.
//!
//! Pure. Nothing but file cache and objects that the kernel can free is said to
//! go by itself.

use grey_model::Bytes;

use super::document::{Account, PartKind};

/// A part below this share of the whole is not told of, in percent.
const LEAST_PERCENT: u64 = 1;

/// What is taken back without anybody's losing anything.
const GOING: [PartKind; 2] = [PartKind::File, PartKind::SlabReclaimable];

/// What stays, and why.
const STAYING: [(&[PartKind], &str); 4] = [
    (
        &[PartKind::Shared],
        "is tmpfs and shared memory, which stays until its files are deleted, its segments removed \
         and its last user gone",
    ),
    (
        &[PartKind::SlabUnreclaimable, PartKind::Kernel],
        "is memory that the kernel has in use, and stays as long",
    ),
    (
        &[PartKind::Anonymous],
        "is memory of programs that were moved to another group, and goes with them",
    ),
    (
        &[PartKind::Zswap],
        "is swapped pages, compressed, which stay until they are used or their owner goes",
    ),
];

/// How much of it goes when memory is needed.
pub(super) fn going(account: &Account) -> Bytes {
    sum(account, &GOING)
}

/// The sentence on the whole; `share` is what it is of the machine.
pub(super) fn told(account: &Account, held: Bytes, share: &str) -> String {
    if held == Bytes::ZERO {
        return "it has no processes, and is charged nothing".to_owned();
    }
    let mut text = format!(
        "it has no processes any more and is still charged {held}{share}: what they left behind"
    );
    for what in kinds(account) {
        text.push_str("; ");
        text.push_str(&what);
    }
    text
}

/// What goes, then each kind of what stays, the largest first.
fn kinds(account: &Account) -> Vec<String> {
    let whole: Bytes = account.parts.iter().map(|part| part.bytes).sum();
    let counts = |bytes: Bytes| {
        bytes > Bytes::ZERO
            && bytes.get().saturating_mul(100) >= whole.get().saturating_mul(LEAST_PERCENT)
    };
    let mut told = Vec::new();
    let going = going(account);
    if counts(going) {
        told.push(format!(
            "{going} of it goes when memory is needed, or is taken back: {}",
            of_what(account)
        ));
    }
    let mut staying: Vec<(Bytes, &str)> = STAYING
        .iter()
        .map(|(kinds, why)| (sum(account, kinds), *why))
        .filter(|(bytes, _)| counts(*bytes))
        .collect();
    staying.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    told.extend(staying.iter().map(|(bytes, why)| format!("{bytes} {why}")));
    told
}

/// Which kinds go.
fn of_what(account: &Account) -> &'static str {
    let has = |kind| sum(account, &[kind]) > Bytes::ZERO;
    match (has(PartKind::File), has(PartKind::SlabReclaimable)) {
        (true, true) => "file cache, and objects of the kernel that it can free",
        (true, false) => "file cache",
        _ => "objects of the kernel that it can free",
    }
}

fn sum(account: &Account, kinds: &[PartKind]) -> Bytes {
    let parts = account.parts.iter();
    parts
        .filter(|part| kinds.contains(&part.kind))
        .map(|part| part.bytes)
        .sum()
}
