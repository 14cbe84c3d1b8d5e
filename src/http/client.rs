//! Who sent a request: the peer, or who a trusted proxy says it is.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The other end of the connection, as a request extension.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// The address of the client. `X-Forwarded-For` counts only when the peer is a trusted proxy; then it is
/// the rightmost address that is not one, because what is left of that anybody can write. `None` when
/// it cannot be read up to there: then nobody knows who it is.
pub(super) fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let mut client = peer.to_canonical();
    if !contains(trusted, client) {
        return Some(client);
    }
    let values: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
    for hop in values.iter().rev().flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b',')) {
        client = parse_hop(str::from_utf8(hop).ok()?.trim())?;
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
