//! Accepts connections within the bounds, and lets them end well.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use prometheus::IntCounterVec;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Signal};
use super::limits::Limits;
use super::router;
use super::state::{AppState, Shared};
use super::tls::{Tls, TlsError};
use crate::config::Config;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// TLS as the web configuration wants it.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Serves until `stop` is cancelled: then nothing more is accepted, idle connections are closed, and
/// requests in flight get a few seconds to end.
pub async fn serve(
    listeners: Vec<(TcpListener, SocketAddr)>,
    state: AppState,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    serve_within(listeners, state, stop, Limits::for_this_process()).await
}

/// Serves within the given bounds.
pub(super) async fn serve_within(
    listeners: Vec<(TcpListener, SocketAddr)>,
    state: AppState,
    stop: CancellationToken,
    limits: Limits,
) -> Result<(), ServeError> {
    let tls = state.listen.web_config.as_ref().and_then(|web| web.tls.clone());
    let tls = tls.map(Tls::new).transpose()?.map(Arc::new);
    let reloads = state.config.clone();
    let requests = state.metrics.http_requests.clone();
    let mut server = Server {
        router: router(&Shared::new(state, limits)),
        requests,
        limits,
        tls: tls.clone(),
        connections: JoinSet::new(),
        signal: watch::channel(Signal::Stay).0,
        complained: None,
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = server.accept(&listeners) => {}
        () = keep_fresh(tls, reloads) => {}
    }
    server.accept_waiting(&listeners).await;
    drop(listeners);
    server.finish().await;
    Ok(())
}

/// Does not end by itself.
async fn keep_fresh(tls: Option<Arc<Tls>>, reloads: watch::Receiver<Arc<Config>>) {
    match tls {
        Some(tls) => tls.keep_fresh(reloads).await,
        None => std::future::pending().await,
    }
}

struct Server {
    router: Router,
    requests: IntCounterVec,
    limits: Limits,
    tls: Option<Arc<Tls>>,
    connections: JoinSet<()>,
    /// Tells the connections to end.
    signal: watch::Sender<Signal>,
    /// When a failed accept was last logged.
    complained: Option<Instant>,
}

impl Server {
    /// Accepts until it is dropped. When all connections are taken, the next one waits until one of them
    /// ends, and those that are idle are asked to.
    async fn accept(&mut self, listeners: &[(TcpListener, SocketAddr)]) {
        let limits = self.limits;
        let mut crowded_check = interval(limits.crowded_check);
        crowded_check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut first = 0;
        loop {
            let has_room = self.connections.len() < limits.connections;
            tokio::select! {
                Some(ended) = self.connections.join_next() => report(ended),
                _ = crowded_check.tick(), if !has_room => self.ask_to_leave(),
                accepted = accept_any(listeners, first), if has_room => match accepted {
                    Ok((stream, peer)) => {
                        first += 1;
                        self.start(stream, peer);
                    }
                    Err(error) => self.recover(&error).await,
                },
            }
        }
    }

    /// Accepts who has connected already: for the client, the request may have been sent.
    async fn accept_waiting(&mut self, listeners: &[(TcpListener, SocketAddr)]) {
        while self.connections.len() < self.limits.connections
            && let Ok(Ok((stream, peer))) = timeout(Duration::ZERO, accept_any(listeners, 0)).await
        {
            self.start(stream, peer);
        }
    }

    fn start(&mut self, stream: TcpStream, peer: SocketAddr) {
        let connection = Connection {
            peer,
            router: self.router.clone(),
            requests: self.requests.clone(),
            limits: self.limits,
            acceptor: self.tls.as_ref().map(|tls| tls.acceptor()),
            signal: self.signal.subscribe(),
        };
        self.connections.spawn(connection.run(stream));
    }

    fn ask_to_leave(&self) {
        self.signal.send_replace(Signal::Crowded);
    }

    /// A connection that broke before it was accepted is nothing. Anything else, such as too few file
    /// descriptors, would come again at once: idle connections are asked to leave, and it waits a bit.
    async fn recover(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        const COMPLAIN_EVERY: Duration = Duration::from_mins(1);
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
            return;
        }
        if self.complained.is_none_or(|at| at.elapsed() > COMPLAIN_EVERY) {
            self.complained = Some(Instant::now());
            tracing::error!(%error, "cannot accept connections; trying again");
        }
        self.ask_to_leave();
        sleep(self.limits.accept_pause).await;
    }

    /// Waits for the requests in flight, but not forever.
    async fn finish(mut self) {
        self.signal.send_replace(Signal::Stop);
        let all_ended = async {
            while let Some(ended) = self.connections.join_next().await {
                report(ended);
            }
        };
        if timeout(self.limits.shutdown, all_ended).await.is_err() {
            tracing::warn!(connections = self.connections.len(), "cut off requests that did not end in time");
        }
        self.connections.shutdown().await;
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("a connection panicked");
    }
}

/// The next connection of any listener; they take turns at being asked first.
async fn accept_any(listeners: &[(TcpListener, SocketAddr)], first: usize) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|context| {
        for turn in 0..listeners.len() {
            let position = first.wrapping_add(turn) % listeners.len();
            let Some((listener, _)) = listeners.get(position) else { continue };
            if let Poll::Ready(accepted) = listener.poll_accept(context) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests;
