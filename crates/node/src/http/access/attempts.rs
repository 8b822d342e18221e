//! How often each address tried to get in: a bounded table that reads no clock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::http::visitor;

/// Addresses kept at once; past them the one that came first goes.
const MOST_ADDRESSES: usize = 4_096;
/// Attempts are counted over this.
const WINDOW: Duration = Duration::from_secs(60);
/// An address that had too many is refused for so long.
pub(super) const REFUSED_FOR: Duration = Duration::from_secs(300);
/// Challenges of one address in a minute: each of them asks a person to sign.
const MOST_CHALLENGES: u32 = 30;
/// Wrong signatures and wrong tokens of one address in a minute.
const MOST_FAILURES: u32 = 10;

#[derive(Debug, Clone, Copy)]
struct Visits {
    since: Instant,
    challenges: u32,
    failures: u32,
    refused_until: Option<Instant>,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Attempts(HashMap<IpAddr, Visits>);

impl Attempts {
    /// Counts a challenge; the one past the limit shuts the address out for a while.
    pub(super) fn challenge(&mut self, ip: IpAddr, now: Instant) {
        let visits = self.entry(ip, now);
        visits.challenges += 1;
        if visits.challenges > MOST_CHALLENGES {
            visits.refused_until = Some(now + REFUSED_FOR);
        }
    }

    /// Counts a failure; the one that reaches the limit shuts the address out for a while.
    pub(super) fn failure(&mut self, ip: IpAddr, now: Instant) {
        let visits = self.entry(ip, now);
        visits.failures += 1;
        if visits.failures >= MOST_FAILURES {
            visits.refused_until = Some(now + REFUSED_FOR);
        }
    }

    /// How much longer the address is shut out.
    pub(super) fn refused_for(&self, ip: IpAddr, now: Instant) -> Option<Duration> {
        let until = self.0.get(&visitor(ip))?.refused_until?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    fn entry(&mut self, ip: IpAddr, now: Instant) -> &mut Visits {
        let ip = visitor(ip);
        let fresh = Visits { since: now, challenges: 0, failures: 0, refused_until: None };
        let over = |visits: &Visits| visits.refused_until.map_or(now >= visits.since + WINDOW, |until| now >= until);
        if !self.0.contains_key(&ip) && self.0.len() >= MOST_ADDRESSES {
            self.0.retain(|_, visits| !over(visits));
            if self.0.len() >= MOST_ADDRESSES {
                let first = self.0.iter().min_by_key(|(_, visits)| visits.refused_until.unwrap_or(visits.since));
                if let Some(first) = first.map(|(ip, _)| *ip) {
                    self.0.remove(&first);
                }
            }
        }
        let visits = self.0.entry(ip).or_insert(fresh);
        if over(visits) {
            *visits = fresh;
        }
        visits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn failures_within_a_minute_shut_an_address_out_for_a_while() {
        let (mut table, start) = (Attempts::default(), Instant::now());
        for _ in 1..MOST_FAILURES {
            table.failure(ip(1), start);
        }
        assert_eq!(table.refused_for(ip(1), start), None);
        table.failure(ip(1), start + WINDOW);
        assert_eq!(table.refused_for(ip(1), start + WINDOW), None, "those of the minute before no longer count");
        for _ in 0..MOST_FAILURES {
            table.failure(ip(1), start + WINDOW);
        }
        assert_eq!(table.refused_for(ip(1), start + WINDOW), Some(REFUSED_FOR));
        assert_eq!(table.refused_for(ip(2), start + WINDOW), None);
        assert_eq!(table.refused_for(ip(1), start + WINDOW + REFUSED_FOR), None);
    }

    #[test]
    fn challenges_are_counted_apart_and_the_table_stays_bounded() {
        let (mut table, now) = (Attempts::default(), Instant::now());
        for n in 0..2 * MOST_ADDRESSES as u32 {
            table.failure(ip(n), now);
        }
        assert_eq!(table.0.len(), MOST_ADDRESSES);
        for _ in 0..MOST_CHALLENGES {
            table.challenge(ip(1), now);
        }
        assert_eq!(table.refused_for(ip(1), now), None);
        table.challenge(ip(1), now);
        assert_eq!(table.refused_for(ip(1), now), Some(REFUSED_FOR));
    }
}
