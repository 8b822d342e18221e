//! The descriptors in front of VP8 (RFC 7741) and VP9 (RFC 9628) in RTP. Every length in them is a stranger's.
//!
//! Those of the `rtc` crate 0.21.1 are not used: VP8's keeps the fields of the packet before where one has none, and VP9's refuses three
//! references and takes reserved bits for a field that follows.

use bytes::{Buf, Bytes};

/// A payload without its descriptor.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// A frame begins here.
    pub(super) begins: bool,
    /// It belongs to a spatial layer above the lowest, which can be decoded without it.
    pub(super) upper: bool,
    pub(super) body: Bytes,
}

/// Reads a payload of VP8.
pub(super) fn vp8(mut payload: Bytes) -> Option<Part> {
    let head = payload.try_get_u8().ok()?;
    if head & 0x80 != 0 {
        let more = payload.try_get_u8().ok()?;
        if more & 0x80 != 0 {
            picture_id(&mut payload)?;
        }
        skip(&mut payload, usize::from(more & 0x40 != 0) + usize::from(more & 0x30 != 0))?; // TL0PICIDX; TID and KEYIDX
    }
    // The first partition of a frame has number 0.
    let begins = head & 0x10 != 0 && head & 0x07 == 0;
    (!payload.is_empty()).then_some(Part { begins, upper: false, body: payload })
}

/// Reads a payload of VP9.
pub(super) fn vp9(mut payload: Bytes) -> Option<Part> {
    let head = payload.try_get_u8().ok()?;
    let has = |bit: u8| head & bit != 0;
    let (predicted, flexible) = (has(0x40), has(0x10));
    if has(0x80) {
        picture_id(&mut payload)?;
    }
    let mut layer = 0;
    if has(0x20) {
        layer = payload.try_get_u8().ok()? >> 1 & 0x07;
        skip(&mut payload, usize::from(!flexible))?; // TL0PICIDX
    }
    if flexible && predicted {
        let last = (0..3).map(|_| payload.try_get_u8()).find(|reference| !matches!(reference, Ok(r) if r & 1 == 1));
        if matches!(last, Some(Err(_)) | None) {
            return None; // three of them at most
        }
    }
    if has(0x02) {
        structure(&mut payload)?;
    }
    (!payload.is_empty()).then_some(Part { begins: has(0x08), upper: layer > 0, body: payload })
}

/// Of 7 or 15 bits.
fn picture_id(payload: &mut Bytes) -> Option<()> {
    let long = payload.try_get_u8().ok()? & 0x80 != 0;
    skip(payload, usize::from(long))
}

/// The sizes of all layers, and the pictures of a group with what each refers to.
fn structure(payload: &mut Bytes) -> Option<()> {
    let head = payload.try_get_u8().ok()?;
    if head & 0x10 != 0 {
        skip(payload, 4 * (usize::from(head >> 5) + 1))?;
    }
    let pictures = if head & 0x08 != 0 { payload.try_get_u8().ok()? } else { 0 };
    for _ in 0..pictures {
        let references = payload.try_get_u8().ok()? >> 2 & 0x03;
        skip(payload, references.into())?;
    }
    Some(())
}

fn skip(payload: &mut Bytes, count: usize) -> Option<()> {
    (payload.len() >= count).then(|| payload.advance(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of a payload, or `None`: whether a frame begins, whether it is of an upper layer, and how much of it is the frame's.
    fn read(with: fn(Bytes) -> Option<Part>, payload: &'static [u8]) -> Option<(bool, bool, usize)> {
        with(Bytes::from_static(payload)).map(|part| (part.begins, part.upper, part.body.len()))
    }

    #[test]
    fn descriptors_of_vp8_are_read_to_their_ends() {
        for (payload, wanted) in [
            (&[0x10u8, 1, 2][..], Some((true, false, 2))),
            (&[0x00, 1], Some((false, false, 1))),
            (&[0x11, 1], Some((false, false, 1))), // another partition
            (&[0x90, 0x80, 0x7f, 1], Some((true, false, 1))),
            (&[0x90, 0x80, 0xff, 0xff, 1], Some((true, false, 1))),
            (&[0x90, 0xf0, 0x80, 1, 2, 3, 9], Some((true, false, 1))),
            (&[0x90, 0x20, 3, 9], Some((true, false, 1))),
            (&[], None),
            (&[0x10], None),
            (&[0x90], None),
            (&[0x90, 0x80], None),
            (&[0x90, 0x80, 0x80], None),
            (&[0x90, 0x80, 0x80, 1], None),
            (&[0x90, 0xf0, 1, 2, 3], None),
        ] {
            assert_eq!(read(vp8, payload), wanted, "{payload:x?}");
        }
    }

    #[test]
    fn descriptors_of_vp9_are_read_to_their_ends() {
        for (payload, wanted) in [
            (&[0x08u8, 1, 2][..], Some((true, false, 2))),
            (&[0x04, 1], Some((false, false, 1))),
            (&[0x88, 0x7f, 1], Some((true, false, 1))),
            (&[0x88, 0x80, 1, 1], Some((true, false, 1))),
            (&[0x28, 0x00, 7, 1], Some((true, false, 1))), // not flexible: TL0PICIDX
            (&[0x28, 0x03, 7, 1], Some((true, true, 1))),  // the second layer
            (&[0x38, 0x02, 1], Some((true, true, 1))),     // flexible
            (&[0x58, 0x03, 0x05, 0x02, 1], Some((true, false, 1))), // three references
            (&[0x0a, 0x07, 1], Some((true, false, 1))),    // reserved bits of the structure
            (&[0x0a, 0x30, 0, 1, 0, 1, 0, 2, 0, 2, 1], Some((true, false, 1))), // two sizes
            (&[0x0a, 0x08, 2, 0x04, 1, 0x0c, 1, 2, 3, 9], Some((true, false, 1))), // two pictures
            (&[], None),
            (&[0x08], None),
            (&[0x88], None),
            (&[0x88, 0x80], None),
            (&[0x28, 0x00], None),
            (&[0x58, 0x03, 0x05], None),
            (&[0x58, 0x03, 0x05, 0x07, 1], None), // a fourth reference
            (&[0x0a], None),
            (&[0x0a, 0xf0, 0, 1, 0, 1], None),
            (&[0x0a, 0x08], None),
            (&[0x0a, 0x08, 255, 0x0c, 1, 2, 3], None),
        ] {
            assert_eq!(read(vp9, payload), wanted, "{payload:x?}");
        }
    }
}
