//! RTP payloads into whole pictures: H.264 (RFC 6184) here, VP8 and VP9 by way of `vpx`. Sans-IO, bounded, and careful with every
//! length: a publisher is a stranger.
//!
//! For H.264, the depacketiser of the `rtc` crate is not used: version 0.21.1 reads past the end of an aggregate that ends in one odd byte,
//! which ends the task, and joins fragments of different pictures when one between them was lost.

use super::reorder::Packet;
use super::vpx::{self, Part};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use millrace_media::cmaf::Codec;

/// The largest picture: two seconds at 32 Mb/s in one.
pub(super) const MOST_BYTES: usize = 8 << 20;

const IDR: u8 = 5;
const SPS: u8 = 7;
const PPS: u8 = 8;
const DELIMITER: u8 = 9;
const FILLER: u8 = 12;
const AGGREGATE: u8 = 24;
const FRAGMENT: u8 = 28;
/// Parameter sets of one picture that are looked at: a stream has one of each.
const MOST_SETS: usize = 8;

/// One coded picture.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) timestamp: u32,
    /// Nothing of it is missing.
    pub(super) whole: bool,
    /// Nothing is missing between it and the picture before.
    pub(super) follows: bool,
    /// It is an IDR picture. Of VP8 and VP9 only the frame itself says it.
    pub(super) key: bool,
    /// A frame, or the NAL units of H.264 with lengths of four bytes, without parameter sets and delimiters.
    pub(super) data: Bytes,
    /// Parameter sets of H.264 that came with it.
    pub(super) sps: Vec<Bytes>,
    pub(super) pps: Vec<Bytes>,
}

/// Puts the packets of a picture together.
pub(super) struct Assembler {
    codec: Codec,
    open: Option<Open>,
    /// Something is missing before the next packet.
    gap: bool,
    layered: bool,
}

#[derive(Default)]
struct Open {
    picture: Picture,
    data: BytesMut,
    /// A NAL unit of which the end is not here yet.
    fragment: Option<BytesMut>,
}

impl Assembler {
    /// For H.264, VP8 or VP9.
    pub(super) fn new(codec: Codec) -> Self {
        Self { codec, open: None, gap: false, layered: false }
    }

    /// Whether spatial layers were left out.
    pub(super) fn is_layered(&self) -> bool {
        self.layered
    }

    /// Takes the next packet in order; `lost` tells that packets before it are missing. Pictures that are complete go to `out`.
    pub(super) fn push(&mut self, lost: bool, packet: Packet, out: &mut Vec<Picture>) {
        self.gap |= lost;
        if packet.payload.is_empty() {
            return; // padding
        }
        if let Some(open) = self.open.as_mut().filter(|_| self.gap) {
            open.picture.whole = false; // the hole may hold its end
        }
        let part = match self.codec {
            Codec::Vp8 => vpx::vp8(packet.payload),
            Codec::Vp9 => vpx::vp9(packet.payload),
            _ => Some(Part { begins: begins(&packet.payload), upper: false, body: packet.payload }),
        };
        let frames = matches!(self.codec, Codec::Vp8 | Codec::Vp9);
        let starts = part.as_ref().is_some_and(|part| part.begins && !part.upper);
        let another =
            |open: &Open| open.picture.timestamp != packet.timestamp || frames && starts && !open.data.is_empty();
        if self.open.as_ref().is_some_and(another) {
            self.finish(out);
        }
        if part.as_ref().is_some_and(|part| part.upper) {
            self.layered = true;
        } else {
            let follows = !std::mem::take(&mut self.gap);
            let open = self.open.get_or_insert_with(|| {
                // Behind a hole only a picture that says where it begins is surely here from its first byte.
                let picture =
                    Picture { timestamp: packet.timestamp, follows, whole: follows || starts, ..Picture::default() };
                Open { picture, ..Open::default() }
            });
            let whole = open.picture.whole;
            let taken = || part.and_then(|part| if frames { open.frame(part) } else { open.payload(part.body) });
            let taken = whole && taken().is_some();
            open.picture.whole = taken;
        }
        if packet.marker {
            self.finish(out);
        }
    }

    fn finish(&mut self, out: &mut Vec<Picture>) {
        if let Some(Open { mut picture, data, fragment }) = self.open.take() {
            picture.whole &= fragment.is_none();
            picture.data = data.freeze();
            out.push(picture);
        }
    }
}

impl Open {
    /// `None` when it is not the next part of a frame, or one too many.
    fn frame(&mut self, part: Part) -> Option<()> {
        let next = part.begins == self.data.is_empty() && self.data.len() + part.body.len() <= MOST_BYTES;
        next.then(|| self.data.put(part.body))
    }

