//! Transport packets (ISO/IEC 13818-1, 2.4.3): the tracks of the first program, as PES packets, and what of them was lost.
//!
//! The MPEG-TS of an encoder is small and the rest is hostile: this takes one program, one video and one audio PID, and keeps for each
//! one packet and one PES packet. Nothing here knows what is in a picture.

use super::pes::{Assembler, Pes};
use super::psi::{ProgramError, Sections, Tracks, programs, tracks};
use crate::events::TrackKind;

/// Bytes of a transport packet.
pub(super) const PACKET: usize = 188;
/// Its first byte.
pub(super) const SYNC: u8 = 0x47;
const PAT_PID: u16 = 0;

/// What a transport stream says, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// The program has these tracks from here on.
    Tracks(Tracks),
    /// One PES packet of a track. One that is not whole has lost its end.
    Pes(TrackKind, Pes),
    /// Packets of a track are missing before what follows.
    Lost(TrackKind),
}

/// Why a stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum TsError {
    /// Its codecs.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Conditional access.
    #[error("the transport stream is scrambled: send it in the clear, and protect it by the passphrase of srt")]
    Scrambled,
}

/// Reads a transport stream.
pub(super) struct Demuxer {
    /// The start of a packet whose end has not come.
    partial: Vec<u8>,
    pat: Table,
    /// The program's number and where its map is.
    program: Option<(u16, u16)>,
    pmt: Table,
    tracks: Tracks,
    video: Elementary,
    audio: Elementary,
}

#[derive(Default)]
struct Table {
    continuity: Continuity,
    sections: Sections,
}

struct Elementary {
    kind: TrackKind,
    continuity: Continuity,
    assembler: Assembler,
}

/// One transport packet, taken apart.
struct Packet<'a> {
    bytes: &'a [u8],
    pid: u16,
    start: bool,
    scrambled: bool,
    /// The counter may jump here, and nothing was lost.
    discontinuity: bool,
    payload: &'a [u8],
}

impl Default for Demuxer {
    fn default() -> Self {
        Self {
            partial: Vec::new(),
            pat: Table::default(),
            program: None,
            pmt: Table::default(),
            tracks: Tracks::default(),
            video: Elementary::new(TrackKind::Video),
            audio: Elementary::new(TrackKind::Audio),
        }
    }
}

impl Demuxer {
    /// Takes bytes as they came. `gap` says that something is missing before them.
    ///
    /// # Errors
    /// When the program has no track that can be taken.
    pub(super) fn push(&mut self, bytes: &[u8], gap: bool, out: &mut Vec<Said>) -> Result<(), TsError> {
        if gap {
            self.partial.clear();
            self.lost(out);
        }
        let mut data = std::mem::take(&mut self.partial);
        data.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(packet) = data.get(at..at + PACKET) {
            if packet[0] == SYNC {
                if let Some(packet) = Packet::read(packet) {
                    self.packet(&packet, out)?;
                }
                at += PACKET;
                continue;
            }
            // Out of step: on to the next place that looks like the start of a packet that another follows.
            let fits = |at: &usize| data[*at] == SYNC && data.get(at + PACKET).is_none_or(|next| *next == SYNC);
            at = (at + 1..data.len()).find(fits).unwrap_or(data.len());
            self.lost(out);
        }
        self.partial = data.split_off(at);
        Ok(())
    }

    /// The stream has ended where it should: what waits for its end is whole.
    pub(super) fn finish(&mut self, out: &mut Vec<Said>) {
        self.video.flush(out);
        self.audio.flush(out);
    }

    fn lost(&mut self, out: &mut Vec<Said>) {
        for table in [&mut self.pat, &mut self.pmt] {
            table.continuity = Continuity::default();
            table.sections.lost();
        }
        for track in [&mut self.video, &mut self.audio] {
            track.continuity = Continuity::default();
            track.lost(out);
        }
    }

