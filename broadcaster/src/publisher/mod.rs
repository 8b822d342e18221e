//! The other end of ingest: publishers by RTMP, WHIP and SRT, for measurements and tests. No node runs any of it.
//!
//! They send what they are given when they are told to, so that whoever drives them knows the moment of every packet.

pub mod rtmp;
pub mod srt;
pub mod whip;

use std::time::Duration;

/// Each step of coming in, on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// Why a publisher does not publish.
#[derive(Debug, thiserror::Error)]
pub enum PublisherError {
    /// The socket.
    #[error("the connection is lost: {0}")]
    Lost(#[from] std::io::Error),
    /// The server says no.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// The server says what this end does not understand, or the media cannot be sent.
    #[error("{0}")]
    Protocol(String),
    /// Nothing came.
    #[error("not within {limit} s: {0}", limit = LIMIT.as_secs())]
    Late(&'static str),
}

impl PublisherError {
    fn protocol(error: impl std::fmt::Display) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// Waits for `work` within the limit.
async fn soon<T>(
    what: &'static str,
    work: impl Future<Output = Result<T, PublisherError>>,
) -> Result<T, PublisherError> {
    tokio::time::timeout(LIMIT, work).await.map_err(|_| PublisherError::Late(what))?
}
