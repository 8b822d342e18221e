//! Closed captions inside coded pictures: CEA-608 and CEA-708 in the form of ATSC A/53 part 4, in SEI messages or in AV1's metadata. They stay
//! where they are; what is read here is on which channels they speak, since a master playlist names those (RFC 8216, 4.3.4.1).

use crate::av1::obus;
use crate::cmaf::{Codec, VideoTrack};
use crate::nal::{nals, unescape};
use serde::{Deserialize, Serialize};

const SEI_H264: u8 = 6;
const SEI_HEVC: u8 = 39;
/// `OBU_METADATA`, and `METADATA_TYPE_ITUT_T35` that it begins with.
const OBU_METADATA: u8 = 5;
const METADATA_T35: u8 = 4;
/// `user_data_registered_itu_t_t35`.
const REGISTERED: usize = 4;
/// The United States, ATSC, and their identifier and type of caption data.
const A53: &[u8] = &[0xb5, 0x00, 0x31, b'G', b'A', b'9', b'4', 0x03];

/// The channels that have spoken, by their names in `INSTREAM-ID`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captions {
    /// CEA-608, first field.
    pub cc1: bool,
    /// CEA-608, second field.
    pub cc3: bool,
    /// CEA-708.
    pub service1: bool,
}

impl Captions {
    /// Those of one sample of `track`: none where the codec is VP8 or VP9, or a message does not read.
    pub fn of_sample(track: &VideoTrack, sample: &[u8]) -> Self {
        let mut found = Self::default();
        let (kind, head): (fn(&[u8]) -> u8, _) = match track.codec {
            Codec::H264 => (|nal| nal[0] & 0x1f, 1),
            Codec::H265 => (|nal| nal[0] >> 1 & 0x3f, 2),
            Codec::Av1 => {
                for obu in obus(sample).map_while(Result::ok).filter(|obu| obu.kind == OBU_METADATA) {
                    found.read_t35(obu.payload.strip_prefix(&[METADATA_T35]).unwrap_or_default());
                }
                return found;
            }
            Codec::Vp8 | Codec::Vp9 => return found,
        };
        let sei = if head == 1 { SEI_H264 } else { SEI_HEVC };
        for nal in nals(sample).map_while(Result::ok).filter(|nal| kind(nal) == sei) {
            if let Some(messages) = nal.get(head..) {
                found.read(&unescape(messages));
            }
        }
        found
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let Self { cc1, cc3, service1 } = other;
        Self { cc1: self.cc1 | cc1, cc3: self.cc3 | cc3, service1: self.service1 | service1 }
    }

    /// The names of those that have spoken.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [(self.cc1, "CC1"), (self.cc3, "CC3"), (self.service1, "SERVICE1")]
            .into_iter()
            .filter_map(|(spoke, name)| spoke.then_some(name))
    }

    /// Reads SEI messages, each with its type and size in bytes of which 255 goes on.
    fn read(&mut self, mut messages: &[u8]) {
        while let (Some(kind), Some(size)) = (number(&mut messages), number(&mut messages)) {
            let Some((message, rest)) = messages.split_at_checked(size) else { return };
            messages = rest;
            if kind == REGISTERED {
                self.read_t35(message);
            }
        }
    }

    /// Reads a message by ITU-T T.35, which says first whose it is.
    fn read_t35(&mut self, message: &[u8]) {
        if let Some(data) = message.strip_prefix(A53) {
            self.hear(data);
        }
    }

    /// `cc_data`: flags with a count, a byte that says nothing, then three bytes for each pair.
    fn hear(&mut self, data: &[u8]) {
        let [flags, _, triples @ ..] = data else { return };
        for triple in triples.chunks_exact(3).take(usize::from(flags & 0x1f)) {
            let valid = triple[0] & 4 > 0;
            // Where nobody speaks, pairs of CEA-608 are zeros with odd parity.
            let spoken = (triple[1] | triple[2]) & 0x7f > 0;
            match triple[0] & 3 {
                0 => self.cc1 |= valid && spoken,
                1 => self.cc3 |= valid && spoken,
                _ => self.service1 |= valid,
            }
        }
    }
}

fn number(bytes: &mut &[u8]) -> Option<usize> {
    let more = bytes.iter().position(|byte| *byte != 255)?;
    let value = 255 * more + usize::from(bytes[more]);
    *bytes = &bytes[more + 1..];
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nal::in_front_of;
    use bytes::Bytes;

    /// A track of this codec, and a sample with an SEI message of these pairs before its slice.
    fn heard(codec: Codec, triples: &[[u8; 3]]) -> Captions {
        let flags = 0x40 | triples.len() as u8;
        let data = [A53, &[flags, 0xff], &triples.concat(), &[0xff]].concat();
        if codec == Codec::Av1 {
            // A light level before it, and something that may be a picture after it.
            let obu = |payload: &[u8]| [&[OBU_METADATA << 3 | 2, payload.len() as u8], payload].concat();
            let sample =
                [obu(&[1, 0, 1, 0, 1, 0x80]), obu(&[&[METADATA_T35], &data[..], &[0x80]].concat()), vec![0x32, 1, 0]];
            return Captions::of_sample(&track(codec), &sample.concat());
        }
        let head: &[u8] = if codec == Codec::H265 { &[SEI_HEVC << 1, 1] } else { &[SEI_H264] };
        // Another message before it, of a size that takes two bytes.
        let other = [&[5, 255, 1], &[1; 256][..]].concat();
        let sei = Bytes::from([head, &other, &[REGISTERED as u8, data.len() as u8], &data, &[0x80]].concat());
        let slice = [0, 0, 0, 2, 0x65, 0x88];
        Captions::of_sample(&track(codec), &in_front_of([&sei], &slice))
    }

    fn track(codec: Codec) -> VideoTrack {
        let (mut track, _) = crate::synthetic::black(64, 64, 30, 1).unwrap();
        track.codec = codec;
        track
    }

    #[test]
    fn each_channel_is_heard_once_somebody_speaks_on_it() {
        let silent = [[0xfc, 0x80, 0x80], [0xfd, 0x80, 0x80], [0xfa, 0, 0]];
        for codec in [Codec::H264, Codec::H265, Codec::Av1] {
            assert_eq!(heard(codec, &silent), Captions::default());
            let names = |triple| heard(codec, &[silent[0], triple]).names().collect::<Vec<_>>();
            assert_eq!(names([0xfc, 0x94, 0x25]), ["CC1"]);
            assert_eq!(names([0xfd, 0x15, 0x80]), ["CC3"]);
            assert_eq!(names([0xff, 0x02, 0x21]), ["SERVICE1"]);
            assert_eq!(names([0xf8, 0x94, 0x25]).len(), 0, "it is said to be invalid");
        }
        assert_eq!(heard(Codec::Vp9, &[[0xfc, 0x94, 0x25]]), Captions::default());
    }

    #[test]
    fn what_ends_early_says_nothing() {
        let whole = [&[SEI_H264, REGISTERED as u8, 14], A53, &[0x42, 0xff, 0xfc, 0x94, 0x25, 0xff]].concat();
        let of = |sei: &[u8]| {
            let sample = in_front_of([&Bytes::copy_from_slice(sei)], &[]);
            Captions::of_sample(&track(Codec::H264), &sample)
        };
        assert!(of(&whole).cc1, "one pair of the two that are announced");
        for end in 1..whole.len() {
            assert_eq!(of(&whole[..end]), Captions::default(), "of {end} bytes");
        }
        assert_eq!(of(&[SEI_H264, 255, 255, 255]), Captions::default());
    }
}
