//! Who sent a request: the peer, or who a trusted proxy says it is.

use std::mem;
use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use axum::http::header::FORWARDED;
use ipnet::IpNet;

/// The other end of the connection, as a request extension.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// The address of the client. `X-Forwarded-For`, or `Forwarded` where that is absent, counts only when
/// the peer is a trusted proxy; then it is the rightmost address that is not one, because what is left of
/// that anybody can write. `None` when it cannot be read up to there: then nobody knows who it is.
pub(super) fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    if !contains(trusted, peer) {
        return Some(peer);
    }
    if headers.contains_key("x-forwarded-for") {
        let values = headers.get_all("x-forwarded-for").iter().rev();
        let hops = values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
        first_untrusted(peer, hops.map(|hop| parse_hop(str::from_utf8(hop).ok()?.trim())), trusted)
    } else {
        let hops = headers.get_all(FORWARDED).iter().rev().flat_map(|value| parse_forwarded(value.as_bytes()));
        first_untrusted(peer, hops, trusted)
    }
}

/// Follows the hops, the nearest first, as far as the proxies are trusted.
fn first_untrusted(peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>, trusted: &[IpNet]) -> Option<IpAddr> {
    let mut client = peer;
    for hop in hops {
        client = hop?;
        if !contains(trusted, client) {
            break;
        }
    }
    Some(client)
}

/// Whether one of the networks contains the address.
pub(super) fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// An address as proxies write it, some with a port.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

/// The hops of one `Forwarded` header (RFC 7239), the nearest first; `None` for one without an address.
fn parse_forwarded(value: &[u8]) -> Vec<Option<IpAddr>> {
    let elements = str::from_utf8(value).ok().and_then(|text| split(text, ','));
    // What a client wrote must not change how the part of a proxy is read: quotes that do not match
    // leave nothing that can be believed.
    let Some(elements) = elements else { return vec![None] };
    elements.into_iter().rev().map(parse_element).collect()
}

/// Reads `for` among pairs such as `for=192.0.2.60;proto=http;by=203.0.113.43`.
fn parse_element(element: &str) -> Option<IpAddr> {
    let mut node = None;
    for pair in split(element, ';')? {
        let (name, value) = pair.split_once('=')?;
        if !name.trim_start().eq_ignore_ascii_case("for") {
            continue;
        }
        let value = value.trim_end();
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        // Twice in one element is not allowed, and nobody knows which of them is meant.
        if node.replace(value).is_some() {
            return None;
        }
    }
    // The port may be a name that says nothing. `unknown` and hidden hosts are no addresses.
    let node = node?;
    let host = node.rsplit_once(":_").map_or(node, |(host, _)| host);
    parse_hop(host)
}

