//! `/proc/PID/smaps`: every mapping of a process with its pages, folded by kind
//! and name.
//!
//! Never for many processes: it costs five times what `smaps_rollup` does, and
//! the process waits for its page faults meanwhile.

use std::collections::BTreeMap;

use grey_model::{Bytes, KernelText, MappedMemory, MappingKind, ProcessId};

use super::kib::{keyed_lines, parse_kib};
use super::maps::{Mapping, parse_mapping};
use super::stat::parse_stat;
use crate::ascii::lines;
use crate::read::{LARGEST_FILE, ReadError};
use crate::roots::Kernel;

/// The mappings of one process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessMappings {
    /// Folded, the largest of resident memory and swap first, each with the
    /// inode number of its file; 0 without one.
    pub mappings: Vec<(u64, MappedMemory)>,
    /// Whether there are more than could be read.
    pub cut: bool,
}

/// Reads the mappings of `process`; `None` when another one has its pid now.
///
/// # Errors
/// [`ReadError`]: gone, or not to be read by us.
pub fn read_mappings(
    kernel: &Kernel,
    process: ProcessId,
    buffer: &mut Vec<u8>,
) -> Result<Option<ProcessMappings>, ReadError> {
    let directory = kernel
        .proc
        .open_directory(std::path::Path::new(&process.pid.to_string()))?;
    let stat = directory.read("stat", buffer)?;
    let start = parse_stat(stat).map(|stat| stat.start_time_ticks);
    if start != Some(process.start_time_ticks) {
        return Ok(None);
    }
    let text = directory.read("smaps", buffer)?;
    Ok(Some(ProcessMappings {
        mappings: parse_smaps(text),
        cut: text.len() >= LARGEST_FILE,
    }))
}

/// The mappings folded by kind, inode and name, the largest first. The kernel's
/// own pages are left out.
///
/// # Kernel
/// `/proc/PID/smaps`, proc_pid_smaps(5).
#[must_use]
pub fn parse_smaps(text: &[u8]) -> Vec<(u64, MappedMemory)> {
    let mut folded = BTreeMap::new();
    let mut last: Option<Record<'_>> = None;
    for line in lines(text) {
        if let Some(mapping) = parse_mapping(line) {
            // A mapping that grew while the kernel wrote into the next buffer is
            // there twice: what it said first is no more.
            if let Some(read) = last.take().filter(|read| read.end <= mapping.start) {
                fold(&mut folded, read);
            }
            last = Some(Record::of(&mapping));
        } else if let Some(record) = &mut last {
            add(&mut record.memory, line);
        }
    }
    if let Some(read) = last {
        fold(&mut folded, read);
    }
    let mut all: Vec<(u64, MappedMemory)> = folded
        .into_iter()
        .map(|((_, inode, _), mapped)| (inode, mapped))
        .collect();
    all.sort_by_key(|(_, mapped)| std::cmp::Reverse(mapped.rss.saturating_add(mapped.swap)));
    all
}

/// What mappings are folded by: kind, inode and name.
type Key<'text> = (MappingKind, u64, &'text [u8]);

/// One mapping, as far as it was read.
struct Record<'text> {
    end: u64,
    /// `None` for the kernel's own pages.
    key: Option<Key<'text>>,
    memory: MappedMemory,
}

impl<'text> Record<'text> {
    fn of(mapping: &Mapping<'text>) -> Self {
        let kind = kind_of(mapping);
        let key = kind.map(|kind| (kind, mapping.inode, name_of(kind, mapping)));
        let mut memory = empty(key.unwrap_or((MappingKind::Anonymous, 0, b"")));
        memory.mappings = 1;
        memory.size = Bytes(mapping.end - mapping.start);
        Self {
            end: mapping.end,
            key,
            memory,
        }
    }
}

fn fold<'text>(folded: &mut BTreeMap<Key<'text>, MappedMemory>, record: Record<'text>) {
    let Some(key) = record.key else {
        return;
    };
    let sum = folded.entry(key).or_insert_with(|| empty(key));
    let one = record.memory;
    sum.mappings += one.mappings;
    for (sum, one) in [
        (&mut sum.size, one.size),
        (&mut sum.rss, one.rss),
        (&mut sum.pss, one.pss),
        (&mut sum.shared, one.shared),
        (&mut sum.swap, one.swap),
    ] {
        *sum = sum.saturating_add(one);
    }
}

