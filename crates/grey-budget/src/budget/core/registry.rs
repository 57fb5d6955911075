//! Who is in the budget: components and tenants come and go.
//!
//! Never lets two components have one name, nor floors be more than there is.

use grey_model::Bytes;

use super::{Core, MOST_COMPONENTS};
use crate::budget::account::{Account, Slack, TenantAccount};
use crate::budget::error::BudgetError;
use crate::budget::state::{State, place};
use crate::sync::{Arc, Ordering};

impl Core {
    pub(in crate::budget) fn register(
        &self,
        account: Account,
    ) -> Result<(usize, Arc<Slack>), BudgetError> {
        let mut state = self.state();
        let component = std::sync::Arc::clone(&account.name);
        if state
            .accounts
            .iter()
            .flatten()
            .any(|other| other.name == component)
        {
            return Err(BudgetError::NameTaken { component });
        }
        if let Some(limit) = account.limit.filter(|limit| *limit < account.floor) {
            return Err(BudgetError::FloorAboveLimit {
                component,
                floor: Bytes(account.floor),
                limit: Bytes(limit),
            });
        }
        let floors = state.floors() + u128::from(account.floor);
        State::check_floors(floors, state.limit)?;
        let free = state.accounts.iter().position(Option::is_none);
        if free.is_none() && state.accounts.len() >= MOST_COMPONENTS {
            return Err(BudgetError::TooMany {
                component,
                most: MOST_COMPONENTS,
            });
        }
        let slack = Arc::clone(&account.slack);
        state.committed = state
            .committed
            .saturating_add(u128::from(account.committed()));
        let index = place(&mut state.accounts, account);
        // What is kept for the new one may be what somebody waits for.
        let mut settled = self.note_overdraft(&mut state);
        settled.0.extend(state.refuse_hopeless(&self.waiting).0);
        // Whom those kept from being served.
        settled.0.extend(state.grant(&self.waiting).0);
        drop(state);
        settled.tell();
        Ok((index, slack))
    }

    /// Ends a component: all that it was charged goes back.
    pub(in crate::budget) fn unregister(&self, index: usize) {
        let Some(mut state) = self.accounts() else {
            return;
        };
        let mut granted = state.refuse_waiters_of(index, &self.waiting);
        let charged = state.account(index).charged;
        state.uncharge(index, charged);
        let floor = u128::from(state.account(index).floor);
        state.committed = state.committed.saturating_sub(floor);
        state.accounts[index] = None;
        self.returned.fetch_add(charged, Ordering::Relaxed);
        granted.0.extend(self.note_overdraft(&mut state).0);
        granted.0.extend(state.grant(&self.waiting).0);
        drop(state);
        granted.tell();
    }

    pub(in crate::budget) fn add_tenant(&self, account: TenantAccount) -> usize {
        place(&mut self.state().tenants, account)
    }

    pub(in crate::budget) fn forget_tenant(&self, index: usize) {
        if let Some(mut state) = self.accounts() {
            state.tenants[index] = None;
        }
    }

    pub(in crate::budget) fn tenant_reserved(&self, index: usize) -> Bytes {
        let state = self.state();
        let reserved = state
            .accounts
            .iter()
            .flatten()
            .filter(|account| account.tenant == Some(index))
            .map(Account::reserved)
            .fold(0, u64::saturating_add);
        Bytes(reserved)
    }
}
