//! What is known of an account's key: once it is refused nobody asks with it, until it works again or the
//! time has passed after which one may try. Repeated bad authorization gets the address banned.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The keys that are refused now. A clone is another handle of the same.
#[derive(Debug, Clone, Default)]
pub struct KeyGate(Arc<Mutex<HashMap<Arc<str>, Instant>>>);

impl KeyGate {
    /// The key of an account is refused: nobody asks for as long.
    pub fn refuse(&self, account: &Arc<str>, wait: Duration) {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refused.insert(Arc::clone(account), Instant::now() + wait);
    }

    /// The key of an account works, or is another one.
    pub fn clear(&self, account: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(account);
    }

    /// How long nobody asks for the account; nothing when it may be asked for.
    pub fn wait(&self, account: &str) -> Option<Duration> {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = refused.get(account)?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refused_key_rests() {
        let gate = KeyGate::default();
        assert_eq!(gate.wait("main"), None);
        gate.refuse(&"main".into(), Duration::from_mins(1));
        assert_eq!((gate.wait("main"), gate.wait("other")), (Some(Duration::from_mins(1)), None));
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(gate.wait("main"), None);
        gate.refuse(&"main".into(), Duration::from_mins(1));
        gate.clear("main");
        assert_eq!(gate.wait("main"), None);
    }
}
