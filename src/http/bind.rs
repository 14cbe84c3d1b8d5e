//! Opens the sockets to listen on.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Listens on every address, and says which ones they became: port 0 is any free one. An error names
/// the address and the flag that it came from.
///
/// `[::]` takes IPv4 as well; where the system has no IPv6, it is `0.0.0.0`.
pub async fn bind(addresses: &[SocketAddr]) -> io::Result<Vec<(TcpListener, SocketAddr)>> {
    addresses.iter().map(|address| listen(*address)).collect()
}

fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let explain = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot listen on {address} (--web.listen-address): {error}"))
    };
    let socket = match open(address) {
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() && !has_ipv6() => {
            open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        socket => socket,
    };
    let listener = socket.and_then(|socket| TcpListener::from_std(socket.into())).map_err(explain)?;
    let bound = listener.local_addr().map_err(explain)?;
    Ok((listener, bound))
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    /// Connections that wait to be accepted; the system may allow fewer.
    const BACKLOG: i32 = 4096;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    // A restart need not wait until old connections are forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn has_ipv6() -> bool {
    Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).is_ok()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn an_error_names_the_address_and_the_flag() {
        let (_listener, address) = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind(&[address]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let start = format!("cannot listen on {address} (--web.listen-address): ");
        assert!(error.to_string().starts_with(&start), "{error}");
    }

    #[tokio::test]
    async fn every_interface_means_both_protocols() {
        let listeners = bind(&["[::]:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()]).await.unwrap();
        let ports: Vec<u16> = listeners.iter().map(|(_, address)| address.port()).collect();
        assert!(ports.iter().all(|port| *port != 0), "{ports:?}");
        TcpStream::connect((Ipv4Addr::LOCALHOST, ports[0])).await.unwrap();
    }
}
