//! Where every publisher comes in, whatever its protocol: who may publish and as what, the names that are live, and how much one
//! address may have.
//!
//! A protocol makes two calls: [`Gate::authorise`] with the key that it was given, and [`Gate::claim`] with the grant that came of
//! it. Both refuse with a [`Refusal`], whose words the publisher is told. A protocol with connections counts them by
//! [`Gate::connect`].

use super::addresses::{Addresses, CONNECTIONS_PER_STREAM, LEAST_CONNECTIONS, Limits};
use super::refusal::Refusal;
use crate::config::Rung;
use alloy::primitives::B256;
use futures::future::BoxFuture;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

/// A killed encoder may be back before its old connection's end was read. So long a taken name, or a place, is waited for.
const NAME_GRACE: Duration = Duration::from_secs(1);
/// Longest key, bytes: a signed token fits.
const MOST_KEY: usize = 2_048;

/// How a publisher comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RTMP.
    Rtmp,
    /// WebRTC by WHIP.
    Whip,
    /// SRT.
    Srt,
}

impl Protocol {
    /// Its name in logs and for the webhook.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rtmp => "rtmp",
            Self::Whip => "whip",
            Self::Srt => "srt",
        }
    }
}

/// Somebody wants to publish.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// How.
    pub protocol: Protocol,
    /// The key that came; 1 to 2,048 bytes.
    pub key: &'a str,
    /// From where: the publisher, or a proxy before it.
    pub peer: SocketAddr,
}

/// What a key gives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    /// Public name of the stream.
    pub name: String,
    /// The ladder of this stream, highest first; without one it is the node's.
    pub ladder: Option<Vec<Rung>>,
    /// Whether the stream is to be recorded; without a word it is the node's.
    pub record: Option<bool>,
    /// Hash of the key, where it can be revoked.
    pub key: Option<B256>,
}

/// Who may publish, and as what. A closure from a key to a public name is one, for tests and simple uses.
pub trait Keys: Send + Sync + 'static {
    /// What the attempt is granted. It has to come to an end by itself.
    fn judge<'a>(&'a self, attempt: Attempt<'a>) -> BoxFuture<'a, Result<Grant, Refusal>>;
}

impl<F: Fn(&str) -> Option<String> + Send + Sync + 'static> Keys for F {
    fn judge<'a>(&'a self, attempt: Attempt<'a>) -> BoxFuture<'a, Result<Grant, Refusal>> {
        let name = self(attempt.key).ok_or(Refusal::UnknownKey);
        Box::pin(std::future::ready(name.map(|name| Grant { name, ..Grant::default() })))
    }
}

/// Where every publisher comes in: the keys, the names that are taken, and what addresses have.
pub struct Gate {
    keys: Arc<dyn Keys>,
    limits: Limits,
    state: Mutex<State>,
    released: Notify,
}

#[derive(Default)]
struct State {
    live: HashMap<String, Holder>,
    addresses: Addresses,
}

/// Who has a name.
struct Holder {
    key: Option<B256>,
    revoked: CancellationToken,
}

/// A connection that is counted, for as long as this value lives.
pub struct ConnectionGuard {
    gate: Arc<Gate>,
    ip: IpAddr,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.gate.state().addresses.disconnect(self.ip);
    }
}

/// A name that is taken, for as long as this value lives.
pub struct NameGuard {
    gate: Arc<Gate>,
    grant: Grant,
    ip: IpAddr,
    revoked: CancellationToken,
}

impl NameGuard {
    /// The name.
    pub fn name(&self) -> &str {
        &self.grant.name
    }

    /// As [`Grant::record`].
    pub fn record(&self) -> Option<bool> {
        self.grant.record
    }

    /// As [`Grant::ladder`].
    pub fn ladder(&self) -> Option<&[Rung]> {
        self.grant.ladder.as_deref()
    }

    /// Until the key that it was taken with is revoked.
    pub async fn revoked(&self) {
        self.revoked.cancelled().await;
    }
}

impl Drop for NameGuard {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.live.remove(&self.grant.name);
        state.addresses.unpublish(self.ip);
        drop(state);
        self.gate.released.notify_waiters();
    }
}

