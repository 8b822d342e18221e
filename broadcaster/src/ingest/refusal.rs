//! Why a publisher is turned away, in words that every protocol passes on.

use std::time::Duration;

/// What a publisher that came too early, or to a full server, is told to wait.
const COME_BACK: Duration = Duration::from_secs(15);

/// Why a publisher is turned away. The words are for the publisher; what only the operator is to know is in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No key of this node.
    #[error("unknown key: publish with a stream key of this server")]
    UnknownKey,
    /// A key that was taken back.
    #[error("this stream key was revoked: ask the server's operator for another")]
    Revoked,
    /// The operator's own program says no.
    #[error("{reason}")]
    Denied {
        /// Its words.
        reason: String,
        /// Whether the key is one of this node's: else it counts as a wrong one.
        known: bool,
    },
    /// Another publisher has the name.
    #[error("stream {0} already has a publisher: end that first")]
    NameTaken(String),
    /// The node is full.
    #[error("this server has {0} live streams, its limit: try again later")]
    Full(usize),
    /// The address has its share.
    #[error("your address has {0} live streams here, the limit for one address: end one of them first")]
    AddressFull(usize),
    /// The address has its share of connections.
    #[error("your address has {0} connections here, the limit for one address: close one of them first")]
    Connections(usize),
    /// The address guesses.
    #[error("too many wrong keys came from your address: try again in {} s, with the right one", .0.as_secs().max(1))]
    WrongKeys(Duration),
    /// Whether the key is right cannot be found out.
    #[error("this server cannot check stream keys just now: try again later")]
    Unavailable,
}

impl Refusal {
    /// After what time another attempt may fare better, for protocols that can say so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Full(_) | Self::AddressFull(_) | Self::Connections(_) | Self::Unavailable => Some(COME_BACK),
            Self::WrongKeys(left) => Some(*left),
            Self::UnknownKey | Self::Revoked | Self::Denied { .. } | Self::NameTaken(_) => None,
        }
    }

    /// Whether it speaks against the key, and not for the moment.
    pub fn is_about_the_key(&self) -> bool {
        matches!(self, Self::UnknownKey | Self::Revoked | Self::Denied { .. })
    }

    /// Whether somebody may be trying keys.
    pub(super) fn is_a_wrong_key(&self) -> bool {
        matches!(self, Self::UnknownKey | Self::Denied { known: false, .. })
    }
}
