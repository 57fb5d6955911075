//! Gathers the facts, has them judged, and shows what was found.
//!
//! Never changes anything, and never fails because something cannot be read.

use grey_model::DoctorFacts;
use grey_policy::doctor::examine;
use grey_telemetry::setup::read_setup;

use super::document::DoctorDocument;
use super::{report, state};
use crate::cli::{DoctorOptions, GlobalOptions};
use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::roots::open_kernel;

/// Runs `doctor`.
///
/// # Errors
/// A [`Failure`] when there is no procfs, or the output cannot be written.
pub(crate) fn run(
    global: &GlobalOptions,
    options: &DoctorOptions,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let kernel = open_kernel(global)?;
    let facts = DoctorFacts {
        setup: read_setup(&kernel),
        state: state::look(global, &kernel),
    };
    let findings = examine(&facts);
    let exit = if findings.iter().any(|finding| finding.state.crosses()) {
        Exit::ThresholdCrossed
    } else {
        Exit::Success
    };
    let document = DoctorDocument::new(global, facts.setup.host, findings, exit);
    if options.json {
        output.json(&document)?;
    } else {
        output.text(&report::render(&document, options.verbose, output.width()))?;
    }
    Ok(exit)
}
