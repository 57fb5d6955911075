//! The diagnosis as people read it: sections in a fixed order.
//!
//! Pure: a document becomes text. Styles are in the text; they go where no
//! terminal is.

use super::document::Diagnosis;
use super::{cgroups, groups, leaks, machine, notes, processes};
use crate::cold;

/// How much to show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Everything.
    pub(crate) verbose: bool,
    /// How many processes and cgroups otherwise.
    pub(crate) top: usize,
    /// The width to stay within; `None` for no limit.
    pub(crate) width: Option<usize>,
}

/// The whole report.
pub(crate) fn render(diagnosis: &Diagnosis, extent: Extent) -> String {
    let mut text = machine::title(diagnosis, extent);
    text.push_str(&machine::totals(diagnosis, extent));
    if diagnosis.targets.is_none() {
        text.push_str(&machine::breakdown(diagnosis, extent));
        // History keeps neither the averages of pressure nor KSM.
        if !diagnosis.recorded {
            text.push_str(&machine::pressure(diagnosis, extent));
        }
        text.push_str(&machine::swap(diagnosis, extent));
        if !diagnosis.recorded {
            text.push_str(&machine::ksm(diagnosis, extent));
        }
    }
    for target in diagnosis.targets.iter().flatten() {
        text.push_str(&processes::target(target, diagnosis, extent));
    }
    text.push_str(&groups::table(diagnosis, extent));
    if diagnosis.groups.is_none() || extent.verbose {
        text.push_str(&processes::table(diagnosis, extent));
    }
    text.push_str(&cgroups::table(diagnosis, extent));
    text.push_str(&cold::report::section(
        diagnosis.cold.as_deref(),
        extent.width,
    ));
    text.push_str(&leaks::report::sections(diagnosis, extent));
    text.push_str(&notes::list(diagnosis, extent));
    text
}
