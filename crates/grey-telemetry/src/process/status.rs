//! `/proc/PID/status`: who runs a process, and its resident memory in parts.
//!
//! Never guesses: a line that this kernel does not print is `None`.

use grey_model::Bytes;

use super::kib::{keyed_lines, parse_kib};
use crate::ascii::{parse_u64, words};

/// What is used of `/proc/PID/status`. Kernel threads and zombies have no
/// memory, and so none of the memory lines.
///
/// # Kernel
/// `/proc/PID/status`, proc_pid_status(5). The name in it is escaped by the
/// kernel, so it cannot forge a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// `Tgid`: the process that the thread is of; a process is its own.
    pub thread_group: Option<u32>,
    /// `Uid`, the first of four: the real user id.
    pub user_id: Option<u32>,
    /// `VmLck`: mappings that are locked in memory.
    pub locked: Option<Bytes>,
    /// `VmRSS`: resident memory.
    pub rss: Option<Bytes>,
    /// `RssAnon`. Since 4.5.
    pub rss_anon: Option<Bytes>,
    /// `RssFile`. Since 4.5.
    pub rss_file: Option<Bytes>,
    /// `RssShmem`. Since 4.5.
    pub rss_shmem: Option<Bytes>,
    /// `VmData`: what RLIMIT_DATA limits, resident or not.
    pub data: Option<Bytes>,
    /// `VmSwap`: anonymous pages in swap; shared memory in swap is not in it.
    pub swap: Option<Bytes>,
}

impl Status {
    /// Resident memory: the sum of its parts, so that they always add up, or
    /// `VmRSS` where the kernel prints no parts.
    #[must_use]
    pub fn resident(&self) -> Option<Bytes> {
        match (self.rss_anon, self.rss_file, self.rss_shmem) {
            (Some(anon), Some(file), Some(shmem)) => {
                Some(anon.saturating_add(file).saturating_add(shmem))
            }
            _ => self.rss,
        }
    }
}

/// Reads a `status` file; what is missing or broken in it is `None`.
#[must_use]
pub fn parse_status(text: &[u8]) -> Status {
    let mut status = Status::default();
    for (key, value) in keyed_lines(text) {
        match key {
            b"Tgid" => status.thread_group = parse_first_id(value),
            b"Uid" => status.user_id = parse_first_id(value),
            b"VmLck" => status.locked = parse_kib(value),
            b"VmRSS" => status.rss = parse_kib(value),
            b"RssAnon" => status.rss_anon = parse_kib(value),
            b"RssFile" => status.rss_file = parse_kib(value),
            b"RssShmem" => status.rss_shmem = parse_kib(value),
            b"VmData" => status.data = parse_kib(value),
            b"VmSwap" => status.swap = parse_kib(value),
            _ => {}
        }
    }
    status
}

fn parse_first_id(value: &[u8]) -> Option<u32> {
    u32::try_from(parse_u64(words(value).next()?)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "Name:\tcat\nUmask:\t0022\nState:\tR (running)\nTgid:\t15145\nPid:\t15145\n\
        Uid:\t1000\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t \nVmPeak:\t    3060 kB\n\
        VmLck:\t       4 kB\nVmHWM:\t    1740 kB\nVmRSS:\t    1744 kB\n\
        RssAnon:\t     112 kB\nRssFile:\t    1628 kB\nRssShmem:\t       4 kB\n\
        VmData:\t     360 kB\nVmSwap:\t       8 kB\nThreads:\t1\n";

    #[test]
    fn the_memory_lines_are_bytes() {
        let expected = Status {
            thread_group: Some(15145),
            user_id: Some(1000),
            locked: Some(Bytes::from_kib(4)),
            rss: Some(Bytes::from_kib(1744)),
            rss_anon: Some(Bytes::from_kib(112)),
            rss_file: Some(Bytes::from_kib(1628)),
            rss_shmem: Some(Bytes::from_kib(4)),
            data: Some(Bytes::from_kib(360)),
            swap: Some(Bytes::from_kib(8)),
        };
        let status = parse_status(TEXT.as_bytes());
        assert_eq!(status, expected);
        assert_eq!(status.resident(), Some(Bytes::from_kib(1744)));
    }

    #[test]
    fn without_its_parts_the_whole_is_used() {
        let status = parse_status(b"Name:\told\nVmRSS:\t 100 kB\nRssAnon:\t 60 kB\n");
        assert_eq!(status.resident(), Some(Bytes::from_kib(100)));
    }

    #[test]
    fn a_kernel_thread_has_no_memory_rather_than_none_of_it() {
        let status = parse_status(b"Name:\tkthreadd\nUid:\t0\t0\t0\t0\nKthread:\t1\nThreads:\t1\n");
        assert_eq!(status.resident(), None);
        assert_eq!(status.swap, None);
        assert_eq!(status.user_id, Some(0));
    }

    #[test]
    fn a_broken_line_loses_only_itself() {
        let status = parse_status(b"Uid:\nVmRSS:\t12 pages\nnoise\nVmSwap:\t 8 kB");
        assert_eq!(status.user_id, None);
        assert_eq!(status.rss, None);
        assert_eq!(status.swap, Some(Bytes::from_kib(8)));
    }

    proptest! {
        #[test]
        fn no_input_panics(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_status(&text).resident();
        }

        #[test]
        fn no_number_panics(lines in proptest::collection::vec("(Uid|RssAnon|RssFile|RssShmem):\t[0-9]{0,25} kB", 0..8)) {
            let _ = parse_status(lines.join("\n").as_bytes()).resident();
        }
    }
}
