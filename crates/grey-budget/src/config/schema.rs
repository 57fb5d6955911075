//! Every key of the configuration, what it means, and how the typed
//! configuration is built of them.
//!
//! A key exists because it is taken here, and nowhere else: so no key and no
//! variable is documented that nothing reads. Reads no file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use grey_model::{Bytes, Level, Priority, SystemLevel, Thresholds};

use super::error::ConfigError;
use super::layers::{Key, Layers, refuse_shared_variables};
use super::origin::{Entry, Origin};
use super::thresholds;
use super::value;
use crate::limits::{LimitKind, LimitWarning, Machine, check_memory_limit};

/// The budget if nobody says otherwise, in MB of 2^20 bytes; at most a quarter
/// of what there is.
const DEFAULT_BUDGET_MB: u64 = 3072;

/// The longest name of a project, in bytes.
const MOST_NAME_BYTES: usize = 128;

/// The most projects.
pub(super) const MOST_PROJECTS: usize = 4096;

/// A configuration that was checked as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The section `memory`.
    pub memory: MemoryConfig,
    /// The section `resources`.
    pub resources: ResourcesConfig,
    pub(super) projects: BTreeMap<String, ProjectConfig>,
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) warnings: Vec<ConfigWarning>,
    pub(super) waiting: Vec<String>,
    pub(super) restart_keys: BTreeSet<String>,
}

/// The section `memory`.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryConfig {
    /// `total_budget_mb`: the whole budget. 3072 MB, or a quarter of the
    /// machine, the control group or the rlimit where that is less.
    pub total_budget: Bytes,
    /// `soft_limit_percent` 0.80, `hard_limit_percent` 0.93,
    /// `emergency_percent` 0.98, all of them fractions of the budget; and where
    /// each ends: `soft_exit_percent`, `hard_exit_percent`,
    /// `emergency_exit_percent`, 0.03 below.
    pub thresholds: Thresholds,
    /// `max_loaded_files`, across all projects: 1000.
    pub max_loaded_files: usize,
    /// `max_cached_queries`, across all projects: 500.
    pub max_cached_queries: usize,
    /// `spill`.
    pub spill: SpillConfig,
    /// `monitoring`.
    pub monitoring: MonitoringConfig,
    /// `project_defaults`: what a project has that says nothing itself.
    pub project_defaults: ProjectConfig,
}

/// The section `memory.spill`. All of it needs a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpillConfig {
    /// `enabled`: true.
    pub enabled: bool,
    /// `directory`: `~/.local/state/grey/spill`, or `/var/tmp/grey-spill` for
    /// who has no home.
    pub directory: PathBuf,
    /// `max_spill_size_mb`: 1000 MB.
    pub max_size: Bytes,
}

/// The section `memory.monitoring`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitoringConfig {
    /// `enabled`: true.
    pub enabled: bool,
    /// `interval_seconds`: 30 s.
    pub interval: Duration,
    /// `alert_on_soft_limit`: true.
    pub alert_on_soft_limit: bool,
    /// `alert_on_hard_limit`: true.
    pub alert_on_hard_limit: bool,
    /// `alert_on_emergency`: true.
    pub alert_on_emergency: bool,
}

impl MonitoringConfig {
    /// Whether reaching `level` is to be told.
    #[must_use]
    pub const fn alerts_on(&self, level: Level) -> bool {
        match level {
            Level::Normal => false,
            Level::Soft => self.alert_on_soft_limit,
            Level::Hard => self.alert_on_hard_limit,
            Level::Emergency => self.alert_on_emergency,
        }
    }
}

/// What a project may have: `projects.NAME.memory`, or `memory` of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProjectConfig {
    /// `max_loaded_files`: 100.
    pub max_loaded_files: usize,
    /// `max_cached_queries`: 50.
    pub max_cached_queries: usize,
    /// `priority`: MEDIUM.
    pub priority: Priority,
}

