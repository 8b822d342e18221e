//! How many watch, without a cookie: who asked for a media playlist of late, by address and player. Only a keyed hash of the two is kept, for
//! half a minute. People behind one address with the same player are one viewer; a cache in front hides all of its own.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// A player asks more often: a reload is held for 20 s at most.
const WINDOW: Duration = Duration::from_secs(30);
/// More of one stream are not told apart: 5 MiB.
const MOST: usize = 200_000;

/// The viewers of one stream.
#[derive(Debug, Default)]
pub(super) struct Viewers {
    hasher: RandomState,
    seen: HashMap<u64, Instant>,
    swept: Option<Instant>,
}

impl Viewers {
    /// Somebody asked.
    pub(super) fn note(&mut self, address: &str, player: &str, now: Instant) {
        if self.swept.is_none_or(|swept| now >= swept + WINDOW) {
            self.seen.retain(|_, last| now < *last + WINDOW);
            self.swept = Some(now);
        }
        let who = self.hasher.hash_one((address, player));
        if self.seen.len() < MOST || self.seen.contains_key(&who) {
            self.seen.insert(who, now);
        }
    }

    /// How many asked in the last half minute.
    pub(super) fn count(&self, now: Instant) -> usize {
        self.seen.values().filter(|last| now < **last + WINDOW).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_counted_once_and_for_half_a_minute() {
        let (mut viewers, start) = (Viewers::default(), Instant::now());
        for second in 0..20 {
            viewers.note("192.0.2.1", "hls.js", start + Duration::from_secs(second));
        }
        viewers.note("192.0.2.1", "vlc", start);
        viewers.note("192.0.2.2", "hls.js", start);
        assert_eq!(viewers.count(start + Duration::from_secs(20)), 3);
        assert_eq!(viewers.count(start + Duration::from_secs(40)), 1);
        assert_eq!(viewers.count(start + Duration::from_secs(50)), 0);
        viewers.note("192.0.2.3", "vlc", start + Duration::from_secs(60));
        assert_eq!(viewers.seen.len(), 1, "who has gone is forgotten");
    }
}
