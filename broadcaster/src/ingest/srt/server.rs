//! The SRT port: one UDP socket for all publishers, their handshakes, and the way of their payloads to their sessions.
//!
//! One task has the socket and the protocol. It waits for nobody: a session that does not keep up loses packets, as on a network.

use super::intake::Intake;
use super::session::{Closed, Payload, Session};
use super::stream_id::{self, StreamIdError};
use crate::ingest::gate::{ConnectionGuard, NameGuard};
use crate::ingest::live::{Live, Publication};
use crate::ingest::{Gate, Protocol, Refusal};
use sapflow_srt::crypto::{CryptoConfig, KeySize};
use sapflow_srt::packet::{Control, ControlPacket, Extension, Packet};
use sapflow_srt::{Config, ConnId, Event, Listener, RejectCode};
use socket2::{Domain, Socket, Type};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Publishers at once. Each costs a task and what it has on its way: a second at 16 Mb/s is 2 MB.
const MAX_PUBLISHERS: usize = 128;
/// Handshakes under way beside them.
const MAX_PENDING: usize = 32;
/// Packets of a publisher that wait for their time or a packet lost before them, 1,316 bytes each: two seconds at 20 Mb/s. Whoever asks for
/// a longer latency at a higher rate gets less of it.
const BUFFER: usize = 4_096;
/// Packets that wait for a session: a second at 20 Mb/s.
const PAYLOADS: usize = 2_048;
/// A publisher that says nothing for so long has gone: SRT itself speaks every second.
const PEER_IDLE: Duration = Duration::from_secs(5);
/// The kernel keeps what comes while the task is busy, of all publishers.
const RECEIVE_BUFFER: usize = 8 << 20;
/// Datagrams taken in one go, before what they brought is looked at.
const BATCH: usize = 64;
/// More than the largest datagram that SRT has.
const DATAGRAM: usize = 2_048;
/// Without connections nothing is due; the task looks up so often all the same.
const TICK: Duration = Duration::from_secs(1);
/// Latencies that are taken, milliseconds: what SRT's own field holds, and a limit to what is kept.
const LATENCIES: std::ops::RangeInclusive<u32> = 20..=8_000;

/// What the protocol refuses before anybody is asked.
const NOT_OURS: &str =
    "its encryption does not go with broadcaster.srt_passphrase, its SRT is older than 1.3, or its mode is not live";

/// The codes of the access-control guidelines, as they stand in a refused handshake.
mod reject {
    use sapflow_srt::RejectCode;
    pub(super) const UNAUTHORIZED: RejectCode = RejectCode::http(401);
    pub(super) const OVERLOAD: RejectCode = RejectCode::http(402);
    pub(super) const BAD_MODE: RejectCode = RejectCode::http(405);
    pub(super) const CONFLICT: RejectCode = RejectCode::http(409);
}

/// The code by which a caller is told why it is refused.
fn code(refusal: &Refusal) -> RejectCode {
    match refusal {
        Refusal::NameTaken(_) => reject::CONFLICT,
        refusal if refusal.is_about_the_key() => reject::UNAUTHORIZED,
        _ => reject::OVERLOAD,
    }
}

/// How the port behaves.
#[derive(Debug, Clone)]
pub struct SrtOptions {
    latency: Duration,
    passphrase: Option<[CryptoConfig; 2]>,
}

/// A setting that is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SrtOptionsError {
    /// The passphrase.
    #[error("broadcaster.srt_passphrase has {0} bytes: SRT wants 10 to 79, none of them zero, or none at all")]
    Passphrase(usize),
    /// The latency.
    #[error("broadcaster.srt_latency_ms = {0} is not taken: it is {least} to {most}", least = LATENCIES.start(), most = LATENCIES.end())]
    Latency(u32),
}

