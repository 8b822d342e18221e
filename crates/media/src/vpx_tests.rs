use super::*;

/// Heads of key frames as libvpx writes them, all 320x180.
const VP8_KEY: &[u8] = &[0xf0, 0x62, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00, 0x00, 0x07, 0x08];
const VP8_INTER: &[u8] = &[0x11, 0x13, 0x00, 0x28, 0x11];
const VP9_KEY: &[u8] = &[0x82, 0x49, 0x83, 0x42, 0x00, 0x13, 0xf0, 0x0b, 0x36, 0x06, 0x38, 0x24];
const VP9_444: &[u8] = &[0xa2, 0x49, 0x83, 0x42, 0x40, 0x02, 0x7e, 0x01, 0x66, 0xc0, 0xc7, 0x04];
const VP9_10: &[u8] = &[0x92, 0x49, 0x83, 0x42, 0x00, 0x09, 0xf8, 0x05, 0x9b, 0x03, 0x1c, 0x12];
const VP9_INTER: &[u8] = &[0x86, 0x00, 0x40, 0x92];
const VP9_HIDDEN: &[u8] = &[0x84, 0x00, 0x80, 0x49];
/// Shows the frame 0 again.
const VP9_EXISTING: &[u8] = &[0x88];

fn superframe(frames: &[&[u8]]) -> Vec<u8> {
    let marker = 0xc0 | 1 << 3 | (frames.len() as u8 - 1);
    let mut out = frames.concat();
    out.push(marker);
    frames.iter().for_each(|frame| out.extend((frame.len() as u16).to_le_bytes()));
    out.push(marker);
    out
}

#[test]
fn key_frames_tell_profile_size_and_colours() {
    for (key, profile, chroma, depth, color) in [
        (vp8_key_frame(VP8_KEY), 0, 1, 8, (2, 2, 2)),
        (vp9_key_frame(VP9_KEY), 0, 1, 8, (2, 2, 2)),
        (vp9_key_frame(VP9_444), 1, 3, 8, (1, 1, 1)),
        (vp9_key_frame(VP9_10), 2, 1, 10, (2, 2, 2)),
    ] {
        let key = key.unwrap().unwrap();
        let format = &key.format;
        assert_eq!((format.width, format.height, key.profile), (320, 180, profile));
        assert_eq!((format.chroma_format, format.bit_depth, format.color), (chroma, depth, color));
        assert_eq!(&format_of(&key.to_record().unwrap(), 320, 180).unwrap(), format);
    }
    // The scale of VP8 is no part of the size.
    let mut scaled = VP8_KEY.to_vec();
    (scaled[7], scaled[9]) = (0x41, 0x80);
    assert_eq!(vp8_key_frame(&scaled), vp8_key_frame(VP8_KEY));
}

#[test]
fn a_level_has_room_for_sixty_pictures_a_second() {
    for (width, height, expected) in
        [(320, 180, 20), (640, 360, 30), (1280, 720, 40), (1920, 1080, 41), (3840, 2160, 51), (16_384, 16_384, 62)]
    {
        assert_eq!(level(width, height), expected, "{width}x{height}");
    }
}

#[test]
fn other_frames_are_told_from_key_frames_and_from_hidden_ones() {
    for (unit, key, shown) in [
        (VP9_KEY.to_vec(), true, true),
        (VP9_INTER.to_vec(), false, true),
        (VP9_HIDDEN.to_vec(), false, false),
        (VP9_EXISTING.to_vec(), false, true),
        (superframe(&[VP9_HIDDEN, VP9_INTER]), false, true),
        (superframe(&[VP9_KEY, VP9_INTER]), true, true),
        (superframe(&[VP9_HIDDEN, VP9_EXISTING]), false, true),
        (superframe(&[VP9_HIDDEN, VP9_HIDDEN]), false, false),
    ] {
        assert_eq!((vp9_key_frame(&unit).unwrap().is_some(), is_vp9_shown(&unit)), (key, shown), "{unit:x?}");
    }
    assert_eq!(vp8_key_frame(VP8_INTER), Ok(None));
    assert!(is_vp8_shown(VP8_KEY) && is_vp8_shown(VP8_INTER));
    assert!(!is_vp8_shown(&[0x01, 0x13, 0x00, 0x28]));
}

