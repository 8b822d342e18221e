//! AAC frames out of ADTS (ISO/IEC 13818-7, 6.2), the form in which MPEG-TS carries them.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of the header, without its checksum.
const HEADER: usize = 7;
/// Bytes of its checksum.
const CHECKSUM: usize = 2;

/// One raw AAC frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// Whether it began before the PES packet that was pushed last.
    pub(super) earlier: bool,
    /// The AudioSpecificConfig that its header amounts to.
    pub(super) config: [u8; 2],
    /// The frame, without its header.
    pub(super) data: Bytes,
}

/// A form of ADTS that is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("adts frames with {0} raw data blocks are not accepted: send one in each")]
pub(super) struct BlocksError(u8);

/// Takes frames out of PES payloads. A frame may begin in one and end in the next.
#[derive(Default)]
pub(super) struct Frames {
    rest: BytesMut,
    config: Option<[u8; 2]>,
}

impl Frames {
    /// Takes the payload of one PES packet and gives the frames that end in it.
    ///
    /// # Errors
    /// For a form that is not taken.
    pub(super) fn push(&mut self, payload: &[u8]) -> Result<Vec<Frame>, BlocksError> {
        let mut earlier = self.rest.len();
        self.rest.extend_from_slice(payload);
        let mut frames = Vec::new();
        let mut in_step = true;
        while self.rest.len() >= HEADER {
            let known = self.config.filter(|_| !in_step);
            let Some((header, size, config)) =
                read(&self.rest)?.filter(|(.., config)| known.is_none_or(|k| k == *config))
            else {
                // Not a header: on to the next byte that could be one. Out of step, only frames like those before are believed.
                in_step = false;
                let skipped = self.rest[1..].iter().position(|byte| *byte == 0xff).map_or(self.rest.len(), |at| at + 1);
                self.rest.advance(skipped);
                earlier = earlier.saturating_sub(skipped);
                continue;
            };
            if self.rest.len() < size {
                break;
            }
            let data = self.rest.split_to(size).freeze().slice(header..);
            self.config = Some(config);
            in_step = true;
            if !data.is_empty() {
                frames.push(Frame { earlier: earlier > 0, config, data });
            }
            earlier = earlier.saturating_sub(size);
        }
        Ok(frames)
    }

    /// Forgets a frame whose end is lost.
    pub(super) fn lost(&mut self) {
        self.rest.clear();
    }
}

/// Sizes of header and frame, and the configuration. `None` where no header is.
fn read(bytes: &[u8]) -> Result<Option<(usize, usize, [u8; 2])>, BlocksError> {
    let [0xff, sync, b2, b3, b4, b5, b6, ..] = *bytes else { return Ok(None) };
    let header = if sync & 1 == 1 { HEADER } else { HEADER + CHECKSUM };
    let size = usize::from(b3 & 3) << 11 | usize::from(b4) << 3 | usize::from(b5 >> 5);
    let rate = b2 >> 2 & 0xf;
    // Sync word, layer 0, a rate that there is, and room for itself.
    if sync & 0xf6 != 0xf0 || rate > 12 || size < header {
        return Ok(None);
    }
    if b6 & 3 != 0 {
        return Err(BlocksError((b6 & 3) + 1));
    }
    let (object, channels) = ((b2 >> 6) + 1, (b2 & 1) << 2 | b3 >> 6);
    Ok(Some((header, size, [object << 3 | rate >> 1, (rate & 1) << 7 | channels << 3])))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// AAC-LC, 48 kHz, stereo.
    pub(in super::super) fn frame(data: &[u8]) -> Vec<u8> {
        let size = HEADER + data.len();
        let head = [0xff, 0xf1, 0x4c, 0x80 | (size >> 11) as u8, (size >> 3) as u8, (size << 5) as u8 | 0x1f, 0xfc];
        [&head, data].concat()
    }

    fn data(frames: Vec<Frame>) -> Vec<(bool, Vec<u8>)> {
        frames.into_iter().map(|frame| (frame.earlier, frame.data.to_vec())).collect()
    }

    #[test]
    fn several_frames_in_one_packet_and_one_over_two_are_found() {
        let mut frames = Frames::default();
        let stream = [frame(b"one"), frame(b"two"), frame(b"three"), frame(b"four")].concat();
        let found = frames.push(&stream[..25]).unwrap();
        assert_eq!(found[0].config, [0x11, 0x90]);
        assert_eq!(data(found), [(false, b"one".to_vec()), (false, b"two".to_vec())]);
        assert_eq!(data(frames.push(&stream[25..]).unwrap()), [(true, b"three".to_vec()), (false, b"four".to_vec())]);
    }

    #[test]
    fn a_checksum_is_left_out_and_frames_of_several_blocks_are_refused() {
        let mut checked = frame(b"xxdata");
        checked[1] = 0xf0;
        assert_eq!(data(Frames::default().push(&checked).unwrap()), [(false, b"data".to_vec())]);
        let mut blocks = frame(b"data");
        blocks[6] |= 1;
        assert_eq!(Frames::default().push(&blocks), Err(BlocksError(2)));
    }

    #[test]
    fn frames_are_found_again_behind_what_is_none() {
        let mut frames = Frames::default();
        frames.push(&frame(b"first")).unwrap();
        frames.push(&frame(b"cut short")[..9]).unwrap();
        frames.lost();
        let mut other = frame(b"another rate: not believed here");
        other[2] = 0x50;
        let stream = [&b"tail of it \xff\xf1"[..], &other[..12], &frame(b"next")[..]].concat();
        assert_eq!(data(frames.push(&stream).unwrap()), [(false, b"next".to_vec())]);
    }

    #[test]
    fn nothing_mutilated_makes_it_stumble_or_grow() {
        let stream = [frame(b"one"), frame(b"two"), frame(b"three")].concat();
        for at in 0..stream.len() {
            for value in 0..=255 {
                let mut harmed = stream.clone();
                harmed[at] = value;
                let mut frames = Frames::default();
                for _ in 0..3 {
                    let _ = frames.push(&harmed);
                    assert!(frames.rest.len() <= 1 << 13);
                }
                for end in 0..harmed.len() {
                    let _ = Frames::default().push(&harmed[..end]);
                }
            }
        }
    }
}
