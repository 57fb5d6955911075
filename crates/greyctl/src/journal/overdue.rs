//! Changes that outlived their lease: whoever was to undo them did not.
//!
//! Reads only, and never fails: a journal that cannot be read has no say here.

use std::time::Duration;

use grey_enforcement::{EntryState, Journal, JournalEntry};
use grey_telemetry::Kernel;
use grey_telemetry::proc::boot_id::read_boot_id;

use super::command::uptime;
use crate::cli::GlobalOptions;
use crate::count::counted;
use crate::recommend;
use crate::roots::state_dir;

/// A lease that ended this short a time ago may be being undone right now.
const GRACE: Duration = Duration::from_secs(2);

/// A sentence about the changes of this boot whose lease is over and that
/// still hold; `None` when there are none.
pub(crate) fn overdue(global: &GlobalOptions, kernel: &Kernel) -> Option<String> {
    let count = over_since(global, kernel, GRACE)
        .iter()
        .filter(|entry| entry.state == EntryState::Active)
        .count();
    if count == 0 {
        return None;
    }
    let changes = counted(
        u64::try_from(count).ok()?,
        "change still holds although its",
        "changes still hold although their",
    );
    Some(format!(
        "{changes} lease is over; put back what is left: {}",
        recommend::command(global, "rollback")
    ))
}

/// The changes of this boot that still hold, or were left to somebody else's
/// value, although their lease was over this long ago.
pub(crate) fn over_since(
    global: &GlobalOptions,
    kernel: &Kernel,
    grace: Duration,
) -> Vec<JournalEntry> {
    list(global, kernel, grace).unwrap_or_default()
}

fn list(global: &GlobalOptions, kernel: &Kernel, grace: Duration) -> Option<Vec<JournalEntry>> {
    let boot = read_boot_id(kernel, &mut Vec::new()).ok().flatten()?;
    let then = uptime()?.checked_sub(grace)?;
    let directory = state_dir(global).ok()?;
    let (mut entries, _) = Journal::list(&directory, Some(&boot), Some(then)).ok()?;
    // Of what was undone or is of another boot, no lease is counted.
    entries.retain(|entry| entry.lease_remaining == Some(0));
    Some(entries)
}