    fn packet(&mut self, packet: &Packet<'_>, out: &mut Vec<Said>) -> Result<(), TsError> {
        let pid = Some(packet.pid);
        if packet.pid == PAT_PID {
            for section in self.pat.push(packet) {
                self.associate(&section);
            }
        } else if pid == self.program.map(|(_, map)| map) {
            for section in self.pmt.push(packet) {
                self.map(&section, out)?;
            }
        } else if pid == self.tracks.video {
            self.video.push(packet, out)?;
        } else if pid == self.tracks.audio {
            self.audio.push(packet, out)?;
        }
        Ok(())
    }

    /// Stays with the program that it has, as long as it is named.
    fn associate(&mut self, section: &[u8]) {
        let Some(programs) = programs(section) else { return };
        if self.program.is_none_or(|program| !programs.contains(&program))
            && let Some(first) = programs.first()
        {
            self.program = Some(*first);
            self.pmt = Table::default();
        }
    }

    fn map(&mut self, section: &[u8], out: &mut Vec<Said>) -> Result<(), TsError> {
        let Some((number, _)) = self.program else { return Ok(()) };
        let Some(found) = tracks(section, number) else { return Ok(()) };
        let found = found?;
        if found == self.tracks {
            return Ok(());
        }
        // A track that moves ends where its map says so.
        if found.video != self.tracks.video {
            self.video.flush(out);
            self.video = Elementary::new(TrackKind::Video);
        }
        if found.audio != self.tracks.audio {
            self.audio.flush(out);
            self.audio = Elementary::new(TrackKind::Audio);
        }
        self.tracks = found;
        out.push(Said::Tracks(found));
        Ok(())
    }
}

impl<'a> Packet<'a> {
    /// `None` for one that has no payload, was harmed on its way, or does not add up.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (harmed, start) = (bytes[1] & 0x80 != 0, bytes[1] & 0x40 != 0);
        let pid = u16::from_be_bytes([bytes[1], bytes[2]]) & 0x1fff;
        let (adaptation, has_payload) = (bytes[3] & 0x20 != 0, bytes[3] & 0x10 != 0);
        let size = if adaptation { 1 + usize::from(bytes[4]) } else { 0 };
        let discontinuity = size > 1 && bytes[5] & 0x80 != 0;
        let payload = bytes.get(4 + size..).filter(|payload| has_payload && !harmed && !payload.is_empty())?;
        Some(Self { bytes, pid, start, scrambled: bytes[3] & 0xc0 != 0, discontinuity, payload })
    }
}

impl Table {
    fn push(&mut self, packet: &Packet<'_>) -> Vec<Vec<u8>> {
        match self.continuity.step(packet) {
            Step::Follows => {}
            Step::Repeats => return Vec::new(),
            Step::Misses => self.sections.lost(),
        }
        self.sections.push(packet.start, packet.payload)
    }
}

impl Elementary {
    fn new(kind: TrackKind) -> Self {
        Self { kind, continuity: Continuity::default(), assembler: Assembler::new(kind) }
    }

    fn push(&mut self, packet: &Packet<'_>, out: &mut Vec<Said>) -> Result<(), TsError> {
        if packet.scrambled {
            return Err(TsError::Scrambled);
        }
        match self.continuity.step(packet) {
            Step::Follows => {}
            Step::Repeats => return Ok(()),
            Step::Misses => self.lost(out),
        }
        let found = self.assembler.push(packet.start, packet.payload);
        out.extend(found.into_iter().flatten().map(|pes| Said::Pes(self.kind, pes)));
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<Said>) {
        out.extend(self.assembler.flush().map(|pes| Said::Pes(self.kind, pes)));
    }

    fn lost(&mut self, out: &mut Vec<Said>) {
        out.extend(self.assembler.cut().map(|pes| Said::Pes(self.kind, pes)));
        out.push(Said::Lost(self.kind));
    }
}

/// How a packet stands to the one before it on its PID.
enum Step {
    Follows,
    Repeats,
    Misses,
}

