//! Reads the journal and shows it. Takes no lock and changes nothing.

use std::time::Duration;

use grey_enforcement::Journal;
use grey_telemetry::proc::boot_id::read_boot_id;
use jiff::tz::TimeZone;
use rustix::time::{ClockId, clock_gettime};

use super::document::{JournalListing, JournaledChange, SCHEMA};
use super::report;
use crate::cli::{GlobalOptions, JournalOptions};
use crate::enforcer::{JournalUse, journal_failure};
use crate::error_document::Ending;
use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::loss::{self, LostRecord};
use crate::output::Output;
use crate::recommend;
use crate::roots::{open_kernel, state_dir};

/// Runs `journal`.
///
/// # Errors
/// A [`Failure`] when the journal is there and cannot be read, or a part of
/// it cannot.
pub(crate) fn run(
    global: &GlobalOptions,
    options: &JournalOptions,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let directory = state_dir(global)?;
    let (mut changes, lost) = listed(global)?;
    let known = changes.len();
    if !options.all {
        changes.retain(JournaledChange::is_open);
    }
    let ended = if lost.is_empty() {
        Ok(Exit::Success)
    } else {
        let exit = Exit::PartlyDone;
        Err(loss::failure(global, exit, &lost, &directory, false))
    };
    let listing = JournalListing {
        schema: SCHEMA,
        changes,
        lost,
        ending: Ending::of(&ended),
    };
    if options.json {
        output.json(&listing)?;
    } else {
        let text = report::render(&listing, known, &TimeZone::system(), output.width());
        output.text(&text)?;
        if known == 0 && global.state_dir.is_none() && !rustix::process::geteuid().is_root() {
            output.hint(&format!(
                "that is the journal of this user, in {}; for root's: sudo {}",
                directory.display(),
                recommend::command(global, "journal")
            ));
        }
    }
    ended
}

/// Every change that the journal knows, oldest first, and what of it is lost.
///
/// # Errors
/// A [`Failure`] when the journal is there and cannot be read.
pub(crate) fn listed(
    global: &GlobalOptions,
) -> Result<(Vec<JournaledChange>, Vec<LostRecord>), Failure> {
    let kernel = open_kernel(global)?;
    let boot = read_boot_id(&kernel, &mut Vec::new()).ok().flatten();
    let (entries, losses) = Journal::list(&state_dir(global)?, boot.as_ref(), uptime())
        .map_err(|error| journal_failure(&error, JournalUse::PutBack))?;
    let changes = entries.into_iter().map(JournaledChange::new).collect();
    Ok((changes, losses.iter().map(LostRecord::new).collect()))
}

/// Time since boot, sleep included.
pub(super) fn uptime() -> Option<Duration> {
    Duration::try_from(clock_gettime(ClockId::Boottime)).ok()
}
