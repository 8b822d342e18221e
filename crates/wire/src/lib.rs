//! Messages and the QUIC transport between nodes, identity bound to the key.
//!
//! An [`Identity`] is a node's secp256k1 key with a TLS key that it has signed. An [`Endpoint`] dials and accepts other
//! nodes; what it hands out is a [`Peer`] whose address is proved on both sides before any message. A peer opens
//! [`Channel`]s, each an ordered stream of [`messages`] in both directions with back-pressure. This crate knows no media
//! and no chain: parts are bytes, and whom to admit is the caller's [`Gate`].

mod channel;
mod endpoint;
mod identity;
pub mod messages;
mod peer;
#[cfg(test)]
mod tests;
mod tls;

pub use channel::{Channel, MAX_MESSAGE, Receiver, RecvError, SendError, Sender};
pub use endpoint::{BindError, DialError, Endpoint, Timing};
pub use identity::{BindingError, Identity, IdentityError};
pub use peer::{Closed, Peer};
pub use tls::{Expect, Gate, WrongPeer};
