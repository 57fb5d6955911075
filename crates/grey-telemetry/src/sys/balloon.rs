//! `/sys/bus/virtio/drivers/virtio_balloon/virtioN/features`: whether MemTotal
//! still counts the pages that the balloon gave to the hypervisor.
//!
//! Only the virtio balloon is known. Other hypervisors' balloons show in
//! `Balloon` of meminfo, but nothing says whether MemTotal counts them, so
//! they are not attributed.

use std::path::Path;

use grey_model::{Bytes, Meminfo, PageSize, Pages, Vmstat};

use crate::read::{ReadError, Wanted};
use crate::roots::Kernel;

/// VIRTIO_BALLOON_F_DEFLATE_ON_OOM of the virtio specification.
const DEFLATE_ON_OOM: usize = 2;

/// Whether a balloon device has the feature "deflate on OOM": then its driver
/// leaves the pages in MemTotal. `None` where there is no such device.
///
/// # Errors
/// [`ReadError`] when the driver's directory exists and cannot be read.
pub fn read_balloon_stays_in_total(
    kernel: &Kernel,
    buffer: &mut Vec<u8>,
) -> Result<Option<bool>, ReadError> {
    let Some(sys) = &kernel.sys else {
        return Ok(None);
    };
    let driver = match sys.open_directory(Path::new("bus/virtio/drivers/virtio_balloon")) {
        Ok(directory) => directory,
        Err(error) if error.is_vanished() => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut stays = None;
    for name in driver.names(Wanted::Everything)? {
        let Some(name) = str::from_utf8(&name)
            .ok()
            .filter(|n| n.starts_with("virtio"))
        else {
            continue;
        };
        let features = driver.read_optional(Path::new(name).join("features"), buffer)?;
        if let Some(has) = features.and_then(parse_deflate_on_oom) {
            stays = Some(stays.unwrap_or(false) || has);
        }
    }
    Ok(stays)
}

/// The feature's bit in a line of `0` and `1`, bit 0 first.
#[must_use]
pub fn parse_deflate_on_oom(features: &[u8]) -> Option<bool> {
    match features.get(DEFLATE_ON_OOM)? {
        b'1' => Some(true),
        b'0' => Some(false),
        _ => None,
    }
}

/// How much the balloon holds: `Balloon` of meminfo (since 6.16), else what
/// went in less what came out since boot. `None` where neither is printed.
#[must_use]
pub fn balloon_size(meminfo: &Meminfo, vmstat: &Vmstat, page_size: PageSize) -> Option<Bytes> {
    meminfo.balloon.or_else(|| {
        let inside = vmstat
            .balloon_inflate?
            .saturating_sub(vmstat.balloon_deflate?);
        Some(Pages(inside).bytes(page_size))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_feature_is_the_third_bit() {
        assert_eq!(parse_deflate_on_oom(b"01100101000\n"), Some(true));
        assert_eq!(parse_deflate_on_oom(b"11011111111\n"), Some(false));
        assert_eq!(parse_deflate_on_oom(b"11"), None);
        assert_eq!(parse_deflate_on_oom(b"11\n1"), None);
    }

    #[test]
    fn an_older_kernel_counts_pages_in_and_out() {
        let page_size = PageSize::new(4096).unwrap();
        let vmstat = Vmstat {
            balloon_inflate: Some(10),
            balloon_deflate: Some(4),
            ..Vmstat::default()
        };
        let old = Meminfo::default();
        assert_eq!(
            balloon_size(&old, &vmstat, page_size),
            Some(Bytes(6 * 4096))
        );
        let new = Meminfo {
            balloon: Some(Bytes(4096)),
            ..Meminfo::default()
        };
        assert_eq!(balloon_size(&new, &vmstat, page_size), Some(Bytes(4096)));
        assert_eq!(balloon_size(&old, &Vmstat::default(), page_size), None);
    }
}