    /// `None` when the payload does not hold what it should.
    fn payload(&mut self, mut payload: Bytes) -> Option<()> {
        if self.data.len() + self.fragment.as_ref().map_or(0, BytesMut::len) + payload.len() > MOST_BYTES {
            return None;
        }
        let head = *payload.first()?;
        match head & 0x1f {
            FRAGMENT => {
                let (kind, body) = (*payload.get(1)?, payload.slice(2..));
                if kind & 0x80 != 0 {
                    let mut nal = BytesMut::with_capacity(body.len() * 4);
                    nal.put_u8(head & 0xe0 | kind & 0x1f);
                    if self.fragment.replace(nal).is_some() {
                        return None; // the one before has no end
                    }
                }
                self.fragment.as_mut()?.put(body);
                if kind & 0x40 != 0 {
                    let nal = self.fragment.take()?.freeze();
                    return self.nal(nal);
                }
                Some(())
            }
            AGGREGATE => {
                payload.advance(1);
                while !payload.is_empty() {
                    let size = payload.try_get_u16().ok()?;
                    if usize::from(size) > payload.len() {
                        return None;
                    }
                    self.nal(payload.split_to(size.into()))?;
                }
                Some(())
            }
            1..24 => self.nal(payload),
            _ => None, // interleaved modes, which are not negotiated
        }
    }

    fn nal(&mut self, nal: Bytes) -> Option<()> {
        match *nal.first()? & 0x1f {
            SPS if self.picture.sps.len() < MOST_SETS => self.picture.sps.push(nal),
            PPS if self.picture.pps.len() < MOST_SETS => self.picture.pps.push(nal),
            SPS | PPS | DELIMITER | FILLER => {}
            kind => {
                self.picture.key |= kind == IDR;
                self.data.put_u32(u32::try_from(nal.len()).ok()?);
                self.data.put(nal);
            }
        }
        Some(())
    }
}