fn empty((kind, _, name): Key<'_>) -> MappedMemory {
    MappedMemory {
        kind,
        name: (!name.is_empty()).then(|| KernelText::from(name)),
        mappings: 0,
        size: Bytes::ZERO,
        rss: Bytes::ZERO,
        pss: Bytes::ZERO,
        shared: Bytes::ZERO,
        swap: Bytes::ZERO,
    }
}

/// Adds what a line such as `Rss:   4 kB` says.
fn add(entry: &mut MappedMemory, line: &[u8]) {
    for (key, value) in keyed_lines(line) {
        let place = match key {
            b"Rss" => &mut entry.rss,
            b"Pss" => &mut entry.pss,
            b"Shared_Clean" | b"Shared_Dirty" => &mut entry.shared,
            b"Swap" => &mut entry.swap,
            _ => continue,
        };
        *place = place.saturating_add(parse_kib(value).unwrap_or_default());
    }
}

/// How the names of shared memory begin.
const SHARED_NAMES: [&[u8]; 5] = [
    b"/memfd:",
    b"/dev/shm/",
    b"/SYSV",
    DEV_ZERO,
    b"[anon_shmem:",
];

/// What a shared mapping of nothing is called, and a mapping of the device, which
/// mapped privately is memory of one's own.
const DEV_ZERO: &[u8] = b"/dev/zero";

fn kind_of(mapping: &Mapping<'_>) -> Option<MappingKind> {
    let name = mapping.name;
    let starts = |prefixes: &[&[u8]]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if starts(&[b"[vdso]", b"[vvar", b"[vsyscall]", b"[uprobes]"]) {
        None
    } else if name == b"[heap]" {
        Some(MappingKind::Heap)
    } else if starts(&[b"[stack"]) {
        Some(MappingKind::Stack)
    } else if starts(&[DEV_ZERO]) && !mapping.shared {
        Some(MappingKind::Anonymous)
    } else if starts(&SHARED_NAMES) || (mapping.inode == 0 && mapping.shared) {
        Some(MappingKind::Shared)
    } else if mapping.inode == 0 {
        Some(MappingKind::Anonymous)
    } else {
        Some(MappingKind::File)
    }
}

