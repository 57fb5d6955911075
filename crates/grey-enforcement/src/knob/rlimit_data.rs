//! A process's RLIMIT_DATA, as `soft:hard`.
//!
//! Never raises a hard limit by mistake: both numbers are written as they were
//! read. Frees nothing by itself.

use grey_model::{Knob, KnobValue, ProcessId};
use grey_telemetry::{Kernel, ascii};
use rustix::process::{Pid, Resource, Rlimit};

use super::held::HeldProcess;
use super::{KnobError, Restored, clipped};

/// # Kernel
/// The row `Max data size` of `/proc/PID/limits`, in bytes.
pub(super) fn read(kernel: &Kernel, process: ProcessId) -> Result<Option<KnobValue>, KnobError> {
    let text = HeldProcess::open(kernel, process)?.read("limits")?;
    parse_limits(&text)
        .map(Some)
        .ok_or_else(|| KnobError::Malformed {
            what: format!("/proc/{process}/limits"),
            found: clipped(&text),
        })
}

/// `prlimit(2)` takes a pid: the process is held, and checked before and after.
pub(super) fn set(kernel: &Kernel, process: ProcessId, value: &KnobValue) -> Result<(), KnobError> {
    let knob = Knob::RlimitData { process };
    let bad = || KnobError::BadValue {
        knob: knob.clone(),
        value: value.0.clone(),
    };
    let limit = parse_value(&value.0).ok_or_else(bad)?;
    let pid = i32::try_from(process.pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(bad)?;
    let held = HeldProcess::open(kernel, process)?;
    rustix::process::prlimit(Some(pid), Resource::Data, limit).map_err(|errno| match errno {
        rustix::io::Errno::SRCH => KnobError::ProcessGone { process },
        _ => KnobError::Write {
            path: format!("/proc/{process}/limits").into(),
            value: value.0.clone(),
            source: errno.into(),
        },
    })?;
    held.check()
}

/// # Undo
/// Both limits as they were. Raising a hard limit back needs CAP_SYS_RESOURCE.
pub(super) fn restore(
    kernel: &Kernel,
    process: ProcessId,
    before: &KnobValue,
) -> Result<Restored, KnobError> {
    set(kernel, process, before).map(|()| Restored::exactly())
}

fn parse_limits(text: &[u8]) -> Option<KnobValue> {
    let row = ascii::lines(text).find_map(|line| line.strip_prefix(b"Max data size"))?;
    let mut words = ascii::words(row);
    let (soft, hard) = (words.next()?, words.next()?);
    let text = format!(
        "{}:{}",
        std::str::from_utf8(soft).ok()?,
        std::str::from_utf8(hard).ok()?
    );
    parse_value(&text).map(|_| KnobValue(text))
}

fn parse_value(text: &str) -> Option<Rlimit> {
    let (soft, hard) = text.split_once(':')?;
    let number = |text: &str| match text {
        "unlimited" => Some(None),
        digits => ascii::parse_u64(digits.as_bytes()).map(Some),
    };
    let (current, maximum) = (number(soft)?, number(hard)?);
    if current.unwrap_or(u64::MAX) > maximum.unwrap_or(u64::MAX) {
        return None;
    }
    Some(Rlimit { current, maximum })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_of_the_data_segment_is_read() {
        let text =
            b"Limit                     Soft Limit           Hard Limit           Units     \n\
            Max cpu time              unlimited            unlimited            seconds   \n\
            Max data size             1048576              unlimited            bytes     \n";
        assert_eq!(
            parse_limits(text),
            Some(KnobValue("1048576:unlimited".to_owned()))
        );
        assert_eq!(parse_limits(b"Max data size  x y bytes\n"), None);
        assert_eq!(parse_limits(b""), None);
    }

    #[test]
    fn a_soft_limit_above_the_hard_one_is_no_value() {
        assert!(parse_value("unlimited:5").is_none());
        assert!(parse_value("6:5").is_none());
        assert!(parse_value("5:5").is_some());
        assert!(parse_value("5").is_none());
    }
}
