//! A transport stream made by hand, for the tests.

use super::psi::checksum;
use super::ts::{PACKET, SYNC};
use std::collections::HashMap;

/// A section with its length and checksum. `body` follows the length.
pub(super) fn section(table: u8, body: &[u8]) -> Vec<u8> {
    let size = body.len() + 4;
    let mut bytes = vec![table, 0xb0 | (size >> 8) as u8, size as u8];
    bytes.extend_from_slice(body);
    bytes.extend(checksum(&bytes).to_be_bytes());
    bytes
}

/// A program association: program numbers, and PIDs of their maps.
pub(super) fn pat(programs: &[(u16, u16)]) -> Vec<u8> {
    let mut body = vec![0, 1, 0xc1, 0, 0];
    for (number, pid) in programs {
        body.extend(number.to_be_bytes());
        body.extend((pid | 0xe000).to_be_bytes());
    }
    section(0, &body)
}

/// A program map: stream type, PID and descriptors of each stream.
pub(super) fn pmt(number: u16, streams: &[(u8, u16, &[u8])]) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.extend([0xc1, 0, 0, 0xe1, 0, 0xf0, 0]);
    for (kind, pid, descriptors) in streams {
        body.push(*kind);
        body.extend((pid | 0xe000).to_be_bytes());
        body.extend([0xf0, descriptors.len() as u8]);
        body.extend_from_slice(descriptors);
    }
    section(2, &body)
}

/// A PES packet; one that says no length when `sized` is false.
pub(super) fn pes(id: u8, pts: Option<u64>, dts: Option<u64>, data: &[u8], sized: bool) -> Vec<u8> {
    let stamp = |mark: u8, t: u64| {
        [
            mark << 4 | (t >> 29) as u8 & 0xe | 1,
            (t >> 22) as u8,
            (t >> 14) as u8 | 1,
            (t >> 7) as u8,
            (t << 1) as u8 | 1,
        ]
    };
    let mut times = Vec::new();
    times.extend(pts.into_iter().flat_map(|t| stamp(if dts.is_some() { 3 } else { 2 }, t)));
    times.extend(dts.into_iter().flat_map(|t| stamp(1, t)));
    let flags = u8::from(pts.is_some()) << 7 | u8::from(dts.is_some()) << 6;
    let size = if sized { (3 + times.len() + data.len()) as u16 } else { 0 };
    let mut bytes = vec![0, 0, 1, id];
    bytes.extend(size.to_be_bytes());
    bytes.extend([0x80, flags, times.len() as u8]);
    bytes.extend(times);
    bytes.extend_from_slice(data);
    bytes
}

/// Writes transport packets. Video is on PID 0x100 and audio on 0x101; times are 90 kHz ticks and wrap.
#[derive(Default)]
pub(super) struct Mux {
    pub(super) bytes: Vec<u8>,
    counters: HashMap<u16, u8>,
    jumps: Vec<u16>,
}

impl Mux {
    /// A PAT and a PMT with these streams.
    pub(super) fn tables(&mut self, streams: &[(u8, u16, &[u8])]) {
        self.packets(0, &[&[0], &pat(&[(1, 0x1000)])[..]].concat());
        self.packets(0x1000, &[&[0], &pmt(1, streams)[..]].concat());
    }

    /// The next packet of `pid` announces a discontinuity, and its counter jumps.
    pub(super) fn jump(&mut self, pid: u16) {
        self.jumps.push(pid);
        *self.counters.entry(pid).or_default() += 5;
    }

    /// A picture, in a PES packet without length.
    pub(super) fn video(&mut self, dts: u64, pts: u64, data: &[u8]) {
        self.on(0x100, 0xe0, dts, pts, data);
    }

    /// Frames of sound, in a PES packet with a length.
    pub(super) fn audio(&mut self, pts: u64, data: &[u8]) {
        self.packets(0x101, &pes(0xc0, Some(pts & MASK), None, data, true));
    }

    /// A PES packet without length on any PID.
    pub(super) fn on(&mut self, pid: u16, id: u8, dts: u64, pts: u64, data: &[u8]) {
        let dts = (dts != pts).then_some(dts & MASK);
        self.packets(pid, &pes(id, Some(pts & MASK), dts, data, false));
    }

    /// A PES packet or a table as transport packets.
    pub(super) fn packets(&mut self, pid: u16, data: &[u8]) {
        for (i, chunk) in data.chunks(PACKET - 4 - 2).enumerate() {
            let counter = self.counters.entry(pid).or_default();
            let jump = self.jumps.iter().position(|jumps| *jumps == pid).map(|at| self.jumps.remove(at)).is_some();
            let [high, low] = pid.to_be_bytes();
            self.bytes.extend([SYNC, high | u8::from(i == 0) << 6, low, 0x30 | *counter & 0x0f]);
            *counter = counter.wrapping_add(1);
            let stuffing = PACKET - 4 - 2 - chunk.len();
            self.bytes.extend([1 + stuffing as u8, u8::from(jump) << 7]);
            self.bytes.extend(std::iter::repeat_n(0xff, stuffing));
            self.bytes.extend_from_slice(chunk);
        }
    }
}

const MASK: u64 = (1 << 33) - 1;
