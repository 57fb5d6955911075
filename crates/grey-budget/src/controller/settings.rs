//! How the controller behaves, with defaults from the documents.
//!
//! Never changes by itself.

use std::time::Duration;

use grey_model::level::DEFAULT_COOLDOWN;
use grey_model::{Bytes, Level, Priority, Thresholds};

/// How often, how patient, how hard.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ControllerSettings {
    /// Where the levels begin and end.
    pub thresholds: Thresholds,
    /// How long a level lasts at least before a lower one may follow.
    pub cooldown: Duration,
    /// How often the resident set is read.
    pub interval: Duration,
    /// How long an action at a level waits for the next one at the same level,
    /// except above the line of the emergency, where one that helped is followed
    /// by another at the next tick, and above the limit itself, where any is.
    /// Where nobody gives anything the allocator is purged less and less often:
    /// after twice as long each time, up to a minute.
    pub repeat: Duration,
    /// How long one call of a reclaimer or a callback may take. Who takes
    /// longer is left behind and not asked again before it has returned.
    pub call_deadline: Duration,
    /// How long what was given back may take to show in the resident set
    /// before it is asked for again.
    pub settle: Duration,
    /// After how many evictions in a row that the kernel saw nothing of, no
    /// more is evicted for [`Self::futility_pause`]: the memory is elsewhere.
    pub futile_attempts: u32,
    /// How long that pause is.
    pub futility_pause: Duration,
    /// How long those who wait for bytes see no progress before the largest of
    /// them is refused.
    pub stall: Duration,
    /// Whether the levels close the budget to caches (hard) and to everything
    /// that is not critical (emergency).
    pub sheds: bool,
    /// Whether what was spilled is loaded back once the level has been normal
    /// for [`Self::cooldown`], up to
    /// [`LOAD_BACK_HEADROOM`](super::LOAD_BACK_HEADROOM) below the soft level's
    /// end. [`Controller::load_back_now`](super::Controller::load_back_now) works
    /// without it.
    pub loads_back: bool,
}

impl Default for ControllerSettings {
    fn default() -> Self {
        Self {
            thresholds: Thresholds::of::<Level>(),
            cooldown: DEFAULT_COOLDOWN,
            interval: Duration::from_millis(100),
            repeat: Duration::from_secs(1),
            call_deadline: Duration::from_secs(10),
            settle: Duration::from_secs(2),
            futile_attempts: 3,
            futility_pause: Duration::from_secs(30),
            stall: Duration::from_secs(5),
            sheds: true,
            loads_back: true,
        }
    }
}

/// An eviction that somebody asks for.
#[derive(Debug, Clone)]
pub struct EvictionRequest {
    /// How much.
    pub target: Bytes,
    /// Only what is of this priority or lower.
    pub priority_threshold: Priority,
    /// Projects that keep their things.
    pub excluded_projects: Vec<String>,
}

impl EvictionRequest {
    /// Evicts `target` of what is [`Priority::Low`].
    #[must_use]
    pub const fn new(target: Bytes) -> Self {
        Self {
            target,
            priority_threshold: Priority::Low,
            excluded_projects: Vec::new(),
        }
    }

    /// What else may go.
    #[must_use]
    pub const fn up_to(mut self, priority: Priority) -> Self {
        self.priority_threshold = priority;
        self
    }

    /// Whose things stay.
    #[must_use]
    pub fn without(mut self, project: &str) -> Self {
        self.excluded_projects.push(project.to_owned());
        self
    }
}
