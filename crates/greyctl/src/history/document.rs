//! `grey.history/v1`: samples as they are published.
//!
//! Plain data. A value that was not read is `null`, never 0.

use std::collections::BTreeMap;

use grey_model::{CgroupField, GroupField, GroupSample, ProcessField, Sample, SystemField};
use grey_telemetry::history::{Dump, History, HistorySpan, Loss, NewerFile};
use schemars::JsonSchema;
use serde::Serialize;

use super::report::dump_state;

/// The name of this document's schema.
pub(crate) const SCHEMA: &str = "grey.history/v1";

/// What history holds, or a part of it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "grey.history/v1")]
pub(crate) struct HistoryDocument {
    /// Always `grey.history/v1`.
    #[schemars(extend("const" = "grey.history/v1"))]
    pub(crate) schema: &'static str,
    /// From when to when there are samples at all, or of a dump its own; `null`
    /// when there are none.
    pub(crate) span: Option<Span>,
    /// The samples that were asked for, in the order in which they were taken.
    pub(crate) samples: Vec<PublishedSample>,
    /// The last minutes before something happened that were kept, each for
    /// `history --dump`.
    pub(crate) dumps: Vec<PublishedDump>,
    /// What of it cannot be read.
    pub(crate) lost: Vec<Lost>,
    /// The files that a newer version has written: they are not read here, and
    /// left as they are.
    pub(crate) newer: Vec<Newer>,
}

/// A file of a newer version.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Newer {
    /// Which.
    pub(crate) file: String,
    /// Its format.
    pub(crate) format: u16,
}

/// A minute of the machine, ten samples a second, that was kept because
/// something happened at its end.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct PublishedDump {
    /// Its name.
    pub(crate) name: String,
    /// Why it was kept: `pressure` or `oom-kill`.
    pub(crate) reason: &'static str,
    /// Its length in bytes.
    pub(crate) bytes: u64,
    /// `whole`; or `damaged`; or `newer`, written by a newer version, which is
    /// not read here; or `unreadable`, where we may not.
    pub(crate) state: &'static str,
    /// When its first sample was taken, in milliseconds since 1970; `null` when
    /// it is not whole.
    pub(crate) from_unix_ms: Option<u64>,
    /// The same of its last.
    pub(crate) until_unix_ms: Option<u64>,
    /// How many it has.
    pub(crate) samples: Option<u32>,
}

/// From when to when there are samples.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Span {
    /// The earliest, in milliseconds since 1970 (UTC).
    pub(crate) from_unix_ms: u64,
    /// The latest.
    pub(crate) until_unix_ms: u64,
    /// How many.
    pub(crate) samples: u64,
}

/// A part of history that cannot be read.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Lost {
    /// In which file.
    pub(crate) file: String,
    /// From which byte of it.
    pub(crate) from_byte: u64,
    /// How many bytes.
    pub(crate) bytes: u64,
    /// What is wrong with them.
    pub(crate) reason: String,
    /// How many samples they were, as far as can be told; 0 where they only repeat
    /// others; `null` where that is unknown.
    pub(crate) samples: Option<u64>,
    /// From when the samples in it were, in milliseconds since 1970; `null`
    /// where that is unknown.
    pub(crate) from_unix_ms: Option<u64>,
    /// Until when.
    pub(crate) until_unix_ms: Option<u64>,
}

/// One sample.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct PublishedSample {
    /// When, in milliseconds since 1970 (UTC), by the machine's clock.
    pub(crate) at_unix_ms: u64,
    /// The same since boot, suspended time included.
    pub(crate) since_boot_ms: u64,
    /// Of which boot; empty where the kernel did not tell.
    pub(crate) boot_id: String,
    /// The machine: each number by its name, with the unit.
    pub(crate) system: BTreeMap<&'static str, Option<u64>>,
    /// The largest processes.
    pub(crate) processes: Vec<PublishedProcess>,
    /// The largest cgroups; `null` in samples that did not read them.
    pub(crate) cgroups: Option<Vec<PublishedCgroup>>,
    /// When they were read, in milliseconds since 1970: with the sample, or where
    /// one moment is shown with the last before it that has some; `null` where
    /// there are none.
    pub(crate) cgroups_at_unix_ms: Option<u64>,
    /// The largest groups of processes, of all that there were, read when the
    /// cgroups were; `null` in samples that did not read them, and in history of
    /// before format 2.
    pub(crate) groups: Option<Vec<PublishedGroup>>,
}

/// All processes of one name in one cgroup, in a sample.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct PublishedGroup {
    /// The kernel's name for each of them.
    pub(crate) name: String,
    /// Their cgroup; `null` where unknown.
    pub(crate) cgroup: Option<String>,
    /// Its numbers by name, with the unit.
    #[serde(flatten)]
    pub(crate) values: BTreeMap<&'static str, Option<u64>>,
}

