//! A stream that makes request lines readable whose query nobody encoded.
//!
//! A solution may be JSON, and who sends it need not encode it: `GET /pingback?id=1&code={"a": "b"}`.
//! hyper refuses such a line before any endpoint sees it, and the result would be lost. So what a query
//! cannot hold is percent-encoded here on its way to hyper. Only bytes between the first `?` of a request
//! line and the HTTP version at its very end are ever replaced; a line that cannot be understood goes on
//! as it is, for hyper to refuse.
//!
//! Nothing here knows where a body ends. So after the first request line of a connection, the next one
//! is looked at only when there is no doubt where it begins: the head before it arrived with nothing
//! behind it, and hyper says that no body belongs to it. After anything else, such as a body or a request
//! that was sent ahead, the connection goes on as it is until its end.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a line that wait for its end at most; hyper takes no longer URL.
const MAX_HELD: usize = 64 << 10;

/// How a request line ends.
const ENDINGS: [&[u8]; 4] = [b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/1.1\n", b" HTTP/1.0\n"];

/// The stream, as hyper reads it.
#[derive(Debug)]
pub(super) struct RequestLine<S> {
    stream: S,
    place: Place,
    /// What was read and could not be handed on at once.
    held: Vec<u8>,
    /// How much of it has been handed on since.
    handed_on: usize,
    /// Set when a request was taken that has no body.
    no_body: Arc<AtomicBool>,
}

/// Where in a request the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the request line, before its query.
    Start,
    /// In the query, and all of it could be handed on.
    Query,
    /// Behind the first byte that no query can hold: mostly the space before the version.
    Held,
    /// In the headers; `blank` while the line has nothing in it.
    Headers { blank: bool },
    /// Behind a head that arrived with nothing after it.
    HeadRead,
    /// Somewhere: from here on everything is handed on as it is.
    Anywhere,
}

impl<S> RequestLine<S> {
    /// Wraps the stream of a new connection. `no_body` has to be set when a request is taken that has
    /// no body, and stays as it is when one has.
    pub(super) fn new(stream: S, no_body: Arc<AtomicBool>) -> Self {
        Self { stream, place: Place::Start, held: Vec::new(), handed_on: 0, no_body }
    }

    /// Hands on what was held, as much as there is room for.
    fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) {
        let rest = self.held.get(self.handed_on..).unwrap_or_default();
        let fits = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..fits]);
        self.handed_on += fits;
        if fits == rest.len() {
            self.held = Vec::new();
            self.handed_on = 0;
        }
    }

    /// Looks at what was read. Returns how much of it may be handed on at once; the rest is held.
    fn look_at(&mut self, bytes: &[u8]) -> usize {
        let mut seen = 0;
        if self.place == Place::Start {
            let Some(at) = bytes.iter().position(|byte| matches!(byte, b'?' | b'\n')) else { return bytes.len() };
            self.place = if bytes[at] == b'?' { Place::Query } else { Place::Headers { blank: true } };
            seen = at + 1;
        }
        if self.place == Place::Query {
            let Some(at) = first_unfit(&bytes[seen..]) else { return bytes.len() };
            seen += at;
            let rest = &bytes[seen..];
            if let Some(ending) = ENDINGS.iter().find(|ending| rest.starts_with(ending)) {
                self.place = Place::Headers { blank: true };
                seen += ending.len();
            } else {
                self.place = Place::Held;
            }
        }
        if self.place == Place::Held {
            self.hold(&bytes[seen..]);
            return seen;
        }
        self.follow_headers(&bytes[seen..]);
        bytes.len()
    }

    /// Keeps the bytes until the line is complete, and encodes it then.
    fn hold(&mut self, bytes: &[u8]) {
        let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        self.held.extend_from_slice(line);
        if self.held.len() > MAX_HELD {
            self.place = Place::Anywhere;
        } else if end.is_some() {
            if let Some(encoded) = encode(&self.held) {
                self.held = encoded;
            }
            self.place = Place::Headers { blank: true };
            self.follow_headers(rest);
        }
        self.held.extend_from_slice(rest);
    }

    /// Looks for the empty line that ends the head.
    fn follow_headers(&mut self, bytes: &[u8]) {
        let Place::Headers { mut blank } = self.place else { return };
        for (position, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' if blank => {
                    let is_last = position + 1 == bytes.len();
                    self.place = if is_last { Place::HeadRead } else { Place::Anywhere };
                    return;
                }
                b'\n' => blank = true,
                b'\r' => {}
                _ => blank = false,
            }
        }
        self.place = Place::Headers { blank };
    }
}

/// Whether the byte may stand in a query as it is. That `#` may not has a reason: what follows it
/// would count as a fragment, and a solution would be cut off there.
fn fits_query(byte: u8) -> bool {
    matches!(byte, b'!' | b'$'..=b';' | b'=' | b'?'..=b'~')
}

/// Where the first byte is that may not stand in a query. Solutions are long and every pingback passes
/// here: in blocks without an early end, the compiler compares many bytes at once.
fn first_unfit(bytes: &[u8]) -> Option<usize> {
    const BLOCK: usize = 32;
    let fits = |block: &&[u8]| block.iter().fold(true, |fits, byte| fits & fits_query(*byte));
    let fine = bytes.chunks_exact(BLOCK).take_while(fits).count() * BLOCK;
    bytes[fine..].iter().position(|byte| !fits_query(*byte)).map(|at| fine + at)
}

/// Encodes the end of a request line, up to the version. `None` when it has no version, or when there
/// is a line break in it for those who take a bare CR for one.
fn encode(line: &[u8]) -> Option<Vec<u8>> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let ending = ENDINGS.into_iter().find(|ending| line.ends_with(ending))?;
    let query = line.strip_suffix(ending)?;
    if query.contains(&b'\r') {
        return None;
    }
    let mut encoded = Vec::with_capacity(line.len() * 3 / 2);
    for &byte in query {
        if fits_query(byte) {
            encoded.push(byte);
        } else {
            let [high, low] = [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
            encoded.extend([b'%', high, low]);
        }
    }
    encoded.extend_from_slice(ending);
    Some(encoded)
}

impl<S: AsyncRead + Unpin> AsyncRead for RequestLine<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.place != Place::Held && !self.held.is_empty() {
                self.hand_on(buffer);
                return Poll::Ready(Ok(()));
            }
            if self.place == Place::HeadRead {
                let no_body = self.no_body.swap(false, Ordering::Relaxed);
                self.place = if no_body { Place::Start } else { Place::Anywhere };
            }
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
            if self.place == Place::Anywhere {
                return Poll::Ready(Ok(()));
            }
            let fresh = &buffer.filled()[before..];
            if fresh.is_empty() {
                // The end. What is held is half a line; it goes on as it is.
                self.place = Place::Anywhere;
                if self.held.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let at_once = self.look_at(fresh);
            buffer.set_filled(before + at_once);
            // To hand on nothing would mean that the stream has ended.
            if at_once > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for RequestLine<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
