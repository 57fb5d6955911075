//! `/proc/PID/ksm_stat`: a process's part in same-page merging.
//!
//! Never read by line number: kernels add lines in the middle.

use grey_model::{Pages, ProcessKsm};

use crate::ascii::{lines, parse_i64, words};

/// Reads a `ksm_stat` file by key; what is missing or broken is `None`.
///
/// # Kernel
/// `/proc/PID/ksm_stat`, since 6.1; `Documentation/admin-guide/mm/ksm.rst`.
#[must_use]
pub fn parse_ksm_stat(text: &[u8]) -> ProcessKsm {
    let mut ksm = ProcessKsm::default();
    for line in lines(text) {
        let mut words = words(line);
        let (Some(key), Some(value)) = (words.next(), words.next()) else {
            continue;
        };
        match key {
            b"ksm_merging_pages" => ksm.merging_pages = parse_pages(value),
            b"ksm_zero_pages" => ksm.zero_pages = parse_pages(value),
            b"ksm_process_profit" => ksm.profit_bytes = parse_i64(value),
            _ => {}
        }
    }
    ksm
}

fn parse_pages(text: &[u8]) -> Option<Pages> {
    u64::try_from(parse_i64(text)?).ok().map(Pages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_key_lands_in_its_field() {
        let text = b"ksm_rmap_items 9\nksm_zero_pages 2\nksm_merging_pages 3\n\
            ksm_process_profit -64\nksm_merge_any: no\nksm_mergeable: yes\n";
        let expected = ProcessKsm {
            merging_pages: Some(Pages(3)),
            zero_pages: Some(Pages(2)),
            profit_bytes: Some(-64),
        };
        assert_eq!(parse_ksm_stat(text), expected);
    }

    #[test]
    fn an_old_or_broken_file_lacks_only_what_it_lacks() {
        let ksm = parse_ksm_stat(b"ksm_merging_pages 3\nksm_zero_pages\nksm_process_profit x\n");
        assert_eq!(ksm.merging_pages, Some(Pages(3)));
        assert_eq!(ksm.zero_pages, None);
        assert_eq!(ksm.profit_bytes, None);
        assert_eq!(parse_ksm_stat(b""), ProcessKsm::default());
    }

    proptest! {
        #[test]
        fn no_input_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_ksm_stat(&text);
        }
    }
}
