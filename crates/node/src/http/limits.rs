//! How many connections there may be, and how long a client may take over anything.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What clients of a server may have and take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once, on all listeners together.
    pub connections: usize,
    /// Of them from one address; 0 for any number.
    pub connections_per_address: usize,
    /// This machine itself is not counted by its address: it may be a proxy that speaks for everybody.
    pub spare_loopback: bool,
    /// From the last answer, or the beginning, to the whole head of the next request: the end of those who send a byte a second,
    /// and of idle connections. Players ask again after a segment, 10 s at the longest.
    pub idle: Duration,
    /// A client that takes nothing of what it is sent for so long is cut off. Players give a segment up sooner.
    pub stall: Duration,
    /// For the handshake of TLS.
    pub handshake: Duration,
    /// For answers that run when the end is asked for. Less than a role's own deadline.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8_192,           // idle, some 20 kB each
            connections_per_address: 256, // forty browsers over HTTP/1.1, six connections each
            spare_loopback: true,
            idle: Duration::from_secs(30),
            stall: Duration::from_secs(20),
            handshake: Duration::from_secs(10),
            drain: Duration::from_secs(5),
        }
    }
}

/// Who is counted as one: an IPv4 address, or the 64 bits of IPv6 that one customer gets at least.
pub fn visitor(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & !u128::from(u64::MAX)).into(),
        ip => ip,
    }
}

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    #[error("{0} connections are open, the limit: node.http_connections sets another")]
    All(usize),
    #[error("{0} connections of this address are open, the limit: node.http_connections_per_address sets another")]
    Address(usize),
}

/// The connections that are open.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// No larger than `all`.
    of: HashMap<IpAddr, usize>,
}

impl Places {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from `ip`, until it is dropped.
    pub(super) fn take(self: &Arc<Self>, ip: IpAddr, limits: &Limits) -> Result<Place, Full> {
        let mut taken = self.taken();
        if taken.all >= limits.connections {
            return Err(Full::All(limits.connections));
        }
        let most = limits.connections_per_address;
        let spared = most == 0 || limits.spare_loopback && ip.to_canonical().is_loopback();
        let visitor = (!spared).then(|| visitor(ip));
        if let Some(visitor) = visitor {
            let own = taken.of.entry(visitor).or_default();
            if *own >= most {
                return Err(Full::Address(most));
            }
            *own += 1;
        }
        taken.all += 1;
        Ok(Place { places: Arc::clone(self), visitor })
    }
}

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    visitor: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        if let Some(visitor) = self.visitor
            && let Some(own) = taken.of.get_mut(&visitor)
        {
            *own -= 1;
            if *own == 0 {
                taken.of.remove(&visitor);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_customer_of_ipv6_is_one_and_a_mapped_address_is_ipv4() {
        let same = |a, b| visitor(ip(a)) == visitor(ip(b));
        assert!(same("2001:db8::1", "2001:db8::ffff:0:0:2"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }

    #[test]
    fn each_address_and_all_together_have_their_places_and_leave_nothing() {
        let places = Arc::new(Places::default());
        let limits = Limits { connections: 4, connections_per_address: 2, ..Limits::default() };
        let take = |from| places.take(ip(from), &limits);
        let first = take("2001:db8::1").unwrap();
        let second = take("2001:db8::2").unwrap();
        assert_eq!(take("2001:db8::3").err(), Some(Full::Address(2)));
        drop(first);
        let rest = [take("2001:db8::3"), take("192.0.2.1"), take("192.0.2.2")].map(Result::unwrap);
        assert_eq!(take("192.0.2.3").err(), Some(Full::All(4)));
        drop((second, rest));
        assert!(places.taken().all == 0 && places.taken().of.is_empty());
    }

    #[test]
    fn this_machine_is_spared_and_none_is_limited_by_zero() {
        let places = Arc::new(Places::default());
        let one = Limits { connections_per_address: 1, ..Limits::default() };
        let mut kept = Vec::new();
        for _ in 0..3 {
            kept.push(places.take(ip("127.0.0.1"), &one).unwrap());
            kept.push(places.take(ip("192.0.2.1"), &Limits { connections_per_address: 0, ..one }).unwrap());
        }
        let strict = Limits { spare_loopback: false, ..one };
        kept.push(places.take(ip("::1"), &strict).unwrap());
        assert_eq!(places.take(ip("::1"), &strict).err(), Some(Full::Address(1)));
    }
}
