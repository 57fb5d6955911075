//! The times that logs put before their lines, in every usual form.
//!
//! Each function takes what it knows off the front and gives the rest; it gives
//! `None` when the front is something else. No time zone is known here.

use std::time::Duration;

use grey_model::{CivilTime, LogTime, Moment, WallTime};

use super::find::leading_digits;
use crate::ascii;

/// The longest text in brackets that is taken for a time.
const LONGEST_BRACKET: usize = 64;

const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
const WEEKDAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];

/// A time and the text behind it, spaces taken off.
pub(crate) type Stamped<'text> = (LogTime, &'text [u8]);

/// A time that is not in brackets: `2026-11-21T10:04:05+00:00`,
/// `Nov 21 10:04:05`, `Sat 2026-11-21 10:04:05 UTC`, `1763719445.250000`.
pub(crate) fn bare(text: &[u8]) -> Option<Stamped<'_>> {
    let (wall, rest) = iso(text)
        .or_else(|| short(text))
        .or_else(|| full(text))
        .or_else(|| unix(text))?;
    Some((of_wall(wall), rest.strip_prefix(b" ")?.trim_ascii_start()))
}

/// A time in brackets: `[  123.456789]`, `[Sat Nov 21 10:04:05 2026]`,
/// `[Nov21 10:04]`, `[  +0.000002]`. Of the last two, and of days in another
/// language, the time stays unknown. A row of a table, `[  123]`, is none.
pub(crate) fn bracketed(text: &[u8]) -> Option<Stamped<'_>> {
    let inner = text.strip_prefix(b"[")?;
    let end = inner
        .iter()
        .take(LONGEST_BRACKET)
        .position(|&byte| byte == b']')?;
    let rest = &inner[end + 1..];
    let content = inner[..end].trim_ascii();
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    if let Some(since_boot) = seconds(content) {
        let time = LogTime {
            since_boot: Some(since_boot),
            wall: WallTime::Unknown,
        };
        return Some((time, rest));
    }
    if let Some(wall) = ctime(content) {
        return Some((of_wall(wall), rest));
    }
    let has = |wanted: u8| content.contains(&wanted);
    let looks_like_a_time = content.iter().any(u8::is_ascii_digit)
        && (has(b':') || (has(b'.') && (has(b'+') || has(b'<'))));
    looks_like_a_time.then(|| (LogTime::default(), rest))
}

fn of_wall(wall: WallTime) -> LogTime {
    LogTime {
        wall,
        since_boot: None,
    }
}

/// `123.456789`: seconds since boot.
fn seconds(text: &[u8]) -> Option<Duration> {
    let (whole, rest) = leading_digits(text);
    let fraction = rest.strip_prefix(b".")?;
    let (microseconds, rest) = fraction_of(fraction)?;
    if !rest.is_empty() {
        return None;
    }
    let whole = Duration::from_secs(ascii::parse_u64(whole)?);
    whole.checked_add(Duration::from_micros(u64::from(microseconds)))
}

/// Decimals as microseconds, and what follows them.
fn fraction_of(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = leading_digits(text);
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    let value = u32::try_from(ascii::parse_u64(digits)?).ok()?;
    let places = u32::try_from(digits.len()).ok()?;
    let microseconds = match 6u32.checked_sub(places) {
        Some(missing) => value * 10u32.pow(missing),
        None => value / 10u32.pow(places - 6),
    };
    Some((microseconds, rest))
}

/// `2026-11-21T10:04:05.250000+01:00`; the zone may be missing.
fn iso(text: &[u8]) -> Option<(WallTime, &[u8])> {
    let (mut civil, rest) = date(text)?;
    let rest = rest
        .strip_prefix(b"T")
        .or_else(|| rest.strip_prefix(b" "))?;
    let rest = clock(rest, &mut civil)?;
    Some(zoned(&civil, rest))
}

/// `2026-11-21`.
fn date(text: &[u8]) -> Option<(CivilTime, &[u8])> {
    let (year, rest) = fixed(text, 4)?;
    let (month, rest) = fixed(rest.strip_prefix(b"-")?, 2)?;
    let (day, rest) = fixed(rest.strip_prefix(b"-")?, 2)?;
    let civil = CivilTime {
        year: Some(i32::try_from(year).ok()?),
        month: u8::try_from(month).ok()?,
        day: u8::try_from(day).ok()?,
        ..midnight()
    };
    Some((civil, rest))
}

