//! What the address space of a process consists of, by kind.
//!
//! Never names single addresses: mappings of one kind and one name are one.

use serde::{Deserialize, Serialize};

use crate::text::KernelText;
use crate::units::Bytes;

/// What a mapping is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MappingKind {
    /// `[heap]`: what grows by `brk`.
    Heap,
    /// The first thread's stack; the others' are anonymous memory.
    Stack,
    /// Private memory without a file, with the name that the program gave it.
    Anonymous,
    /// Memory shared with others: tmpfs, memfd, System V, shared anonymous.
    Shared,
    /// A file, with the pages of it that the program wrote for itself.
    File,
}

impl MappingKind {
    /// What people read.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Stack => "stack",
            Self::Anonymous => "anonymous memory",
            Self::Shared => "shared memory",
            Self::File => "file",
        }
    }
}

/// All mappings of one kind and one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MappedMemory {
    /// What they are of.
    pub kind: MappingKind,
    /// The file's path, or the name that the program gave; `null` without one.
    pub name: Option<KernelText>,
    /// How many there are.
    pub mappings: u64,
    /// Addresses, used or not.
    #[serde(rename = "size_bytes")]
    pub size: Bytes,
    /// Resident memory.
    #[serde(rename = "rss_bytes")]
    pub rss: Bytes,
    /// The same with shared pages divided by their users.
    #[serde(rename = "pss_bytes")]
    pub pss: Bytes,
    /// Resident pages that others map, too.
    #[serde(rename = "shared_bytes")]
    pub shared: Bytes,
    /// In swap.
    #[serde(rename = "swap_bytes")]
    pub swap: Bytes,
}