/// The last packet of a PID. All of it, since its counter has 4 bits: the same counter again is the same packet again, which is allowed, or
/// the sixteenth after it.
#[derive(Default)]
struct Continuity {
    last: Vec<u8>,
}

impl Continuity {
    fn step(&mut self, packet: &Packet<'_>) -> Step {
        let counter = |bytes: &[u8]| bytes.get(3).map(|byte| byte & 0x0f);
        let (before, now) = (counter(&self.last), counter(packet.bytes));
        if before == now && self.last == packet.bytes {
            return Step::Repeats;
        }
        let next = before.map(|before| (before + 1) & 0x0f);
        self.last.clear();
        self.last.extend_from_slice(packet.bytes);
        if next.is_none() || next == now || packet.discontinuity { Step::Follows } else { Step::Misses }
    }
}

#[cfg(test)]
mod tests {
    use super::super::mux::Mux;
    use super::*;

    const BOTH: Tracks = Tracks { video: Some(0x100), audio: Some(0x101) };

    fn mux() -> Mux {
        let mut mux = Mux::default();
        mux.tables(&[(0x1b, 0x100, b""), (0x0f, 0x101, b"")]);
        mux
    }

    fn read(bytes: &[u8], step: usize) -> Vec<Said> {
        let (mut demuxer, mut out) = (Demuxer::default(), Vec::new());
        for bytes in bytes.chunks(step) {
            demuxer.push(bytes, false, &mut out).unwrap();
        }
        demuxer.finish(&mut out);
        out
    }

    fn pictures(said: &[Said]) -> Vec<(usize, bool)> {
        let picture = |said: &Said| match said {
            Said::Pes(TrackKind::Video, pes) => Some((pes.data.len(), pes.whole)),
            _ => None,
        };
        said.iter().filter_map(picture).collect()
    }

    fn lost(said: &[Said]) -> usize {
        said.iter().filter(|said| matches!(said, Said::Lost(TrackKind::Video))).count()
    }

    #[test]
    fn however_the_bytes_are_cut_the_same_is_read() {
        let mut mux = mux();
        for (time, size) in [(0, 10), (1, 184), (2, 5_000), (3, 70_000)] {
            mux.video(time, time, &vec![7; size]);
            mux.audio(time, &[9; 300]);
        }
        let whole = read(&mux.bytes, mux.bytes.len());
        assert_eq!(whole[0], Said::Tracks(BOTH));
        assert_eq!(pictures(&whole), [(10, true), (184, true), (5_000, true), (70_000, true)]);
        for step in [1, 7, 187, 188, 189, 1_316, 1_456] {
            assert_eq!(read(&mux.bytes, step), whole, "{step} bytes at a time");
        }
    }

    #[test]
    fn a_lost_packet_costs_the_picture_that_it_was_in() {
        let mut mux = mux();
        for time in 0..4 {
            mux.video(time, time, &[7; 1_000]);
        }
        let packets: Vec<_> = mux.bytes.chunks(PACKET).collect();
        // The tables take two packets, each picture six.
        for at in 2..packets.len() {
            let bytes: Vec<u8> =
                packets.iter().enumerate().filter(|(i, _)| *i != at).flat_map(|(_, p)| p.to_vec()).collect();
            let said = read(&bytes, 1_316);
            // Nothing follows the last packet of all, by which its loss would show.
            let unseen = usize::from(at == 2 || at == packets.len() - 1);
            assert_eq!(lost(&said), 1 - unseen, "without packet {at}");
            let whole = pictures(&said).iter().filter(|found| **found == (1_000, true)).count();
            // Without its first packet, nobody knows that the picture before it was whole.
            let first = at > 2 && (at - 2) % 6 == 0;
            assert_eq!(whole, 3 - usize::from(first), "without packet {at}");
        }
    }

