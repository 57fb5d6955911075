//! What grew before a process was killed, as history has it.

use serde::Serialize;

use crate::text::KernelText;
use crate::units::Bytes;

/// What grew in the minutes before a kill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Growth {
    /// Which process.
    pub pid: u32,
    /// Its name.
    pub name: KernelText,
    /// By how much; all that it held where it is new.
    pub growth_bytes: Bytes,
    /// Whether it started in that time: what it held at last is then its growth,
    /// which says less than that of who grew all the time.
    pub is_new: bool,
    /// Whether it was in the cgroup that was at its limit, or below it; `null`
    /// where no cgroup's limit was the reason, or its cgroup is not known.
    pub in_limited_cgroup: Option<bool>,
}

/// The minute before a kill, as the recorder's ring has it: ten readings a second
/// of the machine, and no processes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LastMinute {
    /// The dump's name, for `history --dump`.
    pub dump: String,
    /// How long before the kill its first reading was taken.
    pub covers_seconds: f64,
    /// What was available then; `null` where the kernel did not say.
    pub available_before_bytes: Option<Bytes>,
    /// The least that was available until the kill.
    pub least_available_bytes: Option<Bytes>,
    /// What was in swap at its beginning.
    pub swap_before_bytes: Option<Bytes>,
    /// What was in swap in the last reading before the kill.
    pub swap_bytes: Option<Bytes>,
    /// For how long some task waited for memory until the kill.
    pub stalled_seconds: Option<f64>,
    /// What grew in that time, by the samples of history, in the order of the
    /// kill's own `grew`; `null` where fewer than two of them are of that time.
    pub grew: Option<Vec<Growth>>,
    /// How much of that time these samples cover, from the first to the last;
    /// `null` with `grew`.
    pub grew_covers_seconds: Option<f64>,
}
