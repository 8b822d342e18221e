//! RTP packets back into their order, each once. Sans-IO.
//!
//! A hole waits for the packet that the publisher was asked for again; when that does not come in time, the hole is passed on as
//! a fact. Bandwidth probes and retransmissions come as copies of packets that are here already: they end here.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Packets that wait behind a hole: two seconds of 8 Mb/s.
pub(super) const MOST_PACKETS: usize = 2_048;
/// A sequence number that is further than this from the expected one belongs to another count: the publisher began anew.
const FAR: i64 = 4_096;

/// What is needed of an RTP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    /// Empty in packets that only pad.
    pub(super) payload: Bytes,
}

/// The order of one track.
pub(super) struct Reorder {
    wait: Duration,
    /// Number of the packet that is due, counted past 16 bits.
    next: Option<i64>,
    waiting: BTreeMap<i64, (Instant, Packet)>,
    /// What was passed on last is followed by a hole that nothing will fill.
    lost: bool,
}

impl Reorder {
    /// With `wait` for each hole.
    pub(super) fn new(wait: Duration) -> Self {
        Self { wait, next: None, waiting: BTreeMap::new(), lost: false }
    }

    /// Takes a packet as it arrived.
    pub(super) fn push(&mut self, packet: Packet, now: Instant) {
        let next = *self.next.get_or_insert(i64::from(packet.sequence));
        // The nearest of all numbers that read the same in 16 bits.
        let step = i64::from(packet.sequence.wrapping_sub(next as u16) as i16);
        if step.abs() > FAR {
            self.waiting.clear();
            self.lost = true;
            self.next = Some(i64::from(packet.sequence));
            self.waiting.insert(i64::from(packet.sequence), (now, packet));
        } else if step >= 0 {
            self.waiting.entry(next + step).or_insert((now, packet));
        }
    }

    /// The next packet in order, if it is time for one, and whether packets before it are lost for good.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(bool, Packet)> {
        let (&number, (arrived, _)) = self.waiting.first_key_value()?;
        let due = self.next == Some(number);
        if !due && now < *arrived + self.wait && self.waiting.len() <= MOST_PACKETS {
            return None;
        }
        let (_, (_, packet)) = self.waiting.pop_first()?;
        self.next = Some(number + 1);
        Some((std::mem::take(&mut self.lost) || !due, packet))
    }

    /// When [`pop`](Self::pop) gives up on the hole that is waited for.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|(_, (arrived, _))| *arrived + self.wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(100);

    fn packet(sequence: u16) -> Packet {
        Packet { sequence, timestamp: 0, marker: false, payload: Bytes::new() }
    }

    fn drain(order: &mut Reorder, now: Instant) -> Vec<(bool, u16)> {
        std::iter::from_fn(|| order.pop(now)).map(|(lost, packet)| (lost, packet.sequence)).collect()
    }

    #[test]
    fn packets_leave_in_order_and_once_past_the_wrap_too() {
        let (mut order, now) = (Reorder::new(WAIT), Instant::now());
        let mut left = Vec::new();
        for sequence in [65_534, 65_534, 0, 65_535, 0, 2, 1, 65_535, 3] {
            order.push(packet(sequence), now);
            left.extend(drain(&mut order, now));
        }
        assert_eq!(left, [65_534, 65_535, 0, 1, 2, 3].map(|sequence| (false, sequence)));
    }

    #[test]
    fn a_hole_is_waited_for_and_then_told() {
        let (mut order, now) = (Reorder::new(WAIT), Instant::now());
        order.push(packet(1), now);
        order.push(packet(4), now);
        assert_eq!(drain(&mut order, now), [(false, 1)]);
        assert_eq!(order.next_timeout(), Some(now + WAIT));
        order.push(packet(3), now);
        assert_eq!(drain(&mut order, now + WAIT), [(true, 3), (false, 4)]);
        order.push(packet(2), now + WAIT);
        assert_eq!(drain(&mut order, now + WAIT), [], "too late");
        assert_eq!(order.next_timeout(), None);
    }

    #[test]
    fn a_count_that_begins_anew_is_followed() {
        let (mut order, now) = (Reorder::new(WAIT), Instant::now());
        order.push(packet(1), now);
        drain(&mut order, now);
        order.push(packet(30_000), now);
        order.push(packet(30_001), now);
        assert_eq!(drain(&mut order, now), [(true, 30_000), (false, 30_001)]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let (mut order, now) = (Reorder::new(WAIT), Instant::now());
        order.push(packet(0), now);
        drain(&mut order, now);
        for sequence in 2..4_000 {
            order.push(packet(sequence), now);
            drain(&mut order, now);
            assert!(order.waiting.len() <= MOST_PACKETS);
        }
    }
}
