//! Processes to which systemd's watchdog had a signal sent, in words.
//!
//! Only what systemd sent right after its watchdog ran out is the watchdog's, and
//! what it sent to the same process after that.

use std::time::Duration;

use grey_model::{KernelText, KillRecord, UnitEvent};

use super::advice::unit_word;
use super::by_others::Sent;
use super::merge::{SAME_SECOND, is_near, when_logged};
use super::{TimedRecord, exit_code, who};

/// How long after the watchdog's signal the same process may be sent another one:
/// the 90 s that a stop may take by default, twice.
const SPAN: Duration = Duration::from_secs(180);

/// Why systemd sent a signal, and what to do; `None` where the watchdog had no part
/// in it. `records` are in the order in which they were logged.
pub(super) fn cause(
    records: &[TimedRecord],
    record: &TimedRecord,
    unit: &KernelText,
    sent: &Sent<'_>,
) -> Option<(String, Vec<String>)> {
    let (mut limit, mut was_sent_one) = (None, false);
    let before = records
        .iter()
        .take_while(|other| !std::ptr::eq(*other, record))
        .filter(|other| other.host == record.host);
    for other in before {
        let KillRecord::Unit(of_unit) = &other.record else {
            continue;
        };
        if of_unit.unit != *unit {
            continue;
        }
        match &of_unit.event {
            UnitEvent::WatchdogRanOut { limit: told } => {
                limit = Some((other, told));
                was_sent_one = false;
            }
            UnitEvent::KilledBySystemd { pid, .. } if *pid == sent.pid => was_sent_one = true,
            _ => {}
        }
    }
    let (ran_out, limit) = limit?;
    let span = if was_sent_one { SPAN } else { SAME_SECOND };
    is_near(when_logged(ran_out), when_logged(record), span).then(|| {
        let why = match (was_sent_one, limit) {
            (true, _) => {
                "it did not end in the time that it has after the signal of systemd's watchdog"
                    .to_owned()
            }
            (false, Some(limit)) => {
                format!("for {limit} it did not tell systemd that it is alive (its watchdog)")
            }
            (false, None) => {
                "it asked systemd's watchdog for that itself (WATCHDOG=trigger)".into()
            }
        };
        let text = format!(
            "systemd sent {} to {} of {unit}: {why}; it was not the out-of-memory killer",
            exit_code::signal_name(sent.signal),
            who(Some(sent.name), Some(sent.pid))
        );
        let advice = unit_word(unit).map(|unit| match (was_sent_one, limit) {
            (true, _) => format!(
                "see how long it may take to end then: systemctl show -p TimeoutAbortUSec -- {unit}"
            ),
            (false, Some(_)) => {
                format!("see how long it may be silent: systemctl show -p WatchdogUSec -- {unit}")
            }
            (false, None) => format!("see what it told before: journalctl --unit={unit}"),
        });
        (text, advice.into_iter().collect())
    })
}
