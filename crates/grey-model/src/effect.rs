//! What a step really did.
//!
//! Never claims an effect that was not measured.

use serde::{Deserialize, Serialize};

use crate::units::Bytes;

/// The judgement on a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It did what was asked.
    Worked,
    /// It did a part.
    PartlyWorked,
    /// The write succeeded and nothing came of it.
    NoEffect,
    /// The memory left the target, but compressed swap took nearly as much for
    /// it: the machine gained next to nothing.
    MovedNotFreed,
    /// It was as asked before; nothing was written. A success.
    AlreadySo,
    /// A guard stopped it before the write.
    Refused,
    /// It was set, did not hold or did harm, and was put back.
    Undone,
    /// It ran into its deadline.
    TimedOut,
    /// The write failed.
    Failed,
}

/// A step's effect. Deltas are after less before: negative is less memory in use
/// for `current` and `pss`, positive is more memory available.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Effect {
    /// The action that the step served.
    pub action: String,
    /// What was to be changed, in words.
    pub knob: String,
    /// What was predicted.
    #[serde(rename = "predicted_bytes")]
    pub predicted: Option<Bytes>,
    /// What was freed: the fall of `memory.current`, or of PSS where there is
    /// no cgroup account, or the rise of free memory on the whole machine.
    /// `None` for a change that frees nothing by itself.
    #[serde(rename = "freed_bytes")]
    pub freed: Option<Bytes>,
    /// How much more memory compressed swap (zram, the zswap pool) takes, of
    /// the whole machine; negative when it shrank. `None` without such swap, for
    /// a step that frees nothing, and where it could not be read.
    pub compressed_growth_bytes: Option<i64>,
    /// What the machine gained: freed less the growth of compressed swap, as
    /// far as that is not charged to the measured cgroup already (the zswap
    /// pool is). `None` where either is unknown.
    pub net_freed_bytes: Option<i64>,
    /// Change of MemAvailable, the per-CPU free lists included.
    pub available_delta_bytes: Option<i64>,
    /// Change of the cgroup's `memory.current`.
    pub current_delta_bytes: Option<i64>,
    /// Change of the sum of the processes' PSS.
    pub pss_delta_bytes: Option<i64>,
    /// What came back within the observation time: pages faulted in again
    /// after they had been evicted.
    #[serde(rename = "refaulted_bytes")]
    pub refaulted: Option<Bytes>,
    /// How long the write took, in milliseconds.
    pub took_milliseconds: u64,
    /// The judgement.
    pub verdict: Verdict,
    /// One sentence that explains it.
    pub detail: String,
    /// The journal record that undoes it.
    pub journal_id: Option<u64>,
}
