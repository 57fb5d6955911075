//! `/proc/sys/kernel/random/boot_id`: names this boot.
//!
//! Never accepts anything that is not in the form of a UUID: records of
//! another boot are void, so a wrong id must not look like one.

use grey_model::BootId;

use crate::read::ReadError;
use crate::roots::Kernel;

/// Reads the id of this boot. `None` where there is none.
///
/// # Errors
/// [`ReadError`] when the file exists and cannot be read.
pub fn read_boot_id(kernel: &Kernel, buffer: &mut Vec<u8>) -> Result<Option<BootId>, ReadError> {
    let text = kernel
        .proc
        .read_optional("sys/kernel/random/boot_id", buffer)?;
    Ok(text.and_then(parse_boot_id))
}

/// A UUID: 36 characters, hexadecimal digits in groups of 8, 4, 4, 4 and 12.
#[must_use]
pub fn parse_boot_id(text: &[u8]) -> Option<BootId> {
    let text = text.trim_ascii();
    let groups = text.split(|&byte| byte == b'-').map(<[u8]>::len);
    if !groups.eq([8, 4, 4, 4, 12]) {
        return None;
    }
    let is_uuid = text
        .iter()
        .all(|&byte| byte == b'-' || byte.is_ascii_hexdigit());
    is_uuid.then(|| BootId(String::from_utf8_lossy(text).to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_a_boot_id_and_nothing_else_is() {
        let id = parse_boot_id(b"0c3b6a4e-9d3f-4c55-8f0e-2f6f5c1f7a10\n").unwrap();
        assert_eq!(id.0, "0c3b6a4e-9d3f-4c55-8f0e-2f6f5c1f7a10");
        for text in [
            &b""[..],
            b"0c3b6a4e",
            b"0c3b6a4e-9d3f-4c55-8f0e-2f6f5c1f7a1",
            b"0c3b6a4e-9d3f-4c55-8f0e-2f6f5c1f7a1\xff",
            b"0c3b6a4e-9d3f-4c55-8f0e-2f6f5c1f7a10-",
        ] {
            assert_eq!(parse_boot_id(text), None, "{text:?}");
        }
    }
}