    #[test]
    fn a_repeated_packet_and_an_announced_jump_are_no_loss_and_fifteen_packets_are_one() {
        let mut mux = mux();
        mux.video(0, 0, &[7; 1_000]);
        let again = mux.bytes[mux.bytes.len() - PACKET..].to_vec();
        mux.bytes.extend(again);
        mux.jump(0x100);
        mux.video(1, 1, &[7; 1_000]);
        let said = read(&mux.bytes, 1_316);
        assert_eq!((pictures(&said), lost(&said)), (vec![(1_000, true), (1_000, true)], 0));

        let mut mux = self::mux();
        mux.video(0, 0, &(0..184 * 40).map(|i| (i / 184) as u8).collect::<Vec<_>>());
        mux.bytes.drain(6 * PACKET..21 * PACKET);
        let said = read(&mux.bytes, 1_316);
        assert_eq!(lost(&said), 1);
        assert!(pictures(&said).iter().all(|(_, whole)| !whole));
    }

    #[test]
    fn a_stream_out_of_step_is_found_again() {
        let mut mux = mux();
        mux.video(0, 0, &[7; 1_000]);
        let good = mux.bytes.len();
        mux.tables(&[(0x1b, 0x100, b""), (0x0f, 0x101, b"")]);
        mux.video(1, 1, &[7; 1_000]);
        mux.video(2, 2, &[7; 1_000]);
        for slip in [1, 47, 100, 187] {
            let mut bytes = mux.bytes.clone();
            bytes.drain(good..good + slip);
            let said = read(&bytes, 1_316);
            assert_eq!(lost(&said), 1, "{slip} bytes less");
            assert_eq!(pictures(&said).iter().filter(|found| **found == (1_000, true)).count(), 2, "{slip} bytes less");
        }
    }

    #[test]
    fn a_program_map_that_changes_moves_the_tracks() {
        let mut mux = mux();
        mux.video(0, 0, &[7; 500]);
        mux.tables(&[(0x1b, 0x200, b"")]);
        mux.on(0x200, 0xe0, 1, 1, &[7; 600]);
        mux.video(2, 2, &[7; 700]);
        let said = read(&mux.bytes, 1_316);
        assert_eq!(pictures(&said), [(500, true), (600, true)]);
        assert!(said.contains(&Said::Tracks(Tracks { video: Some(0x200), audio: None })));
    }

    #[test]
    fn what_is_scrambled_or_of_another_codec_is_refused_by_name() {
        let refused = |bytes: &[u8]| Demuxer::default().push(bytes, false, &mut Vec::new()).unwrap_err().to_string();
        let mut hevc = Mux::default();
        hevc.tables(&[(0x24, 0x100, b"")]);
        assert!(refused(&hevc.bytes).contains("HEVC"));
        let mut mux = mux();
        mux.video(0, 0, &[7; 500]);
        mux.bytes[2 * PACKET + 3] |= 0x80;
        assert!(refused(&mux.bytes).contains("scrambled"));
    }

    #[test]
    fn nothing_mutilated_makes_it_stumble() {
        let mut mux = mux();
        for time in 0..6 {
            mux.video(time, time, &vec![7; 700]);
            mux.audio(time, &[9; 100]);
        }
        let mut seed = 1u32;
        for round in 0..3_000 {
            let mut bytes = mux.bytes.clone();
            for _ in 0..1 + round % 8 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if bytes.is_empty() {
                    break;
                }
                let at = seed as usize % bytes.len();
                match seed >> 28 {
                    0..8 => bytes[at] ^= 1 << (seed >> 8 & 7),
                    8..12 => drop(bytes.drain(at..(at + 1 + (seed >> 9) as usize % 400).min(bytes.len()))),
                    _ => bytes.truncate(at + 1),
                }
            }
            let (mut demuxer, mut out) = (Demuxer::default(), Vec::new());
            for bytes in bytes.chunks(1_316) {
                if demuxer.push(bytes, round % 7 == 0, &mut out).is_err() {
                    break;
                }
                assert!(demuxer.partial.len() < PACKET);
            }
            demuxer.finish(&mut out);
        }
    }
}