const fn midnight() -> CivilTime {
    CivilTime {
        year: None,
        month: 1,
        day: 1,
        hour: 0,
        minute: 0,
        second: 0,
        microsecond: 0,
    }
}

/// A number of exactly this many digits.
fn fixed(text: &[u8], digits: usize) -> Option<(u32, &[u8])> {
    let number = text.get(..digits)?;
    let value = u32::try_from(ascii::parse_u64(number)?).ok()?;
    Some((value, &text[digits..]))
}

/// `10:04:05`, with decimals behind a point or a comma.
fn clock<'text>(text: &'text [u8], civil: &mut CivilTime) -> Option<&'text [u8]> {
    let (hour, rest) = fixed(text, 2)?;
    let (minute, rest) = fixed(rest.strip_prefix(b":")?, 2)?;
    let (second, rest) = fixed(rest.strip_prefix(b":")?, 2)?;
    civil.hour = u8::try_from(hour).ok()?;
    civil.minute = u8::try_from(minute).ok()?;
    civil.second = u8::try_from(second).ok()?;
    let decimals = rest.strip_prefix(b".").or_else(|| rest.strip_prefix(b","));
    match decimals.and_then(fraction_of) {
        Some((microsecond, rest)) => {
            civil.microsecond = microsecond;
            Some(rest)
        }
        None => Some(rest),
    }
}

/// A zone behind a time: `Z`, `+01:00`, `+0100`, `+01`, or none.
fn zoned<'text>(civil: &CivilTime, text: &'text [u8]) -> (WallTime, &'text [u8]) {
    let (offset, rest) = match text.first() {
        Some(b'Z') => (Some(0), &text[1..]),
        Some(b'+' | b'-') => match offset(text) {
            Some((offset, rest)) => (Some(offset), rest),
            None => (None, text),
        },
        _ => (None, text),
    };
    let wall = match offset {
        Some(offset) => Moment::from_civil(civil, offset).map_or(WallTime::Unknown, WallTime::At),
        None => WallTime::Local(*civil),
    };
    (wall, rest)
}

/// `+01:00` in seconds ahead of UTC.
fn offset(text: &[u8]) -> Option<(i32, &[u8])> {
    let (hours, rest) = fixed(text.get(1..)?, 2)?;
    let after = rest.strip_prefix(b":").unwrap_or(rest);
    let (minutes, rest) = fixed(after, 2).unwrap_or((0, rest));
    let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
    let sign = if text[0] == b'-' { -1 } else { 1 };
    Some((sign * seconds, rest))
}

/// `Nov 21 10:04:05`, of syslog and of `journalctl`.
fn short(text: &[u8]) -> Option<(WallTime, &[u8])> {
    let (civil, rest) = month_day_clock(text)?;
    Some((WallTime::Local(civil), rest))
}

fn month_day_clock(text: &[u8]) -> Option<(CivilTime, &[u8])> {
    let (month, rest) = named(text, &MONTHS)?;
    let rest = rest.strip_prefix(b" ")?.trim_ascii_start();
    let (day, rest) = leading_digits(rest);
    let mut civil = CivilTime {
        month: u8::try_from(month + 1).ok()?,
        day: u8::try_from(ascii::parse_u64(day)?).ok()?,
        ..midnight()
    };
    let rest = clock(rest.strip_prefix(b" ")?.trim_ascii_start(), &mut civil)?;
    Some((civil, rest))
}

/// Which of the names `text` begins with.
fn named<'text>(text: &'text [u8], names: &[&[u8]]) -> Option<(usize, &'text [u8])> {
    names
        .iter()
        .enumerate()
        .find_map(|(index, name)| Some((index, text.strip_prefix(*name)?)))
}

/// `Sat Nov 21 10:04:05 2026`, with what `dmesg` may add in `<>`.
fn ctime(text: &[u8]) -> Option<WallTime> {
    let (_, rest) = named(text, &WEEKDAYS)?;
    let (mut civil, rest) = month_day_clock(rest.strip_prefix(b" ")?)?;
    let (year, _) = fixed(rest.strip_prefix(b" ")?, 4)?;
    civil.year = Some(i32::try_from(year).ok()?);
    Some(WallTime::Local(civil))
}