impl SrtOptions {
    /// For a passphrase of 10 to 79 bytes, or none when it is empty, and the least latency in milliseconds.
    pub fn new(passphrase: &str, latency_ms: u32) -> Result<Self, SrtOptionsError> {
        if !LATENCIES.contains(&latency_ms) {
            return Err(SrtOptionsError::Latency(latency_ms));
        }
        let secret = |size| {
            let secret = CryptoConfig::new(passphrase.as_bytes().to_vec(), size);
            secret.map_err(|_| SrtOptionsError::Passphrase(passphrase.len()))
        };
        let passphrase = match passphrase {
            "" => None,
            _ => Some([secret(KeySize::Aes128)?, secret(KeySize::Aes256)?]),
        };
        Ok(Self { latency: Duration::from_millis(latency_ms.into()), passphrase })
    }
}

/// The SRT listener.
pub struct SrtServer {
    socket: UdpSocket,
    listener: Listener,
    options: SrtOptions,
    gate: Arc<Gate>,
    sessions: HashMap<ConnId, Handle>,
    /// How many handshakes the protocol has refused.
    refused: u64,
}

/// A session as the port has it. Dropping it ends the session.
struct Handle {
    payloads: mpsc::Sender<Payload>,
    closed: oneshot::Sender<Closed>,
    /// Packets of the connection that never came.
    late: u64,
    /// Whether a payload did not reach the session.
    gap: bool,
    _counted: ConnectionGuard,
}

/// What tasks tell the port.
enum Told {
    /// The name of a publisher is taken, or was not to be had.
    Claimed { claim: Claim, guard: Result<NameGuard, Refusal> },
    /// A session is over.
    Ended(ConnId),
}

/// A publisher who waits for an answer.
struct Claim {
    id: ConnId,
    peer: SocketAddr,
    counted: ConnectionGuard,
    /// Of the key that it offers.
    key_size: KeySize,
}

