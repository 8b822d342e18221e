//! Program tables (ISO/IEC 13818-1, 2.4.4): sections out of packets, the program association, the program map, and what is in a program.

/// The longest section of these tables, bytes.
const MAX_SECTION: usize = 1_024;
/// Stuffing behind the last section of a packet.
const STUFFING: u8 = 0xff;
const PAT_TABLE: u8 = 0;
const PMT_TABLE: u8 = 2;
const REGISTRATION: u8 = 5;

/// A program whose tracks cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProgramError {
    /// No H.264 among its video.
    #[error("video codec {0} is not accepted: send H.264 (AVC)")]
    VideoCodec(&'static str),
    /// No AAC among its audio.
    #[error("audio codec {0} is not accepted: send AAC")]
    AudioCodec(&'static str),
}

/// Sections of one PID, put together.
#[derive(Default)]
pub(super) struct Sections {
    bytes: Vec<u8>,
    filling: bool,
}

impl Sections {
    /// Takes the payload of one packet; `start` says that a section begins in it. Gives the sections that are whole and sound.
    pub(super) fn push(&mut self, start: bool, payload: &[u8]) -> Vec<Vec<u8>> {
        let mut whole = Vec::new();
        if !start {
            if self.filling {
                self.bytes.extend_from_slice(payload);
                self.take(&mut whole);
            }
            return whole;
        }
        let Some((&pointer, rest)) = payload.split_first() else { return whole };
        let Some((end, begin)) = rest.split_at_checked(pointer.into()) else {
            self.lost();
            return whole;
        };
        if self.filling {
            self.bytes.extend_from_slice(end);
            self.take(&mut whole);
        }
        self.bytes = begin.to_vec();
        self.filling = true;
        self.take(&mut whole);
        whole
    }

    /// Forgets what is not whole.
    pub(super) fn lost(&mut self) {
        self.filling = false;
        self.bytes.clear();
    }

    fn take(&mut self, whole: &mut Vec<Vec<u8>>) {
        while let [table, high, low, ..] = self.bytes[..] {
            let size = 3 + (usize::from(high & 0x0f) << 8 | usize::from(low));
            if table == STUFFING || size > MAX_SECTION {
                return self.lost();
            }
            if self.bytes.len() < size {
                return;
            }
            let section: Vec<u8> = self.bytes.drain(..size).collect();
            // Long form, now in force, and unharmed: the checksum over all with itself is 0.
            if high & 0x80 != 0 && size >= 12 && section[5] & 1 == 1 && checksum(&section) == 0 {
                whole.push(section);
            }
        }
    }
}

/// CRC-32 as MPEG counts it.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte) << 24,
            |crc, _| {
                if crc >> 31 == 1 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 }
            },
        )
    })
}

/// The programs of a PAT section: number, and PID of the map. `None` for another table.
pub(super) fn programs(section: &[u8]) -> Option<Vec<(u16, u16)>> {
    let entries = section.get(8..section.len().checked_sub(4)?)?;
    let entry = |e: &[u8]| (u16::from_be_bytes([e[0], e[1]]), u16::from_be_bytes([e[2], e[3]]) & 0x1fff);
    let network = |(number, _): &(u16, u16)| *number != 0; // number 0 is the network's own table
    (section[0] == PAT_TABLE).then(|| entries.chunks_exact(4).map(entry).filter(network).collect())
}

/// What the elementary streams of a program are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    H264,
    Aac,
    /// Video that is not taken, by its name.
    Video(&'static str),
    /// Audio that is not taken.
    Audio(&'static str),
    Other,
}

/// The PIDs of the tracks of a program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tracks {
    /// H.264.
    pub(super) video: Option<u16>,
    /// AAC in ADTS.
    pub(super) audio: Option<u16>,
}

/// The first video and the first audio that are taken, of the PMT section of program `number`; `None` for another table. Of streams that are
/// neither, such as subtitles and cues, nothing is said.
pub(super) fn tracks(section: &[u8], number: u16) -> Option<Result<Tracks, ProgramError>> {
    if section[0] != PMT_TABLE || u16::from_be_bytes([section[3], section[4]]) != number {
        return None;
    }
    let size = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[0], bytes[1]]) & 0x0fff);
    let body = section.get(10..section.len().checked_sub(4)?)?;
    let mut rest = body.get(2 + size(body.get(..2)?)..)?;
    let (mut tracks, mut other_video, mut other_audio) = (Tracks::default(), None, None);
    while !rest.is_empty() {
        let head = rest.get(..5)?;
        let pid = u16::from_be_bytes([head[1], head[2]]) & 0x1fff;
        let end = 5 + size(&head[3..]);
        match what(head[0], rest.get(5..end)?) {
            Kind::H264 => tracks.video = tracks.video.or(Some(pid)),
            Kind::Aac => tracks.audio = tracks.audio.or(Some(pid)),
            Kind::Video(name) => other_video = other_video.or(Some(name)),
            Kind::Audio(name) => other_audio = other_audio.or(Some(name)),
            Kind::Other => {}
        }
        rest = &rest[end..];
    }
    Some(match (tracks.video.is_none().then_some(other_video), tracks.audio.is_none().then_some(other_audio)) {
        (Some(Some(name)), _) => Err(ProgramError::VideoCodec(name)),
        (_, Some(Some(name))) => Err(ProgramError::AudioCodec(name)),
        _ => Ok(tracks),
    })
}

