use std::collections::VecDeque;

use proptest::prelude::*;
use tokio::io::AsyncReadExt;

use super::*;

/// A stream that arrives in these pieces.
struct Pieces(VecDeque<Vec<u8>>);

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let later = piece.split_off(piece.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if !later.is_empty() {
                self.0.push_front(later);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// What hyper reads when the stream arrives in pieces of this size and it has as much room each time.
async fn read(stream: &[u8], piece: usize, room: usize) -> Vec<u8> {
    let pieces = Pieces(stream.chunks(piece).map(<[u8]>::to_vec).collect());
    let mut wrapped = RequestLine::new(pieces, Arc::default());
    let mut all = Vec::new();
    let mut buffer = vec![0; room];
    while let Ok(read @ 1..) = wrapped.read(&mut buffer).await {
        all.extend_from_slice(&buffer[..read]);
    }
    all
}

async fn check(stream: &[u8], expected: &[u8]) {
    for (piece, room) in [(usize::MAX, 8192), (1, 8192), (3, 8192), (11, 8192), (64, 7), (usize::MAX, 1)] {
        let read = read(stream, piece, room).await;
        assert_eq!(
            String::from_utf8_lossy(&read),
            String::from_utf8_lossy(expected),
            "{:?} in pieces of {piece}",
            String::from_utf8_lossy(stream)
        );
    }
}

#[tokio::test]
async fn what_a_query_cannot_hold_is_encoded() {
    for (target, expected) in [
        (&b"/p?id=1&code={\"a\": \"b\"}"[..], "/p?id=1&code={%22a%22:%20%22b%22}"),
        (b"/p?code=<a>", "/p?code=%3Ca%3E"),
        (b"/p?code=a\x7f\x00\tb", "/p?code=a%7F%00%09b"),
        (b"/p?code=a#b", "/p?code=a%23b"),
        (b"/p?code=\xc3\xa9\xff", "/p?code=%C3%A9%FF"),
        (b"/p? ", "/p?%20"),
        (b"/p?code= HTTP/1.1", "/p?code=%20HTTP/1.1"),
        (b"/p?code=\"%22+?&=~`|\\^'[]", "/p?code=%22%22+?&=~`|\\^'[]"),
        (b"http://host/p?code=\"", "http://host/p?code=%22"),
    ] {
        for ending in [" HTTP/1.1\r\n", " HTTP/1.0\r\n", " HTTP/1.1\n"] {
            let rest = b"Host: \"x\"\r\n\r\nbody \"?\" HTTP/1.1\r\n";
            let stream = [b"GET ", target, ending.as_bytes(), rest].concat();
            let expected = [b"GET ", expected.as_bytes(), ending.as_bytes(), rest].concat();
            check(&stream, &expected).await;
        }
    }
}

#[tokio::test]
async fn everything_else_stays_as_it_is() {
    let too_long = format!("GET /p?code=\"{} HTTP/1.1\r\n\r\n", "x".repeat(MAX_HELD));
    for stream in [
        "",
        "GET /p?id=1&code=x HTTP/1.1\r\nHost: x\r\n\r\nbody",
        "GET /p HTTP/1.1\r\nReferer: /p?\"a b\" HTTP/1.1\r\n\r\n",
        "GET /p\"? HTTP/1.1\r\n\r\n",
        "GET /p a HTTP/1.1\r\n\r\n",
        // Not a version, or not at the end.
        "GET /p?a b\r\nHost: x HTTP/1.1\r\n\r\n",
        "GET /p?a b HTTP/1.1 \r\n\r\n",
        "GET /p?a b HTTP/1.2\r\n\r\n",
        "GET /p?a b http/1.1\r\n\r\n",
        "GET /p?a bHTTP/1.1\r\n\r\n",
        // For some, these are two lines.
        "GET /p?a b\rX: y HTTP/1.1\r\n\r\n",
        "GET /p?a HTTP/1.1\r HTTP/1.1\r\n\r\n",
        "GET /p?a \" HTTP/1.1\r\r\n\r\n",
        // Half a line.
        "GET /p?a",
        "GET /p?a \"b",
        "GET /p?a \"b HTTP/1.1\r",
        "\r\nGET /p?a \"b HTTP/1.1\r\n\r\n",
        &too_long,
    ] {
        check(stream.as_bytes(), stream.as_bytes()).await;
    }
}

#[tokio::test]
async fn a_fine_line_is_not_copied() {
    let line = b"GET /p?id=1&code=x HTTP/1.1\r\n\r\n".to_vec();
    let mut wrapped = RequestLine::new(Pieces([line.clone()].into()), Arc::default());
    let mut buffer = [0; 64];
    assert_eq!(wrapped.read(&mut buffer).await.unwrap(), line.len());
    assert_eq!(wrapped.held.capacity(), 0);
}

#[tokio::test]
async fn what_is_held_is_bounded_and_given_back() {
    let mut wrapped = RequestLine::new(Pieces(VecDeque::new()), Arc::default());
    assert_eq!(wrapped.look_at(b"GET /? "), 6);
    let mut held = 1;
    while wrapped.place == Place::Held {
        assert!(held <= MAX_HELD);
        assert_eq!(wrapped.look_at(&[b'x'; 1000]), 0);
        held += 1000;
    }
    assert_eq!(wrapped.held.len(), held);
    let mut rest = Vec::new();
    wrapped.read_to_end(&mut rest).await.unwrap();
    assert_eq!((rest.len(), wrapped.held.capacity()), (held, 0));
}

/// The next request line is looked at only when there is no doubt where it begins.
#[tokio::test]
async fn later_lines_are_encoded_where_they_are_sure_to_begin() {
    let get = "GET /p?a=1 HTTP/1.1\r\nHost: x\r\n\r\n";
    let bad = "GET /p?a=\"1\" HTTP/1.1\r\nHost: x\r\n\r\n";
    let encoded = bad.replace('"', "%22");
    let long = format!("GET /p?a={} HTTP/1.1\r\n", "x".repeat(9000));
    for (pieces, bodiless, expected) in [
        (vec![get], true, &*encoded),
        (vec![bad], true, &encoded),
        (vec![&long, "Host: x\r", "\n\r", "\n"], true, &encoded),
        (vec!["GET / HTTP/1.1\n", "\n"], true, &encoded),
        // With a body, or not taken.
        (vec![get], false, bad),
        // With something behind the head.
        (vec!["GET / HTTP/1.1\r\n\r\n\r\n"], true, bad),
        (vec!["GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n"], true, bad),
        (vec!["GET /?\" HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n"], true, bad),
        // In the middle of a head.
        (vec!["GET / HTTP/1.1\r\n", "X: y\r\n"], true, bad),
    ] {
        let no_body = Arc::new(AtomicBool::new(false));
        let mut wrapped = RequestLine::new(Pieces(VecDeque::new()), Arc::clone(&no_body));
        let mut buffer = vec![0; 16 << 10];
        for piece in &pieces {
            wrapped.stream.0.push_back(piece.as_bytes().to_vec());
            while !wrapped.stream.0.is_empty() || !wrapped.held.is_empty() && wrapped.place != Place::Held {
                assert!(wrapped.read(&mut buffer).await.unwrap() > 0);
            }
        }
        no_body.store(bodiless, Ordering::Relaxed);
        wrapped.stream.0.push_back(bad.as_bytes().to_vec());
        let mut next = String::new();
        wrapped.read_to_string(&mut next).await.unwrap();
        assert_eq!(next, expected, "{pieces:?} {bodiless}");
    }
}

#[test]
fn the_first_byte_that_no_query_can_hold_is_found_wherever_it_is() {
    for length in [0, 1, 31, 32, 33, 64, 100] {
        let mut bytes = vec![b'x'; length];
        assert_eq!(first_unfit(&bytes), None);
        for at in (0..length).rev() {
            bytes[at] = b' ';
            assert_eq!(first_unfit(&bytes), Some(at), "{length}");
        }
    }
}

/// The bytes that a query stands for.
fn decode(query: &str) -> String {
    let pair = query.replace('&', "%26").replace('+', "%2B");
    form_urlencoded::parse(format!("={pair}").as_bytes()).map(|(_, value)| value).collect()
}

proptest! {
    #[test]
    fn only_queries_are_changed_however_the_stream_arrives(
        stream in "(GET |POST )?/[a ?\"#]{0,9}\\??[ -~\t\u{7f}é]{0,30}( HTTP/1\\.[012])?\r?\n[ -~\r\n]{0,60}",
        piece in 1_usize..80,
        room in 1_usize..80,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let whole = runtime.block_on(read(stream.as_bytes(), usize::MAX, 8192));
        prop_assert_eq!(&whole, &runtime.block_on(read(stream.as_bytes(), piece, room)));
        let whole = String::from_utf8(whole).unwrap();
        let (line, rest) = stream.split_once('\n').unwrap();
        let (new_line, new_rest) = whole.split_once('\n').unwrap();
        prop_assert_eq!(rest, new_rest);
        let path = line.split('?').next().unwrap();
        prop_assert_eq!(path, new_line.split('?').next().unwrap());
        if line != new_line {
            let (target, version) = new_line.trim_end_matches('\r').rsplit_once(' ').unwrap();
            prop_assert!(version == "HTTP/1.1" || version == "HTTP/1.0");
            let query = target.split_once('?').unwrap().1;
            prop_assert!(query.bytes().all(fits_query), "{}", query);
            let old_target = line.trim_end_matches('\r').strip_suffix(version).unwrap();
            let old_query = old_target.strip_suffix(' ').unwrap().split_once('?').unwrap().1;
            prop_assert_eq!(decode(query), decode(old_query));
        }
    }
}
