//! When messages of critical alerts do not arrive anywhere, people are called instead.

use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Shared;
use crate::domain::delivery::{NewContent, NewDelivery};
use crate::store::StoreError;

/// How long messages may fail before somebody is called.
const PATIENCE: Duration = Duration::from_mins(10);
/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// The destinations of one receiver that has both messages and phones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Escalation {
    /// Destinations that get messages.
    pub messages: Vec<String>,
    /// Destinations that call people.
    pub phones: Vec<String>,
}

/// Looks until `stop` is cancelled.
pub async fn escalate(receivers: Vec<Escalation>, shared: Shared, stop: CancellationToken) {
    while !stop.is_cancelled() {
        for receiver in &receivers {
            // The store says itself what is wrong with it; the next look comes soon.
            let _ = look(receiver, &shared).await;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Calls people about what no message could tell them; returns about how many groups.
pub(super) async fn look(receiver: &Escalation, shared: &Shared) -> Result<usize, StoreError> {
    if receiver.messages.is_empty() || receiver.phones.is_empty() {
        return Ok(0);
    }
    let before = shared.clock.now().checked_sub(PATIENCE).unwrap_or(Timestamp::MIN);
    let groups = shared.store.unreached(receiver.messages.clone(), before).await?;
    if groups.is_empty() {
        return Ok(0);
    }
    warn!(groups = groups.len(), "critical alerts do not reach Discord: calling people instead");
    let call = |group: i64| {
        receiver
            .phones
            .iter()
            .map(move |phone| NewDelivery { destination: phone.clone(), content: NewContent::Escalation(group) })
    };
    shared.store.queue(groups.iter().copied().flat_map(call).collect()).await?;
    Ok(groups.len())
}
