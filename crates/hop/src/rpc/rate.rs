//! How much of the chain each address may ask for: a bucket each, that fills again with time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Addresses that are counted at once. A full bucket is the same as none, so those that rest leave.
const MAX_BUCKETS: usize = 10_000;

/// Requests of one address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// At once, after a rest: a page that opens asks for some dozens.
    pub(super) burst: u32,
    /// For each second: an open page asks for a handful.
    pub(super) per_second: u32,
}

/// Requests left to an address at a time.
#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// The addresses that have asked lately.
#[derive(Debug)]
pub(super) struct Rates {
    rate: Rate,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

impl Rates {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, buckets: Mutex::default() }
    }

    /// Takes `n` requests for `who`, or says how long it takes until there are so many.
    pub(super) fn take(&self, who: IpAddr, n: u32, now: Instant) -> Result<(), Duration> {
        let (most, speed) = (f64::from(self.rate.burst), f64::from(self.rate.per_second));
        let filled = |bucket: &Bucket| (bucket.left + (now - bucket.at).as_secs_f64() * speed).min(most);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(&who) {
            buckets.retain(|_, bucket| filled(bucket) < most);
            if buckets.len() >= MAX_BUCKETS {
                return Err(Duration::from_secs_f64(most / speed));
            }
        }
        let bucket = buckets.entry(who).or_insert(Bucket { left: most, at: now });
        (bucket.left, bucket.at) = (filled(bucket), now);
        let missing = f64::from(n) - bucket.left;
        if missing > 0.0 {
            return Err(Duration::from_secs_f64(missing / speed));
        }
        bucket.left -= f64::from(n);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from(n).into()
    }

    #[test]
    fn a_burst_is_followed_by_the_rate_and_one_address_takes_nothing_from_another() {
        let (rates, start) = (Rates::new(Rate { burst: 10, per_second: 2 }), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        rates.take(ip(1), 10, at(0)).unwrap();
        assert_eq!(rates.take(ip(1), 1, at(0)), Err(Duration::from_millis(500)));
        rates.take(ip(2), 10, at(0)).unwrap();
        rates.take(ip(1), 2, at(1_000)).unwrap();
        assert!(rates.take(ip(1), 1, at(1_000)).is_err());
        rates.take(ip(1), 10, at(60_000)).unwrap();
        assert!(rates.take(ip(1), 1, at(60_000)).is_err(), "a rest fills the bucket and no more");
    }

    #[test]
    fn the_addresses_are_bounded_and_those_that_rest_leave() {
        let (rates, start) = (Rates::new(Rate { burst: 10, per_second: 2 }), Instant::now());
        for n in 0..MAX_BUCKETS as u32 {
            rates.take(ip(n), 1, start).unwrap();
        }
        assert!(rates.take(ip(u32::MAX), 1, start).is_err());
        rates.take(ip(0), 1, start).unwrap();
        rates.take(ip(u32::MAX), 1, start + Duration::from_secs(60)).unwrap();
        assert_eq!(rates.buckets.lock().unwrap().len(), 1);
    }
}