/// By stream type (table 2-34 and what ATSC and DVB added), and for private data by its descriptors.
fn what(stream_type: u8, descriptors: &[u8]) -> Kind {
    match stream_type {
        0x1b => Kind::H264,
        0x0f => Kind::Aac,
        0x01 => Kind::Video("MPEG-1"),
        0x02 => Kind::Video("MPEG-2"),
        0x10 => Kind::Video("MPEG-4 part 2"),
        0x21 => Kind::Video("JPEG 2000"),
        0x24 | 0x25 => Kind::Video("HEVC"),
        0x33 => Kind::Video("VVC"),
        0xea => Kind::Video("VC-1"),
        0x03 | 0x04 => Kind::Audio("MPEG audio (MP2 or MP3)"),
        0x11 => Kind::Audio("AAC in LATM"),
        0x81 => Kind::Audio("AC-3"),
        0x82 | 0x85 | 0x86 if registered(descriptors, b"DTS") => Kind::Audio("DTS"),
        0x87 => Kind::Audio("E-AC-3"),
        0x06 if registered(descriptors, b"AV01") => Kind::Video("AV1"),
        0x06 if registered(descriptors, b"HEVC") => Kind::Video("HEVC"),
        0x06 if registered(descriptors, b"Opus") => Kind::Audio("Opus"),
        0x06 if registered(descriptors, b"AC-3") || has(descriptors, 0x6a) => Kind::Audio("AC-3"),
        0x06 if registered(descriptors, b"EAC3") || has(descriptors, 0x7a) => Kind::Audio("E-AC-3"),
        0x06 if registered(descriptors, b"BSSD") => Kind::Audio("SMPTE 302M"),
        0x06 if has(descriptors, 0x7b) => Kind::Audio("DTS"),
        _ => Kind::Other,
    }
}

/// Tag and body of each descriptor, as far as they add up.
fn each(mut descriptors: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [tag, size, rest @ ..] = descriptors else { return None };
        let (body, next) = rest.split_at_checked((*size).into())?;
        descriptors = next;
        Some((*tag, body))
    })
}

fn has(descriptors: &[u8], tag: u8) -> bool {
    each(descriptors).any(|(found, _)| found == tag)
}

fn registered(descriptors: &[u8], format: &[u8]) -> bool {
    each(descriptors).any(|(tag, body)| tag == REGISTRATION && body.starts_with(format))
}

#[cfg(test)]
mod tests {
    use super::super::mux::{pat, pmt, section};
    use super::*;

    fn named(streams: &[(u8, u16, &[u8])]) -> Result<Tracks, ProgramError> {
        tracks(&pmt(1, streams), 1).unwrap()
    }

    #[test]
    fn the_first_tracks_that_are_taken_are_found_and_the_rest_is_skipped() {
        assert_eq!(programs(&pat(&[(0, 0x10), (1, 0x1000)])), Some(vec![(1, 0x1000)]));
        let all: &[(u8, u16, &[u8])] = &[(0x86, 0x1f0, b"\x05\x04CUEI"), (0x06, 0x102, b""), (0x24, 0x103, b"")];
        let taken: &[(u8, u16, &[u8])] = &[(0x0f, 0x101, b"\x0a\x04eng\0"), (0x1b, 0x100, b""), (0x1b, 0x104, b"")];
        assert_eq!(named(&[all, taken].concat()), Ok(Tracks { video: Some(0x100), audio: Some(0x101) }));
        assert_eq!(named(&[]), Ok(Tracks::default()));
    }

    #[test]
    fn codecs_that_are_not_taken_are_named() {
        assert_eq!(named(&[(0x24, 0x100, b"")]), Err(ProgramError::VideoCodec("HEVC")));
        assert_eq!(named(&[(0x06, 0x100, b"\x05\x04AV01")]), Err(ProgramError::VideoCodec("AV1")));
        assert_eq!(named(&[(0x1b, 0x100, b""), (0x06, 0x101, b"\x05\x04Opus")]), Err(ProgramError::AudioCodec("Opus")));
        assert_eq!(named(&[(0x1b, 0x100, b""), (0x06, 0x101, b"\x6a\x01\x00")]), Err(ProgramError::AudioCodec("AC-3")));
    }

    #[test]
    fn sections_over_several_packets_and_several_in_one_are_found() {
        let (first, second) = (pat(&[(1, 0x1000)]), pmt(1, &[(0x1b, 0x100, b"")]));
        let mut bytes = [&first[..], &second[..]].concat();
        bytes.resize(bytes.len() + 9, STUFFING);
        let mut sections = Sections::default();
        assert!(sections.push(false, &bytes).is_empty(), "nothing has begun");
        assert!(sections.push(true, &[&[0], &bytes[..5]].concat()).is_empty());
        assert_eq!(sections.push(false, &bytes[5..]), [first.clone(), second.clone()]);
        // The end of one, and then the next in the same packet.
        sections.push(true, &[&[0], &first[..7]].concat());
        let tail = first.len() - 7;
        assert_eq!(sections.push(true, &[&[tail as u8], &first[7..], &second[..]].concat()), [first, second]);
    }

    #[test]
    fn harmed_sections_are_left_out_and_none_makes_it_stumble() {
        let whole = pmt(1, &[(0x1b, 0x100, b"\x0a\x04eng\0"), (0x0f, 0x101, b"")]);
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut harmed = whole.clone();
                harmed[at] ^= 1 << bit;
                assert!(
                    Sections::default().push(true, &[&[0], &harmed[..]].concat()).is_empty(),
                    "bit {bit} of byte {at}"
                );
                // And with a sum that is right: whatever the table says then.
                let end = harmed.len() - 4;
                if let Some(body) = harmed.get(3..end) {
                    let resigned = section(harmed[0], body);
                    let _ = (programs(&resigned), tracks(&resigned, 1));
                }
            }
        }
        for end in 0..whole.len() {
            let cut = section(PMT_TABLE, &whole[3..end.max(3 + 5)]);
            let _ = (programs(&cut), tracks(&cut, 1));
        }
    }
}