/// The section `resources`.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourcesConfig {
    /// `memory_log_interval_secs`: 30 s.
    pub memory_log_interval: Duration,
    /// `memory_moderate_pct` 40, `memory_high_pct` 60, `memory_critical_pct`
    /// 80: where the levels of the whole machine begin.
    pub system_thresholds: Thresholds,
    /// `exit_when_critical`: whether a program that is critical shuts down in
    /// good order, so that it is started anew. False.
    pub exit_when_critical: bool,
    /// `event_capacity`: 1000 events. Needs a restart, as all that follow.
    pub event_capacity: usize,
    /// `event_ttl_secs`: 60 s.
    pub event_ttl: Duration,
    /// `work_queue_max`: 10,000 items.
    pub work_queue_max: usize,
    /// `db_pool_size`: 20 connections.
    pub db_pool_size: usize,
    /// `embeddings_cache_size`: 10,000 embeddings.
    pub embeddings_cache_size: usize,
    /// `history_max_ops`, also `crdt_history_max_ops`: 1000 operations.
    pub history_max_ops: usize,
    /// `history_compaction_interval_secs`, also
    /// `crdt_compaction_interval_secs`: 600 s.
    pub history_compaction_interval: Duration,
}

/// Something doubtful that is no error.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ConfigWarning {
    /// A variable that looks like ours and that nothing reads.
    UnknownVariable {
        /// Its whole name.
        variable: String,
    },
    /// Allocations fail before the budget is used up.
    AboveRlimit {
        /// The budget.
        budget: Bytes,
        /// Which limit of the process is lower.
        kind: LimitKind,
        /// What that limit is.
        limit: Bytes,
    },
    /// The budget leaves little of the machine, or could not be compared.
    Budget {
        /// Why.
        warning: LimitWarning,
    },
}

impl std::fmt::Display for ConfigWarning {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownVariable { variable } => {
                write!(
                    formatter,
                    "nothing reads the environment variable `{variable}`"
                )
            }
            Self::AboveRlimit {
                budget,
                kind,
                limit,
            } => write!(
                formatter,
                "memory.total_budget_mb: {budget} is above {kind} of this process, {limit}"
            ),
            Self::Budget { warning } => write!(formatter, "memory.total_budget_mb: {warning}"),
        }
    }
}

impl Config {
    /// What the project `name` may have; the defaults for one that nothing is
    /// said about.
    #[must_use]
    pub fn project(&self, name: &str) -> ProjectConfig {
        let known = self.projects.get(name).copied();
        known.unwrap_or(self.memory.project_defaults)
    }

    /// The projects that something is said about.
    pub fn projects(&self) -> impl Iterator<Item = (&str, &ProjectConfig)> {
        self.projects
            .iter()
            .map(|(name, project)| (name.as_str(), project))
    }

    /// Every key with its value as text and where that comes from.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries
            .iter()
            .map(|(key, entry)| (key.as_str(), entry))
    }

    /// Where the value of `key` comes from; `None` for what is no key.
    #[must_use]
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.entries.get(key).map(|entry| &entry.origin)
    }

    /// What is doubtful.
    #[must_use]
    pub fn warnings(&self) -> &[ConfigWarning] {
        &self.warnings
    }

    /// Keys whose value in the files waits for a restart: the running program
    /// keeps the one that it was started with.
    #[must_use]
    pub fn waiting_for_restart(&self) -> &[String] {
        &self.waiting
    }

    /// The keys that a program which was started with this configuration would
    /// have to be restarted for to get `other`'s values, sorted.
    #[must_use]
    pub fn restart_required_for(&self, other: &Self) -> Vec<String> {
        let differs = |key: &&String| {
            let text = |config: &Self| config.entries.get(*key).map(|entry| entry.text.clone());
            other.waiting.contains(*key) || text(self) != text(other)
        };
        self.restart_keys.iter().filter(differs).cloned().collect()
    }

    /// Takes every key out of the layers.
    pub(super) fn build(
        mut layers: Layers<'_>,
        machine: &Machine,
        home: Option<&str>,
    ) -> Result<Self, ConfigError> {
        let projects = layers.projects();
        let mut warnings = Vec::new();
        let memory = build_memory(&mut layers, machine, home, &mut warnings)?;
        let resources = build_resources(&mut layers)?;
        layers.allow_section(&["projects"]);
        if projects.len() > MOST_PROJECTS {
            return Err(ConfigError::TooManyProjects {
                most: MOST_PROJECTS,
            });
        }
        refuse_shared_variables(&projects)?;
        let projects = projects
            .into_iter()
            .map(|(name, origin)| {
                let project = build_project(&mut layers, &name, origin)?;
                Ok((name, project))
            })
            .collect::<Result<_, ConfigError>>()?;
        layers.refuse_the_rest()?;
        let unknown = layers.unknown_variables().into_iter();
        warnings.extend(unknown.map(|variable| ConfigWarning::UnknownVariable { variable }));
        Ok(Self {
            memory,
            resources,
            projects,
            entries: layers.entries,
            warnings,
            waiting: layers.waiting,
            restart_keys: layers.restart_keys,
        })
    }
}

