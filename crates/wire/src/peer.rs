//! A connected node whose address and TLS key are proved. Channels are opened and accepted here; their messages are in
//! `channel`.

use std::{net::SocketAddr, time::Duration};

use alloy::primitives::{Address, B256};
use quinn::{ConnectionError, VarInt};
use rustls::pki_types::CertificateDer;

use crate::{Channel, identity::read_binding};

/// Reasons travel in one packet: longer ones are cut.
const MAX_REASON: usize = 256;

/// A connection to a node. Clones share it; when the last clone and channel are gone it closes.
#[derive(Debug, Clone)]
pub struct Peer {
    connection: quinn::Connection,
    address: Address,
    fingerprint: B256,
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The peer said so.
    #[error("the peer closed the connection with code {code}: {reason}")]
    Peer {
        /// The code it gave; 0 is an orderly end.
        code: u64,
        /// What it said, in words.
        reason: String,
    },
    /// We did.
    #[error("the connection is closed on this side")]
    Here,
    /// Nothing was heard for the idle time-out: killed, cut off, or asleep.
    #[error("the peer fell silent")]
    Silent,
    /// The protocol broke, or the peer lost its state.
    #[error("the connection failed: {0}")]
    Failed(String),
}

impl From<ConnectionError> for Closed {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::Peer {
                code: close.error_code.into_inner(),
                reason: String::from_utf8_lossy(&close.reason).into_owned(),
            },
            ConnectionError::LocallyClosed => Self::Here,
            ConnectionError::TimedOut => Self::Silent,
            other => Self::Failed(other.to_string()),
        }
    }
}

impl Peer {
    /// Takes over a connection whose handshake is done.
    pub(crate) fn new(connection: quinn::Connection) -> Result<Self, Closed> {
        let certificates = connection.peer_identity().and_then(|i| i.downcast::<Vec<CertificateDer<'static>>>().ok());
        let bound = certificates.as_deref().and_then(|c| c.first()).map(read_binding);
        match bound {
            Some(Ok(bound)) => Ok(Self { connection, address: bound.address, fingerprint: bound.fingerprint }),
            Some(Err(e)) => Err(Closed::Failed(e.to_string())),
            None => Err(Closed::Failed("the peer showed no certificate".into())),
        }
    }

    /// The proved address of the peer's identity.
    pub fn address(&self) -> Address {
        self.address
    }

    /// keccak256 of the peer's TLS SubjectPublicKeyInfo.
    pub fn fingerprint(&self) -> B256 {
        self.fingerprint
    }

    /// Where the peer's packets come from.
    pub fn remote_addr(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// Opens a channel. The peer sees it with the first message. Waits while 64 are open: give it a time-out.
    pub async fn open(&self) -> Result<Channel, Closed> {
        Ok(Channel::new(self.connection.open_bi().await?))
    }

    /// The next channel that the peer opens, in the order in which it opened them.
    pub async fn accept(&self) -> Result<Channel, Closed> {
        Ok(Channel::new(self.connection.accept_bi().await?))
    }

    /// The round trip as QUIC estimates it.
    pub fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    /// Ends the connection now; what was sent and not yet acknowledged may be lost. 0 is an orderly end.
    pub fn close(&self, code: u32, reason: &str) {
        let end = reason.floor_char_boundary(MAX_REASON);
        self.connection.close(VarInt::from_u32(code), &reason.as_bytes()[..end]);
    }

    /// Waits until the connection has ended, and says why.
    pub async fn closed(&self) -> Closed {
        self.connection.closed().await.into()
    }

    /// QUIC itself, for the tests that send what no honest node sends.
    #[cfg(test)]
    pub(crate) fn raw(&self) -> &quinn::Connection {
        &self.connection
    }

    /// False once the connection has ended.
    pub fn is_alive(&self) -> bool {
        self.connection.close_reason().is_none()
    }
}
