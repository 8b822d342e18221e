use super::*;

/// 320x180 in 8 bit, as SVT-AV1 writes it.
const SVT: &[u8] = &[0x0a, 0x0b, 0x02, 0x00, 0x00, 0x05, 0x21, 0xe7, 0xf6, 0x62, 0x57, 0xc8, 0x02];
/// The same in 10 bit, with the matrix of BT.2020.
const SVT_10: &[u8] = &[0x0a, 0x0e, 0x02, 0x00, 0x00, 0x05, 0x21, 0xe7, 0xf6, 0x62, 0x57, 0xca, 0x81, 0x01, 0x04, 0x82];
/// 320x180 in 4:4:4, as libaom writes it.
const AOM_444: &[u8] = &[0x0a, 0x0a, 0x20, 0x00, 0x00, 0x04, 0x3c, 0xfe, 0xcc, 0xda, 0xf9, 0x02];
/// 320x180, as rav1e writes it.
const RAV1E: &[u8] = &[0x0a, 0x0e, 0x00, 0x00, 0x00, 0xfa, 0x1e, 0x7f, 0x66, 0x21, 0x0a, 0x88, 0x10, 0x10, 0x10, 0xa0];
const DELIMITER: &[u8] = &[0x12, 0];
/// An OBU with a frame: key and shown, inter and shown, inter and not shown; and one that shows an earlier frame.
const KEY: &[u8] = &[0x32, 3, 0x10, 0x00, 0x84];
const INTER: &[u8] = &[0x32, 3, 0x30, 0x03, 0x80];
const HIDDEN: &[u8] = &[0x32, 3, 0x28, 0x08, 0x00];
const EXISTING: &[u8] = &[0x1a, 1, 0xd8];

fn all(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn reads_size_depth_and_colours() {
    for (unit, profile, chroma, depth, color) in [
        (SVT, 0, 1, 8, (2, 2, 2)),
        (SVT_10, 0, 1, 10, (2, 2, 9)),
        (AOM_444, 1, 3, 8, (2, 2, 2)),
        (RAV1E, 0, 1, 8, (2, 2, 2)),
    ] {
        let header = header_of(&record(unit).unwrap()).unwrap();
        let format = &header.format;
        assert_eq!((format.width, format.height, format.sar, header.profile), (320, 180, (1, 1), profile), "{unit:x?}");
        assert_eq!((format.chroma_format, format.bit_depth, format.color), (chroma, depth, color), "{unit:x?}");
    }
}

#[test]
fn a_record_has_the_sequence_header_and_nothing_else() {
    let unit = all(&[DELIMITER, SVT_10, &[0x2a, 3, 1, 2, 3], KEY]);
    let record = record(&unit).unwrap();
    assert_eq!(record[..3], [0x81, 0x00, 0x4c]);
    assert_eq!(&record[4..], SVT_10);
    assert_eq!(parse_record(&all(&[&record, &[0x2a, 1, 0]])).unwrap(), record);
    for end in 0..record.len() {
        assert!(parse_record(&record[..end]).is_err(), "a record cut at {end} was taken");
    }
    assert_eq!(parse_record(&[0x82, 0, 0, 0]), Err(NalError::Range("av1C version")));
    assert_eq!(parse_record(&[0x81, 0, 0x0c, 0]), Err(NalError::Missing("AV1 sequence header")));
    let long = all(&[&[0x81, 0, 0x0c, 0, 0x0a, 0x81, 0x08], &[0; MAX_HEADER + 1]]);
    assert!(matches!(parse_record(&long), Err(NalError::TooLarge { .. })));
}

#[test]
fn decoding_begins_at_key_frames_that_are_shown() {
    for (unit, key, shown) in [
        (all(&[DELIMITER, SVT, KEY]), true, true),
        (all(&[KEY]), true, true),
        (all(&[DELIMITER, INTER]), false, true),
        (all(&[HIDDEN, INTER]), false, true),
        (all(&[EXISTING]), false, true),
        (all(&[INTER, KEY]), false, true),
        (all(&[HIDDEN]), false, false),
        (all(&[DELIMITER, SVT]), false, false),
        (Vec::new(), false, false),
    ] {
        assert_eq!((is_key(&unit), is_shown(&unit)), (key, shown), "{unit:x?}");
    }
}

#[test]
fn a_sample_has_sizes_no_delimiters_and_a_sequence_header_at_its_key_frame() {
    let record = record(SVT).unwrap();
    let whole = all(&[SVT, KEY]);
    assert_eq!(to_sample(&all(&[DELIMITER, SVT, KEY]), &record).unwrap(), whole);
    assert_eq!(to_sample(&all(&[DELIMITER, KEY, &[0x7a, 1, 0x80]]), &record).unwrap(), whole);
    assert_eq!(to_sample(&whole, &record).unwrap(), whole);
    assert_eq!(to_sample(&all(&[DELIMITER, INTER]), &record).unwrap(), INTER);
    // The last without its size, and one of a temporal layer with it.
    assert_eq!(to_sample(&[0x30, 0x30, 0x03, 0x80], &record).unwrap(), INTER);
    let layered = [0x36, 0x20, 3, 0x30, 0x03, 0x80];
    assert_eq!(to_sample(&layered, &record).unwrap(), &layered[..]);
    // A size in more bytes than it needs, and one that needs two.
    assert_eq!(to_sample(&[0x32, 0x83, 0x80, 0, 0x30, 0x03, 0x80], &record).unwrap(), INTER);
    let large = all(&[&[0x32, 0xac, 0x02, 0x30], &[7; 299]]);
    assert_eq!(to_sample(&large, &record).unwrap(), large);
    assert!(to_sample(&[0x32, 4, 0x30, 0x03, 0x80], &record).is_err());
    assert!(to_sample(&[0xb2, 1, 0x30], &record).is_err());
}

#[test]
fn cut_and_bent_bytes_are_refused_or_read_and_never_panic() {
    for unit in [all(&[DELIMITER, SVT, KEY]), all(&[SVT_10, KEY]), all(&[AOM_444]), all(&[RAV1E, HIDDEN, INTER])] {
        for at in 0..unit.len() {
            look(&unit[..at]);
            let mut bent = unit.clone();
            for value in 0..=255 {
                bent[at] = value;
                look(&bent);
            }
        }
    }
    let mut state = 1u32;
    for size in 0..2_000 {
        let noise: Vec<u8> = (0..size % 64)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        look(&noise);
        look(&all(&[&[0x0a, noise.len() as u8], &noise]));
    }
}

/// Whatever is read can be written and read again.
fn look(unit: &[u8]) {
    let _ = (is_key(unit), is_shown(unit));
    if let Ok(record) = record(unit) {
        let format = header_of(&record).unwrap().format;
        let side = |side: u32| (1..=MAX_SIDE).contains(&side);
        assert!(side(format.width) && side(format.height), "{format:?}");
        assert_eq!(parse_record(&record).unwrap(), record);
        if let Ok(sample) = to_sample(unit, &record) {
            assert_eq!(to_sample(&sample, &record).unwrap(), sample);
            assert_eq!((is_key(&sample), is_shown(&sample)), (is_key(unit), is_shown(unit)));
        }
    }
}
