//! Kernel same-page merging.
//!
//! Never counts what KSM saves as memory that exists: it stands beside the
//! breakdown, not in it.

use serde::{Deserialize, Serialize};

use crate::units::{Bytes, PageSize, Pages};

/// The state of KSM.
///
/// # Kernel
/// `/sys/kernel/mm/ksm/`, `Documentation/admin-guide/mm/ksm.rst`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KsmState {
    /// 0 stopped, 1 running, 2 unmerging.
    pub run: Option<u64>,
    /// Pages looked at in each turn.
    pub pages_to_scan: Option<u64>,
    /// Pause between turns, in milliseconds.
    pub sleep_milliseconds: Option<u64>,
    /// `none` or `scan-time`. Since 6.8.
    pub advisor_mode: Option<String>,
    /// Merged pages that exist: what KSM keeps.
    pub pages_shared: Option<Pages>,
    /// Further places that use them: what KSM saves.
    pub pages_sharing: Option<Pages>,
    /// Looked at and unique.
    pub pages_unshared: Option<Pages>,
    /// Changing too fast to be merged.
    pub pages_volatile: Option<Pages>,
    /// Zero pages merged into the kernel's own. Since 6.6.
    pub zero_pages: Option<Pages>,
    /// Complete scans since boot.
    pub full_scans: Option<u64>,
    /// What is saved less the cost of KSM's own records, in bytes; negative
    /// when it costs more than it saves. Since 6.4.
    pub general_profit_bytes: Option<i64>,
}

impl KsmState {
    /// What would have to be allocated if everything were unmerged now.
    #[must_use]
    pub fn saved(&self, page_size: PageSize) -> Option<Bytes> {
        let zero = self.zero_pages.unwrap_or_default().bytes(page_size);
        self.pages_sharing
            .map(|pages| pages.bytes(page_size).saturating_add(zero))
    }
}

/// One process's part in KSM.
///
/// # Kernel
/// `/proc/PID/ksm_stat`, since 6.1 (without what is read here); read by key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessKsm {
    /// Its pages that are merged. Since 6.4.
    pub merging_pages: Option<Pages>,
    /// Its pages that are merged with the zero page. Since 6.6.
    pub zero_pages: Option<Pages>,
    /// What it saves less its cost, in bytes. Since 6.4.
    pub profit_bytes: Option<i64>,
}
