//! PES packets (ISO/IEC 13818-1, 2.4.3.6) out of the payloads of one PID.

use crate::events::TrackKind;
use bytes::Bytes;

/// The largest PES packet of video taken, bytes: a key picture of two seconds at 16 Mb/s.
const MAX_VIDEO: usize = 4 << 20;
/// And of audio, which says its length in 16 bits.
const MAX_AUDIO: usize = FIXED + 0xffff;
/// More than fits behind that length in its last transport packet.
const STUFFING: usize = 184;
/// Before the optional header: start code, stream id, length.
const FIXED: usize = 6;

/// The payload of one PES packet, with its times in 90 kHz ticks modulo 2^33.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pes {
    /// Presentation time.
    pub(super) pts: Option<u64>,
    /// Decoding time, where it is another than the presentation time.
    pub(super) dts: Option<u64>,
    /// The payload, or its beginning.
    pub(super) data: Bytes,
    /// Whether that is all of it.
    pub(super) whole: bool,
}

/// Puts the packets of one PID together.
pub(super) struct Assembler {
    bytes: Vec<u8>,
    filling: bool,
    most: usize,
}

impl Assembler {
    /// For the PES packets of such a track.
    pub(super) fn new(kind: TrackKind) -> Self {
        let most = match kind {
            TrackKind::Video => MAX_VIDEO,
            TrackKind::Audio => MAX_AUDIO + STUFFING,
        };
        Self { bytes: Vec::new(), filling: false, most }
    }

    /// Takes the payload of one transport packet; `start` says that a PES packet begins with it. Gives what is complete: a packet that
    /// says its length at its last byte, others when the next one begins. What is not whole when the next begins is given as far as it came.
    pub(super) fn push(&mut self, start: bool, payload: &[u8]) -> [Option<Pes>; 2] {
        let before = if start { self.flush() } else { None };
        if start {
            self.filling = true;
        }
        if !self.filling {
            return [before, None];
        }
        self.bytes.extend_from_slice(payload);
        if self.bytes.len() > self.most || (self.bytes.len() >= FIXED && !self.bytes.starts_with(&[0, 0, 1])) {
            return [before, self.cut()];
        }
        let done = self.size().is_some_and(|size| self.bytes.len() >= size);
        [before, if done { self.flush() } else { None }]
    }

    /// Something is missing behind what came: it is given as far as it goes, and nothing more until the next packet begins.
    pub(super) fn cut(&mut self) -> Option<Pes> {
        Some(Pes { whole: false, ..self.flush()? })
    }

    /// Nothing follows: a packet without length ends here.
    pub(super) fn flush(&mut self) -> Option<Pes> {
        self.filling = false;
        let size = self.size();
        let mut bytes = std::mem::take(&mut self.bytes);
        let whole = size.is_none_or(|size| bytes.len() >= size);
        bytes.truncate(size.unwrap_or(bytes.len()));
        read(bytes.into(), whole)
    }

    /// Bytes of the packet, if it says.
    fn size(&self) -> Option<usize> {
        match self.bytes.get(4..FIXED)? {
            [0, 0] => None,
            size => Some(FIXED + usize::from(u16::from_be_bytes([size[0], size[1]]))),
        }
    }
}

/// `None` for what is no PES packet, or one of the kinds that carry no track.
fn read(bytes: Bytes, whole: bool) -> Option<Pes> {
    let [0, 0, 1, id, _, _, marker, flags, size, ..] = bytes[..] else { return None };
    if matches!(id, 0xbc | 0xbe | 0xbf | 0xf0..=0xf2 | 0xf8 | 0xff) || marker >> 6 != 0b10 {
        return None;
    }
    let data = 9 + usize::from(size);
    if data > bytes.len() {
        return None;
    }
    let time =
        |from: usize, wanted: bool| if wanted && from + 5 <= data { timestamp(&bytes[from..from + 5]) } else { None };
    let (pts, dts) = (time(9, flags & 0x80 != 0), time(14, flags & 0xc0 == 0xc0));
    Some(Pes { pts, dts, data: bytes.slice(data..), whole })
}

/// 33 bits in five bytes with a marker bit behind each piece; `None` where one is missing.
fn timestamp(bytes: &[u8]) -> Option<u64> {
    let at = |i: usize| u64::from(bytes[i]);
    let marked = bytes[0] & bytes[2] & bytes[4] & 1 == 1;
    marked.then(|| (at(0) >> 1 & 7) << 30 | at(1) << 22 | (at(2) >> 1) << 15 | at(3) << 7 | at(4) >> 1)
}

#[cfg(test)]
mod tests {
    use super::super::mux::pes;
    use super::*;

    fn run(assembler: &mut Assembler, pieces: &[(bool, &[u8])]) -> Vec<Pes> {
        pieces.iter().flat_map(|(start, piece)| assembler.push(*start, piece)).flatten().collect()
    }

    #[test]
    fn a_packet_that_says_its_length_is_given_at_its_end_and_another_when_the_next_begins() {
        let mut assembler = Assembler::new(TrackKind::Video);
        let sized = pes(0xe0, Some(9_000), Some(6_000), b"picture", true);
        let found = run(&mut assembler, &[(true, &sized[..4]), (false, &sized[4..]), (false, b"stuffing")]);
        let all = Pes { pts: Some(9_000), dts: Some(6_000), data: Bytes::from_static(b"picture"), whole: true };
        assert_eq!(found, std::slice::from_ref(&all));
        let open = pes(0xe0, Some(9_000), Some(6_000), b"pict", false);
        assert_eq!(run(&mut assembler, &[(true, &open), (false, b"ure")]), []);
        assert_eq!(run(&mut assembler, &[(true, &sized)]), [all.clone(), all]);
    }

    #[test]
    fn what_is_cut_short_says_so() {
        let sized = pes(0xc0, Some(1), None, b"frames", true);
        let mut assembler = Assembler::new(TrackKind::Video);
        let end = sized.len() - 2;
        let found = run(&mut assembler, &[(true, &sized[..end]), (true, &sized)]);
        assert_eq!((&found[0].data[..], found[0].whole, found[1].whole), (&b"fram"[..], false, true));
        assembler.push(true, &sized[..end]);
        assert_eq!(assembler.cut().map(|pes| pes.whole), Some(false));
        assert_eq!(run(&mut assembler, &[(false, &sized[end..])]), []);
    }

    #[test]
    fn times_of_33_bits_are_read_whole() {
        let top = (1 << 33) - 1;
        let found = run(&mut Assembler::new(TrackKind::Video), &[(true, &pes(0xe0, Some(top), None, b"x", true))]);
        assert_eq!((found[0].pts, found[0].dts), (Some(top), None));
    }

    #[test]
    fn nothing_mutilated_makes_it_stumble_or_grow() {
        let whole = pes(0xe0, Some(9_000), Some(6_000), b"picture", true);
        for at in 0..whole.len() {
            for value in 0..=255 {
                let mut harmed = whole.clone();
                harmed[at] = value;
                run(
                    &mut Assembler::new(TrackKind::Video),
                    &[(true, &harmed[..]), (false, b"more"), (true, &harmed[..at])],
                );
            }
        }
        for kind in [TrackKind::Video, TrackKind::Audio] {
            let mut endless = Assembler::new(kind);
            endless.push(true, &pes(0xe0, None, None, b"", false));
            for _ in 0..MAX_VIDEO / 184 + 10 {
                endless.push(false, &[7; 184]);
                assert!(endless.bytes.len() <= endless.most);
            }
        }
    }
}
