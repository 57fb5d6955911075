//! `/proc/PID/statm`: the cheapest account of a process's memory, in pages.
//!
//! Never converts to bytes: the page size is the caller's.

use grey_model::Pages;

use crate::ascii::{parse_u64, words};

/// The first three numbers of `statm`; the others are unused or derived.
///
/// # Kernel
/// `/proc/PID/statm`, proc_pid_statm(5). From Linux 6.2 the counters behind
/// it are kept per CPU; kernels that do not sum them when asked are off by up
/// to 64 pages for each CPU. Zombies and kernel threads have zeros.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statm {
    /// Address space.
    pub size: Pages,
    /// Resident: anonymous, file and shared memory.
    pub resident: Pages,
    /// The resident pages that belong to files or shared memory.
    pub shared: Pages,
}

impl Statm {
    /// Whether there is memory at all: kernel threads and zombies have no
    /// address space. A process that is swapped out has one, and 0 resident.
    #[must_use]
    pub const fn has_memory(self) -> bool {
        self.size.0 != 0
    }

    /// The resident anonymous pages.
    #[must_use]
    pub const fn anonymous(self) -> Pages {
        Pages(self.resident.0.saturating_sub(self.shared.0))
    }
}

/// Reads a `statm` file; `None` when one of the three numbers is missing.
#[must_use]
pub fn parse_statm(text: &[u8]) -> Option<Statm> {
    let mut numbers = words(text.trim_ascii_end()).map(|word| parse_u64(word).map(Pages));
    Some(Statm {
        size: numbers.next()??,
        resident: numbers.next()??,
        shared: numbers.next()??,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pages_stay_pages() {
        let statm = parse_statm(b"765 435 407 5 0 123 0\n").unwrap();
        assert_eq!(statm.size, Pages(765));
        assert_eq!(statm.resident, Pages(435));
        assert_eq!(statm.shared, Pages(407));
        assert_eq!(statm.anonymous(), Pages(28));
    }

    #[test]
    fn a_broken_file_is_nothing() {
        for text in [&b""[..], b"765", b"765 435", b"765 x 407", b"765 435 -1 5"] {
            assert_eq!(parse_statm(text), None, "{}", text.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(size: u64, resident: u64, shared: u64) {
            let text = format!("{size} {resident} {shared} 1 0 1 0\n");
            let expected = Statm {
                size: Pages(size),
                resident: Pages(resident),
                shared: Pages(shared),
            };
            prop_assert_eq!(parse_statm(text.as_bytes()), Some(expected));
        }

        #[test]
        fn no_input_panics(text in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse_statm(&text);
        }
    }
}