#[test]
fn what_is_no_frame_is_refused_with_a_reason() {
    assert_eq!(vp8_key_frame(b""), Err(NalError::Truncated("frame header")));
    assert_eq!(vp8_key_frame(&[0x0e, 0, 0]), Err(NalError::Range("VP8 version")));
    assert_eq!(vp8_key_frame(&[0xf0, 0, 0, 0x9d, 1, 0x2b, 1, 0, 1, 0]), Err(NalError::Range("VP8 start code")));
    assert_eq!(vp8_key_frame(&[0xf0, 0, 0, 0x9d, 1, 0x2a, 0, 0x40, 1, 0]), Err(NalError::Range("picture size")));
    assert_eq!(vp9_key_frame(b""), Err(NalError::Truncated("frame header")));
    assert_eq!(vp9_key_frame(b"\0\0"), Err(NalError::Range("VP9 frame marker")));
    assert_eq!(vp9_key_frame(&[0x82, 0x49, 0x83, 0x43, 0]), Err(NalError::Range("VP9 start code")));
    // Both sides of 65,536.
    let large = [0x82, 0x49, 0x83, 0x42, 0x0f, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(vp9_key_frame(&large), Err(NalError::Range("picture width")));
}

#[test]
fn a_record_is_taken_as_its_meaning_alone() {
    let record = vp9_key_frame(VP9_10).unwrap().unwrap().to_record().unwrap();
    assert_eq!(record[..], [1, 0, 0, 0, 2, 20, 0xa2, 2, 2, 2, 0, 0]);
    let with = |at: usize, value: u8| {
        let mut record = record.to_vec();
        record[at] = value;
        parse_record(&record)
    };
    assert_eq!(with(0, 0), Err(NalError::Range("vpcC version")));
    assert_eq!(with(4, 4), Err(NalError::Range("vpcC profile")));
    assert_eq!(with(6, 0x92), Err(NalError::Range("vpcC bit depth")));
    assert_eq!(with(6, 0x88), Err(NalError::Range("vpcC chroma subsampling")));
    assert!(with(9, 0).is_err());
    assert_eq!(with(11, 200), Ok(record.clone()));
    assert_eq!(parse_record(&[&record[..], b"more"].concat()), Ok(record.clone()));
    assert_eq!(parse_record(&record[..11]), Err(NalError::Truncated("vpcC record")));
    assert!(format_of(&record, 0, 180).is_err() && format_of(&record, 320, 16_385).is_err());
}

#[test]
fn cut_and_bent_frames_are_refused_or_read_and_never_panic() {
    let index = superframe(&[VP9_KEY, VP9_INTER, VP9_EXISTING]);
    for whole in [VP8_KEY, VP8_INTER, VP9_KEY, VP9_444, VP9_10, &index] {
        for at in 0..whole.len() {
            look(&whole[..at]);
            let mut bent = whole.to_vec();
            for value in 0..=255 {
                bent[at] = value;
                look(&bent);
            }
        }
    }
    let mut state = 1u32;
    for size in 0..4_000 {
        let noise: Vec<u8> = (0..size % 40)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        look(&noise);
        look(&[&VP9_KEY[..5], &noise].concat());
    }
}

/// Whatever key frame is read has a record.
fn look(frame: &[u8]) {
    let _ = (is_vp8_shown(frame), is_vp9_shown(frame), parse_record(frame));
    for key in [vp8_key_frame(frame), vp9_key_frame(frame)].into_iter().flatten().flatten() {
        let (width, height) = (key.format.width as u16, key.format.height as u16);
        assert_eq!(format_of(&key.to_record().unwrap(), width, height).unwrap(), key.format);
    }
}