impl Gate {
    /// A gate for these keys with the default [`Limits`], with no name taken.
    pub fn new(keys: Arc<dyn Keys>) -> Arc<Self> {
        Self::with_limits(keys, Limits::default())
    }

    /// The same with other limits.
    pub fn with_limits(keys: Arc<dyn Keys>, limits: Limits) -> Arc<Self> {
        Arc::new(Self { keys, limits, state: Mutex::default(), released: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections that a listener takes at once.
    pub(super) fn connections(&self) -> usize {
        LEAST_CONNECTIONS.max(self.limits.streams * CONNECTIONS_PER_STREAM)
    }

    /// Counts a connection from `ip`, or refuses it.
    pub fn connect(self: &Arc<Self>, ip: IpAddr) -> Result<ConnectionGuard, Refusal> {
        let limit = self.limits.connections_per_address;
        if !self.state().addresses.connect(ip, limit, Instant::now()) {
            return Err(Refusal::Connections(limit));
        }
        Ok(ConnectionGuard { gate: Arc::clone(self), ip })
    }

    /// Whether `key` may publish, and as what. An address that came with too many wrong keys is refused whatever it brings.
    pub async fn authorise(&self, protocol: Protocol, key: &str, peer: SocketAddr) -> Result<Grant, Refusal> {
        let ip = peer.ip();
        if let Some(left) = self.state().addresses.refused_for(ip, Instant::now()) {
            return Err(Refusal::WrongKeys(left));
        }
        let judged = if (1..=MOST_KEY).contains(&key.len()) {
            self.keys.judge(Attempt { protocol, key, peer }).await
        } else {
            Err(Refusal::UnknownKey)
        };
        let limit = self.limits.wrong_keys_per_minute;
        let counts = limit > 0 && !(self.limits.spare_loopback && ip.to_canonical().is_loopback());
        if counts && judged.as_ref().is_err_and(Refusal::is_a_wrong_key) {
            self.state().addresses.wrong_key(ip, limit, Instant::now());
        }
        judged
    }

    /// Takes the name of `grant` for a publisher at `peer`. Refused when another publisher has it, or the node or the address has its
    /// share, and that does not change within a second.
    pub async fn claim(self: &Arc<Self>, grant: Grant, peer: SocketAddr) -> Result<NameGuard, Refusal> {
        let deadline = tokio::time::Instant::now() + NAME_GRACE;
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            released.as_mut().enable(); // before the look, so that no release is missed
            let refusal = match self.take(&grant, peer.ip()) {
                Ok(revoked) => return Ok(NameGuard { gate: Arc::clone(self), grant, ip: peer.ip(), revoked }),
                Err(refusal) => refusal,
            };
            if timeout_at(deadline, released).await.is_err() {
                return Err(refusal);
            }
        }
    }

    fn take(&self, grant: &Grant, ip: IpAddr) -> Result<CancellationToken, Refusal> {
        let Limits { streams, streams_per_address, .. } = self.limits;
        let mut state = self.state();
        if state.live.contains_key(&grant.name) {
            return Err(Refusal::NameTaken(grant.name.clone()));
        }
        if state.live.len() >= streams {
            return Err(Refusal::Full(streams));
        }
        if !state.addresses.publish(ip, streams_per_address, Instant::now()) {
            return Err(Refusal::AddressFull(streams_per_address));
        }
        let revoked = CancellationToken::new();
        state.live.insert(grant.name.clone(), Holder { key: grant.key, revoked: revoked.clone() });
        Ok(revoked)
    }

    /// Hashes of the keys that live streams came with, where they can be revoked.
    pub fn live_keys(&self) -> Vec<B256> {
        self.state().live.values().filter_map(|holder| holder.key).collect()
    }

    /// Ends the live streams that came with this key.
    pub fn end_revoked(&self, key: B256) {
        self.state().live.values().filter(|holder| holder.key == Some(key)).for_each(|holder| holder.revoked.cancel());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 9);

    /// Every key but "x" is a name.
    fn gate(limits: Limits) -> Arc<Gate> {
        Gate::with_limits(Arc::new(|key: &str| (key != "x").then(|| key.to_owned())), limits)
    }

    async fn claim(gate: &Arc<Gate>, name: &str, peer: SocketAddr) -> Result<NameGuard, Refusal> {
        gate.claim(gate.authorise(Protocol::Rtmp, name, peer).await?, peer).await
    }

    #[tokio::test]
    async fn a_name_is_taken_once_and_free_again_when_its_publisher_goes() {
        let gate = gate(Limits::default());
        assert_eq!(claim(&gate, "x", PEER).await.err(), Some(Refusal::UnknownKey));
        assert_eq!(claim(&gate, "", PEER).await.err(), Some(Refusal::UnknownKey));
        assert_eq!(claim(&gate, &"k".repeat(MOST_KEY + 1), PEER).await.err(), Some(Refusal::UnknownKey));
        let first = claim(&gate, "demo", PEER).await.unwrap();
        assert_eq!(claim(&gate, "demo", PEER).await.err(), Some(Refusal::NameTaken("demo".into())));
        assert!(claim(&gate, "other", PEER).await.is_ok());
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { claim(&gate, "demo", PEER).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(waiting.await.unwrap(), "a name that is given up within the grace is handed on");
    }

    #[tokio::test]
    async fn the_node_and_each_address_have_their_share() {
        let gate = gate(Limits { streams: 3, streams_per_address: 2, connections_per_address: 1, ..Limits::default() });
        let other = SocketAddr::from(([192, 0, 2, 2], 9));
        let first = claim(&gate, "a", PEER).await.unwrap();
        let _second = claim(&gate, "b", PEER).await.unwrap();
        assert_eq!(claim(&gate, "c", PEER).await.err(), Some(Refusal::AddressFull(2)));
        let _third = claim(&gate, "c", other).await.unwrap();
        assert_eq!(claim(&gate, "d", other).await.err(), Some(Refusal::Full(3)));
        drop(first);
        assert!(claim(&gate, "d", other).await.is_ok());

        let connection = gate.connect(PEER.ip()).unwrap();
        assert_eq!(gate.connect(PEER.ip()).err(), Some(Refusal::Connections(1)));
        assert!(gate.connect(other.ip()).is_ok());
        drop(connection);
        assert!(gate.connect(PEER.ip()).is_ok());
        assert!(gate.connections() >= 8 * Limits::default().connections_per_address, "one address has few of all");
    }

    #[tokio::test]
    async fn an_address_that_guesses_is_refused_with_the_right_key_too_but_not_this_machine() {
        let gate = gate(Limits { wrong_keys_per_minute: 2, ..Limits::default() });
        let here = SocketAddr::from(([127, 0, 0, 1], 9));
        for peer in [PEER, here] {
            for _ in 0..2 {
                assert_eq!(gate.authorise(Protocol::Whip, "x", peer).await, Err(Refusal::UnknownKey));
            }
        }
        let refused = gate.authorise(Protocol::Whip, "right", PEER).await.unwrap_err();
        assert!(matches!(refused, Refusal::WrongKeys(_)), "{refused}");
        assert!(refused.retry_after().is_some_and(|after| after > Duration::from_secs(290)));
        assert!(gate.authorise(Protocol::Whip, "right", here).await.is_ok());
        assert!(gate.authorise(Protocol::Whip, "right", SocketAddr::from(([192, 0, 2, 2], 9))).await.is_ok());
    }

    #[tokio::test]
    async fn a_revoked_key_ends_what_came_with_it_and_nothing_else() {
        let gate = gate(Limits::default());
        let with = |name: &str, key| Grant { name: name.into(), key, ..Grant::default() };
        let [one, two] = [1, 2].map(B256::repeat_byte);
        let first = gate.claim(with("a", Some(one)), PEER).await.unwrap();
        let second = gate.claim(with("b", Some(two)), PEER).await.unwrap();
        let _third = gate.claim(with("c", None), PEER).await.unwrap();
        let mut live = gate.live_keys();
        live.sort_unstable();
        assert_eq!(live, [one, two]);
        gate.end_revoked(one);
        first.revoked().await;
        assert!(!second.revoked.is_cancelled());
    }
}
