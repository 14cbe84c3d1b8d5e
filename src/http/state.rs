//! What the endpoints share.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::auth::Gate;
use super::body::Budget;
use super::limits::Limits;
use crate::config::{Config, Listen};
use crate::domain::clock::SharedClock;
use crate::metrics::Metrics;
use crate::store::Store;

/// A request to read the configuration again; the answer says what is wrong with it, one fault an
/// item, and then the old one stays.
pub type ReloadRequest = oneshot::Sender<Result<(), Vec<String>>>;

/// What the endpoints need from the rest of the program.
#[derive(Debug)]
pub struct AppState {
    /// The configuration in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// Where results are.
    pub store: Store,
    /// All metrics.
    pub metrics: Metrics,
    /// The date.
    pub clock: SharedClock,
    /// How the program is reached.
    pub listen: Arc<Listen>,
    /// Cancelled when the program stops: no more connections, and long polls end.
    pub stop: CancellationToken,
    /// Takes the requests of `POST /-/reload`.
    pub reload: mpsc::Sender<ReloadRequest>,
    /// What the program is.
    pub build: BuildInfo,
}

/// What the program is.
#[derive(Debug, Clone, Copy)]
pub struct BuildInfo {
    /// Version of the package.
    pub version: &'static str,
    /// Commit that it was built from.
    pub revision: &'static str,
    /// Compiler that built it.
    pub rustc: &'static str,
}

/// What the endpoints share. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    app: AppState,
    limits: Limits,
    gate: Gate,
    budget: Budget,
    renderings: Semaphore,
    form_token: String,
    notifications: Arc<Semaphore>,
}

impl Shared {
    /// What the endpoints need, within these bounds.
    pub(super) fn new(app: AppState, limits: Limits) -> Self {
        /// Prometheus scrapes one at a time; a second server and a person may come in between.
        const RENDERINGS: usize = 4;
        /// One of 4 MiB takes thirty times as much while it is read.
        const NOTIFICATIONS: usize = 2;
        let users = app.listen.web_config.as_ref().map(|web| web.basic_auth_users.clone()).unwrap_or_default();
        Self(Arc::new(Inner {
            gate: Gate::new(users),
            budget: Budget::new(limits.bodies),
            renderings: Semaphore::new(RENDERINGS),
            form_token: form_token(),
            notifications: Arc::new(Semaphore::new(NOTIFICATIONS)),
            app,
            limits,
        }))
    }

    /// The configuration in force now.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.app.config.borrow())
    }

    /// Bounds of the server.
    pub(super) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Checks tokens and passwords.
    pub(super) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    /// Memory for request bodies.
    pub(super) fn budget(&self) -> &Budget {
        &self.0.budget
    }

    /// What the forms of our own pages carry, and nobody else's.
    pub(super) fn form_token(&self) -> &str {
        &self.0.form_token
    }

    /// Bounds how many scrapes and pages are rendered at once.
    pub(super) fn renderings(&self) -> &Semaphore {
        &self.0.renderings
    }

    /// Bounds how many long notifications are read at once.
    pub(super) fn notifications(&self) -> &Arc<Semaphore> {
        &self.0.notifications
    }
}

/// Random, from the keys that the standard library draws for its hash maps.
fn form_token() -> String {
    let [one, other] = [(); 2].map(|()| RandomState::new().hash_one(0));
    format!("{one:016x}{other:016x}")
}

impl Deref for Shared {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.0.app
    }
}