/// The name, where it says more than the kind.
fn name_of<'text>(kind: MappingKind, mapping: &Mapping<'text>) -> &'text [u8] {
    match kind {
        MappingKind::Heap | MappingKind::Stack => b"",
        MappingKind::Anonymous | MappingKind::Shared => {
            let inside = mapping
                .name
                .strip_prefix(b"[anon:")
                .or_else(|| mapping.name.strip_prefix(b"[anon_shmem:"));
            inside
                .and_then(|name| name.strip_suffix(b"]"))
                .unwrap_or(mapping.name)
        }
        MappingKind::File => mapping.name,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &[u8] = b"\
1000-3000 r-xp 00000000 fe:00 12    /usr/lib/x y.so\n\
Size:                  8 kB\nRss:                   8 kB\nPss:                   2 kB\n\
Shared_Clean:          8 kB\nShared_Dirty:          0 kB\nSwap:                  0 kB\n\
VmFlags: rd ex mr mw me \n\
3000-4000 rw-p 00002000 fe:00 12    /usr/lib/x y.so\n\
Rss:                   4 kB\nPss:                   4 kB\nSwap:                  4 kB\n\
4000-9000 rw-p 00000000 00:00 0    [heap]\n\
Rss:                  20 kB\nPss:                  20 kB\nSwap:                100 kB\n\
a000-b000 rw-p 00000000 00:00 0 \n\
Rss:                   4 kB\n\
b000-c000 rw-p 00000000 00:00 0    [anon:arena]\n\
Rss:                   4 kB\n\
c000-d000 rw-s 00000000 00:01 9    /memfd:queue (deleted)\n\
Rss:                   4 kB\nShared_Dirty:          4 kB\n\
e000-f000 r-xp 00000000 00:00 0    [vdso]\n\
Rss:                   4 kB\n";

    #[test]
    fn mappings_are_folded_by_kind_and_name_largest_first() {
        let found: Vec<_> = parse_smaps(TEXT)
            .into_iter()
            .map(|(inode, mapped)| {
                let name = mapped.name.map(|name| name.to_string()).unwrap_or_default();
                (
                    mapped.kind,
                    inode,
                    name,
                    mapped.mappings,
                    mapped.rss.get() >> 10,
                )
            })
            .collect();
        let expected = [
            (MappingKind::Heap, 0, "", 1, 20),
            (MappingKind::File, 12, "/usr/lib/x y.so", 2, 12),
            (MappingKind::Anonymous, 0, "", 1, 4),
            (MappingKind::Anonymous, 0, "arena", 1, 4),
            (MappingKind::Shared, 9, "/memfd:queue (deleted)", 1, 4),
        ]
        .map(|(kind, inode, name, count, rss)| (kind, inode, name.to_owned(), count, rss));
        assert_eq!(found, expected);
    }

    #[test]
    fn dev_zero_is_shared_only_where_its_mapping_is() {
        for (permissions, kind) in [
            ("rw-s", MappingKind::Shared),
            ("rw-p", MappingKind::Anonymous),
        ] {
            let text =
                format!("a000-b000 {permissions} 00000000 00:05 4    /dev/zero\nRss: 4 kB\n");
            let all = parse_smaps(text.as_bytes());
            assert_eq!(all.len(), 1);
            assert_eq!(all[0].1.kind, kind, "{permissions}");
        }
    }

    #[test]
    fn a_mapping_that_grew_while_it_was_read_counts_once_as_it_is_now() {
        let text = b"4000-9000 rw-p 00000000 00:00 0    [heap]\n\
            Rss:                  20 kB\nPss:                  20 kB\n\
            4000-c000 rw-p 00000000 00:00 0    [heap]\n\
            Rss:                  32 kB\nPss:                  32 kB\n\
            c000-d000 rw-p 00000000 00:00 0 \nRss:                   4 kB\n";
        let all = parse_smaps(text);
        assert_eq!(all.len(), 2);
        let heap = &all[0].1;
        assert_eq!(
            (heap.mappings, heap.rss, heap.size),
            (1, Bytes(32 << 10), Bytes(32 << 10))
        );
    }

    #[test]
    fn swap_and_what_others_share_are_summed() {
        let all = parse_smaps(TEXT);
        let file = &all[1].1;
        assert_eq!(file.size, Bytes(12 << 10));
        assert_eq!(file.pss, Bytes(6 << 10));
        assert_eq!(file.shared, Bytes(8 << 10));
        assert_eq!(file.swap, Bytes(4 << 10));
    }

    #[test]
    fn our_own_mappings_add_up_to_our_rollup() {
        let text = std::fs::read("/proc/self/smaps").unwrap();
        let rollup = std::fs::read("/proc/self/smaps_rollup").unwrap();
        let rollup = super::super::smaps_rollup::parse_smaps_rollup(&rollup);
        let sum: Bytes = parse_smaps(&text)
            .iter()
            .map(|(_, mapped)| mapped.rss)
            .sum();
        // Other tests of this process allocate meanwhile; the kernel's own
        // pages are left out.
        let difference = rollup.rss.unwrap().signed_difference(sum).unsigned_abs();
        assert!(difference < 64 << 20, "{difference}");
        assert!(sum > Bytes::from_kib(100));
    }

    proptest! {
        #[test]
        fn no_input_panics(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_smaps(&text);
        }

        #[test]
        fn no_line_of_the_right_shape_panics(
            text in "([0-9a-f]{1,16}-[0-9a-f]{1,16} rw-[ps] 0 0:0 [0-9]{1,20} .{0,9}\n(Rss|Swap): {0,3}[0-9]{1,20} kB\n){0,3}"
        ) {
            let _ = parse_smaps(text.as_bytes());
        }
    }
}
