//! Layer A: every fault is found under its own name, whatever the segment, and honest renditions of every shape pass.

use millrace_verify::{Fault, SegmentShape, Wanted, probe};
use proptest::prelude::*;

/// A segment at 720p with B-frames, as a source has them, and a rendition without, as the pipeline makes it.
fn honest(frames: u32, ticks: i64, start: i64) -> (SegmentShape, SegmentShape, Wanted) {
    let pts: Vec<i64> = (0..i64::from(frames)).map(|i| start + i * ticks).collect();
    let keys: Vec<bool> = (0..frames).map(|i| i == 0).collect();
    let mut reordered = pts.clone();
    reordered[1..].chunks_mut(2).for_each(|pair| pair.reverse());
    let source = SegmentShape {
        width: 1280,
        height: 720,
        sar: (1, 1),
        codec: "h264".into(),
        profile: 77,
        frames,
        pts: reordered,
        duration: u64::from(frames) * ticks as u64,
        keys,
        bytes: 500_000,
        starts_with_idr: true,
    };
    let rendition = SegmentShape { width: 854, height: 480, profile: 100, pts, bytes: 250_000, ..source.clone() };
    (source, rendition, Wanted { width: 854, height: 480, bitrate: 1_000_000, codec: "h264".into() })
}

/// The code that a change to an honest rendition of two seconds is refused with; 0 where it passes.
fn code(change: impl FnOnce(&mut SegmentShape)) -> u16 {
    let (source, mut rendition, want) = honest(60, 3000, 900_000);
    change(&mut rendition);
    probe(&source, &rendition, &want).map_or_else(|fault| fault.code(), |()| 0)
}

/// Takes a frame out of every list.
fn drop_frame(shape: &mut SegmentShape, at: usize) {
    shape.frames -= 1;
    shape.pts.remove(at);
    shape.keys.remove(at);
}

#[test]
fn an_honest_rendition_passes() {
    assert_eq!(code(|_| ()), 0);
}

#[test]
fn another_format_is_a_fault() {
    assert_eq!(code(|r| r.codec = "hevc".into()), 102);
    assert_eq!(code(|r| r.profile = 122), 103, "4:2:2 does not play in browsers");
    assert_eq!(code(|r| r.width = 852), 104);
    assert_eq!(code(|r| (r.width, r.height) = (480, 854)), 104);
}

#[test]
fn pixels_are_square_or_keep_the_source_s_shape() {
    assert_eq!(code(|r| r.sar = (0, 1)), 0, "not said is square");
    assert_eq!(code(|r| r.sar = (1280, 1281)), 0, "what FFmpeg's scaler writes for 854x480");
    assert_eq!(code(|r| r.sar = (4, 3)), 105);
    assert_eq!(code(|r| r.sar = (u32::MAX, 1)), 105);
    // 176x144 at 128:117 is a 4:3 picture. Asked for at 640x360 it may come stretched, as named, or with pixels that undo it.
    let (mut source, mut rendition, mut want) = honest(60, 3000, 0);
    (source.width, source.height, source.sar) = (176, 144, (128, 117));
    (rendition.width, rendition.height, want.width, want.height) = (640, 360, 640, 360);
    assert!(probe(&source, &rendition, &want).is_ok());
    rendition.sar = (1408, 1872);
    assert!(probe(&source, &rendition, &want).is_ok());
    rendition.sar = (128, 117);
    assert!(matches!(probe(&source, &rendition, &want), Err(Fault::PixelShape { width: 128, height: 117 })));
}

#[test]
fn frames_and_times_are_the_source_s() {
    assert_eq!(code(|r| drop_frame(r, 30)), 106);
    assert_eq!(code(|r| drop_frame(r, 59)), 106);
    assert_eq!(
        code(|r| {
            r.frames += 1;
            r.pts.push(r.pts[59] + 3000);
            r.keys.push(false);
        }),
        107
    );
    assert_eq!(code(|r| r.pts[30] = r.pts[29]), 108, "one dropped and its neighbour doubled");
    assert_eq!(code(|r| r.pts.iter_mut().for_each(|pts| *pts += 1)), 108, "all a tick late");
    assert_eq!(code(|r| r.pts.swap(3, 4)), 0, "decoding order is the encoder's affair");
    assert_eq!(code(|r| r.duration += 3000), 0, "the last frame's duration is a guess");
    assert_eq!(code(|r| r.duration += 3001), 109);
    assert_eq!(code(|r| r.duration = 0), 109);
}

