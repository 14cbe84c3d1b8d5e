//! Who waits for the end of which task. A result wakes exactly those; nobody polls the store.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::StoreError;
use crate::domain::task::{Task, TaskId};

/// Long polls at one time.
const MAX_WAITERS: usize = 10_000;

type Waiting = HashMap<TaskId, Vec<(u64, oneshot::Sender<Arc<Task>>)>>;

/// All waiting long polls.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiting: Mutex<Waiting>,
    /// How many there are; read without the lock by the writer, which mostly has nobody to wake.
    count: AtomicUsize,
    next_number: AtomicU64,
}

/// One waiting long poll; it stops waiting when dropped.
#[derive(Debug)]
pub(super) struct Waiter {
    waiters: Arc<Waiters>,
    id: TaskId,
    number: u64,
    /// Gets the task as it ended.
    pub(super) ended: oneshot::Receiver<Arc<Task>>,
}

impl Waiters {
    /// Starts to wait. Look at the store afterwards: what ends from now on is not missed.
    pub(super) fn wait(self: &Arc<Self>, id: &TaskId) -> Result<Waiter, StoreError> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.count.load(Ordering::Relaxed) >= MAX_WAITERS {
            return Err(StoreError::Full);
        }
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let (sender, ended) = oneshot::channel();
        waiting.entry(id.clone()).or_default().push((number, sender));
        self.count.fetch_add(1, Ordering::SeqCst);
        Ok(Waiter { waiters: Arc::clone(self), id: id.clone(), number, ended })
    }

    /// Whether anybody waits for anything.
    pub(super) fn any(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    /// Tells those who wait for this task how it ended.
    pub(super) fn wake(&self, task: &Arc<Task>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(woken) = waiting.remove(&task.id) else { return };
        self.count.fetch_sub(woken.len(), Ordering::SeqCst);
        for (_, sender) in woken {
            // An error means that the client went away.
            let _ = sender.send(Arc::clone(task));
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.waiters.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(others) = waiting.get_mut(&self.id) else { return };
        let before = others.len();
        others.retain(|(number, _)| *number != self.number);
        self.waiters.count.fetch_sub(before - others.len(), Ordering::SeqCst);
        if others.is_empty() {
            waiting.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(id: &str) -> Arc<Task> {
        Arc::new(Task {
            id: TaskId::parse(id).unwrap(),
            account: None,
            captcha: "other".into(),
            submitted_at: None,
            registered: true,
            finish: None,
            claim: None,
        })
    }

    #[test]
    fn an_end_wakes_those_who_wait_for_it_and_nobody_else() {
        let waiters = Arc::new(Waiters::default());
        let [mut first, mut second, mut other] =
            ["1", "1", "2"].map(|id| waiters.wait(&TaskId::parse(id).unwrap()).unwrap());
        waiters.wake(&task("1"));
        assert!(first.ended.try_recv().is_ok());
        assert!(second.ended.try_recv().is_ok());
        assert!(other.ended.try_recv().is_err());
        assert!(waiters.any());
        drop((first, second, other));
        assert!(!waiters.any());
        assert!(waiters.waiting.lock().unwrap().is_empty());
    }

    #[test]
    fn one_who_goes_away_leaves_the_others() {
        let waiters = Arc::new(Waiters::default());
        let [first, mut second] = ["1", "1"].map(|id| waiters.wait(&TaskId::parse(id).unwrap()).unwrap());
        drop(first);
        waiters.wake(&task("1"));
        assert!(second.ended.try_recv().is_ok());
    }

    #[test]
    fn long_polls_are_bounded() {
        let waiters = Arc::new(Waiters::default());
        let id = TaskId::parse("1").unwrap();
        let all: Vec<_> = (0..MAX_WAITERS).map(|_| waiters.wait(&id).unwrap()).collect();
        assert!(matches!(waiters.wait(&id), Err(StoreError::Full)));
        waiters.wake(&task("1"));
        assert!(waiters.wait(&id).is_ok());
        drop(all);
    }
}
