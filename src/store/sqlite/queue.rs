//! The queue in front of the writer: bounded in number and in bytes, and full means no at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::alerts::{Heard, WatchdogState};
use super::dead_letters::Letters;
use super::outbox::ClaimRequest;
use super::recovery::{AccountName, DuePoll, Polled};
use crate::domain::balance::Balance;
use crate::domain::dead_letter::Retried;
use crate::domain::delivery::{Claim, Consequences, DestinationState, NewDelivery, Settlement};
use crate::domain::marzban::Received;
use crate::domain::task::{Pingback, PollDecision, Registration, TaskId};
use crate::store::StoreError;

/// Operations that wait at most; one more is answered 503 at once.
const QUEUE_OPERATIONS: usize = 4096;
/// What the waiting operations may take in memory.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;

/// Something to write.
#[derive(Debug)]
pub(in crate::store) enum Operation {
    Register(Vec<Registration>),
    Pingback(Box<Pingback>, Instant),
    SaveBalance(String, Balance),
    PassDeadlines {
        limit: usize,
    },
    RemoveOld {
        retention: Duration,
    },
    /// Alerts and what has to be told.
    Alerts(Box<Alerts>),
    /// Leases tasks that the API has to be asked for.
    ClaimPolls {
        account: AccountName,
        limit: usize,
    },
    /// What the API said of a task.
    Polled(TaskId, Polled),
    /// Everything before it is committed; nothing comes after it.
    Close,
}

/// Something to write about alerts and the outbox.
#[derive(Debug)]
pub(in crate::store) enum Alerts {
    Hear(Heard),
    Queue(Vec<NewDelivery>),
    Claim(ClaimRequest),
    Settle {
        settlements: Vec<(Settlement, Consequences)>,
        lease: Duration,
    },
    SaveDestination(String, DestinationState),
    Retire {
        configured: Vec<String>,
        limit: usize,
    },
    HearWatchdog,
    /// What is known of the watchdog from now on, and who has to be told.
    SaveWatchdog(WatchdogState, Vec<NewDelivery>),
    /// Events of a Marzban panel, and who is told of those that are new.
    KeepEvents(Vec<Received>, Vec<String>),
    /// Puts dead letters back to where they came from.
    RetryLetters {
        which: Letters,
        configured: Vec<String>,
        limit: usize,
    },
    DiscardLetter(i64),
    TrimLetters {
        limit: usize,
    },
    /// Groups and calls that nobody needs any more.
    Forget {
        limit: usize,
    },
}

/// What an operation did, for the caller; what it did to metrics and waiters is done by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Done {
    Kept,
    Count(usize),
    End(bool),
    Claimed(Box<Claim>),
    /// Which settlements were written, not those whose lease was lost; or which events are new.
    Settled(Vec<bool>),
    /// Dead letters that were added or discarded, by source.
    Buried(Vec<String>),
    Retried(Box<Retried>),
    Polls(Vec<DuePoll>),
    /// What the API's answer meant.
    Decided(PollDecision),
}

pub(super) type Answer = Result<Done, StoreError>;

/// The operation goes back with the answer, to be freed by the thread that made it: freeing it here
/// would take that thread's allocator lock for every record.
type Reply = (Answer, Operation);

/// An operation with the way back to who wants it done.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) operation: Operation,
    bytes: usize,
    reply: oneshot::Sender<Reply>,
}

/// The end that asks.
#[derive(Debug)]
pub(in crate::store) struct Queue {
    sender: SyncSender<Request>,
    bytes: Arc<AtomicUsize>,
}

impl Queue {
    /// Sends an operation and waits until it is on disk.
    pub(in crate::store) async fn write(&self, operation: Operation) -> Answer {
        let bytes = operation.bytes();
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > QUEUE_BYTES {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(StoreError::Full);
        }
        let (reply, answer) = oneshot::channel();
        if let Err(error) = self.sender.try_send(Request { operation, bytes, reply }) {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(match error {
                TrySendError::Full(_) => StoreError::Full,
                TrySendError::Disconnected(_) => StoreError::Unavailable,
            });
        }
        answer.await.map_or(Err(StoreError::Unavailable), |(answer, _)| answer)
    }
}

/// The end that is asked: the writer's.
#[derive(Debug)]
pub(super) struct Requests {
    receiver: Receiver<Request>,
    bytes: Arc<AtomicUsize>,
}

/// What is done in one transaction.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) requests: Vec<Request>,
    /// The request to close, if it came after these.
    pub(super) close: Option<Request>,
}

