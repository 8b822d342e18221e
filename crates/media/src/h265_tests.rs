use super::*;

/// 640x360 at 30 frames a second, Main 2.1, with B-frames: as x265 writes it.
const VPS: &[u8] = &[
    0x40, 0x01, 0x0c, 0x01, 0xff, 0xff, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03,
    0x00, 0x3f, 0x95, 0x94, 0x09,
];
const SPS: &[u8] = &[
    0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x3f, 0xa0,
    0x05, 0x02, 0x01, 0x71, 0xf2, 0xe5, 0x95, 0x95, 0x29, 0x30, 0xbc, 0x05, 0xa0, 0x20, 0x00, 0x00, 0x03, 0x00, 0x20,
    0x00, 0x00, 0x03, 0x03, 0xc1,
];
const PPS: &[u8] = &[0x44, 0x01, 0xc0, 0x73, 0xc1, 0x89];
/// 1920x1080 at 29.97 frames a second, Main 10 at level 4, samples of 4:3, BT.2020 with PQ.
const SPS_HDR: &[u8] = &[
    0x42, 0x01, 0x01, 0x02, 0x20, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x78, 0xa0,
    0x03, 0xc0, 0x80, 0x10, 0xe4, 0xd9, 0x65, 0x66, 0x92, 0x4e, 0x57, 0x87, 0x35, 0x09, 0x10, 0x09, 0x04, 0x00, 0x00,
    0x0f, 0xa4, 0x00, 0x01, 0xd4, 0xc0, 0x20,
];
/// 320x240 at 25 frames a second without B-frames.
const SPS_IN_ORDER: &[u8] = &[
    0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x3c, 0xa0,
    0x0a, 0x08, 0x0f, 0x16, 0x5b, 0xa4, 0xa4, 0xc2, 0xf0, 0x16, 0x80, 0x80, 0x00, 0x00, 0x03, 0x00, 0x80, 0x00, 0x00,
    0x0c, 0x84,
];
const LIGHT_LEVEL: &[u8] = &[0x4e, 0x01, 0x90, 0x04, 0x03, 0xe8, 0x01, 0x90, 0x80];
const REMARK: &[u8] = &[0x4e, 0x01, 0x05, 0x02, 0x41, 0x42, 0x80];

fn config() -> HevcConfig {
    let one = |set: &'static [u8]| vec![Bytes::from_static(set)];
    HevcConfig { vps: one(VPS), sps: one(SPS), pps: one(PPS), sei: Vec::new() }
}

#[test]
fn reads_size_rate_and_colours() {
    let sps = parse_sps(SPS).unwrap();
    let format = &sps.format;
    assert_eq!((format.width, format.height, format.fps), (640, 360, Some((30, 1))));
    assert_eq!((format.chroma_format, format.bit_depth, format.sar, format.color), (1, 8, (1, 1), (2, 2, 2)));
    assert_eq!((sps.general.profile, sps.general.level, sps.layers), (1, 63, 1));
    assert!(sps.reorder > 0);

    let sps = parse_sps(SPS_HDR).unwrap();
    let format = &sps.format;
    assert_eq!((format.width, format.height, format.fps), (1920, 1080, Some((30_000, 1001))));
    assert_eq!((format.bit_depth, format.sar, format.color), (10, (4, 3), (9, 16, 9)));
    assert_eq!((sps.general.profile, sps.general.level), (2, 120));

    let sps = parse_sps(SPS_IN_ORDER).unwrap();
    assert_eq!((sps.format.width, sps.format.height, sps.reorder), (320, 240, 0));
}

#[test]
fn every_truncation_and_every_bent_bit_is_an_error_or_a_picture_size_and_never_a_panic() {
    for whole in [SPS, SPS_HDR, SPS_IN_ORDER] {
        for end in 0..whole.len() {
            let _ = parse_sps(&whole[..end]);
            let mut bent = whole.to_vec();
            for bit in 0..8 {
                bent[end] ^= 1 << bit;
                if let Ok(sps) = parse_sps(&bent) {
                    let side = |side: u32| (1..=MAX_SIDE).contains(&side);
                    assert!(side(sps.format.width) && side(sps.format.height), "{sps:?}");
                }
                bent[end] ^= 1 << bit;
            }
        }
        assert!(parse_sps(&whole[..20]).is_err());
    }
}

#[test]
fn a_record_survives_and_leaves_remarks_out() {
    let mut config = config();
    config.sei.push(Bytes::from_static(LIGHT_LEVEL));
    let record = config.to_record().unwrap();
    assert_eq!(HevcConfig::parse(&record).unwrap(), config);
    for end in 0..record.len() {
        assert!(HevcConfig::parse(&record[..end]).is_err(), "a record cut at {end} was taken");
    }
    for at in 0..record.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bent = record.to_vec();
            bent[at] = value;
            let _ = HevcConfig::parse(&bent).and_then(|config| config.to_record());
        }
    }

    let mut stream = Vec::new();
    for nal in [VPS, SPS, PPS, REMARK, LIGHT_LEVEL, SPS, &[0x26, 0x01, 0xaf]] {
        stream.extend([0, 0, 0, 1]);
        stream.extend(nal);
    }
    assert_eq!(HevcConfig::from_annexb(&stream).unwrap(), config);
    let sample = annexb_to_sample(&stream);
    assert_eq!(random_access(&sample), Some(RandomAccess::Closed));
    assert!(nals(&sample).all(|nal| matches!(kind(nal.unwrap()), NAL_PREFIX_SEI | NAL_IDR_W_RADL)));
}

#[test]
fn a_record_of_another_kind_is_refused_with_a_reason() {
    let record = config().to_record().unwrap();
    let with = |at: usize, value: u8| {
        let mut record = record.to_vec();
        record[at] = value;
        HevcConfig::parse(&record)
    };
    assert_eq!(with(0, 2), Err(NalError::Range("hvcC version")));
    assert_eq!(with(21, 0x0d), Err(NalError::LengthSize { record: "hvcC", size: 2 }));
    assert_eq!(with(22, 0), Err(NalError::Missing("video parameter set")));
    let long = vec![1; MAX_RECORD + 1];
    assert!(matches!(HevcConfig::parse(&long), Err(NalError::TooLarge { .. })));
    // As many arrays and NAL units as the fields can say, all empty: bounded by the record's own length.
    let mut many = record[..22].to_vec();
    many.extend([255, 0xa1, 0x0f, 0xff]);
    many.resize(MAX_RECORD, 0);
    assert!(HevcConfig::parse(&many).is_err());
}

#[test]
fn decoding_begins_at_closed_starts_and_may_begin_at_open_ones() {
    let sample = |kind: u8| [0, 0, 0, 3, kind << 1, 1, 0xaf];
    for kind in 0..64 {
        let expected = match kind {
            17..=20 => Some(RandomAccess::Closed),
            16 | 21 => Some(RandomAccess::Open),
            _ => None,
        };
        assert_eq!(random_access(&sample(kind)), expected, "type {kind}");
    }
    assert_eq!(random_access(&[0, 0, 0, 9, 0x26]), None);
    assert_eq!(random_access(b""), None);
}
