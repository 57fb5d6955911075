//! One earlier value is put back, and read back from where it counts.
//!
//! Never lets the kernel kill for a limit that is lower than what is used by
//! now, unless forced; and never lets systemd wait for a reclaim that may
//! take long: a process of ours does that first.

use grey_model::{Bytes, CgroupFile, CgroupPath, Knob, KnobValue};

use super::Enforcer;
use crate::disposable::Job;
use crate::journal::{Change, Journal};
use crate::knob::{KnobError, Restored, Saved, is_equivalent, shown};
use crate::measure;

/// A limit that is lower than what is used now: to hold it, the kernel would
/// have to reclaim, and may kill.
struct Squeeze {
    cgroup: CgroupPath,
    file: CgroupFile,
    limit: Bytes,
    usage: Bytes,
}

impl Enforcer {
    /// Restores the value from before the change and checks what is there.
    pub(super) fn put_back(
        &self,
        journal: &Journal,
        change: &Change,
        force: bool,
    ) -> Result<Restored, KnobError> {
        let (knob, before) = (&change.knob, change.before.as_ref());
        let restored = match self.squeeze_of(change, force)? {
            Some(_) if matches!(knob, Knob::CgroupFile { .. }) => {
                match self.write(journal, knob, before, true) {
                    // The limit stands before the kernel reclaims down to it:
                    // what is read back below decides.
                    Ok(())
                    | Err(KnobError::Disposable {
                        timed_out: true, ..
                    }) => Restored::exactly(),
                    Err(error) => return Err(error),
                }
            }
            squeeze => {
                if let Some(squeeze) = squeeze {
                    self.make_room(journal, knob, &squeeze, force)?;
                }
                self.knobs.restore(knob, before, &change.saved, force)?
            }
        };
        // Where a process could not go back to is in the note; a process that
        // has ended since needs no check.
        if restored.note.is_some() && !matches!(knob, Knob::UnitProperty { .. }) {
            return Ok(restored);
        }
        let now = match self.knobs.read(knob) {
            Ok(now) => now,
            Err(error) if error.is_gone() && before.is_none() => None,
            Err(error) => return Err(error),
        };
        if !is_equivalent(knob, before, now.as_ref(), self.kernel.page_size) {
            return Err(KnobError::NotTaken {
                knob: knob.clone(),
                wanted: shown(before),
                found: shown(now.as_ref()),
            });
        }
        self.check_kernel_has(knob, before)?;
        Ok(restored)
    }

    /// Whether a unit's drop-in file and its cgroup are as they were before the
    /// change, so that there is nothing to put back.
    pub(super) fn is_untouched(&self, change: &Change) -> bool {
        let Ok(now) = self.knobs.saved_before(&change.knob) else {
            return false;
        };
        let content = |saved: &Saved| {
            saved
                .drop_in
                .as_ref()
                .map(|drop_in| drop_in.content.clone())
        };
        content(&now) == content(&change.saved)
            && self
                .check_kernel_has(&change.knob, change.before.as_ref())
                .is_ok()
    }

    /// Of a unit's limit: whether the kernel has it, too. A unit that does not
    /// run has no cgroup, and one that nobody limits may have no memory
    /// controller.
    fn check_kernel_has(&self, knob: &Knob, value: Option<&KnobValue>) -> Result<(), KnobError> {
        let (Some((cgroup, file)), Some(value)) = (self.limited(knob)?, value) else {
            return Ok(());
        };
        if !matches!(knob, Knob::UnitProperty { .. }) {
            return Ok(());
        }
        match self.check_unit_limit(knob, file, &cgroup, value) {
            Err(KnobError::Missing { .. }) => Ok(()),
            Err(error) if error.is_gone() => Ok(()),
            other => other,
        }
    }

    /// Which file of which cgroup a limit is in.
    fn limited(&self, knob: &Knob) -> Result<Option<(CgroupPath, CgroupFile)>, KnobError> {
        Ok(match knob {
            Knob::CgroupFile { cgroup, file, .. } => Some((cgroup.clone(), *file)),
            Knob::UnitProperty { unit, property } => self
                .knobs
                .unit_cgroup(unit)?
                .map(|cgroup| (cgroup, property.cgroup_file())),
            _ => None,
        })
    }

    /// Whether restoring a limit would make the kernel reclaim, and so block.
    /// One that would kill is an error, unless forced.
    fn squeeze_of(&self, change: &Change, force: bool) -> Result<Option<Squeeze>, KnobError> {
        let (Some((cgroup, file)), Some(before)) = (self.limited(&change.knob)?, &change.before)
        else {
            return Ok(None);
        };
        let (Ok(limit), Some(usage)) = (
            before.0.parse::<u64>().map(Bytes),
            measure::usage_of(&self.kernel, &cgroup),
        ) else {
            return Ok(None);
        };
        if usage <= limit || self.stands_already(&change.knob, &cgroup, file, before) {
            return Ok(None);
        }
        if file == CgroupFile::MemoryMax && !force {
            return Err(KnobError::InUse {
                knob: change.knob.clone(),
                by: format!(
                    "{cgroup} uses {usage}, and {} of {limit} would kill; reclaim first, or use \
                     force",
                    file.file_name()
                ),
            });
        }
        Ok(Some(Squeeze {
            cgroup,
            file,
            limit,
            usage,
        }))
    }

    /// Whether the kernel has a unit's limit, and only systemd has to be told.
    fn stands_already(
        &self,
        knob: &Knob,
        cgroup: &CgroupPath,
        file: CgroupFile,
        limit: &KnobValue,
    ) -> bool {
        matches!(knob, Knob::UnitProperty { .. })
            && self.check_unit_limit(knob, file, cgroup, limit).is_ok()
    }

    /// Reclaims down to a unit's earlier limit. systemd writes the limit
    /// itself, and is process 1: it must not wait there for the kernel.
    fn make_room(
        &self,
        journal: &Journal,
        knob: &Knob,
        squeeze: &Squeeze,
        force: bool,
    ) -> Result<(), KnobError> {
        let Squeeze {
            cgroup,
            file,
            limit,
            usage,
        } = squeeze;
        let job = Job::Reclaim {
            cgroup: cgroup.clone(),
            amount: usage.saturating_sub(*limit),
            until: Some(*limit),
        };
        // How it ended says less than what is used then.
        self.run_job(journal, job, self.options.deadlines.reclaim, &mut |_, _| {});
        let now = measure::usage_of(&self.kernel, cgroup);
        match now {
            Some(now) if now > *limit && !force => Err(KnobError::InUse {
                knob: knob.clone(),
                by: format!(
                    "{cgroup} uses {now}, which could not be reclaimed, and {} of {limit} would \
                     make systemd wait for it; stop the unit or let it use less first, or use \
                     force",
                    file.file_name()
                ),
            }),
            _ => Ok(()),
        }
    }
}
