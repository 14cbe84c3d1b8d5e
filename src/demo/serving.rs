//! What simulated services share: a listener that ends with them, and state that tests wait for.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::PATIENCE;

/// Why a simulated service does not start.
#[derive(Debug, thiserror::Error)]
#[error("the simulated {service} cannot listen on {address}: {error}")]
pub struct StartError {
    service: &'static str,
    address: SocketAddr,
    error: std::io::Error,
}

/// A listener. It stops when this is dropped.
#[derive(Debug)]
pub(super) struct Serving {
    address: SocketAddr,
    tasks: TaskTracker,
    stop: DropGuard,
}

impl Serving {
    /// Listens on an address; port 0 is any free port. What serves requests is told when to stop.
    pub(super) async fn start(
        service: &'static str,
        listen: SocketAddr,
        router: impl FnOnce(CancellationToken) -> Router,
    ) -> Result<Self, StartError> {
        let fault = |error| StartError { service, address: listen, error };
        let listener = TcpListener::bind(listen).await.map_err(fault)?;
        let address = listener.local_addr().map_err(fault)?;
        let stop = CancellationToken::new();
        let serve = axum::serve(listener, router(stop.clone()));
        let tasks = TaskTracker::new();
        tasks.spawn(serve.with_graceful_shutdown(stop.clone().cancelled_owned()).into_future());
        Ok(Self { address, tasks, stop: stop.drop_guard() })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it, and waits until nothing of it runs any more.
    pub(super) async fn stop(self) {
        drop(self.stop);
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// State, and who waits for it to change.
#[derive(Debug, Default)]
pub(super) struct Watched<State> {
    state: Mutex<State>,
    changes: watch::Sender<()>,
}

impl<State> Watched<State> {
    pub(super) fn new(state: State) -> Self {
        Self { state: Mutex::new(state), changes: watch::Sender::default() }
    }

    /// Looks at the state.
    pub(super) fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.lock())
    }

    /// Changes the state, and tells whoever waits.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let changed = change(&mut self.lock());
        self.changes.send_replace(());
        changed
    }

    /// Waits until a condition holds; false when that takes too long.
    pub(super) async fn wait_until(&self, mut condition: impl FnMut(&State) -> bool) -> bool {
        // From here on no change is missed.
        let mut changes = self.changes.subscribe();
        let wait = async { while !self.read(&mut condition) && changes.changed().await.is_ok() {} };
        tokio::time::timeout(PATIENCE, wait).await.is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
