//! A publisher by SRT: datagrams of MPEG-TS, sent when they are given.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sapflow_srt::{Caller, CallerCloseReason, CallerConfig, CallerEvent, SendConfig};
use tokio::net::UdpSocket;
use tokio::time::timeout_at;

use super::{PublisherError, soon};

/// SRT's own default; a server that wants more gets more.
const LATENCY: Duration = Duration::from_millis(120);
/// Bytes a second: nothing is paced, so that a picture is out when it was sent.
const BANDWIDTH: u64 = 1_000_000_000;

/// A connection that the server has taken.
pub struct Client {
    caller: Caller,
    socket: UdpSocket,
    connected: bool,
}

impl Client {
    /// Calls `address` with a stream id, up to the end of the handshake.
    ///
    /// # Errors
    /// A refusal; a lost connection; twenty seconds without an answer.
    pub async fn publish(address: SocketAddr, stream_id: &str) -> Result<Self, PublisherError> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let send = SendConfig { bandwidth: BANDWIDTH, ..SendConfig::default() };
        let config =
            CallerConfig { stream_id: stream_id.to_owned(), latency: LATENCY, send, ..CallerConfig::default() };
        let caller = Caller::new(config, address, Instant::now()).map_err(PublisherError::protocol)?;
        let mut client = Self { caller, socket, connected: false };
        soon("the end of the handshake", async {
            while !client.connected {
                client.step(Instant::now() + Duration::from_millis(20)).await?;
            }
            Ok(())
        })
        .await?;
        Ok(client)
    }

    /// Sends one packet of at most 1,316 bytes.
    pub async fn send(&mut self, payload: &[u8]) -> Result<(), PublisherError> {
        let taken = self.caller.enqueue(Instant::now(), payload.to_vec());
        self.events()?; // why it has ended says more than that it has
        taken.map_err(PublisherError::protocol)?;
        self.transmit().await
    }

    /// Answers what comes until `deadline`.
    pub async fn idle(&mut self, deadline: Instant) -> Result<(), PublisherError> {
        while Instant::now() < deadline {
            self.step(deadline).await?;
        }
        Ok(())
    }

    async fn transmit(&mut self) -> Result<(), PublisherError> {
        while let Some((to, bytes)) = self.caller.poll_transmit(Instant::now()) {
            self.socket.send_to(&bytes, to).await?;
        }
        Ok(())
    }

    /// Until `deadline`, or until something has happened.
    async fn step(&mut self, deadline: Instant) -> Result<(), PublisherError> {
        self.caller.handle_timeout(Instant::now());
        self.transmit().await?;
        let due = self.caller.poll_timeout().unwrap_or(deadline).min(deadline);
        let mut buffer = [0; 2_048];
        if let Ok(received) = timeout_at(due.into(), self.socket.recv_from(&mut buffer)).await {
            let (count, from) = received?;
            self.caller.handle_datagram(Instant::now(), from, &buffer[..count]);
        }
        self.events()?;
        self.transmit().await
    }

    fn events(&mut self) -> Result<(), PublisherError> {
        while let Some(event) = self.caller.poll_event() {
            match event {
                CallerEvent::Connected { .. } => self.connected = true,
                CallerEvent::Closed { reason: CallerCloseReason::Rejected(code) } => {
                    return Err(PublisherError::Refused(format!("code {code}")));
                }
                CallerEvent::Closed { reason } => return Err(PublisherError::Refused(format!("{reason:?}"))),
            }
        }
        Ok(())
    }
}
