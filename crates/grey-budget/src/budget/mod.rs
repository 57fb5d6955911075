//! One budget for the whole program, cut into components that are charged
//! together with it.
//!
//! - `account`, `state`: the numbers and the rules.
//! - `core`: the lock that only whole quanta reach.
//! - `component`: what a part of the program holds; the fast path.
//! - `reservation`: bytes that are held until they are dropped.
//! - `wait`: waiting for bytes, in a thread or in a task.
//! - `top`: building, limits and questions.
//!
//! Never calls the program, and never frees anything: it counts, admits and
//! refuses.

mod account;
mod alarm;
mod component;
mod core;
mod error;
mod reservation;
mod settings;
mod state;
mod top;
mod wait;

pub(crate) use alarm::Alarm;
pub use component::Component;
pub use error::{Bound, BudgetError, Consumer, ReserveError};
pub use reservation::Reservation;
pub use settings::{Admission, ComponentBuilder, Tenant};
pub use top::{Budget, BudgetBuilder, ComponentUsage, TenantUsage};
pub use wait::ReserveFuture;

#[cfg(test)]
#[cfg(grey_loom)]
mod loom_tests;
#[cfg(test)]
#[cfg(not(grey_loom))]
mod tests;
