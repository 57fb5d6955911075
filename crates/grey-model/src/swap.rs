//! Where pages go when they leave memory: swap devices, zram, zswap.
//!
//! Never adds stored and original sizes together: one is memory, the other is
//! what the memory stands for.

use serde::{Deserialize, Serialize};

use crate::text::KernelText;
use crate::units::Bytes;

/// What kind of place a swap device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SwapKind {
    /// A partition or another block device.
    Partition,
    /// A file.
    File,
    /// Compressed memory.
    Zram,
}

/// A line of `/proc/swaps`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SwapDevice {
    /// The device or file, octal escapes resolved.
    pub path: KernelText,
    /// What it is.
    pub kind: SwapKind,
    /// Its size.
    #[serde(rename = "total_bytes")]
    pub total: Bytes,
    /// What of it is in use.
    #[serde(rename = "used_bytes")]
    pub used: Bytes,
    /// Higher is used first.
    pub priority: i64,
}

/// One initialised zram device.
///
/// # Kernel
/// `/sys/block/zramN/{disksize,mm_stat,comp_algorithm}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Zram {
    /// `zram0`.
    pub name: String,
    /// Its size as a disk.
    #[serde(rename = "disk_size_bytes")]
    pub disk_size: Bytes,
    /// What was written to it and is kept, uncompressed.
    #[serde(rename = "original_bytes")]
    pub original: Bytes,
    /// The same, compressed.
    #[serde(rename = "stored_bytes")]
    pub stored: Bytes,
    /// The memory that it takes, allocator overhead included.
    #[serde(rename = "memory_used_bytes")]
    pub memory_used: Bytes,
    /// The most memory that it may take; `None` without such a limit.
    #[serde(rename = "memory_limit_bytes")]
    pub memory_limit: Option<Bytes>,
    /// Pages of one repeated value, which take no pool memory, a count.
    pub same_pages: Option<u64>,
    /// Pages that did not compress, a count. Since 4.19.
    pub huge_pages: Option<u64>,
    /// The compressor in use.
    pub algorithm: Option<String>,
}

impl Zram {
    /// How many bytes of pages one byte of memory holds; `None` when empty.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        ratio(self.original, self.memory_used)
    }

    /// What surely still fits: up to its memory limit, as if nothing more
    /// compressed. `None` without a limit.
    #[must_use]
    pub fn room(&self) -> Option<Bytes> {
        self.memory_limit
            .map(|limit| limit.saturating_sub(self.memory_used))
    }
}

/// The compressed cache before swap.
///
/// # Kernel
/// `/sys/module/zswap/parameters/`, `Zswap` and `Zswapped` of meminfo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Zswap {
    /// Whether new pages go there.
    pub enabled: bool,
    /// The compressor.
    pub compressor: Option<String>,
    /// The pool's ceiling as a share of memory, in percent.
    pub max_pool_percent: Option<u64>,
    /// The memory that the pool takes. Since 5.19 in meminfo.
    #[serde(rename = "memory_used_bytes")]
    pub memory_used: Option<Bytes>,
    /// What is stored, uncompressed. Since 5.19 in meminfo.
    #[serde(rename = "original_bytes")]
    pub original: Option<Bytes>,
}

impl Zswap {
    /// How many bytes of pages one byte of the pool holds; `None` when unknown or empty.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        ratio(self.original?, self.memory_used?)
    }
}

fn ratio(original: Bytes, stored: Bytes) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    (stored.0 != 0).then(|| original.0 as f64 / stored.0 as f64)
}
