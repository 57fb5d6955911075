//! `/proc/zoneinfo`: how many free pages sit on the lists of single CPUs.
//!
//! `MemFree` does not count them, and after a large release they can be more
//! than a gigabyte for seconds. Nothing else of the file is read.

use grey_model::{Bytes, Pages};

use crate::ascii;
use crate::read::ReadError;
use crate::roots::Kernel;

/// The free pages on per-CPU lists, in bytes. `None` where the file is
/// missing or lists no CPU.
///
/// # Errors
/// [`ReadError`] when the file exists and cannot be read.
pub fn read_per_cpu_free_lists(
    kernel: &Kernel,
    buffer: &mut Vec<u8>,
) -> Result<Option<Bytes>, ReadError> {
    let text = kernel.proc.read_optional("zoneinfo", buffer)?;
    Ok(text
        .and_then(parse_per_cpu_free_lists)
        .map(|pages| pages.bytes(kernel.page_size)))
}

/// The sum of the `count:` lines below every `pagesets`. `None` when there
/// is no such line.
#[must_use]
pub fn parse_per_cpu_free_lists(text: &[u8]) -> Option<Pages> {
    let mut sum = None;
    for line in ascii::lines(text) {
        let Some(number) = line.trim_ascii_start().strip_prefix(b"count:") else {
            continue;
        };
        if let Some(count) = ascii::parse_u64(number.trim_ascii()) {
            sum = Some(sum.unwrap_or(0u64).saturating_add(count));
        }
    }
    sum.map(Pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_counts_of_the_lists_are_summed() {
        let text =
            b"Node 0, zone   Normal\n  pages free     3840\n        high     62\n  pagesets\n    \
            cpu: 0\n              count:    68\n              high:     5333\n              \
            batch:    63\n              high_min: 5333\n  vm stats threshold: 24\n    \
            cpu: 1\n              count:    58\n              high:     5333\n";
        assert_eq!(parse_per_cpu_free_lists(text), Some(Pages(126)));
    }

    #[test]
    fn a_file_without_lists_is_not_zero_pages() {
        assert_eq!(
            parse_per_cpu_free_lists(b"Node 0, zone DMA\n  pages free 1\n"),
            None
        );
        assert_eq!(parse_per_cpu_free_lists(b"count: many\n"), None);
    }
}
