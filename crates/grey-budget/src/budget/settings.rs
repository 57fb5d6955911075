//! What a component is registered with, and what a budget still admits.
//!
//! Never counts.

use std::fmt;

use grey_model::{Bytes, Level, Priority};

use super::account::Account;
use super::component::Component;
use super::core::SharedCore;
use super::error::BudgetError;
use crate::sync::Arc;

/// What is still admitted. The controller sets it with the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Admission {
    /// Everything that fits.
    #[default]
    Open,
    /// Nothing for components that would only fill up again what was just
    /// freed: those registered as [`refillable`](ComponentBuilder::refillable).
    NoRefill,
    /// Only what is [`Priority::Critical`], so that work in flight can end.
    CriticalOnly,
}

impl Admission {
    /// What a budget admits at `level`.
    #[must_use]
    pub const fn at(level: Level) -> Self {
        match level {
            Level::Normal | Level::Soft => Self::Open,
            Level::Hard => Self::NoRefill,
            Level::Emergency => Self::CriticalOnly,
        }
    }

    /// Whether a component of this kind is given anything now.
    pub(super) fn takes(self, priority: Priority, refillable: bool) -> bool {
        match self {
            Self::Open => true,
            Self::NoRefill => !refillable,
            Self::CriticalOnly => priority == Priority::Critical,
        }
    }

    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Open => 0,
            Self::NoRefill => 1,
            Self::CriticalOnly => 2,
        }
    }

    pub(super) const fn of_code(code: u8) -> Self {
        match code {
            0 => Self::Open,
            1 => Self::NoRefill,
            _ => Self::CriticalOnly,
        }
    }
}

impl fmt::Display for Admission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Open => "everything is admitted",
            Self::NoRefill => "caches may not grow while memory is being freed",
            Self::CriticalOnly => "only critical work is admitted until memory is free again",
        })
    }
}

/// A project, a customer, an agent: whoever several components work for. Its
/// limit bounds them together. Ends with its last handle and component.
#[derive(Debug, Clone)]
pub struct Tenant {
    pub(super) inner: Arc<TenantHandle>,
}

#[derive(Debug)]
pub(super) struct TenantHandle {
    pub(super) core: SharedCore,
    pub(super) index: usize,
    pub(super) name: std::sync::Arc<str>,
    pub(super) priority: Priority,
}

impl Drop for TenantHandle {
    fn drop(&mut self) {
        self.core.forget_tenant(self.index);
    }
}

impl Tenant {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// How dear its things are, unless a component says otherwise.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.inner.priority
    }

    /// What its components have reserved together.
    #[must_use]
    pub fn reserved(&self) -> Bytes {
        self.inner.core.tenant_reserved(self.inner.index)
    }
}

/// A component before it is registered.
#[derive(Debug)]
#[must_use = "a component exists once it is registered"]
pub struct ComponentBuilder {
    core: SharedCore,
    name: std::sync::Arc<str>,
    priority: Option<Priority>,
    floor: Bytes,
    limit: Option<Bytes>,
    fair: bool,
    refillable: bool,
    tenant: Option<Tenant>,
}

impl ComponentBuilder {
    pub(super) fn new(core: SharedCore, name: &str) -> Self {
        Self {
            core,
            name: name.into(),
            priority: None,
            floor: Bytes::ZERO,
            limit: None,
            fair: false,
            refillable: false,
            tenant: None,
        }
    }

    /// How dear its things are; the tenant's priority, or medium, if not said.
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Bytes that are kept for it, whatever others want.
    pub const fn floor(mut self, floor: Bytes) -> Self {
        self.floor = floor;
        self
    }

    /// The most that it may hold.
    pub const fn limit(mut self, limit: Bytes) -> Self {
        self.limit = Some(limit);
        self
    }

    /// It may hold at most an equal part, with all others that are fair and
    /// hold something, of what the rest leaves.
    pub const fn fair(mut self) -> Self {
        self.fair = true;
        self
    }

    /// It only holds what it could do without, such as a cache: refused while
    /// memory is being freed, so that it does not fill up again at once.
    pub const fn refillable(mut self) -> Self {
        self.refillable = true;
        self
    }

    /// Whom it works for.
    pub fn tenant(mut self, tenant: &Tenant) -> Self {
        self.tenant = Some(tenant.clone());
        self
    }

    /// Registers it.
    ///
    /// # Errors
    /// [`BudgetError`], when the floors do not fit or the name is taken.
    pub fn register(self) -> Result<Component, BudgetError> {
        let priority = self
            .priority
            .or(self.tenant.as_ref().map(Tenant::priority))
            .unwrap_or_default();
        if self
            .tenant
            .as_ref()
            .is_some_and(|tenant| !Arc::ptr_eq(&tenant.inner.core, &self.core))
        {
            return Err(BudgetError::ForeignTenant {
                component: self.name,
            });
        }
        let account = Account::new(
            self.name,
            priority,
            self.floor,
            self.limit,
            self.fair,
            self.refillable,
            self.tenant.as_ref().map(|tenant| tenant.inner.index),
        );
        Component::register(self.core, account, self.tenant)
    }
}
