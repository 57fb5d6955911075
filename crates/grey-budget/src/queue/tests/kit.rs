//! What the tests of the queue share: queues, patience, a bell for wakers.
//!
//! Never sleeps.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use grey_model::Bytes;

use crate::budget::{Budget, Component};
use crate::queue::WorkQueue;

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn component(limit: Bytes) -> (Budget, Component) {
    let budget = Budget::new(limit).unwrap();
    let component = budget.component("work").register().unwrap();
    (budget, component)
}

pub(super) fn queue_of(items: u64) -> (Budget, WorkQueue<u64>) {
    let (budget, component) = component(Bytes::from_mib(64));
    (
        budget,
        WorkQueue::builder(component).max_items(items).build(),
    )
}

/// Counts how often it is woken.
#[derive(Default)]
pub(super) struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Bell {
    pub(super) fn rings(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

pub(super) fn poll<F: Future + Unpin>(future: &mut F, bell: &Arc<Bell>) -> Poll<F::Output> {
    poll_with(future, Waker::from(Arc::clone(bell)))
}

pub(super) fn poll_with<F: Future + Unpin>(
    future: &mut F,
    waker: impl Into<Waker>,
) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(&waker.into()))
}
