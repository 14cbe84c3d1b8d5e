//! Faults that tests ask for: what the service answers instead of what it should.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
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

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// `in.php`: a submission.
    Submit,
    /// `res.php` with `action=getbalance`.
    GetBalance,
    /// `res.php` with `action=get`: the result of a task.
    Get,
    /// Anything else.
    Other,
}

/// What happens instead of the right answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This status, with the HTML page of a proxy.
    Status(u16),
    /// The right answer, but late.
    Delay(Duration),
    /// No answer at all.
    Hang,
    /// Status 200 and these bytes.
    Garbage(Bytes),
    /// Status 200 and this text.
    Answer(String),
    /// Status 200 and a body that never ends, one byte after each pause.
    Drip(Duration),
}

/// The faults that wait for their requests.
#[derive(Debug, Default)]
pub(super) struct Script {
    faults: HashMap<Action, VecDeque<Fault>>,
}

impl Script {
    pub(super) fn add(&mut self, action: Action, fault: &Fault, times: usize) {
        self.faults.entry(action).or_default().extend(std::iter::repeat_n(fault.clone(), times));
    }

    pub(super) fn take(&mut self, action: Action) -> Option<Fault> {
        self.faults.get_mut(&action)?.pop_front()
    }
}

impl Fault {
    /// The answer, or nothing when the right one shall follow.
    pub(super) async fn answer(self, stop: &CancellationToken) -> Option<Response> {
        match self {
            Self::Status(status) => Some(proxy_page(status)),
            Self::Delay(pause) => {
                tokio::time::sleep(pause).await;
                None
            }
            Self::Hang => std::future::pending().await,
            Self::Garbage(bytes) => Some(bytes.into_response()),
            Self::Answer(text) => Some(text.into_response()),
            Self::Drip(pause) => {
                let drip = Drip { interval: tokio::time::interval(pause), stop: stop.clone() };
                Some(Body::new(drip).into_response())
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
