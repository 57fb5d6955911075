//! `/sys/block/zramN/`: compressed memory that acts as a disk.
//!
//! A device without a size is not initialised and takes no memory: it is not
//! listed.

use std::path::Path;

use grey_model::{Bytes, KernelText, Zram};

use crate::ascii;
use crate::read::{KernelDirectory, ReadError, Wanted};
use crate::roots::Kernel;

/// The most devices that are read.
const MOST_DEVICES: usize = 256;

/// Reads every initialised zram device.
///
/// # Errors
/// [`ReadError`] when the list of block devices exists and cannot be read.
pub fn read_zram(kernel: &Kernel, buffer: &mut Vec<u8>) -> Result<Vec<Zram>, ReadError> {
    let Some(sys) = &kernel.sys else {
        return Ok(Vec::new());
    };
    let block = match sys.open_directory(Path::new("block")) {
        Ok(directory) => directory,
        Err(error) if error.is_vanished() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let names = block.names(Wanted::Everything)?;
    let devices = names
        .iter()
        .filter_map(|name| str::from_utf8(name).ok())
        .filter(|name| is_zram(name))
        .take(MOST_DEVICES)
        .filter_map(|name| {
            // A device may be removed while we look.
            let device = block.open_directory(Path::new(name)).ok()?;
            read_device(&device, name, buffer)
        })
        .collect();
    Ok(devices)
}

/// The devices that zram may move pages to: which zram, which device. None
/// where the kernel cannot do that.
///
/// # Kernel
/// `backing_dev`, `CONFIG_ZRAM_WRITEBACK`: `none` where there is none.
#[must_use]
pub fn read_backing_devices(
    kernel: &Kernel,
    devices: &[Zram],
    buffer: &mut Vec<u8>,
) -> Vec<(String, String)> {
    let Some(sys) = &kernel.sys else {
        return Vec::new();
    };
    let backing = devices.iter().filter_map(|device| {
        let path = format!("block/{}/backing_dev", device.name);
        let name = parse_backing_device(sys.read(path, buffer).ok()?)?;
        Some((device.name.clone(), name))
    });
    backing.collect()
}

/// The device's name; `None` for `none`.
#[must_use]
pub fn parse_backing_device(text: &[u8]) -> Option<String> {
    let name = text.trim_ascii();
    (!name.is_empty() && name != b"none").then(|| KernelText::from(name).to_string())
}

/// What `mm_stat` says: sizes in bytes and counts of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZramMemory {
    /// What is stored, uncompressed.
    pub original: Bytes,
    /// The same, compressed.
    pub stored: Bytes,
    /// The memory taken, allocator overhead included.
    pub memory_used: Bytes,
    /// The most memory that it may take.
    pub memory_limit: Option<Bytes>,
    /// Pages of one repeated value, a count.
    pub same_pages: Option<u64>,
    /// Pages that did not compress, a count. Since 4.19.
    pub huge_pages: Option<u64>,
}

/// The columns of `mm_stat`: original, compressed, memory used, limit,
/// maximum, same pages, compacted pages, huge pages.
#[must_use]
pub fn parse_mm_stat(text: &[u8]) -> Option<ZramMemory> {
    let mut columns = ascii::words(text.trim_ascii()).map(ascii::parse_u64);
    let original = Bytes(columns.next()??);
    let stored = Bytes(columns.next()??);
    let memory_used = Bytes(columns.next()??);
    // 0 stands for "no limit".
    let memory_limit = columns
        .next()
        .flatten()
        .filter(|&limit| limit > 0)
        .map(Bytes);
    let same_pages = columns.nth(1).flatten();
    let huge_pages = columns.nth(1).flatten();
    Some(ZramMemory {
        original,
        stored,
        memory_used,
        memory_limit,
        same_pages,
        huge_pages,
    })
}

fn is_zram(name: &str) -> bool {
    name.strip_prefix("zram")
        .is_some_and(|number| ascii::parse_u64(number.as_bytes()).is_some())
}

fn read_device(device: &KernelDirectory, name: &str, buffer: &mut Vec<u8>) -> Option<Zram> {
    let disk_size = device
        .read("disksize", buffer)
        .ok()
        .and_then(ascii::single_u64)
        .filter(|&size| size > 0)?;
    let memory = device
        .read("mm_stat", buffer)
        .ok()
        .and_then(parse_mm_stat)?;
    let algorithm = device
        .read("comp_algorithm", buffer)
        .ok()
        .and_then(ascii::chosen_word)
        .map(|word| KernelText::from(word).to_string());
    Some(Zram {
        name: name.to_owned(),
        disk_size: Bytes(disk_size),
        original: memory.original,
        stored: memory.stored,
        memory_used: memory.memory_used,
        memory_limit: memory.memory_limit,
        same_pages: memory.same_pages,
        huge_pages: memory.huge_pages,
        algorithm,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_read_by_position() {
        let memory = parse_mm_stat(b" 8192 74 12288 0 12288 5 0 3 1\n").unwrap();
        assert_eq!(memory.original, Bytes(8192));
        assert_eq!(memory.stored, Bytes(74));
        assert_eq!(memory.memory_used, Bytes(12288));
        assert_eq!(memory.memory_limit, None);
        assert_eq!(memory.same_pages, Some(5));
        assert_eq!(memory.huge_pages, Some(3));
    }

    #[test]
    fn a_memory_limit_is_read_and_0_is_none() {
        let memory = parse_mm_stat(b"8192 74 12288 65536 12288 5 0 3 1\n").unwrap();
        assert_eq!(memory.memory_limit, Some(Bytes(65536)));
    }

    #[test]
    fn an_older_kernel_has_fewer_columns() {
        let memory = parse_mm_stat(b"8192 74 12288 0 12288 5 0\n").unwrap();
        assert_eq!(memory.same_pages, Some(5));
        assert_eq!(memory.huge_pages, None);
        assert_eq!(parse_mm_stat(b"8192 74\n"), None);
        assert_eq!(parse_mm_stat(b""), None);
    }

    #[test]
    fn no_backing_device_is_called_none() {
        assert_eq!(parse_backing_device(b"none\n"), None);
        assert_eq!(parse_backing_device(b"\n"), None);
        let named = parse_backing_device(b"/dev/sda3\n");
        assert_eq!(named.as_deref(), Some("/dev/sda3"));
    }

    #[test]
    fn the_control_device_is_no_disk() {
        assert!(is_zram("zram12"));
        assert!(!is_zram("zram-control"));
        assert!(!is_zram("zram"));
    }
}
