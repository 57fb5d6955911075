//! The minute before a kill, from the dumps that a recorder has kept.
//!
//! Best effort: a dump that cannot be read tells nothing here; `history` and
//! `doctor` say so. Never takes a reading after the kill for one before it.

use std::path::PathBuf;

use grey_model::{Bytes, LastMinute, Sample, SystemField};
use grey_telemetry::history::{Dump, dumps, read_dump};

use super::grown::Grown;

/// The dumps that can be read.
pub(super) struct Minutes {
    folder: PathBuf,
    there: Vec<Dump>,
}

impl Minutes {
    /// The dumps of the history in `folder`.
    pub(super) fn open(folder: PathBuf) -> Self {
        let mut there = dumps(&folder).unwrap_or_default();
        there.retain(|dump| dump.holds.is_ok());
        Self { folder, there }
    }

    /// The minute before `at_unix_ms`; `None` where no dump covers it. `grown`
    /// tells who grew since a moment.
    pub(super) fn before(
        &self,
        at_unix_ms: u64,
        grown: impl FnOnce(u64) -> Option<Grown>,
    ) -> Option<LastMinute> {
        let covering = self.there.iter().filter_map(|dump| {
            let (from, until, _) = dump.holds.as_ref().ok()?;
            (*from < at_unix_ms && at_unix_ms <= *until).then_some((*from, dump))
        });
        // The one that has most of the time before.
        let (_, dump) = covering.min_by_key(|(from, _)| *from)?;
        let mut samples = read_dump(&self.folder, &dump.name).ok()?;
        samples.retain(|sample| sample.at_unix_ms <= at_unix_ms);
        let from = samples.first()?.at_unix_ms;
        let known = |field| values(&samples, field);
        let bytes = |value: Option<&u64>| value.copied().map(Bytes);
        let available = known(SystemField::Available);
        let swap = known(SystemField::SwapUsed);
        let stalled = known(SystemField::PressureSome);
        let stalled = stalled.first().zip(stalled.last());
        let (grew, grew_covers_seconds) = grown(from).map(Grown::parts).unzip();
        Some(LastMinute {
            dump: dump.name.clone(),
            covers_seconds: seconds(at_unix_ms.saturating_sub(from).saturating_mul(1000)),
            available_before_bytes: bytes(available.first()),
            least_available_bytes: bytes(available.iter().min()),
            swap_before_bytes: bytes(swap.first()),
            swap_bytes: bytes(swap.last()),
            stalled_seconds: stalled.map(|(first, last)| seconds(last.saturating_sub(*first))),
            grew,
            grew_covers_seconds,
        })
    }
}

/// What is known of `field`, in the order of taking.
fn values(samples: &[Sample], field: SystemField) -> Vec<u64> {
    let each = samples.iter();
    each.filter_map(|sample| sample.system.get(field)).collect()
}

fn seconds(microseconds: u64) -> f64 {
    std::time::Duration::from_micros(microseconds).as_secs_f64()
}
