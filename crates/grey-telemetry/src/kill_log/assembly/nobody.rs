//! Reports that end without a victim: the kernel found nobody whom it may kill,
//! or stopped the machine in place of killing.
//!
//! Never takes what a kill's report has for the facts of a panic that comes later.

use grey_model::{
    Constraint, KernelKill, KillRecord, LogTime, LoggedRecord, NobodyKilledRecord, NobodyReason,
};

use super::{Assembly, Printer, Report, SPAN};
use crate::kill_log::apart::is_apart;

impl Assembly {
    /// The kernel found nobody. Whether it stops the machine for that, its next
    /// line says.
    pub(super) fn nobody_to_kill(&mut self, time: LogTime, printer: Printer) {
        self.nobody(time, printer, NobodyReason::NoCandidate, false);
    }

    /// The kernel stops the machine.
    pub(super) fn panicked(&mut self, time: LogTime, printer: Printer, reason: NobodyReason) {
        if reason == NobodyReason::NoCandidate
            && let Some(found) = self.records.back_mut()
            && found.host == printer.host
            && !is_apart(found.time, time, SPAN)
            && let KillRecord::Nobody(nobody) = &mut found.record
            && nobody.report.constraint != Some(Constraint::Cgroup)
        {
            nobody.panicked = true;
            return;
        }
        self.nobody(time, printer, reason, true);
    }

    fn nobody(&mut self, time: LogTime, printer: Printer, reason: NobodyReason, panicked: bool) {
        let open = self
            .present(time, &printer)
            .filter(|&place| !self.open[place].is_finished())
            .and_then(|place| self.open.remove(place));
        let report = match open {
            Some(report) if report.summary.is_none() => report.without_victim(),
            Some(of_a_kill) => {
                self.close(&of_a_kill);
                KernelKill::default()
            }
            None => KernelKill::default(),
        };
        self.record(LoggedRecord {
            time,
            host: printer.host,
            record: KillRecord::Nobody(Box::new(NobodyKilledRecord {
                reason,
                panicked,
                report,
            })),
        });
    }
}

impl Report {
    /// What it says where it ends without a summary, which alone names another
    /// reason than a control group or the machine.
    fn without_victim(&self) -> KernelKill {
        let constraint = if self.memory.is_some() || self.stats_for.is_some() {
            Some(Constraint::Cgroup)
        } else {
            self.has_beginning.then_some(Constraint::Machine)
        };
        KernelKill {
            constraint,
            whole: self.has_beginning,
            ..self.facts(None)
        }
    }
}
