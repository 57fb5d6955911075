//! Durations in sentences and tables: `1h 2m`, never `3723 s`.
//!
//! For people alone; documents for programs have seconds.

use std::time::Duration;

/// Units, each with how many seconds it has.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// A duration in its two largest units, the rest cut off: nobody needs the
/// seconds of a day. Below a second in milliseconds.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(grey_model::roughly(Duration::from_secs(3723)), "1h 2m");
/// ```
#[must_use]
pub fn roughly(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let Some(first) = UNITS.iter().position(|(_, length)| seconds >= *length) else {
        return match duration.as_millis() {
            0 => "0s".to_owned(),
            milliseconds => format!("{milliseconds}ms"),
        };
    };
    let (unit, length) = UNITS[first];
    let whole = format!("{}{unit}", seconds / length);
    match UNITS.get(first + 1) {
        Some((next, shorter)) if seconds % length >= *shorter => {
            format!("{whole} {}{next}", seconds % length / shorter)
        }
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_largest_units_are_told() {
        for (seconds, text) in [
            (0, "0s"),
            (45, "45s"),
            (60, "1m"),
            (125, "2m 5s"),
            (3600, "1h"),
            (3605, "1h"),
            (3723, "1h 2m"),
            (86_400, "1d"),
            (180_000, "2d 2h"),
            (31_536_000, "365d"),
        ] {
            assert_eq!(roughly(Duration::from_secs(seconds)), text, "{seconds}");
        }
        assert_eq!(roughly(Duration::from_millis(250)), "250ms");
        assert_eq!(roughly(Duration::MAX), "213503982334601d 7h");
    }
}
