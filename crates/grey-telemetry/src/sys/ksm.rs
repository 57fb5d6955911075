//! `/sys/kernel/mm/ksm/`: kernel same-page merging.
//!
//! Never starts or stops it.

use std::path::Path;

use grey_model::{KernelText, KsmState, Pages};

use crate::ascii;
use crate::read::{KernelDirectory, ReadError};
use crate::roots::Kernel;

/// Where KSM's files are, below sysfs.
pub const KSM_DIRECTORY: &str = "kernel/mm/ksm";

/// Reads the state of KSM. `None` where it is not built in. A file that this
/// kernel does not have, or that may not be read, leaves its field `None`.
///
/// # Errors
/// [`ReadError`] when the directory exists and cannot be opened.
pub fn read_ksm(kernel: &Kernel, buffer: &mut Vec<u8>) -> Result<Option<KsmState>, ReadError> {
    let Some(sys) = &kernel.sys else {
        return Ok(None);
    };
    let ksm = match sys.open_directory(Path::new(KSM_DIRECTORY)) {
        Ok(directory) => directory,
        Err(error) if error.is_vanished() => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut number = |name: &str| read_number(&ksm, name, buffer);
    Ok(Some(KsmState {
        run: number("run"),
        pages_to_scan: number("pages_to_scan"),
        sleep_milliseconds: number("sleep_millisecs"),
        pages_shared: number("pages_shared").map(Pages),
        pages_sharing: number("pages_sharing").map(Pages),
        pages_unshared: number("pages_unshared").map(Pages),
        pages_volatile: number("pages_volatile").map(Pages),
        zero_pages: number("ksm_zero_pages").map(Pages),
        full_scans: number("full_scans"),
        advisor_mode: ksm
            .read("advisor_mode", buffer)
            .ok()
            .and_then(parse_advisor_mode),
        general_profit_bytes: ksm
            .read("general_profit", buffer)
            .ok()
            .and_then(ascii::single_i64),
    }))
}

/// The chosen word of `[none] scan-time`.
#[must_use]
pub fn parse_advisor_mode(text: &[u8]) -> Option<String> {
    ascii::chosen_word(text).map(|word| KernelText::from(word).to_string())
}

fn read_number(ksm: &KernelDirectory, name: &str, buffer: &mut Vec<u8>) -> Option<u64> {
    ksm.read(name, buffer).ok().and_then(ascii::single_u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advisor_is_the_word_in_brackets() {
        assert_eq!(
            parse_advisor_mode(b"[none] scan-time\n").as_deref(),
            Some("none")
        );
        assert_eq!(
            parse_advisor_mode(b"none [scan-time]\n").as_deref(),
            Some("scan-time")
        );
        assert_eq!(parse_advisor_mode(b"\n"), None);
    }
}
