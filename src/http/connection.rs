//! One connection, from its TLS handshake to its end.

use std::net::SocketAddr;
use std::pin::{self, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::IntCounterVec;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tower::Service;

use super::OTHER;
use super::client::Peer;
use super::limits::Limits;
use super::request_line::RequestLine;
use super::stall::Stalling;

/// What the server tells its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// Nothing.
    Stay,
    /// Others wait: end when there is nothing to do.
    Crowded,
    /// The program stops.
    Stop,
}

/// What a connection needs to know.
pub(super) struct Connection {
    /// The other end.
    pub(super) peer: SocketAddr,
    /// Answers its requests.
    pub(super) router: Router,
    /// Counts what the router never sees.
    pub(super) requests: IntCounterVec,
    /// Its bounds.
    pub(super) limits: Limits,
    /// TLS, if that is spoken here.
    pub(super) acceptor: Option<TlsAcceptor>,
    /// When to end.
    pub(super) signal: watch::Receiver<Signal>,
}

/// A URL may be almost 64 KiB long; the other headers need some room, too.
const MAX_HEAD: usize = 96 << 10;

impl Connection {
    /// Serves the connection until its end. How it ends is the client's business, so nothing is reported.
    pub(super) async fn run(self, stream: TcpStream) {
        // Answers are small, and whole when they are written.
        let _ = stream.set_nodelay(true);
        let stream = Stalling::new(stream, self.limits.write_stall);
        let Some(acceptor) = &self.acceptor else { return self.serve(stream).await };
        let handshake = timeout(self.limits.handshake, acceptor.accept(stream));
        let stream = tokio::select! {
            () = told_to_end(self.signal.clone(), self.limits) => return,
            handshake = handshake => handshake,
        };
        if let Ok(Ok(stream)) = stream {
            self.serve(stream).await;
        }
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S) {
        let Self { peer, router, requests, limits, signal, .. } = self;
        let has_body = Arc::new(AtomicBool::new(false));
        let last_has_body = Arc::clone(&has_body);
        let in_flight = Arc::new(AtomicBool::new(false));
        let is_in_flight = Arc::clone(&in_flight);
        let no_body = Arc::new(AtomicBool::new(false));
        let stream = RequestLine::new(stream, Arc::clone(&no_body));
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            let is_bodiless = request.body().is_end_stream();
            last_has_body.store(!is_bodiless, Ordering::Relaxed);
            no_body.store(is_bodiless, Ordering::Relaxed);
            is_in_flight.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(Peer(peer));
            let answer = router.clone().call(request);
            let is_in_flight = Arc::clone(&is_in_flight);
            async move {
                let answer = answer.await;
                is_in_flight.store(false, Ordering::Relaxed);
                answer
            }
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(MAX_HEAD)
            // Who sends a pingback and does not wait for the answer has sent it all the same.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        let mut told_to_end = pin!(told_to_end(signal.clone(), limits));
        let ended = tokio::select! {
            biased;
            ended = &mut connection => ended,
            () = &mut told_to_end => {
                pin::Pin::new(&mut connection).graceful_shutdown();
                tokio::select! {
                    ended = &mut connection => ended,
                    // Who sends half a request and no more must not hold a place that others need.
                    () = quiet(&in_flight, limits.crowded_grace) => return,
                }
            }
        };
        let refused_head = ended.as_ref().err().and_then(refused_with);
        if let (Some(status), Err(error)) = (refused_head, &ended) {
            requests.with_label_values(&[OTHER, status.as_str()]).inc();
            // The words of the error say what is wrong, and never repeat what was sent.
            tracing::debug!(%peer, status = status.as_u16(), %error, "refused what is no request");
        }
        // After a head that was too long or a body that was refused, the rest may still be on its way.
        // Closing at once would destroy the answer before the client reads it.
        let refused_body = ended.is_ok() && has_body.load(Ordering::Relaxed);
        if refused_head.is_some() || refused_body {
            discard_rest(connection.into_parts().io.into_inner(), limits.linger, signal).await;
        }
    }
}

/// What hyper answered by itself to what it could not read; nothing reaches the router then. Its answers
/// have no body, and it offers no way to give them one.
fn refused_with(error: &hyper::Error) -> Option<StatusCode> {
    // Who speaks HTTP/2 gets no answer at all.
    if !error.is_parse() || error.is_parse_version_h2() {
        return None;
    }
    Some(match error.is_parse_too_large() {
        // There is no other sign of which of the two it was.
        true if error.to_string().contains("URI") => StatusCode::URI_TOO_LONG,
        true => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        false => StatusCode::BAD_REQUEST,
    })
}

/// Resolves when the connection has to end as soon as it can. A request may be on its way already: when
/// it is crowded, a young connection may stay a little, and when the program stops, every one for a moment.
async fn told_to_end(mut signal: watch::Receiver<Signal>, limits: Limits) {
    let young_until = Instant::now() + limits.crowded_grace;
    // An error means that the server is gone.
    let crowded = signal.changed().await.is_ok() && *signal.borrow_and_update() == Signal::Crowded;
    if crowded {
        tokio::select! {
            () = sleep_until(young_until) => return,
            () = stopped(signal) => {}
        }
    }
    sleep(limits.stop_grace).await;
}

/// Resolves when no request is being answered, and none has been for a little while.
async fn quiet(in_flight: &AtomicBool, grace: Duration) {
    loop {
        sleep(grace).await;
        if !in_flight.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Resolves when the program stops.
async fn stopped(mut signal: watch::Receiver<Signal>) {
    // An error means that the server is gone.
    let _ = signal.wait_for(|signal| *signal == Signal::Stop).await;
}

/// Reads on until the client has read its answer and closes, or for a while.
async fn discard_rest<S: AsyncRead + Unpin>(mut stream: S, limit: Duration, signal: watch::Receiver<Signal>) {
    let mut scratch = vec![0; 16 << 10];
    let discard = async { while matches!(stream.read(&mut scratch).await, Ok(1..)) {} };
    tokio::select! {
        _ = timeout(limit, discard) => {}
        () = stopped(signal) => {}
    }
}
