//! `/sys/module/zswap/parameters/`: the compressed cache before swap.
//!
//! What it holds is not there but in meminfo; this reads its settings and
//! puts the two together.

use std::path::Path;

use grey_model::{KernelText, Meminfo, Zswap};

use crate::ascii;
use crate::read::ReadError;
use crate::roots::Kernel;

/// Reads zswap's settings and joins them with its amounts in `meminfo`.
/// `None` where zswap is not built in.
///
/// # Errors
/// [`ReadError`] when the parameters exist and cannot be opened.
pub fn read_zswap(
    kernel: &Kernel,
    meminfo: &Meminfo,
    buffer: &mut Vec<u8>,
) -> Result<Option<Zswap>, ReadError> {
    let Some(sys) = &kernel.sys else {
        return Ok(None);
    };
    let parameters = match sys.open_directory(Path::new("module/zswap/parameters")) {
        Ok(directory) => directory,
        Err(error) if error.is_vanished() => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(enabled) = parameters
        .read_optional("enabled", buffer)?
        .and_then(parse_flag)
    else {
        return Ok(None);
    };
    let compressor = parameters
        .read("compressor", buffer)
        .ok()
        .map(|text| KernelText::from(text.trim_ascii()).to_string())
        .filter(|name| !name.is_empty());
    let max_pool_percent = parameters
        .read("max_pool_percent", buffer)
        .ok()
        .and_then(ascii::single_u64);
    Ok(Some(Zswap {
        enabled,
        compressor,
        max_pool_percent,
        memory_used: meminfo.zswap,
        original: meminfo.zswapped,
    }))
}

/// `Y` or `N`, as module parameters print it; `1` and `0` too.
#[must_use]
pub fn parse_flag(text: &[u8]) -> Option<bool> {
    match text.trim_ascii() {
        b"Y" | b"y" | b"1" => Some(true),
        b"N" | b"n" | b"0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_a_letter() {
        assert_eq!(parse_flag(b"Y\n"), Some(true));
        assert_eq!(parse_flag(b"N\n"), Some(false));
        assert_eq!(parse_flag(b"maybe\n"), None);
        assert_eq!(parse_flag(b""), None);
    }
}
