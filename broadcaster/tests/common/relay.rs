//! A network that is not to be relied on.

use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

/// A path that loses, swaps, delays or is cut, both ways.
pub struct Relay {
    socket: UdpSocket,
    pub outside: SocketAddr,
    faults: Faults,
}

/// What a path does to datagrams.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Of a hundred so many are lost.
    pub lost: u32,
    /// And so many held back for 15 ms, so that others overtake them.
    pub swapped: u32,
    /// Each is held back for a time up to this, so that they overtake each other.
    pub jitter: Duration,
    /// From when on, after the first datagram, and for how long none gets through.
    pub cut: Option<(Duration, Duration)>,
}

impl Relay {
    pub async fn new(faults: Faults) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let outside = socket.local_addr().unwrap();
        Self { socket, outside, faults }
    }

    pub async fn run(self, server: SocketAddr) {
        let inside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (outside, inside) = (std::sync::Arc::new(self.socket), std::sync::Arc::new(inside));
        let (mut client, mut seed, mut began, faults) = (None, 5u32, None, self.faults);
        let (mut up, mut down) = ([0; 2_048], [0; 2_048]);
        loop {
            let (socket, to, bytes) = tokio::select! {
                Ok((count, from)) = outside.recv_from(&mut up) => {
                    client = Some(from);
                    (inside.clone(), server, up[..count].to_vec())
                }
                Ok((count, _)) = inside.recv_from(&mut down) => {
                    let Some(client) = client else { continue };
                    (outside.clone(), client, down[..count].to_vec())
                }
                else => return,
            };
            let since = began.get_or_insert_with(Instant::now).elapsed();
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let dice = (seed >> 8) % 100;
            let cut = faults.cut.is_some_and(|(from, length)| (from..from + length).contains(&since));
            if cut || dice < faults.lost {
                continue;
            }
            let swapped = dice < faults.lost + faults.swapped;
            let late = if swapped { Duration::from_millis(15) } else { faults.jitter * ((seed >> 16) % 1_000) / 1_000 };
            if !late.is_zero() {
                tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    let _ = socket.send_to(&bytes, to).await;
                });
            } else {
                let _ = socket.send_to(&bytes, to).await;
            }
        }
    }
}
