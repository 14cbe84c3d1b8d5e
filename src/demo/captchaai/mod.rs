//! A CaptchaAI on this machine: for the demonstration, for tests and for benchmarks.
//!
//! It takes tasks at `in.php`, answers `res.php`, and sends pingbacks, some of them in the ways in which
//! the real ones go wrong. The same seed gives the same fates.

mod fate;
mod pingback;
mod routes;
mod server;
mod service;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::demo::PATIENCE;
use crate::demo::speed::Speed;
use crate::notify::client::{BuildError, http_client};

pub use fate::Odds;
pub use server::{Action, Counts};

pub use crate::demo::fault::Fault;

use server::Server;
use service::Service;

/// A pingback that is not answered within this time has failed.
const PINGBACK_TIMEOUT: Duration = Duration::from_secs(10);

/// What the simulated service is like.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens; port 0 is any free port.
    pub listen: SocketAddr,
    /// The API key that it accepts.
    pub key: String,
    /// The money of the account at first, in USD.
    pub balance_usd: f64,
    /// When and how money is added; never, if nothing is given.
    pub top_up: Option<TopUp>,
    /// How much faster than the real one it solves.
    pub speed: Speed,
    /// Where its randomness begins.
    pub seed: u64,
    /// How often things go wrong.
    pub odds: Odds,
    /// The id of the first task.
    pub first_id: u64,
}

/// Adds `amount_usd` when the balance falls below `below_usd`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TopUp {
    /// The threshold in USD.
    pub below_usd: f64,
    /// What is added in USD.
    pub amount_usd: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            key: "simulated-key-simulated-key-0001".to_owned(),
            balance_usd: 25.0,
            top_up: None,
            speed: Speed::new(1.0),
            seed: 1,
            odds: Odds::default(),
            first_id: 72_580_000_001,
        }
    }
}

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("the simulated CaptchaAI cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// Pingbacks could not be sent.
    #[error(transparent)]
    Client(#[from] BuildError),
}

/// What was waited for did not happen in time.
#[derive(Debug, thiserror::Error)]
#[error("waited in vain; what happened: {0:?}")]
pub struct WaitedInVain(Counts);

/// A running simulated service. It stops when this is dropped.
#[derive(Debug)]
pub struct SimulatedCaptchaAi {
    address: SocketAddr,
    server: Arc<Server>,
    stop: DropGuard,
}

impl SimulatedCaptchaAi {
    /// Starts it.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let listen_error = |error| StartError::Listen(options.listen, error);
        let listener = TcpListener::bind(options.listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let http = http_client(PINGBACK_TIMEOUT)?;
        let stop = CancellationToken::new();
        let speed = options.speed;
        let server = Arc::new(Server::new(Service::new(options), http, speed, stop.clone()));
        let serve = axum::serve(listener, routes::router(Arc::clone(&server)));
        let serve = serve.with_graceful_shutdown(stop.clone().cancelled_owned());
        server.tasks().spawn(serve.into_future());
        Ok(Self { address, server, stop: stop.drop_guard() })
    }

    /// Its URL, as `base_url` of an account.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Accepts another key from now on.
    pub fn set_key(&self, key: &str) {
        self.server.service().set_key(key.to_owned());
    }

    /// Sets the money of the account, in USD.
    pub fn set_balance(&self, usd: f64) {
        self.server.service().set_balance(usd);
    }

    /// The money of the account, in USD.
    pub fn balance_usd(&self) -> f64 {
        self.server.service().balance_usd()
    }

    /// How often things go wrong from now on, with what is submitted from now on.
    pub fn set_odds(&self, odds: Odds) {
        self.server.service().set_odds(odds);
    }

    /// Lets the next `times` requests for `action` meet this fault, after those scripted before.
    pub fn script(&self, action: Action, fault: &Fault, times: usize) {
        self.server.script().add(action, fault, times);
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        *self.server.counts().borrow()
    }

    /// Waits until `condition` holds for what has happened, for 20 seconds at most.
    pub async fn wait_until(&self, condition: impl FnMut(&Counts) -> bool) -> Result<Counts, WaitedInVain> {
        let mut counts = self.server.counts();
        let happened = tokio::time::timeout(PATIENCE, counts.wait_for(condition)).await;
        match happened {
            Ok(Ok(counts)) => Ok(*counts),
            Ok(Err(_)) | Err(_) => Err(WaitedInVain(self.counts())),
        }
    }

    /// Waits until `number` requests for `action` have arrived since the start.
    pub async fn wait_for_requests(&self, action: Action, number: u64) -> Result<Counts, WaitedInVain> {
        self.wait_until(|counts| counts.requests(action) >= number).await
    }

    /// Stops it, and waits until nothing of it runs any more.
    pub async fn stop(self) {
        drop(self.stop);
        self.server.tasks().close();
        self.server.tasks().wait().await;
    }
}
