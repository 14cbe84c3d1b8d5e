//! Faults that tests ask for: what a simulated service answers instead of what it should.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::hash::Hash;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::Frame;
use tokio::time::Interval;
use tokio_util::sync::CancellationToken;

/// What happens instead of the right answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This status, with the HTML page of a proxy.
    Status(u16),
    /// The right answer, but late.
    Delay(Duration),
    /// No answer at all.
    Hang,
    /// What was asked for happens, but no answer comes.
    Unanswered,
    /// Status 200 and these bytes.
    Garbage(Bytes),
    /// Status 200 and this text.
    Answer(String),
    /// Status 200 and a body that never ends, one byte after each pause.
    Drip(Duration),
}

/// The faults that wait for their requests, by what those ask for.
#[derive(Debug)]
pub(super) struct Script<Action> {
    faults: HashMap<Action, VecDeque<Fault>>,
}

impl<Action> Default for Script<Action> {
    fn default() -> Self {
        Self { faults: HashMap::new() }
    }
}

impl<Action: Eq + Hash> Script<Action> {
    pub(super) fn add(&mut self, action: Action, fault: &Fault, times: usize) {
        self.faults.entry(action).or_default().extend(std::iter::repeat_n(fault.clone(), times));
    }

    pub(super) fn take(&mut self, action: &Action) -> Option<Fault> {
        self.faults.get_mut(action)?.pop_front()
    }
}

/// What a request is answered: the right answer, or that of the fault that it meets. No fault outlives
/// the service.
pub(super) async fn meet(
    fault: Option<Fault>,
    stop: &CancellationToken,
    right_answer: impl FnOnce() -> Response,
) -> Response {
    let Some(fault) = fault else { return right_answer() };
    let answered = stop.run_until_cancelled(fault.answer(stop, right_answer)).await;
    answered.unwrap_or_else(|| StatusCode::SERVICE_UNAVAILABLE.into_response())
}

impl Fault {
    async fn answer(self, stop: &CancellationToken, right_answer: impl FnOnce() -> Response) -> Response {
        match self {
            Self::Status(status) => proxy_page(status),
            Self::Delay(pause) => {
                tokio::time::sleep(pause).await;
                right_answer()
            }
            Self::Hang => std::future::pending().await,
            Self::Unanswered => {
                drop(right_answer());
                std::future::pending().await
            }
            Self::Garbage(bytes) => bytes.into_response(),
            Self::Answer(text) => text.into_response(),
            Self::Drip(pause) => {
                let drip = Drip { interval: tokio::time::interval(pause), stop: stop.clone() };
                Body::new(drip).into_response()
            }
        }
    }
}

fn proxy_page(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let page = format!(
        "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n<center><h1>{status}</h1></center>\r\n\
         <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    );
    (status, [(header::CONTENT_TYPE, "text/html")], page).into_response()
}

struct Drip {
    interval: Interval,
    /// A body that never ended would keep the service from stopping.
    stop: CancellationToken,
}

impl HttpBody for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let byte = Frame::data(Bytes::from_static(b" "));
        self.interval.poll_tick(context).map(|_| (!self.stop.is_cancelled()).then_some(Ok(byte)))
    }
}
