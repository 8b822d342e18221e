//! The UDP ports of WHIP: bound before anything is served, one for each session, given back when it ends.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// Ports when the system picks them.
const FREE_PORTS: u16 = 32;
/// The most ports, and so the most publishers by WHIP at once. Each costs a socket, and a session two codecs of sound.
pub const MOST_PORTS: u16 = 1_000;
/// The kernel keeps what comes while the task is busy: a large key picture comes all at once from some encoders.
const RECEIVE_BUFFER: usize = 1 << 20;

/// A range of ports, from the configuration: `40000-40099`, `40000`, or `0` for 32 that the system picks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// What a range looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no range of UDP ports: write 40000-40099, at most 1,000 of them, or 0 for 32 that the system picks")]
pub struct PortRangeError(String);

impl std::str::FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, PortRangeError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| PortRangeError(text.to_owned()));
        let (first, last) = (port(first)?, port(last)?);
        let fits = (first == 0) == (last == 0) && first <= last && last - first < MOST_PORTS;
        if fits { Ok(Self { first, last }) } else { Err(PortRangeError(text.to_owned())) }
    }
}

/// The ports that no session has.
pub(super) struct Ports {
    free: Mutex<Vec<UdpSocket>>,
    count: usize,
}

/// A session's port.
pub(super) struct Port {
    ports: Arc<Ports>,
    socket: Option<UdpSocket>,
    /// IPv4 addresses are written as IPv6 ones on it.
    dual: bool,
}

impl Ports {
    /// Binds all ports of a range, for IPv6 and IPv4 alike where the system has both.
    pub(super) fn bind(range: PortRange) -> std::io::Result<Arc<Self>> {
        let numbers: Vec<u16> = match range.first {
            0 => vec![0; FREE_PORTS.into()],
            first => (first..=range.last).collect(),
        };
        let bound: std::io::Result<Vec<_>> = numbers.into_iter().rev().map(bind).collect();
        let free = bound?;
        Ok(Arc::new(Self { count: free.len(), free: Mutex::new(free) }))
    }

    /// How many there are in all.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// A port that is free.
    pub(super) fn take(self: &Arc<Self>) -> Option<Port> {
        let socket = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        // What was sent to the session before.
        let mut late = [0; 1];
        while socket.try_recv_from(&mut late).is_ok() {}
        let dual = socket.local_addr().is_ok_and(|at| at.is_ipv6());
        Some(Port { ports: Arc::clone(self), socket: Some(socket), dual })
    }
}

fn bind(port: u16) -> std::io::Result<UdpSocket> {
    let open = |domain, address: SocketAddr| {
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(false)?;
        }
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER); // the system's limit holds; less is slower and no error
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        UdpSocket::from_std(socket.into())
    };
    match open(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
            open(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, port).into())
        }
        bound => bound,
    }
    .map_err(|error| std::io::Error::new(error.kind(), format!("udp port {port}: {error}")))
}

impl Drop for Port {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            self.ports.free.lock().unwrap_or_else(PoisonError::into_inner).insert(0, socket);
        }
    }
}

impl Port {
    fn socket(&self) -> std::io::Result<&UdpSocket> {
        self.socket.as_ref().ok_or_else(|| std::io::ErrorKind::NotConnected.into())
    }

    pub(super) fn number(&self) -> u16 {
        self.socket().and_then(UdpSocket::local_addr).map_or(0, |at| at.port())
    }

    /// The next datagram. Cancelling loses none.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> std::io::Result<(usize, SocketAddr)> {
        Ok(plain(self.socket()?.recv_from(buffer).await?))
    }

    /// The next datagram if one is here.
    pub(super) fn try_receive(&self, buffer: &mut [u8]) -> std::io::Result<(usize, SocketAddr)> {
        Ok(plain(self.socket()?.try_recv_from(buffer)?))
    }

    /// Sends, or drops as a network does: nothing here waits for a full buffer.
    pub(super) fn send(&self, bytes: &[u8], to: SocketAddr) {
        let to = match to {
            SocketAddr::V4(v4) if self.dual => SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port())),
            other => other,
        };
        if let Err(error) = self.socket().and_then(|socket| socket.try_send_to(bytes, to)) {
            tracing::trace!(%to, %error, "a datagram was not sent");
        }
    }
}

fn plain((count, from): (usize, SocketAddr)) -> (usize, SocketAddr) {
    (count, SocketAddr::new(from.ip().to_canonical(), from.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_bounded() {
        for good in ["0", "40000", "40000-40099", " 40000 - 40999 "] {
            assert!(good.parse::<PortRange>().is_ok(), "{good}");
        }
        for bad in ["", "a", "40100-40000", "0-10", "1-2000", "40000-", "70000", "-1"] {
            assert!(bad.parse::<PortRange>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_port_is_one_session_s_until_it_is_given_back() {
        let taken = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let number = taken.local_addr().unwrap().port();
        assert!(Ports::bind(number.to_string().parse().unwrap()).is_err(), "bound before serving, or not at all");
        drop(taken);
        let ports = Ports::bind(number.to_string().parse().unwrap()).unwrap();
        let port = ports.take().unwrap();
        assert_eq!(port.number(), number);
        assert!(ports.take().is_none());
        let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        stranger.send_to(b"hello", ("127.0.0.1", number)).unwrap();
        let mut buffer = [0; 16];
        let (count, from) = port.receive(&mut buffer).await.unwrap();
        assert_eq!((count, from), (5, stranger.local_addr().unwrap()));
        port.send(b"back", from);
        assert_eq!(stranger.recv(&mut buffer).unwrap(), 4);
        drop(port);
        assert!(ports.take().is_some());
    }
}
