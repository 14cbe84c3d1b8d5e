//! CaptchaAI's API as a client sees it, and the poller that watches each account's balance.
//!
//! [`client`] asks, [`answer`] reads what comes back in any of its forms, [`schedule`] decides when to
//! ask again, [`balance`] turns that into metrics and stored balances, and [`fallback`] asks for the
//! results whose pingbacks did not come.

pub mod answer;
pub mod balance;
pub mod client;
pub mod error;
pub mod fallback;
pub mod gate;
pub mod schedule;

use crate::config::Account;
use crate::domain::balance::Balance;
use balance::{BalancePoller, Shared};

/// One poller per account, each going on from its balance in `kept`. A changed configuration takes new
/// ones: stop the old, and those of a corrected key ask at once.
pub fn balance_pollers(
    accounts: &[Account],
    kept: &[(String, Balance)],
    shared: &Shared,
    rng: &mut fastrand::Rng,
) -> Vec<BalancePoller> {
    let kept_of = |account: &Account| kept.iter().find(|(name, _)| *name == *account.name).map(|&(_, balance)| balance);
    accounts
        .iter()
        .map(|account| BalancePoller::new(account.clone(), kept_of(account), shared.clone(), rng.fork()))
        .collect()
}
