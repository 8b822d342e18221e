//! What each address has open here and how often it came with a wrong key: a bounded table that reads no clock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use millrace_node::http::visitor;

/// Addresses kept at once. Those with something open are far fewer: connections are bounded for the whole node.
const MOST_ADDRESSES: usize = 4_096;
/// Wrong keys are counted over this.
const WINDOW: Duration = Duration::from_secs(60);
/// An address that had too many of them is refused for so long, with any key: else it would still learn which one is right.
pub(super) const REFUSED_FOR: Duration = Duration::from_secs(300);

/// The most live streams that a node may be set to. At 360p each holds some 4 MB, and a core packages some 700.
pub const MOST_STREAMS: usize = 1_024;
/// A listener takes so many connections for each live stream that it may have: those of encoders that come, go and fail are open too.
pub const CONNECTIONS_PER_STREAM: usize = 4;
/// And this many at least: one address that opens all it may shuts nobody out of a node with few streams.
pub(super) const LEAST_CONNECTIONS: usize = 512;

/// How much one address, and all together, may have here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Live streams of the node.
    pub streams: usize,
    /// Live streams from one address.
    pub streams_per_address: usize,
    /// Connections from one address, live or not, of the protocols that have connections.
    pub connections_per_address: usize,
    /// Wrong keys from one address in a minute, then it is refused for five; 0 for any number.
    pub wrong_keys_per_minute: u32,
    /// Wrong keys from this machine itself are not counted: it may be a proxy that speaks for everybody.
    pub spare_loopback: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 128,
            streams_per_address: 32,
            connections_per_address: 64, // those that are live, and as many that come and go
            wrong_keys_per_minute: 10,   // an encoder that retries every few seconds, for its user to notice
            spare_loopback: true,
        }
    }
}

/// One address.
#[derive(Debug, Default)]
struct Visitor {
    connections: usize,
    streams: usize,
    /// Wrong keys, and since when they are counted.
    wrong: Option<(Instant, u32)>,
    refused_until: Option<Instant>,
}

impl Visitor {
    fn is_idle(&self) -> bool {
        self.connections == 0 && self.streams == 0
    }

    /// Nothing is open, and nothing is held against it.
    fn is_forgettable(&self, now: Instant) -> bool {
        self.is_idle()
            && self.refused_until.is_none_or(|until| now >= until)
            && self.wrong.is_none_or(|(since, _)| now >= since + WINDOW)
    }
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    visitors: HashMap<IpAddr, Visitor>,
}

impl Addresses {
    /// Counts a connection, unless `limit` are open.
    pub(super) fn connect(&mut self, ip: IpAddr, limit: usize, now: Instant) -> bool {
        let Some(visitor) = self.entry(ip, now) else { return true };
        let room = visitor.connections < limit;
        visitor.connections += usize::from(room);
        room
    }

    pub(super) fn disconnect(&mut self, ip: IpAddr) {
        self.leave(ip, |visitor| visitor.connections = visitor.connections.saturating_sub(1));
    }

    /// Counts a live stream, unless `limit` are.
    pub(super) fn publish(&mut self, ip: IpAddr, limit: usize, now: Instant) -> bool {
        let Some(visitor) = self.entry(ip, now) else { return true };
        let room = visitor.streams < limit;
        visitor.streams += usize::from(room);
        room
    }

    pub(super) fn unpublish(&mut self, ip: IpAddr) {
        self.leave(ip, |visitor| visitor.streams = visitor.streams.saturating_sub(1));
    }

    /// Counts a wrong key; the one that reaches `limit` shuts the address out for a while.
    pub(super) fn wrong_key(&mut self, ip: IpAddr, limit: u32, now: Instant) {
        let Some(visitor) = self.entry(ip, now) else { return };
        let (since, count) = visitor.wrong.filter(|(since, _)| now < *since + WINDOW).unwrap_or((now, 0));
        visitor.wrong = Some((since, count + 1));
        if count + 1 >= limit {
            (visitor.wrong, visitor.refused_until) = (None, Some(now + REFUSED_FOR));
        }
    }

