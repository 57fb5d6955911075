//! Shared memory by when it goes: with its last user, when it is removed, or when
//! it is deleted.
//!
//! Pure. Never takes files of a tmpfs for memory that ends with a process.

use grey_model::{Bytes, MappedMemory, MappingKind};

use super::document::{Account, AccountKind, PartKind};
use super::findings::LEAST_SHARED;

/// What the kernel puts behind the name of a file that no directory has.
const DELETED: &[u8] = b" (deleted)";

/// Where the C library keeps shared memory that has a name.
const NAMED: &[u8] = b"/dev/shm/";

/// A segment of System V, which is a file that no directory has.
const SYSTEM_V: &[u8] = b"/SYSV";

/// When shared memory goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// With the last process that maps it or, where it has a file, holds it open.
    ByUsers,
    /// When it is removed: shmctl(IPC_RMID).
    UntilRemoved,
    /// When it is deleted, and nobody uses it.
    UntilDeleted,
}

/// The sums of what is resident, by when it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sums {
    by_users: Bytes,
    until_removed: Bytes,
    until_deleted: Bytes,
}

/// When this mapping's memory goes; `None` where it is no shared memory, or an
/// ordinary file's, which may be in a tmpfs as well.
fn kept(mapped: &MappedMemory) -> Option<Kept> {
    if mapped.kind != MappingKind::Shared {
        return None;
    }
    let name = mapped
        .name
        .as_ref()
        .map_or(&b""[..], |name| name.as_bytes());
    Some(if name.starts_with(SYSTEM_V) {
        Kept::UntilRemoved
    } else if name.starts_with(NAMED) && !name.ends_with(DELETED) {
        Kept::UntilDeleted
    } else {
        Kept::ByUsers
    })
}

/// What the mappings of a process come to; `None` where they were not read, or
/// are those of one of several.
fn sums(account: &Account) -> Option<Sums> {
    let mappings = account.mappings.as_ref()?;
    (account.kind == AccountKind::Process).then(|| add_up(mappings))
}

fn add_up(mappings: &[MappedMemory]) -> Sums {
    let mut sums = Sums::default();
    for mapped in mappings {
        let place = match kept(mapped) {
            Some(Kept::ByUsers) => &mut sums.by_users,
            Some(Kept::UntilRemoved) => &mut sums.until_removed,
            Some(Kept::UntilDeleted) => &mut sums.until_deleted,
            None => continue,
        };
        *place = place.saturating_add(mapped.rss);
    }
    sums
}

/// What shared memory of `bytes` is, and when each kind of it goes.
pub(super) fn kinds(account: &Account, bytes: Bytes) -> String {
    sums(account).map_or_else(in_general, |sums| told(&sums, bytes))
}

/// Of a group nobody knows which kinds it has.
fn in_general() -> String {
    "tmpfs and shared memory: files stay until they are deleted, System V segments until they are \
     removed (ipcrm), and all else goes with the last process that maps it or holds it open"
        .to_owned()
}

fn told(sums: &Sums, bytes: Bytes) -> String {
    let known = sums
        .by_users
        .saturating_add(sums.until_removed)
        .saturating_add(sums.until_deleted);
    let kinds = [
        (
            sums.by_users,
            "goes with the last process that maps it or holds it open (shared anonymous memory, \
             memfd, deleted files)",
        ),
        (
            sums.until_removed,
            "stays until it is removed (System V segments: ipcrm)",
        ),
        (
            sums.until_deleted,
            "stays until it is deleted (files in /dev/shm)",
        ),
        (
            bytes.saturating_sub(known),
            "is of a driver, or of files in another tmpfs, which stay until they are deleted",
        ),
    ];
    let kinds: Vec<(Bytes, &str)> = kinds
        .into_iter()
        .filter(|(part, _)| *part >= LEAST_SHARED)
        .collect();
    match kinds.as_slice() {
        [] => in_general(),
        [(_, what)] => format!("shared memory, which {what}"),
        several => {
            let told: Vec<String> = several
                .iter()
                .map(|(part, what)| format!("{part} of it {what}"))
                .collect();
            format!("shared memory: {}", told.join(", "))
        }
    }
}

/// What of a process's own memory would not be free if it ended.
pub(super) fn kept_after_its_end(account: &Account) -> &'static str {
    let shared = account
        .parts
        .iter()
        .find(|part| part.kind == PartKind::Shared);
    let is_kept = shared.is_some_and(|part| {
        let unnamed = account
            .mappings
            .iter()
            .flatten()
            .filter(|mapped| is_unnamed(mapped));
        let unnamed: Bytes = unnamed.map(|mapped| mapped.rss).sum();
        part.bytes.saturating_sub(unnamed) >= LEAST_SHARED
    });
    if is_kept {
        ", but for shared memory that is kept or that others hold open"
    } else {
        ""
    }
}

/// Shared anonymous memory, which nobody can hold open.
fn is_unnamed(mapped: &MappedMemory) -> bool {
    let has_file = |name: &[u8]| name.starts_with(b"/") && name != b"/dev/zero (deleted)";
    kept(mapped) == Some(Kept::ByUsers)
        && !mapped
            .name
            .as_ref()
            .is_some_and(|name| has_file(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use grey_model::KernelText;

    use super::*;

    fn mapped(name: &str, mebibytes: u64) -> MappedMemory {
        MappedMemory {
            kind: MappingKind::Shared,
            name: (!name.is_empty()).then(|| KernelText::from(name)),
            mappings: 1,
            size: Bytes::from_mib(mebibytes),
            rss: Bytes::from_mib(mebibytes),
            pss: Bytes::from_mib(mebibytes),
            shared: Bytes::ZERO,
            swap: Bytes::ZERO,
        }
    }

    fn kinds_of(mappings: &[MappedMemory], mebibytes: u64) -> String {
        told(&add_up(mappings), Bytes::from_mib(mebibytes))
    }

    #[test]
    fn each_kind_of_shared_memory_goes_when_it_does() {
        for (name, words) in [
            ("/dev/zero (deleted)", "goes with the last process"),
            ("", "goes with the last process"),
            ("arena", "goes with the last process"),
            ("/memfd:queue (deleted)", "goes with the last process"),
            ("/dev/shm/queue (deleted)", "goes with the last process"),
            ("/SYSV00000000 (deleted)", "stays until it is removed"),
            ("/dev/shm/queue", "stays until it is deleted"),
        ] {
            let text = kinds_of(&[mapped(name, 4)], 4);
            assert!(text.contains(words), "{name}: {text}");
            assert!(!text.contains(" of it "), "one kind needs no sizes: {text}");
        }
    }

    #[test]
    fn several_kinds_are_told_with_their_sizes_and_what_is_left() {
        let all = [
            mapped("/dev/zero (deleted)", 3),
            mapped("/memfd:x (deleted)", 1),
            mapped("/SYSV00000001 (deleted)", 2),
        ];
        let text = kinds_of(&all, 11);
        assert!(text.contains("4.0 MiB of it goes with the last"), "{text}");
        assert!(
            text.contains("2.0 MiB of it stays until it is removed"),
            "{text}"
        );
        assert!(text.contains("5.0 MiB of it is of a driver"), "{text}");
        assert!(!text.contains("/dev/shm"), "{text}");
    }
}
