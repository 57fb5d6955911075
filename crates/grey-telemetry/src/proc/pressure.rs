//! Pressure files: `/proc/pressure/memory`, and `memory.pressure` of cgroups,
//! which has the same form.
//!
//! Never arms a trigger: it only reads.

use grey_model::{Percent, Pressure, PressureLine};

use crate::ascii;
use crate::read::ReadError;
use crate::roots::Kernel;

/// Reads `/proc/pressure/memory`. `None` where PSI is not built in or is off.
///
/// # Errors
/// [`ReadError`] when the file exists and cannot be read.
pub fn read_memory_pressure(
    kernel: &Kernel,
    buffer: &mut Vec<u8>,
) -> Result<Option<Pressure>, ReadError> {
    let text = kernel.proc.read_optional("pressure/memory", buffer)?;
    Ok(text.and_then(parse_pressure))
}

/// The two lines. `None` without a `some` line; some kernels print none
/// when PSI is off.
#[must_use]
pub fn parse_pressure(text: &[u8]) -> Option<Pressure> {
    let line = |name: &[u8]| {
        ascii::lines(text).find_map(|line| {
            let mut words = ascii::words(line);
            (words.next()? == name).then(|| parse_line(words)).flatten()
        })
    };
    Some(Pressure {
        some: line(b"some")?,
        full: line(b"full"),
    })
}

fn parse_line<'text>(words: impl Iterator<Item = &'text [u8]>) -> Option<PressureLine> {
    let (mut avg10, mut avg60, mut avg300, mut total) = (None, None, None, None);
    for word in words {
        let equals = word.iter().position(|&byte| byte == b'=')?;
        let (key, value) = (&word[..equals], &word[equals + 1..]);
        match key {
            b"avg10" => avg10 = ascii::parse_decimal(value),
            b"avg60" => avg60 = ascii::parse_decimal(value),
            b"avg300" => avg300 = ascii::parse_decimal(value),
            b"total" => total = ascii::parse_u64(value),
            _ => {}
        }
    }
    Some(PressureLine {
        avg10: Percent(avg10?),
        avg60: Percent(avg60?),
        avg300: Percent(avg300?),
        total_us: total?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[u8] = b"some avg10=1.50 avg60=0.75 avg300=0.52 total=14759040\n\
                          full avg10=0.00 avg60=0.25 avg300=0.00 total=7\n";

    #[test]
    fn both_lines_are_read() {
        let pressure = parse_pressure(BOTH).unwrap();
        assert_eq!(pressure.some.avg10, Percent(1.5));
        assert_eq!(pressure.some.total_us, 14_759_040);
        assert_eq!(pressure.full.unwrap().avg60, Percent(0.25));
    }

    #[test]
    fn a_missing_full_line_is_no_reading_of_zero() {
        let pressure = parse_pressure(&BOTH[..54]).unwrap();
        assert_eq!(pressure.full, None);
    }

    #[test]
    fn an_empty_file_means_that_psi_is_off() {
        assert_eq!(parse_pressure(b""), None);
    }

    #[test]
    fn a_line_that_lacks_a_value_is_no_reading() {
        assert_eq!(parse_pressure(b"some avg10=1.50 total=1\n"), None);
        assert_eq!(
            parse_pressure(b"some avg10=x avg60=0.75 avg300=0.52 total=1\n"),
            None
        );
    }
}