impl SrtServer {
    /// Binds to `address`; port 0 takes a free one. Fails as the system's bind does.
    pub fn bind(address: SocketAddr, options: SrtOptions, gate: Arc<Gate>) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(socket2::Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER); // the system's limit holds; less is slower and no error
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let config = Config {
            latency: options.latency,
            max_connections: MAX_PUBLISHERS + MAX_PENDING,
            buffer_packets: BUFFER,
            peer_idle: PEER_IDLE,
            crypto: options.passphrase.as_ref().map(|[short, _]| short.clone()),
            ..Config::default()
        };
        let listener = Listener::new(config, Instant::now());
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Self { socket, listener, options, gate, sessions: HashMap::new(), refused: 0 })
    }

    /// The address that encoders publish to.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `shutdown`, and hands every publication to `publications`. Returns when all sessions are over.
    pub async fn run(mut self, publications: mpsc::Sender<Publication>, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        // Each connection has one thing to tell at a time.
        let (teller, mut told) = mpsc::channel(MAX_PUBLISHERS + MAX_PENDING);
        let mut buffer = vec![0; DATAGRAM];
        while !(shutdown.is_cancelled() && self.sessions.is_empty()) {
            self.transmit();
            let now = Instant::now();
            let due = self.listener.poll_timeout().unwrap_or(now + TICK).min(now + TICK);
            if due <= now {
                self.listener.handle_timeout(now);
                self.events(&teller, &tasks, None);
            }
            tokio::select! {
                biased; // sessions first: a flood of datagrams must not keep them waiting
                Some(told) = told.recv() => match told {
                    Told::Claimed { claim, guard } => {
                        let id = claim.id;
                        if let Some(session) = self.answer(claim, guard, &publications, &shutdown) {
                            let teller = teller.clone();
                            tasks.spawn(async move {
                                session.run().await;
                                let _ = teller.send(Told::Ended(id)).await; // the port may have closed
                            });
                        }
                    }
                    Told::Ended(id) => {
                        self.sessions.remove(&id);
                        self.listener.close(id, Instant::now());
                    }
                },
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((count, from)) => {
                        self.datagram(&buffer[..count], from, &shutdown, &teller, &tasks);
                        for _ in 1..BATCH {
                            let Ok((count, from)) = self.socket.try_recv_from(&mut buffer) else { break };
                            self.datagram(&buffer[..count], from, &shutdown, &teller, &tasks);
                        }
                    }
                    // A socket without connection reports what befell its last answer: nothing that concerns reading.
                    Err(error) => tracing::trace!(%error, "udp"),
                },
                () = sleep_until(due.into()) => {}
                () = shutdown.cancelled(), if self.sessions.is_empty() => {}
            }
        }
        self.transmit();
        drop((told, teller));
        tasks.close();
        tasks.wait().await; // soon: a claim takes a second at most
    }

    fn datagram(
        &mut self,
        bytes: &[u8],
        from: SocketAddr,
        shutdown: &CancellationToken,
        teller: &mpsc::Sender<Told>,
        tasks: &TaskTracker,
    ) {
        self.listener.handle_datagram(Instant::now(), from, bytes);
        let draining = shutdown.is_cancelled();
        self.events(teller, tasks, Some(bytes).filter(|_| !draining));
        // What the protocol refuses by itself, before anybody is asked.
        let refused = self.listener.stats().rejected;
        if refused > self.refused {
            self.refused = refused;
            let peer = canonical(from);
            tracing::warn!(%peer, reason = NOT_OURS, "srt refused");
        }
    }

    /// Takes what the protocol has to say. A connection is answered only while its handshake's `datagram` is at hand.
    fn events(&mut self, teller: &mpsc::Sender<Told>, tasks: &TaskTracker, datagram: Option<&[u8]>) {
        while let Some(event) = self.listener.poll_event() {
            match event {
                Event::Connect { id, peer, stream_id } => {
                    let Some(datagram) = datagram else {
                        self.refuse(id, peer, RejectCode::CLOSE, "the server is shutting down");
                        continue;
                    };
                    match self.admit(&stream_id, peer) {
                        Ok((key, counted)) => {
                            let claim = Claim { id, peer, counted, key_size: key_size(datagram) };
                            let (gate, teller, peer) = (self.gate.clone(), teller.clone(), canonical(peer));
                            tasks.spawn(async move {
                                let guard = match gate.authorise(Protocol::Srt, &key, peer).await {
                                    Ok(grant) => gate.claim(grant, peer).await,
                                    Err(refusal) => Err(refusal),
                                };
                                let _ = teller.send(Told::Claimed { claim, guard }).await; // the port may have closed
                            });
                        }
                        Err((code, reason)) => self.refuse(id, peer, code, &reason),
                    }
                }
                Event::Data { id, payload } => {
                    let late = self.listener.connection_stats(id).map(|stats| stats.dropped);
                    let Some(handle) = self.sessions.get_mut(&id) else { continue };
                    let late = late.unwrap_or(handle.late);
                    let gap = handle.gap || late > handle.late;
                    handle.late = late;
                    handle.gap = handle.payloads.try_send(Payload { bytes: payload, gap }).is_err();
                }
                Event::Closed { id, reason, stats } => {
                    if let Some(handle) = self.sessions.remove(&id) {
                        let _ = handle.closed.send(Closed { reason, stats }); // the session may have ended by itself
                    }
                }
            }
        }
    }

    /// The key of a stream id, for a caller that has room here, or why it is refused.
    fn admit(&self, stream_id: &[u8], peer: SocketAddr) -> Result<(String, ConnectionGuard), (RejectCode, String)> {
        let key = stream_id::key(stream_id).map_err(|error| match error {
            StreamIdError::NoKey => (reject::UNAUTHORIZED, error.to_string()),
            StreamIdError::Mode => (reject::BAD_MODE, error.to_string()),
        })?;
        if self.sessions.len() >= MAX_PUBLISHERS {
            return Err((reject::OVERLOAD, format!("{MAX_PUBLISHERS} publishers are here already, the limit")));
        }
        let counted =
            self.gate.connect(canonical(peer).ip()).map_err(|refusal| (code(&refusal), refusal.to_string()))?;
        Ok((key.to_owned(), counted))
    }

    fn answer(
        &mut self,
        claim: Claim,
        guard: Result<NameGuard, Refusal>,
        publications: &mpsc::Sender<Publication>,
        shutdown: &CancellationToken,
    ) -> Option<Session> {
        let Claim { id, peer, counted, key_size } = claim;
        let guard = match guard {
            Ok(guard) => guard,
            Err(refusal) => {
                self.refuse(id, peer, code(&refusal), &refusal.to_string());
                return None;
            }
        };
        let name = guard.name().to_owned();
        if shutdown.is_cancelled() {
            self.refuse(id, peer, RejectCode::CLOSE, "the server is shutting down");
            return None;
        }
        let secret = self.options.passphrase.as_ref().map(|[short, long]| match key_size {
            KeySize::Aes128 => short.clone(),
            KeySize::Aes256 => long.clone(),
        });
        let shown = canonical(peer);
        if !self.listener.accept_with_crypto(id, Instant::now(), secret) {
            self.refused = self.listener.stats().rejected;
            let reason = "its passphrase is not broadcaster.srt_passphrase, or it has gone";
            tracing::warn!(peer = %shown, stream = %name, reason, "srt refused");
            return None;
        }
        let latency_ms = self.listener.latency(id).unwrap_or_default().as_millis() as u64;
        tracing::info!(peer = %shown, stream = %name, latency_ms, encrypted = self.options.passphrase.is_some(), "srt publisher accepted");
        let (payloads, received) = mpsc::channel(PAYLOADS);
        let (closed, ended) = oneshot::channel();
        self.sessions.insert(id, Handle { payloads, closed, late: 0, gap: false, _counted: counted });
        Some(Session {
            live: Live::new(guard, shown, publications.clone()),
            intake: Intake::new(&name),
            payloads: received,
            closed: ended,
            shutdown: shutdown.clone(),
        })
    }

    fn refuse(&mut self, id: ConnId, peer: SocketAddr, code: RejectCode, reason: &str) {
        self.listener.reject(id, code);
        self.refused = self.listener.stats().rejected;
        tracing::warn!(peer = %canonical(peer), code = code.0, reason, "srt refused");
    }

    /// Sends, or drops as a network does: nothing here waits for a full buffer.
    fn transmit(&mut self) {
        while let Some((to, bytes)) = self.listener.poll_transmit() {
            if let Err(error) = self.socket.try_send_to(&bytes, to) {
                tracing::trace!(%to, %error, "a datagram was not sent");
            }
        }
    }
}