/// Whether a payload is the first of a picture by what it holds.
fn begins(payload: &[u8]) -> bool {
    let kind = |at: usize| payload.get(at).map_or(0, |byte| byte & 0x1f);
    let first = if kind(0) == AGGREGATE { kind(3) } else { kind(0) };
    matches!(first, SPS | DELIMITER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(timestamp: u32, marker: bool, payload: &'static [u8]) -> Packet {
        Packet { sequence: 0, timestamp, marker, payload: Bytes::from_static(payload) }
    }

    fn run(packets: &[(bool, Packet)]) -> Vec<Picture> {
        run_as(Codec::H264, packets)
    }

    fn run_as(codec: Codec, packets: &[(bool, Packet)]) -> Vec<Picture> {
        let (mut assembler, mut out) = (Assembler::new(codec), Vec::new());
        for (lost, packet) in packets {
            assembler.push(*lost, packet.clone(), &mut out);
        }
        out
    }

    const SETS: &[u8] = &[0x78, 0, 3, 0x67, 1, 2, 0, 2, 0x68, 3];

    #[test]
    fn single_aggregated_and_fragmented_units_make_a_picture() {
        let pictures = run(&[
            (false, packet(9, false, SETS)),
            (false, packet(9, false, &[0x7c, 0x85, 1, 2])),
            (false, packet(9, false, &[])),
            (false, packet(9, false, &[0x7c, 0x05, 3])),
            (false, packet(9, false, &[0x7c, 0x45, 4])),
            (false, packet(9, true, &[0x65, 9])),
            (false, packet(10, true, &[0x41, 7])),
        ]);
        assert_eq!(pictures.len(), 2);
        let first = &pictures[0];
        assert!(first.whole && first.key);
        assert_eq!(&first.data[..], [0, 0, 0, 5, 0x65, 1, 2, 3, 4, 0, 0, 0, 2, 0x65, 9]);
        assert_eq!((&first.sps[0][..], &first.pps[0][..]), (&[0x67, 1, 2][..], &[0x68, 3][..]));
        assert!(pictures[1].whole && !pictures[1].key);
    }

    #[test]
    fn a_picture_ends_with_the_next_timestamp_when_its_marker_is_missing() {
        let pictures = run(&[(false, packet(1, false, &[0x41, 1])), (false, packet(2, true, &[0x41, 2]))]);
        assert_eq!(pictures.iter().map(|p| (p.timestamp, p.whole)).collect::<Vec<_>>(), [(1, true), (2, true)]);
    }

    #[test]
    fn what_is_missing_makes_a_picture_broken_unless_it_begins_with_its_own_sets() {
        // The hole is before, within, before a key picture with its sets, and before padding.
        let before = run(&[(true, packet(1, true, &[0x41, 1])), (false, packet(2, true, &[0x41, 1]))]);
        assert_eq!((before[0].whole, before[1].whole), (false, true));
        let within = run(&[(false, packet(1, false, &[0x7c, 0x81, 1])), (true, packet(1, true, &[0x7c, 0x41, 1]))]);
        assert!(!within[0].whole);
        let key = run(&[(true, packet(1, false, SETS)), (false, packet(1, true, &[0x65, 1]))]);
        assert!(key[0].whole);
        let padding = run(&[(true, packet(1, false, &[])), (false, packet(2, true, &[0x41, 1]))]);
        assert!(!padding[0].whole);
        // The hole may hold the end of the picture before it; and one that begins with a delimiter may build on what is in it.
        let end = run(&[(false, packet(1, false, &[0x41, 1])), (true, packet(2, true, &[0x69, 0x10]))]);
        assert_eq!(end.iter().map(|p| (p.whole, p.follows)).collect::<Vec<_>>(), [(false, true), (true, false)]);
    }

    #[test]
    fn lengths_that_do_not_fit_break_a_picture_and_nothing_else() {
        for payload in [
            &[0x78u8, 0][..],    // half a length
            &[0x78, 0, 9, 1],    // longer than the packet
            &[0x78, 0, 0],       // an empty unit
            &[0x7c],             // no fragment header
            &[0x7c, 0x05, 1],    // a fragment without its beginning
            &[0x7c, 0x81, 1],    // without its end
            &[0x79, 0, 1, 1, 1], // interleaved
            &[0x00, 1],
        ] {
            let pictures = run(&[(false, packet(1, true, payload)), (false, packet(2, true, &[0x41, 1]))]);
            assert_eq!(pictures.iter().map(|p| p.whole).collect::<Vec<_>>(), [false, true], "{payload:?}");
        }
    }

    #[test]
    fn packets_of_vp8_and_vp9_make_frames() {
        let vp8 = [
            (false, packet(1, false, &[0x10, 1, 2])),
            (false, packet(1, true, &[0x01, 3])),
            (false, packet(2, true, &[0x90, 0x80, 7, 4])),
            (false, packet(3, false, &[0x10, 5])),
            (false, packet(3, true, &[0x10, 6])), // a second frame of the same time
        ];
        let vp9 = [
            (false, packet(1, false, &[0x08, 1, 2])),
            (false, packet(1, true, &[0x04, 3])),
            (false, packet(2, true, &[0x8c, 7, 4])),
            (false, packet(3, true, &[0x0c, 5])),
            (false, packet(4, true, &[0x0c, 6])),
        ];
        for (codec, packets) in [(Codec::Vp8, vp8), (Codec::Vp9, vp9)] {
            let pictures = run_as(codec, &packets);
            assert!(pictures.iter().all(|p| p.whole && p.follows));
            let frames: Vec<&[u8]> = pictures.iter().map(|p| &p.data[..]).collect();
            assert_eq!(frames, [&[1u8, 2, 3][..], &[4], &[5], &[6]]);
        }
    }

    #[test]
    fn frames_behind_a_hole_are_whole_where_they_say_that_they_begin() {
        for (codec, first, next) in [(Codec::Vp8, &[0x10u8, 1], &[0x00u8, 2]), (Codec::Vp9, &[0x08, 1], &[0x04, 2])] {
            let pictures = run_as(
                codec,
                &[
                    (false, packet(1, false, first)),
                    (true, packet(2, false, first)), // the end of the one before may be lost
                    (false, packet(2, true, next)),
                    (true, packet(3, true, next)), // its own beginning is
                    (false, packet(4, false, first)),
                    (true, packet(4, true, next)),     // its middle is
                    (false, packet(5, true, next)),    // a frame that never began
                    (false, packet(6, true, &[0x90])), // a broken descriptor
                    (false, packet(7, true, first)),
                ],
            );
            let seen: Vec<_> = pictures.iter().map(|p| (p.timestamp, p.whole, p.follows)).collect();
            let broken = |timestamp| (timestamp, false, true);
            assert_eq!(seen[..4], [broken(1), (2, true, false), (3, false, false), broken(4)], "{codec:?}");
            assert_eq!(seen[4..], [broken(5), broken(6), (7, true, true)], "{codec:?}");
        }
    }

    #[test]
    fn of_spatial_layers_the_lowest_is_left() {
        let packets = [
            (false, packet(1, false, &[0x2c, 0x00, 0, 1])),
            (false, packet(1, true, &[0x2c, 0x03, 0, 2])),
            (false, packet(2, false, &[0x6c, 0x00, 0, 3])),
            (false, packet(2, false, &[0x6c, 0x03, 0, 4])),
            (false, packet(3, true, &[0x6c, 0x00, 0, 5])),
        ];
        let mut assembler = Assembler::new(Codec::Vp9);
        let mut pictures = Vec::new();
        packets.into_iter().for_each(|(lost, packet)| assembler.push(lost, packet, &mut pictures));
        assert_eq!(
            pictures.iter().map(|p| (p.whole, &p.data[..])).collect::<Vec<_>>(),
            [(true, &[1u8][..]), (true, &[3]), (true, &[5])]
        );
        assert!(assembler.is_layered());
    }

    #[test]
    fn a_picture_without_end_is_bounded() {
        let (mut assembler, mut out) = (Assembler::new(Codec::H264), Vec::new());
        let payload = Bytes::from(vec![0x7c; 60_000]);
        for n in 0..1_000u32 {
            let mut payload = payload.to_vec();
            payload[1] = if n == 0 { 0x85 } else { 0x05 };
            let packet = Packet { sequence: 0, timestamp: 1, marker: n == 999, payload: payload.into() };
            assembler.push(false, packet, &mut out);
            let open = assembler.open.as_ref().and_then(|open| open.fragment.as_ref());
            assert!(open.is_none_or(|fragment| fragment.len() <= MOST_BYTES));
        }
        assert!(!out[0].whole);
    }
}