/// One process in a sample.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct PublishedProcess {
    /// Its pid.
    pub(crate) pid: u32,
    /// When it started, in clock ticks since boot.
    pub(crate) start_time_ticks: u64,
    /// The kernel's name for it.
    pub(crate) name: String,
    /// Its cgroup; `null` where unknown.
    pub(crate) cgroup: Option<String>,
    /// Its numbers by name, with the unit.
    #[serde(flatten)]
    pub(crate) values: BTreeMap<&'static str, Option<u64>>,
}

/// One cgroup in a sample.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct PublishedCgroup {
    /// Its path.
    pub(crate) path: String,
    /// Its numbers by name, with the unit.
    #[serde(flatten)]
    pub(crate) values: BTreeMap<&'static str, Option<u64>>,
}

impl HistoryDocument {
    /// What `history` says beside these samples.
    pub(crate) fn new(history: &History, dumps: &[Dump], samples: Vec<PublishedSample>) -> Self {
        Self {
            schema: SCHEMA,
            span: history.span().map(Into::into),
            samples,
            dumps: dumps.iter().map(Into::into).collect(),
            lost: history.losses().iter().map(Into::into).collect(),
            newer: history.newer().iter().map(Into::into).collect(),
        }
    }

    /// One dump: nothing but what is in it.
    pub(crate) fn of_dump(dump: &Dump, samples: &[Sample]) -> Self {
        let times = || samples.iter().map(|sample| sample.at_unix_ms);
        let span = times().min().zip(times().max());
        Self {
            schema: SCHEMA,
            span: span.map(|(from_unix_ms, until_unix_ms)| Span {
                from_unix_ms,
                until_unix_ms,
                samples: samples.len() as u64,
            }),
            samples: samples.iter().map(Into::into).collect(),
            dumps: vec![dump.into()],
            lost: Vec::new(),
            newer: Vec::new(),
        }
    }
}

impl From<&Dump> for PublishedDump {
    fn from(dump: &Dump) -> Self {
        let holds = dump.holds.as_ref().ok();
        Self {
            name: dump.name.clone(),
            reason: dump.reason.word(),
            bytes: dump.bytes,
            state: dump.holds.as_ref().err().map_or("whole", dump_state),
            from_unix_ms: holds.map(|(from, _, _)| *from),
            until_unix_ms: holds.map(|(_, until, _)| *until),
            samples: holds.map(|(_, _, samples)| *samples),
        }
    }
}

impl From<HistorySpan> for Span {
    fn from(span: HistorySpan) -> Self {
        Self {
            from_unix_ms: span.from_unix_ms,
            until_unix_ms: span.until_unix_ms,
            samples: span.samples,
        }
    }
}

impl From<&NewerFile> for Newer {
    fn from(newer: &NewerFile) -> Self {
        Self {
            file: newer.path.display().to_string(),
            format: newer.format,
        }
    }
}

impl From<&Loss> for Lost {
    fn from(loss: &Loss) -> Self {
        Self {
            file: loss.path.display().to_string(),
            from_byte: loss.from_byte,
            bytes: loss.bytes,
            reason: loss.reason.clone(),
            samples: loss.samples,
            from_unix_ms: loss.between_unix_ms.map(|(from, _)| from),
            until_unix_ms: loss.between_unix_ms.map(|(_, until)| until),
        }
    }
}

impl From<&Sample> for PublishedSample {
    fn from(sample: &Sample) -> Self {
        let utf8 = |text: &[u8]| grey_model::KernelText::from(text).to_utf8();
        let process = |process: &grey_model::ProcessSample| PublishedProcess {
            pid: process.key.id.pid,
            start_time_ticks: process.key.id.start_time_ticks,
            name: process.key.name.to_utf8(),
            cgroup: process
                .key
                .cgroup
                .as_ref()
                .map(|path| utf8(path.as_bytes())),
            values: ProcessField::ALL
                .iter()
                .map(|&field| (field.key(), process.values.get(field)))
                .collect(),
        };
        let group = |group: &grey_model::CgroupSample| PublishedCgroup {
            path: utf8(group.path.as_bytes()),
            values: CgroupField::ALL
                .iter()
                .map(|&field| (field.key(), group.values.get(field)))
                .collect(),
        };
        let processes_together = |group: &GroupSample| PublishedGroup {
            name: group.key.name.to_utf8(),
            cgroup: (group.key.cgroup.as_ref()).map(|path| utf8(path.as_bytes())),
            values: GroupField::ALL
                .iter()
                .map(|&field| (field.key(), group.values.get(field)))
                .collect(),
        };
        let groups = sample.cgroups.as_ref();
        Self {
            at_unix_ms: sample.at_unix_ms,
            since_boot_ms: sample.since_boot_ms,
            boot_id: sample.boot.0.clone(),
            system: SystemField::ALL
                .iter()
                .map(|&field| (field.key(), sample.system.get(field)))
                .collect(),
            processes: sample.processes.iter().map(process).collect(),
            cgroups: groups.map(|groups| groups.iter().map(group).collect()),
            cgroups_at_unix_ms: groups.map(|_| sample.at_unix_ms),
            groups: (sample.groups.as_ref())
                .map(|groups| groups.iter().map(processes_together).collect()),
        }
    }
}
