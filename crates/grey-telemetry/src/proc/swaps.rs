//! `/proc/swaps`: the swap devices and files.
//!
//! Never asks a device for more than its line says.

use grey_model::{Bytes, KernelText, SwapDevice, SwapKind};

use crate::ascii;
use crate::read::ReadError;
use crate::roots::Kernel;

/// Reads `/proc/swaps`; no devices where the kernel has no swap built in.
///
/// # Errors
/// [`ReadError`] when the file exists and cannot be read.
pub fn read_swaps(kernel: &Kernel, buffer: &mut Vec<u8>) -> Result<Vec<SwapDevice>, ReadError> {
    let text = kernel.proc.read_optional("swaps", buffer)?;
    Ok(text.map(parse_swaps).unwrap_or_default())
}

/// One device a line, after the heading. A file that was deleted while in use
/// keeps the kernel's note ` (deleted)` in its path.
#[must_use]
pub fn parse_swaps(text: &[u8]) -> Vec<SwapDevice> {
    ascii::lines(text).filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<SwapDevice> {
    let mut words = ascii::words(line);
    // A space, tab, newline or backslash is written as `\ooo`.
    let path = ascii::unescape(words.next()?, ascii::octal).into_owned();
    let kind = words.next()?;
    let total = ascii::parse_u64(words.next()?)?;
    let used = ascii::parse_u64(words.next()?)?;
    let priority = ascii::parse_i64(words.next()?)?;
    let kind = match kind {
        b"file" => SwapKind::File,
        _ if is_zram(&path) => SwapKind::Zram,
        _ => SwapKind::Partition,
    };
    Some(SwapDevice {
        path: KernelText(path),
        kind,
        total: Bytes::from_kib(total),
        used: Bytes::from_kib(used),
        priority,
    })
}

/// `/dev/zram0`, wherever the devices are mounted.
fn is_zram(path: &[u8]) -> bool {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
    name.strip_prefix(b"zram")
        .is_some_and(|number| ascii::parse_u64(number).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &[u8] = b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

    fn parse(lines: &[u8]) -> Vec<SwapDevice> {
        parse_swaps(&[HEADING, lines].concat())
    }

    #[test]
    fn the_heading_alone_is_no_device() {
        assert_eq!(parse(b""), []);
    }

    #[test]
    fn each_kind_of_device_is_recognised() {
        let devices = parse(
            b"/dev/vda2                               partition\t2097148\t\t1024\t\t-2\n\
              /dev/zram0                              partition\t524284\t\t0\t\t100\n\
              /dev/zramble                            partition\t4\t\t0\t\t1\n\
              /swapfile                               file\t\t1048572\t\t8\t\t-3\n",
        );
        let kinds: Vec<_> = devices.iter().map(|device| device.kind).collect();
        assert_eq!(
            kinds,
            [
                SwapKind::Partition,
                SwapKind::Zram,
                SwapKind::Partition,
                SwapKind::File
            ]
        );
        assert_eq!(devices[0].total, Bytes::from_kib(2_097_148));
        assert_eq!(devices[0].used, Bytes::from_kib(1024));
        assert_eq!(devices[0].priority, -2);
    }

    #[test]
    fn escapes_in_a_path_are_resolved() {
        let devices = parse(b"/my\\040swap\\134\\011\\012x\\040(deleted) file 4 0 -2\n");
        assert_eq!(devices[0].path.as_bytes(), b"/my swap\\\t\nx (deleted)");
    }

    #[test]
    fn a_bad_line_costs_only_itself() {
        let devices = parse(b"/short file 4\n/swapfile file 8 x -2\n/ok file 8 0 -2\n");
        assert_eq!(devices.len(), 1);
    }
}
