//! The client, the balance poller and the simulated service against each other. They stand here
//! because dependencies point from the demonstration to the client.

mod balance;
mod client;
mod fallback;
mod simulation;

use std::time::Duration;

use super::*;
use crate::config::Account;

/// A service that solves two thousand times as fast as the real one.
async fn start(odds: Odds) -> SimulatedCaptchaAi {
    SimulatedCaptchaAi::start(Options { speed: Speed::new(2000.0), odds, ..Options::default() }).await.unwrap()
}

fn account(service: &SimulatedCaptchaAi) -> Account {
    Account {
        name: "main".into(),
        api_key: Options::default().key.into(),
        base_url: service.base_url(),
        balance_interval: Duration::from_mins(1),
    }
}
