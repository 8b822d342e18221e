use super::*;
use crate::h265::HevcConfig;

fn video() -> VideoTrack {
    // 1920x1080 High from a published sample; see `h264`.
    let sps: &[u8] = &[
        0x67, 0x64, 0x00, 0x2a, 0xac, 0x24, 0x8c, 0x07, 0x80, 0x22, 0x7e, 0x5c, 0x04, 0x40, 0x00, 0x00, 0x03, 0x00,
        0x40, 0x00, 0x00, 0x1e, 0x38, 0xa0, 0x00, 0x0b, 0x71, 0xb0, 0x00, 0x16, 0xe3, 0x7b, 0xde, 0xe0, 0x3e, 0x11,
        0x08, 0xa7,
    ];
    let config =
        AvcConfig { sps: vec![Bytes::copy_from_slice(sps)], pps: vec![Bytes::from_static(&[0x68, 0xde, 0xbc, 0xb0])] };
    VideoTrack::h264(config.to_record().unwrap()).unwrap()
}

/// HEVC as x265 writes it: 320x240 without B-frames, or 640x360 with them.
fn hevc(reorders: bool) -> VideoTrack {
    let sps: &[u8] = if reorders {
        &[
            0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x3f,
            0xa0, 0x05, 0x02, 0x01, 0x71, 0xf2, 0xe5, 0x95, 0x95, 0x29, 0x30, 0xbc, 0x05, 0xa0, 0x20, 0x00, 0x00, 0x03,
            0x00, 0x20, 0x00, 0x00, 0x03, 0x03, 0xc1,
        ]
    } else {
        &[
            0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x3c,
            0xa0, 0x0a, 0x08, 0x0f, 0x16, 0x5b, 0xa4, 0xa4, 0xc2, 0xf0, 0x16, 0x80, 0x80, 0x00, 0x00, 0x03, 0x00, 0x80,
            0x00, 0x00, 0x0c, 0x84,
        ]
    };
    let one = |set: &[u8]| vec![Bytes::copy_from_slice(set)];
    let config =
        HevcConfig { vps: one(&[0x40, 0x01, 0x0c]), sps: one(sps), pps: one(&[0x44, 0x01, 0xc0]), sei: Vec::new() };
    VideoTrack::h265(&config.to_record().unwrap()).unwrap()
}

/// AV1 in 10 bit, VP9 in 4:4:4 and VP8, all 320x180, as their encoders write them.
fn others() -> [VideoTrack; 3] {
    let av1 = b"\x12\0\x0a\x0e\x02\0\0\x05\x21\xe7\xf6\x62\x57\xca\x81\x01\x04\x82\x32\x01\x10";
    let vp9 = b"\xa2\x49\x83\x42\x40\x02\x7e\x01\x66\xc0\xc7\x04";
    let vp8 = b"\xf0\x62\0\x9d\x01\x2a\x40\x01\xb4\0\0\x07\x08";
    let track = |codec, frame: &[u8]| VideoTrack::of_key_frame(codec, frame).unwrap().unwrap();
    [track(Codec::Av1, av1), track(Codec::Vp9, vp9), track(Codec::Vp8, vp8)]
}

fn audio() -> AudioTrack {
    AudioTrack { sample_rate: 48_000, channels: 2, config: Bytes::from_static(&[0x11, 0x90]) }
}

/// Six frames with B-frames, as an encoder orders them; the second cut of two decides where the key frames are.
fn samples(keys: [bool; 6]) -> Vec<Sample> {
    let order = [0, 3, 1, 2, 5, 4];
    (0..6)
        .map(|i| Sample {
            dts: 9_000 + 3_000 * i as i64,
            pts: 9_000 + 3_000 * order[i] + 3_000,
            duration: 3_000,
            key: keys[i],
            data: Bytes::from(vec![i as u8; i + 1]),
        })
        .collect()
}

#[test]
fn init_segments_keep_their_track() {
    let videos = [video(), hevc(true)].into_iter().chain(others()).map(Track::Video);
    for track in videos.chain([Track::Audio(audio())]) {
        assert_eq!(read_init(&write_init(&track).unwrap()).unwrap(), track);
    }
    assert_eq!(video().codec_string(), "avc1.64002a");
    assert_eq!(audio().codec_string(), "mp4a.40.2");
    assert_eq!(hevc(true).codec_string(), "hvc1.1.6.L63.90");
    assert_eq!((video().width, video().height, video().timescale), (1920, 1080, 90_000));
    for (track, name, profile) in others()
        .into_iter()
        .zip(["av01.0.00M.10", "vp09.01.20.08", "vp08.00.20.08"])
        .zip([0, 1, 0])
        .map(|((a, b), c)| (a, b, c))
    {
        assert_eq!(
            (track.codec_string().as_str(), track.profile(), track.width, track.height),
            (name, profile, 320, 180)
        );
    }
}