    /// How much longer the address is shut out.
    pub(super) fn refused_for(&self, ip: IpAddr, now: Instant) -> Option<Duration> {
        let until = self.visitors.get(&visitor(ip))?.refused_until?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// The address's place, made if need be: when the table is full of what counts, the idle one whose wrong keys are the oldest goes.
    /// `None` when all have something open, which the node's own limits prevent.
    fn entry(&mut self, ip: IpAddr, now: Instant) -> Option<&mut Visitor> {
        let ip = visitor(ip);
        if !self.visitors.contains_key(&ip) && self.visitors.len() >= MOST_ADDRESSES {
            self.visitors.retain(|_, visitor| !visitor.is_forgettable(now));
            if self.visitors.len() >= MOST_ADDRESSES {
                let since = |visitor: &Visitor| visitor.refused_until.or(visitor.wrong.map(|(since, _)| since));
                let idle = self.visitors.iter().filter(|(_, visitor)| visitor.is_idle());
                let oldest = idle.min_by_key(|(_, visitor)| since(visitor)).map(|(ip, _)| *ip)?;
                self.visitors.remove(&oldest);
            }
        }
        Some(self.visitors.entry(ip).or_default())
    }

    fn leave(&mut self, ip: IpAddr, change: impl FnOnce(&mut Visitor)) {
        let ip = visitor(ip);
        if let Some(visitor) = self.visitors.get_mut(&ip) {
            change(visitor);
            if visitor.is_idle() && visitor.wrong.is_none() && visitor.refused_until.is_none() {
                self.visitors.remove(&ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn what_is_open_is_counted_up_and_down_and_leaves_nothing() {
        let (mut table, now) = (Addresses::default(), Instant::now());
        assert!(table.connect(ip(1), 2, now) && table.connect(ip(1), 2, now));
        assert!(!table.connect(ip(1), 2, now) && table.connect(ip(2), 2, now));
        assert!(table.publish(ip(1), 1, now) && !table.publish(ip(1), 1, now));
        table.disconnect(ip(1));
        assert!(table.connect(ip(1), 2, now));
        for leaving in [1, 1, 2] {
            table.disconnect(ip(leaving));
        }
        table.unpublish(ip(1));
        assert!(table.visitors.is_empty());
    }

    #[test]
    fn wrong_keys_within_a_minute_shut_an_address_out_for_a_while() {
        let (mut table, start) = (Addresses::default(), Instant::now());
        table.wrong_key(ip(1), 3, start);
        table.wrong_key(ip(1), 3, start);
        let later = start + WINDOW;
        table.wrong_key(ip(1), 3, later);
        table.wrong_key(ip(1), 3, later);
        assert_eq!(table.refused_for(ip(1), later), None, "those of the minute before no longer count");
        table.wrong_key(ip(1), 3, later);
        assert_eq!(table.refused_for(ip(1), later), Some(REFUSED_FOR));
        assert_eq!(table.refused_for(ip(2), later), None);
        assert_eq!(table.refused_for(ip(1), later + REFUSED_FOR), None);
        table.wrong_key(ip(1), 3, later + REFUSED_FOR);
        assert_eq!(table.refused_for(ip(1), later + REFUSED_FOR), None, "it starts anew");
    }

    #[test]
    fn the_table_stays_bounded_and_keeps_what_is_open() {
        let (mut table, now) = (Addresses::default(), Instant::now());
        assert!(table.connect(ip(0), 1, now));
        table.wrong_key(ip(1), 1, now);
        for n in 2..3 * MOST_ADDRESSES as u32 {
            table.wrong_key(ip(n), 2, now + Duration::from_millis(n.into()));
        }
        assert_eq!(table.visitors.len(), MOST_ADDRESSES);
        assert!(!table.connect(ip(0), 1, now), "it is still there");
        assert!(table.refused_for(ip(1), now).is_some(), "a refusal outlasts what was only counted");
        table.wrong_key(ip(9_999_999), 2, now + Duration::from_secs(3600));
        assert_eq!(table.visitors.len(), 2, "when it is full, what has lapsed goes");
    }
}
