//! A UDP socket that dials and accepts peers. Handshakes run beside each other, bounded in number and time, so that a slow
//! or hostile dialler holds up nobody; what `accept` yields has proved its identity and passed the gate.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use alloy::primitives::Address;
use quinn::{ClientConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Closed, Expect, Gate, Identity, Peer, WrongPeer,
    tls::{self, SERVER_NAME},
};

/// Segments in flight with one peer: 4 s of latency budget over 2 s segments leaves room for 16 streams with retries.
const MAX_CHANNELS: u32 = 64;
/// Unread bytes per channel: a 20 Mb/s stream makes 2.5 MB/s, so this carries it over a round trip of 800 ms.
const CHANNEL_WINDOW: u32 = 2 << 20;
/// Unread bytes per peer: 16 channels may be full at once before one that is not read holds up the others.
const PEER_WINDOW: u32 = 32 << 20;
/// Unacknowledged bytes per peer that we keep for sending again.
const SEND_WINDOW: u64 = 16 << 20;
/// Above this many open handshakes a dialler must show that it can receive at its address (QUIC retry).
const RETRY_ABOVE: usize = 32;
/// Above this many they are refused. A handshake is worth some 0.3 ms of CPU.
const MAX_HANDSHAKES: usize = 256;
/// Peers that wait for `accept`.
const ADMITTED: usize = 32;
/// How long `close` waits for the peers to hear of it.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// TLS alert 49, access denied, as a QUIC error code (RFC 9001, section 4.8).
const ACCESS_DENIED: u64 = 0x100 + 49;

/// The clock of a connection. The defaults show a killed peer within 5 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// A peer that is silent for so long is gone.
    pub idle: Duration,
    /// How often an idle connection says that it lives: some lost packets must not look like death.
    pub keep_alive: Duration,
    /// Time for a handshake, from the first packet to the acceptor's yes.
    pub handshake: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { idle: Duration::from_secs(5), keep_alive: Duration::from_secs(1), handshake: Duration::from_secs(5) }
    }
}

/// Why an endpoint cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The socket.
    #[error("cannot bind udp {addr}: {source}; is another node running there?")]
    Socket {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The identity's keys do not make a TLS configuration.
    #[error("tls cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// A [`Timing`] that QUIC cannot express.
    #[error("the idle time-out {0:?} is too long")]
    Idle(Duration),
}

/// Why a peer cannot be reached.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DialError {
    /// We refused it: it is not who it should be.
    #[error("refused the peer at {addr}: {wrong}")]
    WrongPeer {
        /// Where we dialled.
        addr: SocketAddr,
        /// What was wrong with it.
        wrong: WrongPeer,
    },
    /// Its gate does not know us.
    #[error("the peer at {addr} does not admit {us}: is this node registered and bonded?")]
    NotAdmitted {
        /// Where we dialled.
        addr: SocketAddr,
        /// Our own address.
        us: Address,
    },
    /// Nobody answered, or too slowly.
    #[error("no answer from {addr} within {within:?}: is the node up, and is udp let through?")]
    TimedOut {
        /// Where we dialled.
        addr: SocketAddr,
        /// How long we waited.
        within: Duration,
    },
    /// The connection broke during the handshake.
    #[error("cannot connect to {addr}: {reason}")]
    Failed {
        /// Where we dialled.
        addr: SocketAddr,
        /// What QUIC says.
        reason: String,
    },
}

/// A bound socket. Dropping it ends its connections without telling the peers; [`Endpoint::close`] tells them.
pub struct Endpoint {
    quic: quinn::Endpoint,
    identity: Identity,
    timing: Timing,
    admitted: Mutex<mpsc::Receiver<Peer>>,
    _accepting: AbortOnDropHandle<()>,
}

impl Endpoint {
    /// Binds a socket that admits every peer with a valid binding. Port 0 takes a free one.
    pub fn bind(identity: &Identity, addr: SocketAddr) -> Result<Self, BindError> {
        Self::bind_with(identity, addr, None, Timing::default())
    }

    /// Binds a socket that admits only the peers that `gate` knows; others fail in the handshake, before any message.
    pub fn bind_gated(identity: &Identity, addr: SocketAddr, gate: Gate) -> Result<Self, BindError> {
        Self::bind_with(identity, addr, Some(gate), Timing::default())
    }

    /// The same with a clock of the caller's. Must be called inside a tokio runtime.
    pub fn bind_with(
        identity: &Identity,
        addr: SocketAddr,
        gate: Option<Gate>,
        timing: Timing,
    ) -> Result<Self, BindError> {
        let mut config = ServerConfig::with_crypto(Arc::new(tls::acceptor(identity, gate)?));
        config.transport_config(Arc::new(transport(timing, 0)?));
        config.max_incoming(MAX_HANDSHAKES);
        let quic = quinn::Endpoint::server(config, addr).map_err(|source| BindError::Socket { addr, source })?;
        let (sender, admitted) = mpsc::channel(ADMITTED);
        let accepting = tokio::spawn(accept_all(quic.clone(), sender, timing.handshake));
        Ok(Self {
            quic,
            identity: identity.clone(),
            timing,
            admitted: Mutex::new(admitted),
            _accepting: AbortOnDropHandle::new(accepting),
        })
    }