/// Splits at a separator outside of quotes; `None` when the last one stays open.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let is_separator = |character| {
        let was_escaped = mem::take(&mut is_escaped);
        match character {
            '"' if !was_escaped => is_quoted = !is_quoted,
            '\\' if is_quoted && !was_escaped => is_escaped = true,
            _ => {}
        }
        character == separator && !is_quoted
    };
    let parts = text.split(is_separator).collect();
    (!is_quoted).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_addresses_count_from_trusted_proxies_only() {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].iter().map(|text| text.parse().unwrap()).collect();
        let check = |peer: &str, forwarded: &[&str], expected: &str| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            let client = address(peer.parse().unwrap(), &headers, &trusted);
            let client = client.map_or("nobody".to_owned(), |client| client.to_string());
            assert_eq!(client, expected, "{peer} {forwarded:?}");
        };
        check("192.0.2.1", &[], "192.0.2.1");
        check("192.0.2.1", &["198.51.100.7"], "192.0.2.1");
        check("::ffff:192.0.2.1", &[], "192.0.2.1");
        check("10.0.0.1", &[], "10.0.0.1");
        check("10.0.0.1", &["198.51.100.7"], "198.51.100.7");
        check("::ffff:10.0.0.1", &["198.51.100.7"], "198.51.100.7");
        check("fd00::1", &["2001:db8::7"], "2001:db8::7");
        check("10.0.0.1", &["203.0.113.9, 198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &["198.51.100.7, 10.0.0.2"], "198.51.100.7");
        check("10.0.0.1", &["203.0.113.9", "198.51.100.7, 10.0.0.2"], "198.51.100.7");
        check("10.0.0.1", &["203.0.113.9", "10.0.0.3"], "203.0.113.9");
        check("10.0.0.1", &["10.0.0.9, 10.0.0.2"], "10.0.0.9");
        check("10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7");
        check("10.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::7");
        check("10.0.0.1", &["[2001:db8::7]"], "2001:db8::7");
        check("10.0.0.1", &["::ffff:198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &["nonsense"], "nobody");
        check("10.0.0.1", &["198.51.100.7, nonsense"], "nobody");
        check("10.0.0.1", &["nonsense, 198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", &["nonsense, 10.0.0.2"], "nobody");
        check("10.0.0.1", &[""], "nobody");
        check("10.0.0.1", &["198.51.100.7,"], "nobody");
        check("10.0.0.1", &["198.51.100.7", ""], "nobody");
    }

    #[test]
    fn forwarded_is_read_where_the_other_is_absent() {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].iter().map(|text| text.parse().unwrap()).collect();
        for (forwarded, expected) in [
            (&["for=198.51.100.7"][..], "198.51.100.7"),
            (&["For=\"198.51.100.7\""], "198.51.100.7"),
            (&["for=198.51.100.7:4711"], "198.51.100.7"),
            (&["for=\"198.51.100.7:4711\""], "198.51.100.7"),
            (&["for=\"198.51.100.7:_port\""], "198.51.100.7"),
            (&["for=\"[2001:db8::7]\""], "2001:db8::7"),
            (&["for=\"[2001:db8::7]:4711\""], "2001:db8::7"),
            (&["for=\"[2001:db8::7]:_port\""], "2001:db8::7"),
            (&["for=\"[::ffff:198.51.100.7]\""], "198.51.100.7"),
            (&["proto=https;for=198.51.100.7 ; by=\"a;b,c\\\"d\""], "198.51.100.7"),
            (&["for=203.0.113.9, for=198.51.100.7"], "198.51.100.7"),
            (&["for=203.0.113.9,for=198.51.100.7;by=10.0.0.3 , for=10.0.0.2"], "198.51.100.7"),
            (&["for=203.0.113.9", "for=\"[fd00::2]\""], "203.0.113.9"),
            (&["for=10.0.0.9, for=10.0.0.2"], "10.0.0.9"),
            (&["for=unknown, for=198.51.100.7"], "198.51.100.7"),
            (&["nonsense, for=198.51.100.7"], "198.51.100.7"),
            (&["for=\"open", "for=198.51.100.7"], "198.51.100.7"),
            (&["for=unknown"], "nobody"),
            (&["for=_hidden"], "nobody"),
            (&["for=\"_hidden:4711\""], "nobody"),
            (&["for=198.51.100.7, for=unknown"], "nobody"),
            (&["for=198.51.100.7, for=_SEVKISEK, for=10.0.0.2"], "nobody"),
            (&["proto=https"], "nobody"),
            (&["for=198.51.100.7;for=203.0.113.9"], "nobody"),
            (&["for=198.51.100.7,"], "nobody"),
            (&["198.51.100.7"], "nobody"),
            (&["for="], "nobody"),
            (&[""], "nobody"),
            // A quote that a client left open would hide what the proxy added.
            (&["for=203.0.113.9;x=\", for=\"198.51.100.7\""], "nobody"),
            (&["for=203.0.113.9;x=\"\\, for=\"198.51.100.7\";by=\"10.0.0.3\""], "nobody"),
            (&["for=203.0.113.9;x=\", for=198.51.100.7"], "nobody"),
        ] {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append(FORWARDED, value.parse().unwrap());
            }
            let client = |peer: &str, headers: &HeaderMap| {
                let client = address(peer.parse().unwrap(), headers, &trusted);
                client.map_or("nobody".to_owned(), |client| client.to_string())
            };
            assert_eq!(client("10.0.0.1", &headers), expected, "{forwarded:?}");
            assert_eq!(client("192.0.2.1", &headers), "192.0.2.1", "{forwarded:?}");
            headers.append("x-forwarded-for", "198.51.100.8".parse().unwrap());
            assert_eq!(client("10.0.0.1", &headers), "198.51.100.8", "{forwarded:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_hide_nothing() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        let client = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.append("x-forwarded-for", axum::http::HeaderValue::from_bytes(value).unwrap());
            address(peer, &headers, &trusted)
        };
        assert_eq!(client(b"\xff, 203.0.113.9"), Some("203.0.113.9".parse().unwrap()));
        assert_eq!(client(b"203.0.113.9, \xff"), None);
    }
}