/// Both ends of a new queue.
pub(super) fn queue() -> (Queue, Requests) {
    let (sender, receiver) = sync_channel(QUEUE_OPERATIONS);
    let bytes = Arc::new(AtomicUsize::new(0));
    (Queue { sender, bytes: Arc::clone(&bytes) }, Requests { receiver, bytes })
}

impl Requests {
    /// Whatever waits, at most `most`; nothing if nothing comes within `wait`. `None` when nobody is
    /// left to ask.
    pub(super) fn next_batch(&self, wait: Duration, most: usize) -> Option<Batch> {
        let mut batch = Batch::default();
        let mut next = match self.receiver.recv_timeout(wait) {
            Ok(first) => Some(first),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return None,
        };
        while let Some(request) = next {
            self.bytes.fetch_sub(request.bytes, Ordering::Relaxed);
            if matches!(request.operation, Operation::Close) {
                batch.close = Some(request);
                break;
            }
            batch.requests.push(request);
            next = if batch.requests.len() < most { self.receiver.try_recv().ok() } else { None };
        }
        Some(batch)
    }
}

impl Request {
    /// Tells what became of it.
    pub(super) fn answer(self, answer: Answer) {
        // An error means that the client went away; its record is kept all the same.
        let _ = self.reply.send((answer, self.operation));
    }
}

impl Alerts {
    /// About what it takes in memory.
    fn bytes(&self) -> usize {
        match self {
            Self::Hear(heard) => heard.bytes(),
            Self::KeepEvents(events, _) => 512 * (1 + events.len()),
            _ => 1024,
        }
    }
}

impl Operation {
    fn bytes(&self) -> usize {
        match self {
            Self::Pingback(pingback, _) => {
                256 + pingback.outcome.code().or(pingback.outcome.error()).map_or(0, str::len)
            }
            Self::Register(tasks) => 256 * (1 + tasks.len()),
            Self::Alerts(alerts) => alerts.bytes(),
            _ => 256,
        }
    }

    /// How many records it writes.
    pub(super) fn records(&self) -> usize {
        if let Self::Register(tasks) = self { tasks.len() } else { 1 }
    }

    /// The pingback that it keeps, with its arrival.
    pub(super) fn pingback(&self) -> Option<(&Pingback, Instant)> {
        if let Self::Pingback(pingback, arrived) = self { Some((pingback, *arrived)) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::task::Outcome;

    fn pingback(code: &str) -> Operation {
        let pingback = Pingback {
            id: TaskId::parse("1").unwrap(),
            outcome: Outcome::from_code(code),
            received_at: Timestamp::UNIX_EPOCH,
            account: None,
            captcha: "other".into(),
            submitted_at: None,
            verify: false,
        };
        Operation::Pingback(Box::new(pingback), Instant::now())
    }

    /// Asks `count` times without waiting for answers; how many were told that it is too much.
    async fn refused(queue: &Queue, code: &str, count: usize) -> usize {
        let mut refused = 0;
        for _ in 0..count {
            let mut write = std::pin::pin!(queue.write(pingback(code)));
            let answer = std::future::poll_fn(|context| std::task::Poll::Ready(write.as_mut().poll(context))).await;
            refused += usize::from(answer == std::task::Poll::Ready(Err(StoreError::Full)));
        }
        refused
    }

    #[tokio::test]
    async fn a_full_queue_says_no_at_once() {
        let (queue, requests) = queue();
        assert_eq!(refused(&queue, "short", QUEUE_OPERATIONS + 3).await, 3);
        assert_eq!(requests.next_batch(Duration::ZERO, 10).unwrap().requests.len(), 10);
        assert_eq!(refused(&queue, "short", 11).await, 1);
    }

    #[tokio::test]
    async fn many_long_solutions_are_too_much_before_there_are_many() {
        let (queue, requests) = queue();
        let long = "x".repeat(16 * 1024);
        let fit = QUEUE_BYTES / (16 * 1024 + 256);
        assert_eq!(refused(&queue, &long, fit + 1).await, 1);
        let batch = requests.next_batch(Duration::ZERO, QUEUE_OPERATIONS).unwrap();
        assert_eq!(batch.requests.len(), fit);
        assert_eq!(queue.bytes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn nothing_is_taken_after_the_request_to_close() {
        let (queue, requests) = queue();
        let write = async |operation| {
            let mut write = std::pin::pin!(queue.write(operation));
            std::future::poll_fn(|context| {
                let _ = write.as_mut().poll(context);
                std::task::Poll::Ready(())
            })
            .await;
        };
        write(pingback("before")).await;
        write(Operation::Close).await;
        write(pingback("after")).await;
        let batch = requests.next_batch(Duration::ZERO, 10).unwrap();
        assert_eq!((batch.requests.len(), batch.close.is_some()), (1, true));
    }
}
