//! Since when each unit runs, as far as a log tells: since its run before ended,
//! or the machine was booted.
//!
//! Keeps so many units at most, whatever a log holds. What it has forgotten is
//! not known.

use std::collections::HashMap;

use grey_model::{KernelText, KillRecord, LogTime, UnitEvent};

use super::apart::distance;
use super::service::of_unit;

/// The most units that are followed.
const MOST_UNITS: usize = 4096;

/// How systemd ends its last line on a run of a unit. Since systemd 243 there is
/// one for each, and before that no result `oom-kill`.
const ENDS: [&[u8]; 3] = [
    b"Deactivated successfully",
    b"Succeeded",
    b"Failed with result '",
];

/// A machine, where the log names it, and a unit of it.
type Which = (Option<KernelText>, KernelText);

/// Since when each unit can be in its present run.
#[derive(Debug, Default)]
pub(super) struct Runs {
    since: HashMap<Which, LogTime>,
}

impl Runs {
    /// Takes a line of the kernel: with its first, every unit begins anew.
    pub(super) fn kernel_line(&mut self, time: LogTime, host: Option<&KernelText>, text: &[u8]) {
        if text.starts_with(b"Linux version ") {
            self.since.retain(|(of, _), _| of.as_ref() != host);
            self.keep(time, host, b"");
        }
    }

    /// Takes a line of systemd, and puts into its `record` for how long the unit
    /// had run.
    pub(super) fn line(
        &mut self,
        time: LogTime,
        host: Option<&KernelText>,
        text: &[u8],
        record: Option<&mut KillRecord>,
    ) {
        let Some((unit, said)) = of_unit(text) else {
            return;
        };
        if !ENDS.iter().any(|end| said.starts_with(end)) {
            return;
        }
        if let Some(KillRecord::Unit(of_unit)) = record
            && let UnitEvent::FailedByOom { ran_for } = &mut of_unit.event
        {
            let since = |name: &[u8]| self.since.get(&which(host, name));
            let since = since(unit).or_else(|| since(b""));
            *ran_for = since.and_then(|since| distance(*since, time));
        }
        self.keep(time, host, unit);
    }

    /// The machine's boot has no unit's name.
    fn keep(&mut self, time: LogTime, host: Option<&KernelText>, unit: &[u8]) {
        let which = which(host, unit);
        if self.since.len() == MOST_UNITS && !self.since.contains_key(&which) {
            self.since.clear();
        }
        self.since.insert(which, time);
    }
}

fn which(host: Option<&KernelText>, unit: &[u8]) -> Which {
    (host.cloned(), KernelText::from(unit))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::kill_log::KillLog;

    /// For how many seconds each unit of these lines had run that failed for memory.
    fn ran_for(lines: &[(u64, &str)]) -> Vec<Option<u64>> {
        let mut log = KillLog::default();
        for (second, line) in lines {
            log.push(format!("[{second:>5}.000000] {line}\n").as_bytes());
        }
        let records = log.finish().assembled.records;
        let events = records.iter().filter_map(|record| match &record.record {
            KillRecord::Unit(unit) => Some(&unit.event),
            _ => None,
        });
        let ran_for = events.map(|event| match event {
            UnitEvent::FailedByOom { ran_for } => ran_for.map(|ran_for| ran_for.as_secs()),
            other => panic!("{other:?}"),
        });
        ran_for.collect()
    }

    const FAILED: &str = "box systemd[1]: web.service: Failed with result 'oom-kill'.";

    #[test]
    fn a_run_begins_where_the_one_before_it_ended() {
        for end in [
            "Deactivated successfully.",
            "Succeeded.",
            "Failed with result 'exit-code'.",
        ] {
            let end = format!("box systemd[1]: web.service: {end}");
            assert_eq!(ran_for(&[(10, &end), (25, FAILED)]), [Some(15)], "{end}");
        }
        // Its own end is one, too.
        assert_eq!(ran_for(&[(10, FAILED), (17, FAILED)]), [None, Some(7)]);
        // Neither another unit's, nor another machine's, nor what a program says.
        for other in [
            "box systemd[1]: other.service: Succeeded.",
            "far systemd[1]: web.service: Succeeded.",
            "box evil[7]: web.service: Succeeded.",
            "box systemd[1]: web.service: Main process exited, code=exited, status=0/SUCCESS",
        ] {
            assert_eq!(ran_for(&[(10, other), (25, FAILED)]), [None], "{other}");
        }
    }

    #[test]
    fn no_run_is_longer_than_its_boot() {
        let boot = "box kernel: Linux version 6.12.0 (a@b) #1 SMP";
        let end = "box systemd[1]: web.service: Succeeded.";
        assert_eq!(ran_for(&[(1, boot), (25, FAILED)]), [Some(24)]);
        assert_eq!(ran_for(&[(1, end), (5, boot), (25, FAILED)]), [Some(20)]);
        let far = "far kernel: Linux version 6.12.0 (a@b) #1 SMP";
        assert_eq!(ran_for(&[(1, end), (5, far), (25, FAILED)]), [Some(24)]);
    }

    #[test]
    fn however_many_units_end_few_are_kept() {
        let mut runs = Runs::default();
        let time = LogTime {
            since_boot: Some(Duration::from_secs(1)),
            ..LogTime::default()
        };
        for number in 0..3 * MOST_UNITS {
            let line = format!("run-{number}.scope: Deactivated successfully.");
            runs.line(time, None, line.as_bytes(), None);
            assert!(runs.since.len() <= MOST_UNITS);
        }
        assert!(!runs.since.is_empty());
    }
}
