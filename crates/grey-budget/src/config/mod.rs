//! The configuration: one global file, one for each project that wants to be
//! different, and variables over both; reloaded while the program runs.
//!
//! ```yaml
//! memory:
//!   total_budget_mb: 3072
//!   soft_limit_percent: 0.80
//!   spill:
//!     directory: "~/.local/state/grey/spill"
//!   project_defaults:
//!     priority: "MEDIUM"
//! resources:
//!   work_queue_max: 10000
//! projects:
//!   core-api:
//!     memory:
//!       priority: "HIGH"
//! ```
//!
//! A key that nothing reads is an error with its line. MB are of 2^20 bytes.
//! The variable of `memory.spill.enabled` is `GREY_MEMORY_SPILL_ENABLED`; those
//! of `resources` have no section in their name (`GREY_WORK_QUEUE_MAX`); that
//! of a project is `GREY_PROJECTS_CORE_API_MEMORY_PRIORITY`.
//!
//! A configuration is built and checked whole, then swapped in; one that is
//! wrong changes nothing, and neither does a file that says nothing where it said
//! something (it is being written): to go back to the defaults, restart. Nor does
//! one whose budget is below what the manager's components were promised. Nothing here acts on a value: observers do, and a
//! [`MemoryManager`](crate::MemoryManager) that is made from it is one.
//!
//! | Key | What it decides | A reload |
//! |---|---|---|
//! | `memory.total_budget_mb`, `*_percent` | the manager's budget and levels | applies |
//! | `memory.max_loaded_files`, `max_cached_queries` | what its status calls exceeded and it cleans up for | applies |
//! | `memory.monitoring` | whether and how often it looks, and of which levels it tells | applies |
//! | `memory.spill` | its store | needs a restart |
//! | `memory.project_defaults`, `projects` | [`Config::project`], [`Config::tenant`]; the program asks | applies to who asks again |
//! | `resources.memory_log_interval_secs`, `memory_*_pct`, `exit_when_critical` | its log, the levels of the machine, whether critical ends the program | applies |
//! | the rest of `resources` | what [`Config::work_queue_builder`] and the like make | needs a restart |

mod error;
mod file_watch;
mod fingerprint;
mod handle;
mod layers;
mod loader;
mod observer;
mod origin;
mod schema;
mod signal_watch;
mod sizes;
mod thresholds;
mod value;
mod yaml;

#[cfg(test)]
mod tests;

pub use error::{ConfigError, ValueError};
pub use file_watch::{FileWatch, WatchFileError};
pub(crate) use handle::Fit;
pub use handle::{ConfigHandle, ReloadResult};
pub use loader::{ConfigLoader, DEFAULT_PREFIX};
pub use observer::{ConfigObserver, ConfigReloaded, ObserverGuard, ReloadFailed, TooManyObservers};
pub use origin::{Entry, Origin};
pub use schema::{
    Config, ConfigWarning, MemoryConfig, MonitoringConfig, ProjectConfig, ResourcesConfig,
    SpillConfig,
};
pub use signal_watch::{SignalWatch, WatchSignalError};
