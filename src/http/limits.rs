//! The bounds of the server, in one place so that tests can make them small.

use std::time::Duration;

use procfs::process::{LimitValue, Process};

/// Bounds on time, connections and memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Open connections at most; more wait in the system's backlog.
    pub(super) connections: usize,
    /// How long a TLS handshake may take.
    pub(super) handshake: Duration,
    /// How long the head of a request may take; also how long a connection may be idle.
    pub(super) head: Duration,
    /// How long the body may take, from the end of the head.
    pub(super) body: Duration,
    /// How long an answer may take. More than a body and a long poll need.
    pub(super) answer: Duration,
    /// How long a client may refuse to take a single byte of its answer.
    pub(super) write_stall: Duration,
    /// How long the rest of a refused body is read and thrown away, so that the client gets to read why.
    pub(super) linger: Duration,
    /// How long requests in flight may take after the stop.
    pub(super) shutdown: Duration,
    /// How long idle connections stay open after the stop: a request may be on its way already.
    pub(super) stop_grace: Duration,
    /// How often it is looked whether all connections are taken; then idle ones are closed.
    pub(super) crowded_check: Duration,
    /// How young a connection must be to be spared then: its first request may be on the way.
    pub(super) crowded_grace: Duration,
    /// The pause after a failed accept.
    pub(super) accept_pause: Duration,
    /// Bytes of request bodies in memory at most, over all requests.
    pub(super) bodies: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            handshake: Duration::from_secs(30),
            // Together the thirty seconds within which a request must have arrived whole.
            head: Duration::from_secs(15),
            body: Duration::from_secs(15),
            answer: Duration::from_secs(100),
            write_stall: Duration::from_secs(30),
            linger: Duration::from_secs(5),
            shutdown: Duration::from_secs(8),
            stop_grace: Duration::from_millis(100),
            crowded_check: Duration::from_secs(1),
            crowded_grace: Duration::from_secs(5),
            accept_pause: Duration::from_millis(100),
            bodies: 64 << 20,
        }
    }
}

impl Limits {
    /// The defaults, with as many connections as the process may have file descriptors for.
    pub(super) fn for_this_process() -> Self {
        let limits = Self::default();
        Self { connections: connections(limits.connections, soft_limit_of_files()), ..limits }
    }
}

/// What is left of the file descriptors for connections: the store and the API client need some too.
fn connections(wanted: usize, files: Option<u64>) -> usize {
    const RESERVED: u64 = 128;
    let Some(files) = files else { return wanted };
    let free = files.saturating_sub(RESERVED).max(files / 2).max(1);
    wanted.min(usize::try_from(free).unwrap_or(usize::MAX))
}

fn soft_limit_of_files() -> Option<u64> {
    match Process::myself().ok()?.limits().ok()?.max_open_files.soft_limit {
        LimitValue::Value(files) => Some(files),
        LimitValue::Unlimited => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_file_descriptors_for_the_rest() {
        for (files, expected) in
            [(None, 4096), (Some(1_048_576), 4096), (Some(1024), 896), (Some(200), 100), (Some(0), 1)]
        {
            assert_eq!(connections(4096, files), expected, "{files:?}");
        }
    }

    #[test]
    fn the_limit_of_this_process_is_read() {
        assert!(soft_limit_of_files().is_none_or(|files| files > 0));
        assert!(Limits::for_this_process().connections > 0);
    }
}