#[test]
fn a_name_spells_profile_tier_level_and_constraints() {
    let named = |change: &[(usize, u8)]| {
        let mut config = hevc(true).config.to_vec();
        change.iter().for_each(|(at, byte)| config[*at] = *byte);
        VideoTrack { config: config.into(), ..hevc(true) }.codec_string()
    };
    // The example of ISO/IEC 14496-15, annex E, and one with a profile space, the high tier and a gap in the constraints.
    assert_eq!(named(&[(6, 0xb0), (12, 93)]), "hvc1.1.6.L93.B0");
    assert_eq!(named(&[(1, 0x62), (2, 0x20), (6, 0x90), (8, 0x08), (12, 120)]), "hvc1.A2.4.H120.90.0.8");
    assert_eq!(named(&[(6, 0)]), "hvc1.1.6.L63");
}

#[test]
fn a_segment_starts_where_nothing_leans_on_what_was_before() {
    let sample = |kind: u8| [0, 0, 0, 3, kind << 1, 1, 0xaf];
    let (idr, cra, trailing) = (sample(19), sample(21), sample(1));
    for (track, cra_starts) in [(hevc(true), false), (hevc(false), true)] {
        assert!(track.is_start(&idr) && !track.is_start(&trailing));
        assert_eq!(track.is_start(&cra), cra_starts);
    }
    assert!(video().is_start(&[0, 0, 0, 2, 0x65, 0x88]) && !video().is_start(&idr));
}

#[test]
fn parts_keep_times_durations_keys_and_bytes() {
    let keys = [
        [true, false, false, false, false, false],
        [false; 6],
        [true; 6],
        [false, true, false, false, true, false],
        [true, true, false, true, true, true],
    ];
    for keys in keys {
        let samples = samples(keys);
        assert_eq!(read_part(&write_part(7, &samples).unwrap()).unwrap(), samples, "{keys:?}");
    }
    let mut uneven = samples([true, false, false, false, false, false]);
    uneven[5].duration = 2_999;
    assert_eq!(read_part(&write_part(1, &uneven).unwrap()).unwrap(), uneven);
    // Times far along in a long live stream, past 32 bits.
    for sample in &mut uneven {
        sample.dts += 1 << 40;
        sample.pts = sample.dts - 5;
    }
    assert_eq!(read_part(&write_part(1, &uneven).unwrap()).unwrap(), uneven);
}

#[test]
fn what_cannot_be_written_is_refused_with_a_reason() {
    assert!(matches!(write_part(1, &[]), Err(CmafError::SampleCount(0))));
    let mut early = samples([true; 6]);
    early[0].dts = -1;
    assert!(matches!(write_part(1, &early), Err(CmafError::Time { index: 0, dts: -1, .. })));
    let mut gap = samples([true; 6]);
    gap[3].dts += 1;
    assert!(matches!(write_part(1, &gap), Err(CmafError::Time { index: 3, .. })));
}

#[test]
fn bent_and_cut_bytes_are_refused_or_read_and_never_panic() {
    let part = write_part(7, &samples([true, false, false, true, false, false])).unwrap();
    let videos = [video(), hevc(false)].into_iter().chain(others()).map(Track::Video);
    let inits: Vec<Bytes> = videos.chain([Track::Audio(audio())]).map(|t| write_init(&t).unwrap()).collect();
    for whole in inits.iter().chain([&part]) {
        for at in 0..whole.len() {
            let _ = (read_init(&whole[..at]), read_part(&whole[..at]));
            let mut bent = whole.to_vec();
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                bent[at] = value;
                let _ = read_part(&bent);
                if let Ok(track @ Track::Video(_)) = read_init(&bent) {
                    assert!(matches!(read_init(&write_init(&track).unwrap()), Ok(Track::Video(_))));
                }
            }
        }
    }
    assert!(read_part(&part[..part.len() - 1]).is_err());
    assert!(read_part(b"").is_err());
    assert!(read_init(&vec![0; MAX_INIT + 1]).is_err());
}

#[test]
fn a_run_that_claims_billions_of_samples_is_refused_before_memory_is_taken() {
    let mut part = write_part(7, &samples([true; 6])).unwrap().to_vec();
    let trun = part.windows(4).position(|w| w == b"trun").unwrap();
    part[trun + 8..trun + 12].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(read_part(&part).is_err());
    // No field per sample, so that the count alone stands for the samples.
    part[trun + 4..trun + 8].copy_from_slice(&[1, 0, 0, 1]);
    assert!(read_part(&part).is_err());
}

#[test]
fn boxes_nested_without_end_do_not_exhaust_the_stack() {
    let mut nest = Vec::new();
    for _ in 0..MAX_INIT / 8 {
        let size = nest.len() as u32 + 8;
        let mut outer = size.to_be_bytes().to_vec();
        outer.extend_from_slice(b"moov");
        outer.append(&mut nest);
        nest = outer;
    }
    assert!(read_init(&nest).is_err());
}
