//! Who asks CaptchaAI: for every account a poller of its balance and one of the results whose pingbacks did
//! not come.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Parts, first_failure};
use crate::captchaai::balance::Shared;
use crate::captchaai::balance_pollers;
use crate::captchaai::fallback::FallbackPoller;
use crate::captchaai::gate::KeyGate;
use crate::config::{Account, Config};
use crate::domain::activity::RATIO_WINDOWS;
use crate::domain::fallback::Fallback;

/// Runs the pollers. When the configuration changes, the balance pollers of unchanged accounts go on: one
/// that CaptchaAI has refused must not ask again because something else changed.
pub(super) async fn ask(
    parts: Parts,
    mut config: watch::Receiver<Arc<Config>>,
    stop: CancellationToken,
) -> Result<(), String> {
    let Parts { store, metrics, clock, client, .. } = parts;
    let keys = KeyGate::default();
    let shared = Shared { client, store: store.clone(), metrics: metrics.clone(), clock, keys };
    let mut rng = fastrand::Rng::new();
    let mut kept = store.balances().await.map_err(|error| format!("the last balances cannot be read: {error}"))?;
    let mut polled: Vec<(Account, CancellationToken)> = Vec::new();
    let mut pollers = JoinSet::new();
    let mut asking = stop.child_token();
    let mut asked: Option<(Vec<Account>, Fallback)> = None;
    loop {
        let now = Arc::clone(&config.borrow_and_update());
        let accounts = now.accounts.clone();
        polled.retain(|(account, stop_one)| {
            let stays = accounts.iter().any(|other| other.is_same(account));
            if !stays {
                stop_one.cancel();
                metrics.forget_account(&account.name, &RATIO_WINDOWS.map(|(window, _)| window));
            }
            stays
        });
        let new: Vec<_> =
            accounts.iter().filter(|new| polled.iter().all(|(old, _)| !old.is_same(new))).cloned().collect();
        for (poller, account) in balance_pollers(&new, &kept, &shared, &mut rng).into_iter().zip(new) {
            let stop_one = stop.child_token();
            polled.push((account, stop_one.clone()));
            start(&mut pollers, poller.run(stop_one.clone()), stop_one);
        }
        if asked.as_ref().is_none_or(|(old, fallback)| *fallback != now.fallback || !are_same(old, &accounts)) {
            // What is being asked for now is due again after its gap.
            asking.cancel();
            asking = stop.child_token();
            for poller in fallback_pollers(&accounts, now.fallback, &shared) {
                start(&mut pollers, poller.run(asking.clone()), asking.clone());
            }
            asked = Some((accounts, now.fallback));
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            reason = first_failure(&mut pollers, "a poller of CaptchaAI") => return Err(reason),
            changed = config.changed() => changed.map_err(|_| "nobody reads the configuration any more".to_owned())?,
        }
        // If this fails, new pollers go on from what was there when the program started.
        kept = store.balances().await.unwrap_or(kept);
    }
    while pollers.join_next().await.is_some() {}
    Ok(())
}

fn start(pollers: &mut JoinSet<bool>, work: impl Future<Output = ()> + Send + 'static, stop: CancellationToken) {
    pollers.spawn(async move {
        work.await;
        stop.is_cancelled()
    });
}

fn are_same(one: &[Account], other: &[Account]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.is_same(other))
}

/// One for each account, and one for the tasks of no known account.
fn fallback_pollers(accounts: &[Account], fallback: Fallback, shared: &Shared) -> Vec<FallbackPoller> {
    let turns = Arc::new(Semaphore::new(fallback.max_concurrent));
    let of = |account: &Account| FallbackPoller::of(account.clone(), fallback, Arc::clone(&turns), shared.clone());
    let mut pollers: Vec<_> = accounts.iter().map(of).collect();
    if !accounts.is_empty() {
        pollers.push(FallbackPoller::of_unknown(accounts.to_vec(), fallback, Arc::clone(&turns), shared.clone()));
    }
    pollers
}
