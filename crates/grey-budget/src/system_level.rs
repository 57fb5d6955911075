//! How full the machine is, and the cgroup: Normal, Moderate, High, Critical.
//!
//! Never acts; it judges, and tells the log.

use std::fmt;
use std::time::Duration;

use grey_model::level::fraction;
use grey_model::{
    Bytes, Levels, MemoryLimit, Percent, Step as _, SystemLevel, Thresholds, Transition,
};

use crate::source::Reading;

/// What is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The machine: `MemTotal` without `MemAvailable`.
    Machine,
    /// The cgroup: its usage without the file cache that goes first, of the
    /// lowest limit above it.
    Cgroup,
}

impl Scope {
    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Cgroup => "cgroup",
        }
    }
}

/// How severe a level is for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth a line when somebody debugs.
    Debug,
    /// A warning.
    Warning,
    /// An error.
    Error,
}

/// What a level calls for.
pub trait SystemLevelAction {
    /// The action, in the words of the operators' guide.
    fn action(self) -> &'static str;
    /// How it stands in the log.
    fn severity(self) -> Severity;
}

impl SystemLevelAction for SystemLevel {
    fn action(self) -> &'static str {
        match self {
            Self::Normal => "Continue normal operation",
            Self::Moderate => "Log warning, continue operation",
            Self::High => "Log warning, trigger monitoring alerts",
            Self::Critical => "Log error, recommend graceful shutdown",
        }
    }

    fn severity(self) -> Severity {
        match self {
            Self::Normal => Severity::Debug,
            Self::Moderate | Self::High => Severity::Warning,
            Self::Critical => Severity::Error,
        }
    }
}

/// How full the fuller of the two is.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct SystemStatus {
    /// The level without any memory of the past.
    pub level: SystemLevel,
    /// What is that full; `None` where neither can be read.
    pub scope: Option<Scope>,
    /// What is used of it.
    pub used: Bytes,
    /// All of it.
    pub total: Bytes,
}

impl SystemStatus {
    /// Judges a reading. Where nothing is known it is calm, and says so in
    /// [`SystemStatus::scope`].
    #[must_use]
    pub fn of(reading: &Reading, thresholds: &Thresholds) -> Self {
        let fullest = [
            (Scope::Machine, machine(reading)),
            (Scope::Cgroup, cgroup(reading)),
        ]
        .into_iter()
        .filter_map(|(scope, usage)| usage.map(|(used, total)| (scope, used, total)))
        .max_by(|a, b| fraction(a.1, a.2).total_cmp(&fraction(b.1, b.2)));
        match fullest {
            Some((scope, used, total)) => Self {
                level: thresholds.level(fraction(used, total)),
                scope: Some(scope),
                used,
                total,
            },
            None => Self {
                level: SystemLevel::Normal,
                scope: None,
                used: Bytes::ZERO,
                total: Bytes::ZERO,
            },
        }
    }

    /// What part is used; `None` where nothing is known.
    #[must_use]
    pub fn percent(&self) -> Option<Percent> {
        self.scope.and(self.used.percent_of(self.total))
    }

    /// What the level calls for.
    #[must_use]
    pub fn action(&self) -> &'static str {
        self.level.action()
    }

    /// Tells the log, at the level's severity.
    pub fn log(&self) {
        match self.level.severity() {
            Severity::Debug => tracing::debug!("{self}"),
            Severity::Warning => tracing::warn!("{self}"),
            Severity::Error => tracing::error!("{self}"),
        }
    }
}

impl fmt::Display for SystemStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(scope), Some(percent)) = (self.scope, self.percent()) else {
            return formatter.write_str("system memory: unknown");
        };
        write!(
            formatter,
            "system memory {}: {percent} of the {} is used ({} of {}): {}",
            self.level,
            scope.name(),
            self.used,
            self.total,
            self.action()
        )
    }
}

fn machine(reading: &Reading) -> Option<(Bytes, Bytes)> {
    let (total, available) = (reading.machine_total?, reading.machine_available?);
    Some((total.saturating_sub(available), total))
}

fn cgroup(reading: &Reading) -> Option<(Bytes, Bytes)> {
    let limit = reading.cgroup_limit.and_then(MemoryLimit::bytes)?;
    let reclaimable = reading.cgroup_reclaimable.unwrap_or(Bytes::ZERO);
    Some((reading.cgroup_usage?.saturating_sub(reclaimable), limit))
}

/// Follows the level over time, with hysteresis and cooldown, and tells the log
/// of each change.
#[derive(Debug, Clone)]
pub struct SystemLevelWatch {
    levels: Levels<SystemLevel>,
}

impl SystemLevelWatch {
    /// Calm, with these thresholds.
    #[must_use]
    pub const fn new(thresholds: Thresholds, cooldown: Duration) -> Self {
        Self {
            levels: Levels::new(thresholds, cooldown),
        }
    }

    /// The level now.
    #[must_use]
    pub const fn current(&self) -> SystemLevel {
        self.levels.current()
    }

    /// Other thresholds, from the next reading on.
    pub const fn set_thresholds(&mut self, thresholds: Thresholds) {
        self.levels.set_thresholds(thresholds);
    }

    /// Takes a reading at `now`. One that knows nothing changes nothing.
    pub fn observe(&mut self, now: Duration, reading: &Reading) -> Option<Transition<SystemLevel>> {
        let mut status = SystemStatus::of(reading, self.levels.thresholds());
        status.scope?;
        let transition = self.levels.observe(now, status.used, status.total)?;
        status.level = transition.to;
        status.log();
        tracing::debug!(
            from = transition.from.name(),
            to = transition.to.name(),
            generation = transition.generation,
            "system memory level changed"
        );
        Some(transition)
    }
}

#[cfg(test)]
#[path = "system_level_tests.rs"]
mod tests;
