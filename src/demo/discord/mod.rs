//! A Discord on this machine, as far as webhooks are concerned: for the demonstration, for tests and for
//! benchmarks. It holds whoever posts there to the rules and limits of the real one.

mod faults;
mod limits;
mod markdown;
mod mentions;
mod page;
mod rate;
mod routes;
mod service;
mod state;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::serving::{Serving, StartError, Watched};
use crate::domain::clock::{SharedClock, SystemClock};

pub use rate::RateLimit;
pub use state::{Action, Counts, Message, Request, State};

pub use crate::demo::fault::Fault;

/// What the simulated Discord is like.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens; port 0 is any free port.
    pub listen: SocketAddr,
    /// The name of its first webhook.
    pub webhook: String,
    /// All requests of one webhook.
    pub burst: Option<RateLimit>,
    /// The messages that one webhook posts.
    pub sustained: Option<RateLimit>,
    /// How many messages and how many requests are remembered.
    pub keep: usize,
    /// Where the time comes from.
    pub clock: SharedClock,
}

impl Default for Options {
    /// With the limits that were observed at the real one.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            webhook: "alerts".to_owned(),
            burst: Some(RateLimit { requests: 5, per: Duration::from_secs(2) }),
            sustained: Some(RateLimit { requests: 30, per: Duration::from_mins(1) }),
            keep: 10_000,
            clock: Arc::new(SystemClock),
        }
    }
}

impl Options {
    /// Without any limit.
    pub fn unlimited() -> Self {
        Self { burst: None, sustained: None, ..Self::default() }
    }
}

/// What was waited for did not happen in time.
#[derive(Debug, thiserror::Error)]
#[error("waited in vain; what happened: {0:?}")]
pub struct WaitedInVain(Counts);

#[derive(Debug)]
struct Shared {
    state: Watched<State>,
    clock: SharedClock,
}

/// A running simulated Discord. It stops when this is dropped.
#[derive(Debug)]
pub struct SimulatedDiscord {
    serving: Serving,
    shared: Arc<Shared>,
    webhook_url: String,
}

impl SimulatedDiscord {
    /// Starts it, with one webhook.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let listen = options.listen;
        let clock = Arc::clone(&options.clock);
        let name = options.webhook.clone();
        let shared = Arc::new(Shared { state: Watched::new(State::new(options)), clock });
        let serving = Serving::start("Discord", listen, |stop| routes::router(Arc::clone(&shared), stop)).await?;
        let mut discord = Self { serving, shared, webhook_url: String::new() };
        discord.webhook_url = discord.add_webhook(&name);
        Ok(discord)
    }

    /// The URL of the first webhook.
    pub fn webhook_url(&self) -> String {
        self.webhook_url.clone()
    }

    /// Where people see the channel.
    pub fn page_url(&self) -> String {
        format!("http://{}/", self.serving.address())
    }

    /// Adds a webhook, and tells its URL.
    pub fn add_webhook(&self, name: &str) -> String {
        let path = self.shared.state.change(|state| state.add_webhook(name));
        format!("http://{}{path}", self.serving.address())
    }

    /// Removes the first webhook. What it posted stays.
    pub fn delete_webhook(&self) {
        self.shared.state.change(|state| state.webhooks.iter_mut().take(1).for_each(|webhook| webhook.deleted = true));
    }

    /// Removes the webhooks of a name.
    pub fn delete_webhook_named(&self, name: &str) {
        self.shared.state.change(|state| {
            let named = state.webhooks.iter_mut().filter(|webhook| webhook.name == name);
            named.for_each(|webhook| webhook.deleted = true);
        });
    }

    /// Removes a message, as people in the channel can; false if it is not there.
    pub fn delete_message(&self, id: &str) -> bool {
        self.shared.state.change(|state| state.message_mut(id).map(|message| message.deleted = true)).is_some()
    }

    /// Lets nobody send anything for this time from now on.
    pub fn limit_globally(&self, pause: Duration) {
        let until = self.shared.clock.now().checked_add(pause).ok();
        self.shared.state.change(|state| (state.globally_limited_until, state.told_globally) = (until, false));
    }

    /// Lets the next `times` requests for `action` meet this fault, after those scripted before.
    pub fn script(&self, action: Action, fault: &Fault, times: usize) {
        self.shared.state.change(|state| state.script.add(action, fault, times));
    }

    /// The messages that people see, oldest first.
    pub fn messages(&self) -> Vec<Message> {
        self.shared.state.read(|state| state.visible().cloned().collect())
    }

    /// The last requests, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state.read(|state| state.requests.iter().cloned().collect())
    }

    /// How often things have happened.
    pub fn counts(&self) -> Counts {
        self.shared.state.read(|state| state.counts)
    }

    /// Waits until `condition` holds for what has happened, for 20 seconds at most.
    pub async fn wait_until(&self, condition: impl FnMut(&State) -> bool) -> Result<Counts, WaitedInVain> {
        let happened = self.shared.state.wait_until(condition).await;
        if happened { Ok(self.counts()) } else { Err(WaitedInVain(self.counts())) }
    }

    /// Stops it, and waits until nothing of it runs any more.
    pub async fn stop(self) {
        self.serving.stop().await;
    }
}