/// The size of the key that a handshake offers; 128 bits where it offers none.
fn key_size(datagram: &[u8]) -> KeySize {
    const UNIT_COUNT: usize = 15; // of a key material message: words of four bytes
    let Ok(Packet::Control(ControlPacket { body: Control::Handshake(handshake), .. })) = Packet::parse(datagram) else {
        return KeySize::Aes128;
    };
    let long = |extension: &Extension| matches!(extension, Extension::KmReq(key) if key.get(UNIT_COUNT) == Some(&8));
    if handshake.extensions.iter().any(long) { KeySize::Aes256 } else { KeySize::Aes128 }
}

/// An IPv4 address that came by an IPv6 socket, as itself.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_bounded_and_the_passphrase_is_not_shown() {
        for good in ["", "0123456789", &"x".repeat(79)] {
            assert!(SrtOptions::new(good, 200).is_ok());
        }
        assert_eq!(SrtOptions::new("too short", 200).unwrap_err(), SrtOptionsError::Passphrase(9));
        assert_eq!(SrtOptions::new(&"x".repeat(80), 200).unwrap_err(), SrtOptionsError::Passphrase(80));
        for bad in [0, 19, 8_001] {
            assert!(SrtOptions::new("", bad).unwrap_err().to_string().contains("20 to 8000"));
        }
        let shown = format!("{:?}", SrtOptions::new("do not show this", 200).unwrap());
        assert!(!shown.contains("do not show"), "{shown}");
    }
}
