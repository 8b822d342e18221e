//! A network that is not to be relied on.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::UdpSocket;

/// A path that loses and swaps datagrams, both ways.
pub struct Relay {
    socket: UdpSocket,
    pub outside: SocketAddr,
    percent: u32,
}

impl Relay {
    /// Loses `percent` of all datagrams, and holds as many back for 15 ms, so that others overtake them.
    pub async fn new(percent: u32) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let outside = socket.local_addr().unwrap();
        Self { socket, outside, percent }
    }

    pub async fn run(self, server: SocketAddr) {
        let inside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (outside, inside) = (std::sync::Arc::new(self.socket), std::sync::Arc::new(inside));
        let (mut client, mut seed) = (None, 5u32);
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
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let dice = (seed >> 8) % 100;
            if dice < self.percent {
                continue;
            }
            if dice < 2 * self.percent {
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(15)).await;
                    let _ = socket.send_to(&bytes, to).await;
                });
            } else {
                let _ = socket.send_to(&bytes, to).await;
            }
        }
    }
}