    /// Where the socket listens.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.quic.local_addr()
    }

    /// Dials `addr`. When this returns, both sides have proved who they are and the acceptor's gate has said yes.
    pub async fn connect(&self, addr: SocketAddr, expect: Expect) -> Result<Peer, DialError> {
        let wrong = Arc::new(OnceLock::new());
        let within = self.timing.handshake;
        let outcome = timeout(within, self.dial(addr, expect, wrong.clone())).await;
        if let Some(wrong) = wrong.get() {
            return Err(DialError::WrongPeer { addr, wrong: wrong.clone() });
        }
        outcome.unwrap_or(Err(DialError::TimedOut { addr, within }))
    }

    async fn dial(&self, addr: SocketAddr, expect: Expect, wrong: Arc<OnceLock<WrongPeer>>) -> Result<Peer, DialError> {
        let failed = |reason: String| DialError::Failed { addr, reason };
        let crypto = tls::dialler(&self.identity, expect, wrong).map_err(|e| failed(e.to_string()))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport(self.timing, 1).map_err(|e| failed(e.to_string()))?));
        let connecting = self.quic.connect_with(config, addr, SERVER_NAME).map_err(|e| failed(e.to_string()))?;
        let ended = |e: quinn::ConnectionError| match e {
            quinn::ConnectionError::ConnectionClosed(close) if u64::from(close.error_code) == ACCESS_DENIED => {
                DialError::NotAdmitted { addr, us: self.identity.address() }
            }
            quinn::ConnectionError::TimedOut => DialError::TimedOut { addr, within: self.timing.handshake },
            other => failed(other.to_string()),
        };
        let connection = connecting.await.map_err(ended)?;
        // In TLS 1.3 the dialler is done before the acceptor has seen its certificate. The acceptor's first stream, empty
        // and the only one of its kind, is its yes.
        connection.accept_uni().await.map_err(ended)?;
        Peer::new(connection).map_err(|e| failed(e.to_string()))
    }

    /// The next peer that dialled us, proved its identity and passed the gate. `None` once the endpoint is closed.
    pub async fn accept(&self) -> Option<Peer> {
        self.admitted.lock().await.recv().await
    }

    /// Closes every connection, tells the peers, and waits up to a second until they have heard.
    pub async fn close(&self) {
        self.quic.close(VarInt::from_u32(0), b"the node is closing");
        let _ = timeout(CLOSE_WAIT, self.quic.wait_idle()).await;
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint({:?} at {:?})", self.identity, self.local_addr().ok())
    }
}

fn transport(timing: Timing, peer_opens_one_way: u32) -> Result<TransportConfig, BindError> {
    let idle = IdleTimeout::try_from(timing.idle).map_err(|_| BindError::Idle(timing.idle))?;
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(timing.keep_alive))
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_CHANNELS))
        .max_concurrent_uni_streams(VarInt::from_u32(peer_opens_one_way))
        .stream_receive_window(VarInt::from_u32(CHANNEL_WINDOW))
        .receive_window(VarInt::from_u32(PEER_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None);
    Ok(config)
}

async fn accept_all(quic: quinn::Endpoint, admitted: mpsc::Sender<Peer>, within: Duration) {
    let mut handshakes = JoinSet::new();
    loop {
        tokio::select! {
            incoming = quic.accept() => {
                let Some(incoming) = incoming else { return };
                if handshakes.len() >= MAX_HANDSHAKES {
                    incoming.refuse();
                } else if handshakes.len() >= RETRY_ABOVE && incoming.may_retry() {
                    let _ = incoming.retry();
                } else {
                    handshakes.spawn(accept_one(incoming, admitted.clone(), within));
                }
            }
            Some(_) = handshakes.join_next() => {}
        }
    }
}

async fn accept_one(incoming: quinn::Incoming, admitted: mpsc::Sender<Peer>, within: Duration) {
    let from = incoming.remote_address();
    let handshake = async {
        let connection = incoming.await.map_err(Closed::from)?;
        connection.open_uni().await.map_err(Closed::from)?.finish().map_err(|_| Closed::Here)?;
        Peer::new(connection)
    };
    match timeout(within, handshake).await {
        Ok(Ok(peer)) => {
            tracing::debug!(%from, address = %peer.address(), "peer connected");
            // A node that takes no more peers lets this one go.
            if let Ok(Err(_)) | Err(_) = timeout(within, admitted.send(peer)).await {
                tracing::warn!(%from, "peer dropped: nobody took it within {within:?}");
            }
        }
        Ok(Err(reason)) => tracing::info!(%from, "peer refused: {reason}"),
        Err(_) => tracing::info!(%from, "peer refused: handshake not done within {within:?}"),
    }
}
