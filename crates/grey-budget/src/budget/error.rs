//! Why bytes were refused, whether waiting would help, and who holds them.
//!
//! Never decides what to do about it.

use std::fmt;
use std::sync::Arc;

use grey_model::Bytes;

use super::settings::Admission;

/// Which limit was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// The whole budget.
    Budget,
    /// The component's own limit.
    Component,
    /// The component's fair share of what others leave.
    FairShare,
    /// The limit of the tenant (project) that the component belongs to.
    Tenant(Arc<str>),
}

impl fmt::Display for Bound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budget => formatter.write_str("the budget"),
            Self::Component => formatter.write_str("its own limit"),
            Self::FairShare => formatter.write_str("its fair share"),
            Self::Tenant(name) => write!(formatter, "the limit of `{name}`"),
        }
    }
}

/// A component and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// The component's name.
    pub name: Arc<str>,
    /// What it has reserved.
    pub reserved: Bytes,
}

/// Bytes were not given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// It never fits, whoever gives back what.
    #[error("failed to reserve {asked} for `{component}`: more than {bound} of {limit}")]
    Exceeds {
        /// Who asked.
        component: Arc<str>,
        /// For how much in all: what it holds in this reservation and more.
        asked: Bytes,
        /// Which limit.
        bound: Bound,
        /// How large that limit is.
        limit: Bytes,
    },
    /// It does not fit now.
    #[error(
        "failed to reserve {asked} for `{component}`: {available} of {bound} of {limit} are free{}{}",
        if *stalled { ", and nobody gave anything back" } else { "" },
        Top(top)
    )]
    Exhausted {
        /// Who asked.
        component: Arc<str>,
        /// For how much.
        asked: Bytes,
        /// How much could have been had.
        available: Bytes,
        /// Which limit.
        bound: Bound,
        /// How large that limit is.
        limit: Bytes,
        /// It was waited for, and nobody made progress: whoever holds the
        /// memory is probably waiting too.
        stalled: bool,
        /// Who holds the most, largest first.
        top: Vec<Consumer>,
    },
    /// New work is not taken at this level.
    #[error("failed to reserve {asked} for `{component}`: {admission}")]
    Shedding {
        /// Who asked.
        component: Arc<str>,
        /// For how much.
        asked: Bytes,
        /// What is still admitted.
        admission: Admission,
    },
    /// This process was forked while a thread of its parent took or gave: the
    /// accounts it has are of no use. It may have a budget of its own.
    #[error("failed to reserve {asked}: the budget is that of the parent process")]
    Forked {
        /// For how much.
        asked: Bytes,
    },
}

impl ReserveError {
    /// Whether the same request may succeed later without anybody changing a
    /// limit: yes when others only have to give back, and while the level keeps
    /// new work out.
    #[must_use]
    pub const fn may_retry(&self) -> bool {
        matches!(self, Self::Shedding { .. }) || self.waiting_helps()
    }

    /// Whether the same request would be served in time by waiting in line. Not
    /// while no new work is taken: a line would only grow then.
    #[must_use]
    pub const fn waiting_helps(&self) -> bool {
        matches!(self, Self::Exhausted { stalled: false, .. })
    }
}

/// Who holds the most, at the end of a message.
struct Top<'a>(&'a [Consumer]);

impl fmt::Display for Top<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, consumer) in self.0.iter().enumerate() {
            let lead = if index == 0 { "; most is held by" } else { "," };
            write!(
                formatter,
                "{lead} `{}` ({})",
                consumer.name, consumer.reserved
            )?;
        }
        Ok(())
    }
}

/// A budget, a component or a tenant cannot be as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// A budget of nothing.
    #[error("failed to make a budget of 0 bytes")]
    Empty,
    /// The guaranteed parts together are more than the whole.
    #[error("failed to guarantee {floors} in all within a budget of {limit}")]
    FloorsExceedLimit {
        /// All floors together, or the most that a number of bytes can say.
        floors: Bytes,
        /// The budget.
        limit: Bytes,
    },
    /// A component is guaranteed more than it may have.
    #[error("failed to guarantee `{component}` {floor}: it may have {limit} at most")]
    FloorAboveLimit {
        /// The component.
        component: Arc<str>,
        /// Its floor.
        floor: Bytes,
        /// Its limit.
        limit: Bytes,
    },
    /// The name is taken by a living component.
    #[error("failed to register `{component}`: a component of that name exists")]
    NameTaken {
        /// The name.
        component: Arc<str>,
    },
    /// There are too many.
    #[error("failed to register `{component}`: there are {most} components already")]
    TooMany {
        /// The name.
        component: Arc<str>,
        /// The most that there may be.
        most: usize,
    },
    /// The tenant belongs to another budget.
    #[error("failed to register `{component}`: its tenant belongs to another budget")]
    ForeignTenant {
        /// The name.
        component: Arc<str>,
    },
}