fn default(text: impl ToString) -> Entry {
    Entry {
        text: text.to_string(),
        origin: Origin::Default,
    }
}

fn build_memory(
    layers: &mut Layers<'_>,
    machine: &Machine,
    home: Option<&str>,
    warnings: &mut Vec<ConfigWarning>,
) -> Result<MemoryConfig, ConfigError> {
    let total_budget = build_budget(layers, machine, warnings)?;
    let thresholds = thresholds::of_budget(layers)?;
    let files = Key::new("memory.max_loaded_files", "MEMORY_MAX_LOADED_FILES");
    let queries = Key::new("memory.max_cached_queries", "MEMORY_MAX_CACHED_QUERIES");
    Ok(MemoryConfig {
        total_budget,
        thresholds,
        max_loaded_files: layers.take(&files, default(1000), value::count)?,
        max_cached_queries: layers.take(&queries, default(500), value::count)?,
        spill: build_spill(layers, home)?,
        monitoring: build_monitoring(layers)?,
        project_defaults: build_project_defaults(layers)?,
    })
}

fn build_budget(
    layers: &mut Layers<'_>,
    machine: &Machine,
    warnings: &mut Vec<ConfigWarning>,
) -> Result<Bytes, ConfigError> {
    let bounds = [machine.bound(), machine.rlimit().map(|(_, limit)| limit)];
    let bound = bounds.into_iter().flatten().min();
    let quarter = bound.map(|bound| (bound.get() / 4) >> 20);
    let most = quarter.map_or(DEFAULT_BUDGET_MB, |quarter| quarter.max(1));
    let key = Key::new("memory.total_budget_mb", "MEMORY_TOTAL_BUDGET_MB");
    let budget = layers.take(&key, default(DEFAULT_BUDGET_MB.min(most)), value::megabytes)?;
    let entry = &layers.entries[&key.dotted()];
    let warning = check_memory_limit(machine, budget).map_err(|source| ConfigError::Budget {
        key: key.dotted(),
        text: entry.text.clone(),
        origin: entry.origin.clone(),
        source: Box::new(source),
    })?;
    warnings.extend(warning.map(|warning| ConfigWarning::Budget { warning }));
    if let Some((kind, limit)) = machine.rlimit()
        && budget > limit
    {
        warnings.push(ConfigWarning::AboveRlimit {
            budget,
            kind,
            limit,
        });
    }
    Ok(budget)
}

fn build_spill(layers: &mut Layers<'_>, home: Option<&str>) -> Result<SpillConfig, ConfigError> {
    let enabled = Key::new("memory.spill.enabled", "MEMORY_SPILL_ENABLED").needs_restart();
    let directory = Key::new("memory.spill.directory", "MEMORY_SPILL_DIRECTORY").needs_restart();
    let size = Key::new(
        "memory.spill.max_spill_size_mb",
        "MEMORY_SPILL_MAX_SPILL_SIZE_MB",
    )
    .needs_restart();
    let has_home = home.is_some_and(|home| home.starts_with('/'));
    let place = if has_home {
        "~/.local/state/grey/spill"
    } else {
        "/var/tmp/grey-spill"
    };
    Ok(SpillConfig {
        enabled: layers.take(&enabled, default(true), value::flag)?,
        directory: layers.take(&directory, default(place), |text| {
            value::directory(text, home)
        })?,
        max_size: layers.take(&size, default(1000), value::megabytes)?,
    })
}

fn build_monitoring(layers: &mut Layers<'_>) -> Result<MonitoringConfig, ConfigError> {
    let key = |last: &str, variable: &str| {
        Key::new(
            &format!("memory.monitoring.{last}"),
            &format!("MEMORY_MONITORING_{variable}"),
        )
    };
    let enabled = key("enabled", "ENABLED");
    let interval = key("interval_seconds", "INTERVAL_SECONDS");
    let soft = key("alert_on_soft_limit", "ALERT_ON_SOFT_LIMIT");
    let hard = key("alert_on_hard_limit", "ALERT_ON_HARD_LIMIT");
    let emergency = key("alert_on_emergency", "ALERT_ON_EMERGENCY");
    Ok(MonitoringConfig {
        enabled: layers.take(&enabled, default(true), value::flag)?,
        interval: layers.take(&interval, default(30), value::seconds)?,
        alert_on_soft_limit: layers.take(&soft, default(true), value::flag)?,
        alert_on_hard_limit: layers.take(&hard, default(true), value::flag)?,
        alert_on_emergency: layers.take(&emergency, default(true), value::flag)?,
    })
}

