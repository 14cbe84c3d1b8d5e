//! Request bodies, read frame by frame against their bounds.

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::Failure;
use super::state::Shared;

/// The longest body of the API, in bytes.
pub(super) const MAX_BODY: usize = 4 << 20;

/// The longest body of a pingback, in bytes: a solution of 16 KiB is three times that when encoded.
pub(super) const MAX_PINGBACK_BODY: usize = 64 << 10;

/// Memory for all bodies together, in bytes. It is taken as the bytes arrive, so that announcing a
/// long body takes nothing from others.
#[derive(Debug)]
pub(super) struct Budget(Arc<Semaphore>);

impl Budget {
    /// A budget of this many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes)))
    }

    fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()
    }
}

/// A body in memory. Its part of the budget is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Received {
    /// The bytes.
    pub(super) bytes: Bytes,
    _budget: Option<OwnedSemaphorePermit>,
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(state: &Shared, body: Body, limit: usize) -> Result<Received, Failure> {
    let too_large = || Failure::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {limit} bytes"));
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let deadline = Instant::now() + state.limits().body;
    let read = read_frames(state.budget(), body, limit);
    match tokio::time::timeout_at(deadline.into(), read).await {
        Ok(Ok(received)) => Ok(received),
        Ok(Err(Stopped::TooLarge)) => Err(too_large()),
        Ok(Err(Stopped::NoMemory)) => Err(Failure::unavailable("too many requests are being read")),
        Ok(Err(Stopped::Broken)) => Err(Failure::bad_request("the body ended before it was complete")),
        Err(_) => Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}

/// Why reading ended early.
enum Stopped {
    TooLarge,
    NoMemory,
    Broken,
}

async fn read_frames(budget: &Budget, mut body: Body, limit: usize) -> Result<Received, Stopped> {
    let mut bytes = BytesMut::new();
    let mut taken: Option<OwnedSemaphorePermit> = None;
    while let Some(frame) = body.frame().await {
        // Trailers are of no interest.
        let Ok(data) = frame.map_err(|_| Stopped::Broken)?.into_data() else { continue };
        if data.len() > limit - bytes.len() {
            return Err(Stopped::TooLarge);
        }
        let more = budget.take(data.len()).ok_or(Stopped::NoMemory)?;
        match &mut taken {
            Some(taken) => taken.merge(more),
            None => taken = Some(more),
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Received { bytes: bytes.freeze(), _budget: taken })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use hyper::body::Frame;

    use super::*;
    use crate::http::testing::{Fixture, config};

    /// A body of frames that announces no length. After the frames it ends, or hangs.
    struct Frames {
        frames: Vec<&'static [u8]>,
        hangs: bool,
    }

    impl HttpBody for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.frames.pop() {
                Some(frame) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(frame))))),
                None if self.hangs => Poll::Pending,
                None => Poll::Ready(None),
            }
        }
    }

    fn chunked(mut frames: Vec<&'static [u8]>) -> Body {
        frames.reverse();
        Body::new(Frames { frames, hangs: false })
    }

    fn status(result: Result<Received, Failure>) -> u16 {
        use axum::response::IntoResponse;
        result.unwrap_err().into_response().status().as_u16()
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_bound() {
        let shared = Fixture::new(config()).shared();
        for (frames, expected) in [
            (vec![], Some("")),
            (vec![&b"abcd"[..]], Some("abcd")),
            (vec![b"ab", b"", b"cd"], Some("abcd")),
            (vec![b"abcde"], None),
            (vec![b"ab", b"cd", b"e"], None),
        ] {
            let read = read(&shared, chunked(frames.clone()), 4).await;
            match expected {
                Some(expected) => assert_eq!(read.unwrap().bytes, expected, "{frames:?}"),
                None => assert_eq!(status(read), 413, "{frames:?}"),
            }
        }
        assert_eq!(read(&shared, Body::from("abcd"), 4).await.unwrap().bytes, "abcd");
        assert_eq!(status(read(&shared, Body::from("abcde"), 4).await), 413);
    }

    #[tokio::test]
    async fn all_bodies_share_one_budget_and_give_it_back() {
        let mut fixture = Fixture::new(config());
        fixture.limits.bodies = 6;
        let shared = fixture.shared();
        let first = read(&shared, chunked(vec![b"ab", b"cd"]), 4).await.unwrap();
        assert_eq!(status(read(&shared, Body::from("abc"), 4).await), 503);
        let second = read(&shared, Body::from("ab"), 4).await.unwrap();
        drop(first);
        assert_eq!(read(&shared, Body::from("abcd"), 4).await.unwrap().bytes, "abcd");
        drop(second);
        assert_eq!(shared.budget().0.available_permits(), 6);
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_given_up() {
        let mut fixture = Fixture::new(config());
        fixture.limits.body = Duration::from_millis(1);
        let shared = fixture.shared();
        let slow = Body::new(Frames { frames: vec![b"ab"], hangs: true });
        assert_eq!(status(read(&shared, slow, 4).await), 408);
        assert_eq!(shared.budget().0.available_permits(), fixture.limits.bodies);
    }
}
