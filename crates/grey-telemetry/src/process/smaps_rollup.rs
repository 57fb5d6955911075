//! `/proc/PID/smaps_rollup`: PSS, USS and swap, found by walking the page tables.
//!
//! Never sums full `smaps` where this file is missing: that costs five times
//! as much and stalls the process for as long.

use grey_model::Bytes;

use super::kib::{keyed_lines, parse_kib};

/// A process's memory with shared pages divided fairly.
///
/// # Kernel
/// `/proc/PID/smaps_rollup`, since 4.14;
/// `Documentation/ABI/testing/procfs-smaps_rollup`. The kernel holds the
/// process's mmap lock for reading while it walks, 25 to 35 ns a resident page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SmapsRollup {
    /// `Rss`: resident memory, exact, unlike the counters of `statm`.
    pub rss: Option<Bytes>,
    /// `Pss`: each page divided by the processes that map it.
    pub pss: Option<Bytes>,
    /// `Pss_Anon`. Since 5.3.
    pub pss_anon: Option<Bytes>,
    /// `Pss_File`. Since 5.3.
    pub pss_file: Option<Bytes>,
    /// `Pss_Shmem`. Since 5.3.
    pub pss_shmem: Option<Bytes>,
    /// `Private_Clean`: mapped by nobody else and like its file.
    pub private_clean: Option<Bytes>,
    /// `Private_Dirty`: mapped by nobody else, written.
    pub private_dirty: Option<Bytes>,
    /// `Private_Hugetlb`: huge pages that nobody else maps. RSS and PSS do
    /// not count huge pages at all.
    pub private_hugetlb: Option<Bytes>,
    /// `Swap`: in swap, shared memory included, unlike `VmSwap` of `status`.
    pub swap: Option<Bytes>,
    /// `SwapPss`: the same with shared ones divided.
    pub swap_pss: Option<Bytes>,
    /// `Referenced`: resident pages with a mark of use, which the kernel and
    /// `clear_refs` take away.
    pub referenced: Option<Bytes>,
    /// `AnonHugePages`: resident anonymous memory in huge pages.
    pub anon_huge: Option<Bytes>,
}

impl SmapsRollup {
    /// What nobody else maps: private clean, private dirty and private huge
    /// pages. psutil's `uss` is the same sum; smem's leaves the huge pages out.
    #[must_use]
    pub fn uss(&self) -> Option<Bytes> {
        let pages = self.private_clean?.saturating_add(self.private_dirty?);
        Some(pages.saturating_add(self.private_hugetlb.unwrap_or_default()))
    }
}

/// Reads a `smaps_rollup` file; what is missing or broken in it is `None`.
#[must_use]
pub fn parse_smaps_rollup(text: &[u8]) -> SmapsRollup {
    let mut rollup = SmapsRollup::default();
    for (key, value) in keyed_lines(text) {
        let field = match key {
            b"Rss" => &mut rollup.rss,
            b"Pss" => &mut rollup.pss,
            b"Pss_Anon" => &mut rollup.pss_anon,
            b"Pss_File" => &mut rollup.pss_file,
            b"Pss_Shmem" => &mut rollup.pss_shmem,
            b"Private_Clean" => &mut rollup.private_clean,
            b"Private_Dirty" => &mut rollup.private_dirty,
            b"Private_Hugetlb" => &mut rollup.private_hugetlb,
            b"Swap" => &mut rollup.swap,
            b"SwapPss" => &mut rollup.swap_pss,
            b"Referenced" => &mut rollup.referenced,
            b"AnonHugePages" => &mut rollup.anon_huge,
            _ => continue,
        };
        *field = parse_kib(value);
    }
    rollup
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "\
558daf8a0000-7ffd28f4e000 ---p 00000000 00:00 0                          [rollup]
Rss:                1748 kB
Pss:                 368 kB
Pss_Dirty:           112 kB
Pss_Anon:            112 kB
Pss_File:            255 kB
Pss_Shmem:             1 kB
Shared_Clean:       1584 kB
Shared_Dirty:          0 kB
Private_Clean:        52 kB
Private_Dirty:       112 kB
Referenced:         1748 kB
Anonymous:           112 kB
AnonHugePages:         0 kB
Shared_Hugetlb:     4096 kB
Private_Hugetlb:    2048 kB
Swap:                  8 kB
SwapPss:               4 kB
Locked:                0 kB
";

    #[test]
    fn each_line_lands_in_its_field() {
        let kib = |count| Some(Bytes::from_kib(count));
        let expected = SmapsRollup {
            rss: kib(1748),
            pss: kib(368),
            pss_anon: kib(112),
            pss_file: kib(255),
            pss_shmem: kib(1),
            private_clean: kib(52),
            private_dirty: kib(112),
            private_hugetlb: kib(2048),
            swap: kib(8),
            swap_pss: kib(4),
            referenced: kib(1748),
            anon_huge: kib(0),
        };
        assert_eq!(parse_smaps_rollup(TEXT.as_bytes()), expected);
    }

    #[test]
    fn uss_holds_private_huge_pages_and_nothing_shared() {
        let rollup = parse_smaps_rollup(TEXT.as_bytes());
        assert_eq!(rollup.uss(), Some(Bytes::from_kib(52 + 112 + 2048)));
    }

    #[test]
    fn an_old_kernels_file_lacks_the_parts_only() {
        let rollup =
            parse_smaps_rollup(b"Pss: 368 kB\nPrivate_Clean: 52 kB\nPrivate_Dirty: 8 kB\n");
        assert_eq!(rollup.pss, Some(Bytes::from_kib(368)));
        assert_eq!(rollup.pss_anon, None);
        assert_eq!(rollup.uss(), Some(Bytes::from_kib(60)));
    }

    #[test]
    fn what_is_not_there_is_not_zero() {
        let rollup = parse_smaps_rollup(b"Private_Dirty: 8 kB\nPss: x kB\n");
        assert_eq!(rollup.uss(), None);
        assert_eq!(rollup.pss, None);
        assert_eq!(parse_smaps_rollup(b""), SmapsRollup::default());
    }

    proptest! {
        #[test]
        fn no_input_panics(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_smaps_rollup(&text).uss();
        }

        #[test]
        fn sums_never_overflow(clean: u64, dirty: u64, huge: u64) {
            let text = format!("Private_Clean: {clean} kB\nPrivate_Dirty: {dirty} kB\nPrivate_Hugetlb: {huge} kB\n");
            prop_assert!(parse_smaps_rollup(text.as_bytes()).uss().is_some());
        }
    }
}
