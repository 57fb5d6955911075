//! Facts about the layer that sheds load.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::*;
use crate::budget::{Admission, Budget};

fn layer<R>(limit: u64, bytes: u64) -> (Budget, ShedLayer<R>) {
    let budget = Budget::new(Bytes(limit)).unwrap();
    let component = budget.component("requests").register().unwrap();
    (budget, ShedLayer::new(component, Bytes(bytes)))
}

#[tokio::test]
async fn a_call_is_charged_until_it_is_answered() {
    let (budget, layer) = layer(1_000, 400);
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let service = ServiceBuilder::new()
        .layer(layer)
        .service(service_fn(move |request: u64| {
            let held = Arc::clone(&held);
            async move {
                held.acquire().await.unwrap().forget();
                Ok::<_, Infallible>(request + 1)
            }
        }));
    let first = tokio::spawn(service.clone().oneshot(1));
    let second = tokio::spawn(service.clone().oneshot(2));
    while budget.reserved() != Bytes(800) {
        tokio::task::yield_now().await;
    }
    // There is no memory for a third; those in flight go on.
    match service.clone().oneshot(3).await {
        Err(ShedError::Shed { asked, source }) => {
            assert_eq!(asked, Bytes(400));
            assert!(source.may_retry());
        }
        other => panic!("{other:?}"),
    }
    gate.add_permits(2);
    assert_eq!(first.await.unwrap().unwrap(), 2);
    assert_eq!(second.await.unwrap().unwrap(), 3);
    assert_eq!(budget.reserved(), Bytes::ZERO);
    gate.add_permits(1);
    assert_eq!(service.oneshot(3).await.unwrap(), 4);
}

#[tokio::test]
async fn nothing_new_is_admitted_at_the_worst_level_and_what_runs_ends() {
    let (budget, layer) = layer(1_000, 10);
    let mut service =
        ServiceBuilder::new()
            .layer(layer)
            .service(service_fn(|request: u64| async move {
                Ok::<_, Infallible>(request)
            }));
    let running = service.ready().await.unwrap().call(1);
    budget.set_admission(Admission::CriticalOnly);
    let refused = service.ready().await.unwrap().call(2).await;
    assert!(matches!(refused, Err(ShedError::Shed { .. })));
    assert_eq!(running.await.unwrap(), 1);
    budget.set_admission(Admission::Open);
    assert_eq!(service.ready().await.unwrap().call(3).await.unwrap(), 3);
}

#[tokio::test]
async fn an_answered_call_gives_its_bytes_back_before_it_is_dropped() {
    let (budget, layer) = layer(1_000, 300);
    let mut service = layer.layer(service_fn(|request: u64| async move {
        Ok::<_, Infallible>(request)
    }));
    let mut call = Box::pin(service.ready().await.unwrap().call(1));
    assert_eq!(call.as_mut().await.unwrap(), 1);
    assert_eq!(budget.reserved(), Bytes::ZERO);
    drop(call);
}

#[tokio::test]
async fn a_call_that_is_dropped_gives_its_bytes_back() {
    let (budget, layer) = layer(1_000, 300);
    let mut service = ServiceBuilder::new()
        .layer(layer)
        .service(service_fn(|_: u64| {
            std::future::pending::<Result<u64, Infallible>>()
        }));
    let call = service.ready().await.unwrap().call(1);
    assert_eq!(budget.reserved(), Bytes(300));
    drop(call);
    assert_eq!(budget.reserved(), Bytes::ZERO);
}

/// Ready only once, as a service with a permit; a clone is not ready.
#[derive(Debug, Default)]
struct Permitted {
    ready: bool,
    polls: Arc<AtomicUsize>,
}

impl Clone for Permitted {
    fn clone(&self) -> Self {
        Self {
            ready: false,
            polls: Arc::clone(&self.polls),
        }
    }
}

impl Service<u64> for Permitted {
    type Response = u64;
    type Error = Infallible;
    type Future = std::future::Ready<Result<u64, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "called without being ready"
        );
        std::future::ready(Ok(request))
    }
}

#[tokio::test]
async fn the_service_that_was_polled_ready_is_the_one_that_is_called() {
    let (_budget, layer) = layer(1_000, 10);
    let mut service = layer.layer(Permitted::default());
    for request in 0..3 {
        let answered = service.ready().await.unwrap().call(request).await;
        assert_eq!(answered.unwrap(), request);
    }
    let clone = service.clone();
    assert_eq!(clone.oneshot(9).await.unwrap(), 9);
}

#[tokio::test]
async fn a_failure_of_the_service_is_told_apart_and_charged_no_longer() {
    let (budget, _) = layer::<u64>(1_000, 10);
    let component = budget.component("weighed").register().unwrap();
    let weighing = ShedLayer::weighing(component, |request: &u64| Bytes(*request));
    let service = weighing.layer(service_fn(|request: u64| async move {
        Err::<u64, _>(std::io::Error::other(format!("request {request}")))
    }));
    let failed = service.clone().oneshot(100).await;
    assert!(matches!(failed, Err(ShedError::Service { .. })));
    let shed = service.oneshot(1_001).await;
    assert!(matches!(shed, Err(ShedError::Shed { .. })));
    assert_eq!(budget.reserved(), Bytes::ZERO);
}
