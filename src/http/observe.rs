//! The one layer around every endpoint: it checks access, measures, bounds the time and turns a panic
//! into an answer.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use prometheus::{Histogram, IntCounter};
use tower::{Layer, Service};

use super::alertmanager;
use super::auth::Access;
use super::error::Failure;
use super::state::Shared;

/// Wraps the endpoint of one route.
#[derive(Debug, Clone)]
pub(super) struct Observe(Arc<Observed>);

#[derive(Debug)]
struct Observed {
    state: Shared,
    handler: &'static str,
    access: Access,
    duration: Histogram,
    /// One counter a status, found without the lookup by labels.
    requests: Vec<(StatusCode, IntCounter)>,
}

impl Observe {
    /// Creates the series of the route: one for each status that it can answer with.
    pub(super) fn new(state: Shared, handler: &'static str, access: Access, codes: &[u16]) -> Self {
        let counter = |code: &u16| {
            let status = StatusCode::from_u16(*code).ok()?;
            Some((status, state.metrics.http_requests.with_label_values(&[handler, status.as_str()])))
        };
        let requests = codes.iter().filter_map(counter).collect();
        let duration = state.metrics.http_request_duration.with_label_values(&[handler]);
        Self(Arc::new(Observed { state, handler, access, duration, requests }))
    }
}

impl<S: Clone> Layer<S> for Observe {
    type Service = ObservedService<S>;

    fn layer(&self, inner: S) -> ObservedService<S> {
        ObservedService { observed: Arc::clone(&self.0), inner }
    }
}

/// An endpoint behind [`Observe`].
#[derive(Debug, Clone)]
pub(super) struct ObservedService<S> {
    observed: Arc<Observed>,
    inner: S,
}

impl<S> Service<Request> for ObservedService<S>
where
    S: Service<Request, Error = Infallible> + Clone + Send + 'static,
    S::Response: IntoResponse,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    /// axum's endpoints are always ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let started = Instant::now();
        let observed = Arc::clone(&self.observed);
        let mut inner = self.inner.clone();
        Box::pin(async move {
            let response = match observed.admit(request.headers()).await {
                Ok(()) => observed.run(async { inner.call(request).await.into_response() }).await,
                Err(refusal) => refusal.into_response(),
            };
            observed.count(response.status(), started);
            Ok(response)
        })
    }
}

impl Observed {
    async fn admit(&self, headers: &HeaderMap) -> Result<(), Failure> {
        if self.access == Access::Anyone {
            return Ok(());
        }
        let config = self.state.config();
        let admitted = self.state.gate().admit(self.access, config.web.auth_token.as_ref(), headers).await;
        let is_refused = admitted.as_ref().is_err_and(|failure| failure.status() == StatusCode::UNAUTHORIZED);
        if is_refused && self.handler.starts_with("/alertmanager") {
            // An alert is lost, which must not look like a scanner that is turned away.
            alertmanager::refused(&self.state, "token", None);
        }
        admitted
    }

    /// The answer of the endpoint, or the one that stands for a panic or for the deadline.
    async fn run(&self, answer: impl Future<Output = Response>) -> Response {
        let mut answer = pin!(answer);
        let caught = poll_fn(|context| {
            let poll = catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context)));
            poll.unwrap_or_else(|_| {
                // What it panicked with may hold what must not be logged.
                tracing::error!(handler = self.handler, "a request made its handler panic");
                Poll::Ready(Failure::internal().into_response())
            })
        });
        match tokio::time::timeout(self.state.limits().answer, caught).await {
            Ok(response) => response,
            Err(_) => Failure::unavailable("the answer took too long").into_response(),
        }
    }

    fn count(&self, status: StatusCode, started: Instant) {
        self.duration.observe(started.elapsed().as_secs_f64());
        match self.requests.iter().find(|(known, _)| *known == status) {
            Some((_, counter)) => counter.inc(),
            None => self.state.metrics.http_requests.with_label_values(&[self.handler, status.as_str()]).inc(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::http::Method;
    use axum::routing::get;

    use super::*;
    use crate::http::testing::{Fixture, config, request, send};

    /// A router with one handler that goes wrong.
    fn router(fixture: &Fixture) -> Router {
        async fn panics() -> &'static str {
            panic!("on purpose")
        }
        async fn hangs() -> &'static str {
            std::future::pending().await
        }
        let observe = |pattern| Observe::new(fixture.shared(), pattern, Access::Anyone, &[500]);
        Router::new()
            .route("/panics", get(panics).layer(observe("/panics")))
            .route("/hangs", get(hangs).layer(observe("/hangs")))
    }

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        let fixture = Fixture::new(config());
        let answer = send(router(&fixture), request(Method::GET, "/panics", "")).await;
        assert_eq!(answer.error(500), "internal error");
        assert_eq!(fixture.metrics.http_requests.with_label_values(&["/panics", "500"]).get(), 1);
    }

    #[tokio::test]
    async fn no_answer_in_time_is_an_answer() {
        let mut fixture = Fixture::new(config());
        fixture.limits.answer = Duration::from_millis(1);
        let answer = send(router(&fixture), request(Method::GET, "/hangs", "")).await;
        assert_eq!(answer.error(503), "the answer took too long");
        assert_eq!(fixture.metrics.http_requests.with_label_values(&["/hangs", "503"]).get(), 1);
    }
}
