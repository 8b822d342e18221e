//! Finds a node through the registry and dials it: whoever answers there must prove the address that was looked for, with
//! the TLS key that the registry lists.

use std::time::Duration;

use alloy::primitives::Address;
use millrace_contracts::{Chain, ChainError};
use millrace_wire::{DialError, Endpoint, Expect, Peer};

/// A name is resolved within this.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How a service URI begins.
pub const SCHEME: &str = "quic://";

/// Why a node was not reached.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// The registry could not be read.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The registry does not know it.
    #[error("{0} is not in the registry: has it been started and bonded?")]
    Unknown(Address),
    /// Its place means nothing here.
    #[error("{place}, where the registry says that {address} is, has no address: {reason}")]
    Resolve {
        /// Which node.
        address: Address,
        /// Its service URI.
        place: String,
        /// What the resolver said.
        reason: String,
    },
    /// Nobody answered there, or somebody else.
    #[error(transparent)]
    Dial(#[from] DialError),
}

/// Connects to `address` where the registry says that it is.
pub async fn reach(chain: &Chain, endpoint: &Endpoint, address: Address) -> Result<Peer, ReachError> {
    let record = chain.node(address).await?.ok_or(ReachError::Unknown(address))?;
    let place = record.uri;
    let unresolved = |reason: String| ReachError::Resolve { address, place: place.clone(), reason };
    let looked_up = tokio::net::lookup_host(place.trim_start_matches(SCHEME));
    let remote = tokio::time::timeout(RESOLVE_TIMEOUT, looked_up)
        .await
        .map_err(|_| unresolved(format!("no answer within {} s", RESOLVE_TIMEOUT.as_secs())))?
        .map_err(|e| unresolved(e.to_string()))?
        .next()
        .ok_or_else(|| unresolved("the name has none".into()))?;
    let expect = Expect { address: Some(address), fingerprint: Some(record.fingerprint) };
    Ok(endpoint.connect(remote, expect).await?)
}
