//! `/proc/meminfo`: the machine's memory account.
//!
//! Never drops a field: what this version does not know is kept as unknown.

use grey_model::{Bytes, KernelText, Meminfo};

use crate::ascii;
use crate::read::ReadError;
use crate::roots::Kernel;

/// The most unknown fields that are kept.
const MOST_UNKNOWN: usize = 256;

/// Reads `/proc/meminfo`.
///
/// # Errors
/// [`ReadError`] when the file cannot be read.
pub fn read_meminfo(kernel: &Kernel, buffer: &mut Vec<u8>) -> Result<Meminfo, ReadError> {
    kernel.proc.read("meminfo", buffer).map(parse_meminfo)
}

/// Every line that has a number. Lines without one are passed over.
#[must_use]
pub fn parse_meminfo(text: &[u8]) -> Meminfo {
    let mut meminfo = Meminfo::default();
    for (key, number, in_kib) in fields(text) {
        let amount = Bytes::from_kib(number);
        if in_kib && let Some(place) = meminfo.amount_mut(key) {
            *place = Some(amount);
            continue;
        }
        match (key, in_kib) {
            (b"HugePages_Total", false) => meminfo.huge_pages_total = Some(number),
            (b"HugePages_Free", false) => meminfo.huge_pages_free = Some(number),
            (b"HugePages_Rsvd", false) => meminfo.huge_pages_reserved = Some(number),
            (b"HugePages_Surp", false) => meminfo.huge_pages_surplus = Some(number),
            _ if meminfo.unknown.len() < MOST_UNKNOWN => {
                let value = if in_kib { amount.get() } else { number };
                meminfo.unknown.push((KernelText::from(key), value));
            }
            _ => {}
        }
    }
    meminfo
}

/// Only `MemAvailable`, for those who ask often. Since 3.14.
#[must_use]
pub fn parse_mem_available(text: &[u8]) -> Option<Bytes> {
    fields(text)
        .find(|(key, _, in_kib)| *in_kib && *key == b"MemAvailable")
        .map(|(_, number, _)| Bytes::from_kib(number))
}

/// Key, number, and whether the number is in kB, which is KiB.
fn fields(text: &[u8]) -> impl Iterator<Item = (&[u8], u64, bool)> {
    ascii::lines(text).filter_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let mut words = ascii::words(&line[colon + 1..]);
        let number = ascii::parse_u64(words.next()?)?;
        Some((
            line[..colon].trim_ascii(),
            number,
            words.next() == Some(b"kB"),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_kib_and_huge_pages_are_counts() {
        let meminfo = parse_meminfo(
            b"MemTotal:       24684084 kB\nActive(anon):       1552 kB\nHugePages_Total:       3\n",
        );
        assert_eq!(meminfo.mem_total, Some(Bytes(24_684_084 * 1024)));
        assert_eq!(meminfo.active_anon, Some(Bytes::from_kib(1552)));
        assert_eq!(meminfo.huge_pages_total, Some(3));
        assert_eq!(meminfo.mem_free, None);
        assert_eq!(meminfo.unknown, []);
    }

    #[test]
    fn a_field_of_a_later_kernel_is_kept() {
        let meminfo = parse_meminfo(b"Quantum:   2 kB\nEntangled:  7\n");
        assert_eq!(
            meminfo.unknown,
            [
                (KernelText::from("Quantum"), 2048),
                (KernelText::from("Entangled"), 7)
            ]
        );
    }

    #[test]
    fn a_bad_line_costs_only_itself() {
        let meminfo =
            parse_meminfo(b"MemTotal: lots kB\n:\n\nMemFree:\nnonsense\nBuffers:  8 kB\n");
        assert_eq!(meminfo.mem_total, None);
        assert_eq!(meminfo.buffers, Some(Bytes::from_kib(8)));
    }

    #[test]
    fn the_short_way_finds_the_same_available_memory() {
        let text = b"MemTotal: 9 kB\nMemFree: 5 kB\nMemAvailable:  7 kB\nBuffers: 1 kB\n";
        assert_eq!(parse_mem_available(text), parse_meminfo(text).mem_available);
        assert_eq!(parse_mem_available(text), Some(Bytes::from_kib(7)));
        assert_eq!(parse_mem_available(b"MemTotal: 9 kB\n"), None);
    }
}