/// `Sat 2026-11-21 10:04:05 UTC`, of `journalctl -o short-full`.
fn full(text: &[u8]) -> Option<(WallTime, &[u8])> {
    let (_, rest) = named(text, &WEEKDAYS)?;
    let (wall, rest) = iso(rest.strip_prefix(b" ")?)?;
    let WallTime::Local(civil) = wall else {
        return Some((wall, rest));
    };
    let after = rest.strip_prefix(b" ")?;
    if let Some(rest) = after.strip_prefix(b"UTC") {
        return Some((zoned(&civil, b"Z").0, rest));
    }
    if matches!(after.first(), Some(b'+' | b'-')) {
        return Some(zoned(&civil, after));
    }
    // A zone's name: only the machine that wrote it knows.
    let end = after.iter().position(|&byte| byte == b' ')?;
    Some((wall, &after[end..]))
}

/// `1763719445.250000`, of `journalctl -o short-unix`.
fn unix(text: &[u8]) -> Option<(WallTime, &[u8])> {
    let (whole, rest) = leading_digits(text);
    let (fraction, rest) = fraction_of(rest.strip_prefix(b".")?)?;
    if whole.len() < 9 {
        return None;
    }
    let seconds = i64::try_from(ascii::parse_u64(whole)?).ok()?;
    let microseconds = seconds
        .checked_mul(1_000_000)?
        .checked_add(i64::from(fraction))?;
    let moment = Moment::from_unix_microseconds(microseconds)?;
    Some((WallTime::At(moment), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(stamp: &str) -> String {
        let line = format!("{stamp} rest");
        let (time, rest) = bare(line.as_bytes()).unwrap_or_else(|| panic!("{stamp}"));
        assert_eq!(rest, b"rest", "{stamp}");
        match time.wall {
            WallTime::At(moment) => moment.to_string(),
            WallTime::Local(civil) => format!("{civil:?}"),
            WallTime::Unknown => "unknown".to_owned(),
        }
    }

    #[test]
    fn times_with_a_zone_are_moments() {
        for stamp in [
            "2026-11-21T10:04:05.250000+01:00",
            "2026-11-21T10:04:05,250000+0100",
            "2026-11-21T09:04:05.25Z",
            "Sat 2026-11-21 09:04:05.250 UTC",
            "Sat 2026-11-21 10:04:05.250 +01",
            "1795251845.250000",
        ] {
            assert_eq!(at(stamp), "2026-11-21T09:04:05.250000Z", "{stamp}");
        }
    }

    #[test]
    fn times_without_a_zone_stay_local() {
        for stamp in [
            "Nov 21 10:04:05",
            "Nov 21 10:04:05.123456",
            "Nov  1 10:04:05",
        ] {
            assert!(at(stamp).contains("year: None, month: 11"), "{stamp}");
        }
        for stamp in ["2026-11-21T10:04:05", "Sat 2026-11-21 10:04:05 CET"] {
            assert!(at(stamp).contains("year: Some(2026), month: 11"), "{stamp}");
        }
    }

    #[test]
    fn brackets_hold_seconds_since_boot_or_a_date() {
        let (time, rest) = bracketed(b"[  123.456789] x").unwrap();
        assert_eq!(time.since_boot, Some(Duration::from_micros(123_456_789)));
        assert_eq!(rest, b"x");
        let (time, _) = bracketed(b"[Sat Nov 21 10:04:05 2026] x").unwrap();
        assert!(matches!(time.wall, WallTime::Local(civil) if civil.year == Some(2026)));
        for relative in ["[Nov21 10:04] x", "[  +0.000002] x", "[<    0.000002>] x"] {
            let (time, rest) = bracketed(relative.as_bytes()).unwrap();
            assert_eq!((time, rest), (LogTime::default(), &b"x"[..]), "{relative}");
        }
    }

    #[test]
    fn a_row_of_a_table_is_no_time() {
        for row in [
            "[    123]     0   123",
            "[  pid  ]   uid",
            "[T123] x",
            "[ 1.2.3] x",
        ] {
            assert_eq!(bracketed(row.as_bytes()), None, "{row}");
        }
    }
}
