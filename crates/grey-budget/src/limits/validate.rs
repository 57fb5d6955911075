//! Does a limit make sense on this machine? Do several together?
//!
//! Never sets anything. What is refused is an error; what is only doubtful is
//! a warning, in the log and in the result.

use std::fmt;

use grey_model::{Bytes, MemoryLimit};

use super::error::{Bounded, LimitError, LimitWarning};
use super::machine::{Gigabytes, Machine};

/// A single limit above this part of what there is leaves too little for the
/// rest of the machine, in percent.
const WARN_ABOVE_PERCENT: u64 = 90;

/// The same for several limits together, in percent.
const WARN_TOGETHER_ABOVE_PERCENT: u64 = 95;

/// Is `limit` positive, within this machine's memory, and within the limit of
/// its control group?
///
/// # Errors
/// [`LimitError`], when it is not.
pub fn validate_memory_limit(limit: Bytes) -> Result<Option<LimitWarning>, LimitError> {
    validate_memory_limit_on(&Machine::read(), limit)
}

/// The same on a machine that was read before, or made up.
///
/// # Errors
/// [`LimitError`], when it is not.
pub fn validate_memory_limit_on(
    machine: &Machine,
    limit: Bytes,
) -> Result<Option<LimitWarning>, LimitError> {
    check_memory_limit(machine, limit).map(|warning| warning.map(warn))
}

/// The same, and nothing is written to the log.
///
/// # Errors
/// [`LimitError`], when it is not.
pub fn check_memory_limit(
    machine: &Machine,
    limit: Bytes,
) -> Result<Option<LimitWarning>, LimitError> {
    if limit == Bytes::ZERO {
        return Err(LimitError::NotPositive {
            gigabytes: "0.00".to_owned(),
        });
    }
    let Some((available, bounded)) = exceeded_or_strictest(machine, limit) else {
        return Ok(Some(LimitWarning::UnknownMachine));
    };
    if limit > available {
        return Err(LimitError::Exceeds {
            limit,
            available,
            bounded,
        });
    }
    Ok(
        is_above(limit, available, WARN_ABOVE_PERCENT).then_some(LimitWarning::NearlyAll {
            limit,
            available,
            bounded,
        }),
    )
}

/// One of several limits: how much, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation<'a> {
    name: Option<&'a str>,
    limit: Bytes,
}

impl From<Bytes> for Allocation<'_> {
    fn from(limit: Bytes) -> Self {
        Self { name: None, limit }
    }
}

impl<'a> From<(&'a str, Bytes)> for Allocation<'a> {
    fn from((name, limit): (&'a str, Bytes)) -> Self {
        Self {
            name: Some(name),
            limit,
        }
    }
}

impl fmt::Display for Allocation<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.name {
            write!(formatter, "{name} ")?;
        }
        Gigabytes(self.limit).fmt(formatter)
    }
}

/// Do several programs with these limits fit side by side, each at its limit?
/// Takes amounts, or pairs of a name and an amount.
///
/// # Errors
/// [`LimitError`], which names each one, when they do not.
pub fn validate_total_allocations<'a, A>(limits: &[A]) -> Result<Option<LimitWarning>, LimitError>
where
    A: Copy + Into<Allocation<'a>>,
{
    validate_total_allocations_on(&Machine::read(), limits)
}

/// The same on a machine that was read before, or made up.
///
/// # Errors
/// [`LimitError`], which names each one, when they do not.
pub fn validate_total_allocations_on<'a, A>(
    machine: &Machine,
    limits: &[A],
) -> Result<Option<LimitWarning>, LimitError>
where
    A: Copy + Into<Allocation<'a>>,
{
    let limits: Vec<Allocation<'a>> = limits.iter().map(|&limit| limit.into()).collect();
    if let Some(index) = limits.iter().position(|one| one.limit == Bytes::ZERO) {
        return Err(LimitError::OneNotPositive {
            place: index + 1,
            count: limits.len(),
            limits: listed(&limits),
        });
    }
    // A sum beyond 64 bits stops at the largest number, which is above any machine.
    let total = limits.iter().map(|one| one.limit).sum();
    let Some((available, bounded)) = exceeded_or_strictest(machine, total) else {
        return Ok(Some(warn(LimitWarning::UnknownMachine)));
    };
    if total > available {
        return Err(LimitError::TotalExceeds {
            total,
            available,
            bounded,
            limits: listed(&limits),
        });
    }
    Ok(
        is_above(total, available, WARN_TOGETHER_ABOVE_PERCENT).then(|| {
            warn(LimitWarning::NearlyAllTogether {
                total,
                available,
                bounded,
                limits: listed(&limits),
            })
        }),
    )
}

/// What `amount` is to be compared with: the machine if it exceeds that, since
/// no container can help then, and otherwise the stricter of the two.
fn exceeded_or_strictest(machine: &Machine, amount: Bytes) -> Option<(Bytes, Bounded)> {
    let system = machine.total().map(|total| (total, Bounded::System));
    let cgroup = machine
        .cgroup_limit()
        .and_then(MemoryLimit::bytes)
        .map(|limit| (limit, Bounded::Cgroup));
    match (system, cgroup) {
        (Some(system), _) if amount > system.0 => Some(system),
        (Some(system), Some(cgroup)) => Some(if cgroup.0 < system.0 { cgroup } else { system }),
        (system, cgroup) => system.or(cgroup),
    }
}

fn is_above(part: Bytes, whole: Bytes, percent: u64) -> bool {
    u128::from(part.get()) * 100 > u128::from(whole.get()) * u128::from(percent)
}

fn warn(warning: LimitWarning) -> LimitWarning {
    tracing::warn!("{warning}");
    warning
}

fn listed(limits: &[Allocation<'_>]) -> String {
    let each: Vec<String> = limits.iter().map(ToString::to_string).collect();
    each.join(" + ")
}