fn build_project_defaults(layers: &mut Layers<'_>) -> Result<ProjectConfig, ConfigError> {
    let key = |last: &str, variable: &str| {
        Key::new(
            &format!("memory.project_defaults.{last}"),
            &format!("MEMORY_PROJECT_DEFAULTS_{variable}"),
        )
    };
    let files = key("max_loaded_files", "MAX_LOADED_FILES");
    let queries = key("max_cached_queries", "MAX_CACHED_QUERIES");
    let priority = key("priority", "PRIORITY");
    Ok(ProjectConfig {
        max_loaded_files: layers.take(&files, default(100), value::count)?,
        max_cached_queries: layers.take(&queries, default(50), value::count)?,
        priority: layers.take(&priority, default(Priority::Medium), value::priority)?,
    })
}

/// What the project does not say is taken from the defaults, and so is where
/// it comes from.
fn build_project(
    layers: &mut Layers<'_>,
    name: &str,
    origin: Origin,
) -> Result<ProjectConfig, ConfigError> {
    if name.is_empty() || name.len() > MOST_NAME_BYTES {
        return Err(ConfigError::ProjectName {
            name: name.to_owned(),
            origin,
            most: MOST_NAME_BYTES,
        });
    }
    let inherited = |layers: &Layers<'_>, last: &str| {
        layers.entries[&format!("memory.project_defaults.{last}")].clone()
    };
    let files = inherited(layers, "max_loaded_files");
    let queries = inherited(layers, "max_cached_queries");
    let priority = inherited(layers, "priority");
    let key = |last| Key::of_project(name, last);
    layers.allow_section(&["projects", name, "memory"]);
    Ok(ProjectConfig {
        max_loaded_files: layers.take(&key("max_loaded_files"), files, value::count)?,
        max_cached_queries: layers.take(&key("max_cached_queries"), queries, value::count)?,
        priority: layers.take(&key("priority"), priority, value::priority)?,
    })
}

fn build_resources(layers: &mut Layers<'_>) -> Result<ResourcesConfig, ConfigError> {
    let key = |last: &str, variable: &str| Key::new(&format!("resources.{last}"), variable);
    let log = key("memory_log_interval_secs", "MEMORY_LOG_INTERVAL");
    let exit = key("exit_when_critical", "EXIT_WHEN_CRITICAL");
    let capacity = key("event_capacity", "EVENT_CAPACITY").needs_restart();
    let ttl = key("event_ttl_secs", "EVENT_TTL").needs_restart();
    let queue = key("work_queue_max", "WORK_QUEUE_MAX").needs_restart();
    let pool = key("db_pool_size", "DB_POOL_SIZE").needs_restart();
    let embeddings = key("embeddings_cache_size", "EMBEDDINGS_CACHE_SIZE").needs_restart();
    let history = key("history_max_ops", "HISTORY_MAX_OPS")
        .alias("crdt_history_max_ops")
        .needs_restart();
    let compaction = key(
        "history_compaction_interval_secs",
        "HISTORY_COMPACTION_INTERVAL",
    )
    .alias("crdt_compaction_interval_secs")
    .needs_restart();
    Ok(ResourcesConfig {
        memory_log_interval: layers.take(&log, default(30), value::seconds)?,
        system_thresholds: thresholds::of_machine::<SystemLevel>(layers)?,
        exit_when_critical: layers.take(&exit, default(false), value::flag)?,
        event_capacity: layers.take(&capacity, default(1000), value::count)?,
        event_ttl: layers.take(&ttl, default(60), value::seconds)?,
        work_queue_max: layers.take(&queue, default(10_000), value::count)?,
        db_pool_size: layers.take(&pool, default(20), value::count)?,
        embeddings_cache_size: layers.take(&embeddings, default(10_000), value::count)?,
        history_max_ops: layers.take(&history, default(1000), value::count)?,
        history_compaction_interval: layers.take(&compaction, default(600), value::seconds)?,
    })
}