#[test]
fn it_starts_with_an_idr_and_has_few_others() {
    assert_eq!(code(|r| r.starts_with_idr = false), 110, "an open group of pictures, whatever the container claims");
    assert_eq!(code(|r| r.keys[0] = false), 110);
    assert_eq!(code(|r| [20, 40, 41].iter().for_each(|&i| r.keys[i] = true)), 0, "scene changes");
    assert_eq!(code(|r| r.keys.fill(true)), 111);
}

#[test]
fn bytes_stay_within_the_band() {
    assert_eq!(code(|r| r.bytes = 0), 112);
    assert_eq!(code(|r| r.bytes = 479), 112);
    assert_eq!(code(|r| r.bytes = 1400), 0, "two seconds of flat grey by x264: honest, and layer D's question if not");
    assert_eq!(code(|r| r.bytes = 375_000), 0, "a full buffer");
    assert_eq!(code(|r| r.bytes = 600_000), 113);
    assert_eq!(code(|r| r.bytes = u64::MAX), 113);
}

#[test]
fn a_shape_that_contradicts_itself_is_unreadable() {
    assert_eq!(code(|r| r.frames = 61), 101);
    assert_eq!(code(|r| r.pts.clear()), 101);
    assert_eq!(code(|r| r.keys.push(false)), 101);
}

#[test]
fn an_empty_rendition_is_a_fault_and_so_is_one_of_an_empty_source() {
    let empty = |r: &mut SegmentShape| {
        r.frames = 0;
        r.pts.clear();
        r.keys.clear();
    };
    assert_eq!(code(empty), 106);
    let (mut source, rendition, want) = honest(60, 3000, 0);
    empty(&mut source);
    assert!(matches!(probe(&source, &rendition, &want), Err(Fault::FramesAdded { added: 60, .. })));
}

#[test]
fn a_fault_says_what_came_and_what_was_wanted() {
    let (source, mut rendition, want) = honest(60, 3000, 0);
    rendition.width = 426;
    let fault = probe(&source, &rendition, &want).unwrap_err();
    assert_eq!(fault.to_string(), "the picture is 426x480, 854x480 was agreed");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn honest_segments_of_any_length_and_rate_pass(frames in 1u32..600, ticks in 375i64..9000, start in -1_000_000i64..1i64 << 40) {
        let (source, mut rendition, want) = honest(frames, ticks, start);
        rendition.bytes = u64::from(frames) * 400;
        prop_assert_eq!(probe(&source, &rendition, &want), Ok(()));
    }

    #[test]
    fn any_dropped_frame_is_found(frames in 2u32..300, at in any::<prop::sample::Index>()) {
        let (source, mut rendition, want) = honest(frames, 3000, 0);
        drop_frame(&mut rendition, at.index(frames as usize));
        rendition.bytes = 100_000;
        let found = matches!(probe(&source, &rendition, &want), Err(Fault::FramesMissing { missing: 1, .. }));
        prop_assert!(found);
    }

    #[test]
    fn any_shifted_frame_is_found(frames in 1u32..300, at in any::<prop::sample::Index>(), by in prop::num::i64::ANY) {
        prop_assume!(by != 0);
        let (source, mut rendition, want) = honest(frames, 3000, 0);
        let at = at.index(frames as usize);
        rendition.pts[at] = rendition.pts[at].saturating_add(by);
        let found = matches!(probe(&source, &rendition, &want), Err(Fault::Timestamp { .. }));
        prop_assert!(found);
    }

    /// Numbers come from a stranger: whatever they are, the answer is a verdict.
    #[test]
    fn no_numbers_overflow(width: u32, height: u32, sar: (u32, u32), duration: u64, bytes: u64, bitrate: u32, pts: [i64; 3]) {
        let (mut source, mut rendition, mut want) = honest(3, 3000, 0);
        for shape in [&mut source, &mut rendition] {
            shape.pts = pts.to_vec();
            (shape.width, shape.height, shape.duration, shape.bytes) = (width, height, duration, bytes);
        }
        rendition.sar = sar;
        (want.width, want.height, want.bitrate) = (width, height, bitrate);
        let _ = probe(&source, &rendition, &want);
        source.sar = sar;
        let _ = probe(&rendition, &source, &want);
    }
}
