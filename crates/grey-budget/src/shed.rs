//! A layer for tower services that refuses calls while the program is short of
//! memory, and charges those that it lets through until they are answered.
//!
//! Never breaks off a call that is in flight, and never makes a caller wait for
//! memory: whoever comes when there is none is told so at once.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use grey_model::Bytes;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::budget::{Component, Reservation, ReserveError};

/// Tells what a request weighs.
type Weigher<R> = Arc<dyn Fn(&R) -> Bytes + Send + Sync>;

/// A call was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShedError<E> {
    /// It was refused before the service saw it: there is no memory for it, or
    /// nothing new is admitted. It may be sent again elsewhere.
    #[error("failed to admit a request of {asked}")]
    Shed {
        /// What it would have been charged.
        asked: Bytes,
        /// Why it was refused.
        #[source]
        source: ReserveError,
    },
    /// The service failed.
    #[error("failed to answer a request")]
    Service {
        /// How.
        #[source]
        source: E,
    },
}

/// Makes services that shed load.
pub struct ShedLayer<R> {
    component: Component,
    weigh: Weigher<R>,
}

impl<R> ShedLayer<R> {
    /// Charges each call `bytes` of `component` until it is answered.
    #[must_use]
    pub fn new(component: Component, bytes: Bytes) -> Self {
        Self::weighing(component, move |_| bytes)
    }

    /// Charges each call what `weigh` tells, until it is answered.
    #[must_use]
    pub fn weighing(
        component: Component,
        weigh: impl Fn(&R) -> Bytes + Send + Sync + 'static,
    ) -> Self {
        Self {
            component,
            weigh: Arc::new(weigh),
        }
    }
}

impl<R> Clone for ShedLayer<R> {
    fn clone(&self) -> Self {
        Self {
            component: self.component.clone(),
            weigh: Arc::clone(&self.weigh),
        }
    }
}

impl<R> fmt::Debug for ShedLayer<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ShedLayer")
            .field("component", &self.component.name())
            .finish_non_exhaustive()
    }
}

impl<S, R> Layer<S> for ShedLayer<R> {
    type Service = Shed<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Shed {
            inner,
            layer: self.clone(),
        }
    }
}

/// A service that sheds load. Being ready is its inner service's matter; whether
/// there is memory is asked with each call, when the request is known.
pub struct Shed<S, R> {
    inner: S,
    layer: ShedLayer<R>,
}

impl<S: Clone, R> Clone for Shed<S, R> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            layer: self.layer.clone(),
        }
    }
}

impl<S: fmt::Debug, R> fmt::Debug for Shed<S, R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Shed")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}

impl<S, R> Service<R> for Shed<S, R>
where
    S: Service<R>,
{
    type Response = S::Response;
    type Error = ShedError<S::Error>;
    type Future = ShedFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner
            .poll_ready(context)
            .map_err(|source| ShedError::Service { source })
    }

    fn call(&mut self, request: R) -> Self::Future {
        let asked = (self.layer.weigh)(&request);
        match self.layer.component.reserve_owned(asked) {
            // The one that was polled ready is called, not a clone of it.
            Ok(charge) => ShedFuture {
                state: State::Running {
                    future: self.inner.call(request),
                    charge: Some(charge),
                },
            },
            Err(source) => {
                tracing::debug!(component = self.layer.component.name(), %asked, "request shed");
                ShedFuture {
                    state: State::Shed {
                        refusal: Some((asked, source)),
                    },
                }
            }
        }
    }
}

pin_project! {
    /// An answer, or the refusal of it. What the call was charged is given back
    /// when it is answered or dropped.
    #[must_use = "a future does nothing until it is awaited"]
    pub struct ShedFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Running {
            #[pin]
            future: F,
            charge: Option<Reservation<'static>>,
        },
        Shed {
            refusal: Option<(Bytes, ReserveError)>,
        },
    }
}

impl<F> fmt::Debug for ShedFuture<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Running { .. } => "Running",
            State::Shed { .. } => "Shed",
        };
        formatter.debug_tuple("ShedFuture").field(&state).finish()
    }
}

impl<F, T, E> Future for ShedFuture<F>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<T, ShedError<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Running { future, charge } => {
                let polled = future.poll(context);
                if polled.is_ready() {
                    drop(charge.take());
                }
                polled.map_err(|source| ShedError::Service { source })
            }
            StateProjection::Shed { refusal } => match refusal.take() {
                Some((asked, source)) => Poll::Ready(Err(ShedError::Shed { asked, source })),
                // Polled again after it was ready, which is the caller's mistake.
                None => Poll::Pending,
            },
        }
    }
}

#[cfg(test)]
mod tests;
