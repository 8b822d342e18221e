//! Sessions on real clips: what comes out is judged by the system's `ffprobe` and held against the source to the tick.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // the helpers of tests fail as tests do

mod common;

use common::{Source, clip, decoded_times, hevc_source, made_source, rendition, source, transcode};
use millrace_media::cmaf::{self, Sample, Track};
use millrace_media::transcode::{EncoderKind, RenditionSpec, Session, TranscodeError};
use millrace_media::{demux, h264, picture};

/// Transcodes a whole clip in one session and checks every rendition against the source.
fn renditions_follow_the_source(name: &str, specs: &[RenditionSpec]) {
    let Some(source) = source(name) else { return };
    follow(name, &source, specs);
}

fn follow(name: &str, source: &Source, specs: &[RenditionSpec]) {
    let mut session = Session::open(&source.init, specs, &EncoderKind::x264()).unwrap();
    let mut files: Vec<Vec<u8>> = session.inits().map(|init| init.to_vec()).collect();
    let mut all_times = Vec::new();
    for segment in &source.segments {
        let made = transcode(&mut session, segment, specs.len()).unwrap();
        let mut times: Vec<i64> = segment.iter().flatten().map(|s| s.pts).collect();
        times.sort_unstable();
        assert_eq!(made.stats.frames as usize, times.len());
        for (i, spec) in specs.iter().enumerate() {
            let samples = made.samples(i);
            assert!(samples[0].key && h264::is_idr(&samples[0].data), "{}: starts with an IDR", spec.name);
            assert!(samples[1..].iter().all(|s| !s.key), "{}: no other key frame", spec.name);
            assert_eq!(samples.iter().map(|s| s.pts).collect::<Vec<_>>(), times, "{}: times", spec.name);
            let sizes =
                |parts: &[bytes::Bytes]| parts.iter().map(|p| cmaf::read_part(p).unwrap().len()).collect::<Vec<_>>();
            assert_eq!(sizes(&made.parts[i]), segment.iter().map(Vec::len).collect::<Vec<_>>(), "{}: parts", spec.name);
            let total = |samples: &mut dyn Iterator<Item = u32>| samples.map(i64::from).sum::<i64>();
            let source_duration = total(&mut segment.iter().flatten().map(|s| s.duration));
            let drift = total(&mut samples.iter().map(|s| s.duration)) - source_duration;
            assert!(drift.abs() <= 3_000, "{}: lasts {drift} ticks longer", spec.name);
            let stats = &made.stats.renditions[i];
            assert_eq!((stats.first_pts, stats.last_pts), (times[0], times[times.len() - 1]));
            assert_eq!(stats.pixels, u64::from(spec.width * spec.height) * times.len() as u64);
            assert_eq!(made.inits[i], session.inits().nth(i).unwrap());
            let Track::Video(track) = cmaf::read_init(&made.inits[i]).unwrap() else { panic!("video") };
            assert_eq!((u32::from(track.width), u32::from(track.height)), (spec.width, spec.height));
            assert_eq!(track.format().unwrap().chroma_format, 1);
            files[i].extend(made.parts[i].iter().flatten());
        }
        all_times.extend(times);
    }
    for file in files {
        assert_eq!(decoded_times(&file), all_times, "{name}: every frame decodes at its time");
    }
}

#[test]
fn hevc_makes_a_ladder_in_8_and_in_10_bit() {
    for (pixels, parameters, name) in [
        ("yuv420p", "open-gop=0", "hvc1.1.6.L63.90"),
        ("yuv420p10le", "open-gop=0", "hvc1.2.4.L63.90"),
        // Without B-frames each CRA is as good as an IDR.
        ("yuv420p", "open-gop=1:bframes=0", "hvc1.1.6.L63.90"),
    ] {
        let Some(source) = hevc_source(pixels, parameters) else { return };
        assert_eq!(source.track.codec_string(), name);
        assert_eq!((source.track.format().unwrap().fps, source.segments.len()), (Some((30, 1)), 2), "{parameters}");
        follow(name, &source, &[rendition("360p", 640, 360, 700_000), rendition("180p", 320, 180, 300_000)]);
        let key = picture::decode_key_frame(&source.track, &source.segments[1][0][0]).unwrap();
        assert_eq!((key.width, key.height), (640, 360));
    }
}

#[test]
fn av1_vp9_and_vp8_make_a_ladder() {
    let realtime = ["-deadline", "realtime", "-cpu-used", "8", "-g", "30", "-b:v", "1M"];
    // Hidden frames, each in one sample with the one that is shown.
    let two_pass_like = ["-deadline", "good", "-cpu-used", "8", "-g", "30", "-b:v", "1M", "-lag-in-frames", "16"];
    for (encoder, pixels, file, options, name) in [
        ("libsvtav1", "yuv420p", "av1.mp4", &["-preset", "12", "-g", "30", "-b:v", "1M"][..], "av01.0.00M.08"),
        ("libsvtav1", "yuv420p10le", "av1.mkv", &["-preset", "12", "-g", "30", "-b:v", "1M"], "av01.0.00M.10"),
        ("libaom-av1", "yuv420p", "av1.ivf", &["-usage", "realtime", "-cpu-used", "8", "-g", "30"], "av01.0.00M.08"),
        ("libvpx-vp9", "yuv420p", "vp9.mp4", &realtime, "vp09.00.20.08"),
        ("libvpx-vp9", "yuv420p10le", "vp9.webm", &two_pass_like, "vp09.02.20.10"),
        ("libvpx-vp9", "yuv444p", "vp9.ivf", &realtime, "vp09.01.20.08"),
        ("libvpx", "yuv420p", "vp8.webm", &realtime, "vp08.00.20.08"),
    ] {
        let Some(source) = made_source(encoder, "320x180", pixels, file, options) else { return };
        assert_eq!(source.track.codec_string(), name);
        assert_eq!(source.segments.len(), 2, "{encoder} {file}");
        let samples = || source.segments.iter().flatten().flatten();
        assert!(samples().all(|sample| source.track.is_shown(&sample.data)), "{encoder} {file}");
        assert_eq!(samples().filter(|sample| sample.key).count(), 4, "{encoder} {file}");
        follow(name, &source, &[rendition("180p", 320, 180, 300_000), rendition("90p", 160, 90, 100_000)]);
        let key = picture::decode_key_frame(&source.track, &source.segments[1][0][0]).unwrap();
        assert_eq!((key.width, key.height), (320, 180));
        // As players get it: the system's FFmpeg counts as many pictures as there are samples.
        let parts = source.segments.iter().flatten().enumerate();
        let parts = parts.flat_map(|(n, part)| cmaf::write_part(n as u32 + 1, part).unwrap());
        let file: Vec<u8> = source.init.iter().copied().chain(parts).collect();
        assert_eq!(decoded_times(&file).len(), samples().count(), "{encoder}");
    }
}

#[test]
fn an_open_gop_is_no_place_to_cut() {
    let Some(source) = hevc_source("yuv420p", "open-gop=1:bframes=3") else { return };
    assert_eq!(source.segments.len(), 1, "only the first picture is an IDR");
    follow("open gop", &source, &[rendition("180p", 320, 180, 300_000)]);
}

#[test]
fn animation_720p_makes_a_ladder() {
    let ladder = [
        rendition("720p", 1280, 720, 3_000_000),
        rendition("480p", 854, 480, 1_200_000),
        rendition("360p", 640, 360, 700_000),
    ];
    renditions_follow_the_source("bigbuckbunny.mp4", &ladder);
}

#[test]
fn a_source_of_4_2_2_becomes_4_2_0() {
    renditions_follow_the_source(
        "livepeer-422.ts",
        &[rendition("720p", 1280, 720, 2_000_000), rendition("360p", 640, 360, 600_000)],
    );
}

#[test]
fn portrait_video_stays_upright() {
    renditions_follow_the_source("portrait.ts", &[rendition("640p", 360, 640, 700_000)]);
}

#[test]
fn b_frames_and_missing_decode_times_lose_no_frame() {
    renditions_follow_the_source("missing-dts.ts", &[rendition("360p", 640, 360, 700_000)]);
}

#[test]
fn camera_footage_with_b_frames_keeps_every_frame() {
    renditions_follow_the_source("bikes.mp4", &[rendition("180p", 426, 180, 300_000)]);
}

#[test]
fn an_rtmp_recording_keeps_its_uneven_times() {
    renditions_follow_the_source("livepeer-rtmp.flv", &[rendition("240p", 426, 240, 300_000)]);
}

#[test]
fn pixels_that_are_not_square_keep_their_shape() {
    let Some(source) = source("carphone_pristine.mp4") else { return };
    let spec = [rendition("72p", 88, 72, 50_000)];
    let session = Session::open(&source.init, &spec, &EncoderKind::x264()).unwrap();
    let init = session.inits().next().unwrap().clone();
    let Track::Video(track) = cmaf::read_init(&init).unwrap() else { panic!("video") };
    assert_eq!(track.format().unwrap().sar, source.track.format().unwrap().sar);
    assert!(init.windows(4).any(|w| w == b"pasp"));
    renditions_follow_the_source("carphone_pristine.mp4", &spec);
}

/// A clip with several segments whatever its own IDRs are: made by a first transcode, cut each second.
fn with_an_idr_each_second(name: &str) -> Option<Source> {
    let original = source(name)?;
    let samples: Vec<Sample> = original.segments.into_iter().flatten().flatten().collect();
    let pictures = samples.len();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("source.mp4");
    let done = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(clip(name)?)
        .args(["-an", "-c:v", "libx264", "-preset", "ultrafast", "-force_key_frames", "expr:gte(t,n_forced)"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(done.success());
    let (track, samples) = demux::read_file(&path).unwrap().video.unwrap();
    assert_eq!(samples.len(), pictures);
    let segments = demux::cut(&samples, 90_000, 18_000);
    let segments = segments.into_iter().map(|s| s.into_iter().map(<[Sample]>::to_vec).collect()).collect();
    Some(Source { init: cmaf::write_init(&Track::Video(track.clone())).unwrap(), track, segments })
}

#[test]
fn a_segment_moves_to_a_fresh_session_and_decodes_in_line_with_the_others() {
    let Some(source) = with_an_idr_each_second("bigbuckbunny.mp4") else { return };
    assert!(source.segments.len() >= 5);
    let spec = [rendition("360p", 640, 360, 700_000)];
    let open = || Session::open(&source.init, &spec, &EncoderKind::x264()).unwrap();
    let mut first = open();
    let mut file = first.inits().next().unwrap().to_vec();
    let mut count = 0;
    for (i, segment) in source.segments.iter().enumerate() {
        let made = match i {
            2 => transcode(&mut open(), segment, 1).unwrap(),
            _ => transcode(&mut first, segment, 1).unwrap(),
        };
        assert_eq!(file[..made.inits[0].len()], made.inits[0], "every session writes the same init segment");
        file.extend(made.parts[0].iter().flatten());
        count += segment.iter().map(Vec::len).sum::<usize>();
    }
    assert_eq!(decoded_times(&file).len(), count);
}

#[test]
fn two_sessions_make_the_same_bytes_of_the_same_segment() {
    let Some(source) = source("bigbuckbunny.mp4") else { return };
    let spec = [rendition("360p", 640, 360, 700_000)];
    let make = || {
        let mut session = Session::open(&source.init, &spec, &EncoderKind::x264()).unwrap();
        transcode(&mut session, &source.segments[0], 1).unwrap().file(0)
    };
    assert_eq!(make(), make());
}

#[test]
fn an_unfinished_segment_leaves_nothing_behind() {
    let Some(source) = source("bikes.mp4") else { return };
    let spec = [rendition("180p", 426, 180, 300_000)];
    let mut session = Session::open(&source.init, &spec, &EncoderKind::x264()).unwrap();
    session.begin_segment();
    session.push_part(&cmaf::write_part(1, &source.segments[0][0]).unwrap()).unwrap();
    let made = transcode(&mut session, &source.segments[0], 1).unwrap();
    assert_eq!(decoded_times(&made.file(0)).len(), source.segments[0].iter().map(Vec::len).sum::<usize>());
}

#[test]
fn each_part_comes_out_before_the_next_goes_in() {
    let Some(source) = source("bigbuckbunny.mp4") else { return };
    let spec = [rendition("360p", 640, 360, 700_000)];
    let mut session = Session::open(&source.init, &spec, &EncoderKind::x264()).unwrap();
    session.begin_segment();
    for part in &source.segments[0] {
        let outputs = session.push_part(&cmaf::write_part(1, part).unwrap()).unwrap();
        assert!(!outputs.is_empty(), "without B-frames nothing is held back");
    }
}

#[test]
fn the_bitrate_is_kept() {
    let Some(source) = source("bigbuckbunny.mp4") else { return };
    let spec = [rendition("360p", 640, 360, 400_000)];
    let mut session = Session::open(&source.init, &spec, &EncoderKind::x264()).unwrap();
    let (mut bits, mut ticks) = (0, 0);
    for segment in &source.segments {
        bits += transcode(&mut session, segment, 1).unwrap().stats.renditions[0].bytes * 8;
        ticks += segment.iter().flatten().map(|s| u64::from(s.duration)).sum::<u64>();
    }
    let rate = bits * 90_000 / ticks;
    // The buffer of one second may be filled once on top.
    assert!(rate < 500_000, "{rate} bit/s of 400,000");
}

#[test]
fn garbage_is_an_error_and_the_session_says_so_from_then_on() {
    let Some(source) = source("bigbuckbunny.mp4") else { return };
    let spec = [rendition("180p", 320, 180, 300_000)];
    let open = || Session::open(&source.init, &spec, &EncoderKind::x264()).unwrap();
    let part = |samples: &[Sample]| cmaf::write_part(1, samples).unwrap();
    let first = &source.segments[0][0];

    let mut session = open();
    session.begin_segment();
    assert!(matches!(session.push_part(b"not a part"), Err(TranscodeError::Source(_))));
    assert!(session.push_part(&part(first)).is_err(), "a failed session stays failed");

    let mut session = open();
    session.begin_segment();
    assert!(matches!(session.push_part(&part(&first[1..])), Err(TranscodeError::NoIdr)));

    // An IDR by its header, noise by its content.
    let noise: Vec<Sample> = first
        .iter()
        .map(|sample| {
            let mut data = sample.data.to_vec();
            let from = data.len().min(12);
            let mut state = 1u32;
            for byte in &mut data[from..] {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (state >> 24) as u8;
            }
            Sample { data: data.into(), ..sample.clone() }
        })
        .collect();
    let mut session = open();
    let _ = transcode(&mut session, &[noise], 1);

    // Lengths that do not fit.
    let bent: Vec<Sample> =
        first.iter().map(|s| Sample { data: s.data.slice(..s.data.len() / 2), ..s.clone() }).collect();
    let mut session = open();
    assert!(transcode(&mut session, &[bent], 1).is_err());

    assert!(Session::open(b"no init", &spec, &EncoderKind::x264()).is_err());
    assert!(matches!(Session::open(&source.init, &[], &EncoderKind::x264()), Err(TranscodeError::Ladder(_))));
    let odd = [rendition("odd", 321, 180, 300_000)];
    assert!(matches!(Session::open(&source.init, &odd, &EncoderKind::x264()), Err(TranscodeError::Ladder(_))));
    let unknown = EncoderKind::X264 { preset: "warp".to_owned() };
    let refused = Session::open(&source.init, &spec, &unknown).err().unwrap().to_string();
    assert!(refused.contains("warp"), "{refused}");
}

#[test]
fn key_frames_of_source_and_rendition_show_the_same_picture() {
    for name in ["bigbuckbunny.mp4", "livepeer-422.ts", "missing-dts.ts"] {
        let Some(source) = source(name) else { return };
        let spec = [rendition("180p", 320, 180, 1_000_000)];
        let mut session = Session::open(&source.init, &spec, &EncoderKind::x264()).unwrap();
        let made = transcode(&mut session, &source.segments[0], 1).unwrap();
        let Track::Video(track) = cmaf::read_init(&made.inits[0]).unwrap() else { panic!("video") };
        let small = picture::decode_key_frame(&track, &made.samples(0)[0]).unwrap();
        let large = picture::decode_key_frame(&source.track, &source.segments[0][0][0]).unwrap();
        assert_eq!((small.width, small.height, small.y.len(), small.u.len()), (320, 180, 320 * 180, 160 * 90));
        assert_eq!(large.y.len(), usize::from(source.track.width) * usize::from(source.track.height));
        let mean = |plane: &[u8]| plane.iter().map(|b| u64::from(*b)).sum::<u64>() as f64 / plane.len() as f64;
        for (a, b) in [(&small.y, &large.y), (&small.u, &large.u), (&small.v, &large.v)] {
            assert!((mean(a) - mean(b)).abs() < 2.0, "{name}: {} and {}", mean(a), mean(b));
        }
        let middle = &source.segments[0].concat()[3];
        assert!(
            picture::decode_key_frame(&source.track, &Sample { data: vec![0; 40].into(), ..middle.clone() }).is_err()
        );
    }
}

#[test]
fn audio_of_every_container_is_raw_aac_that_decodes() {
    for (name, frames) in [("bigbuckbunny.mp4", 249), ("livepeer-422.ts", 0), ("livepeer-rtmp.flv", 0)] {
        let Some(path) = clip(name) else { return };
        let (track, samples) = demux::read_file(&path).unwrap().audio.unwrap();
        assert!(frames == 0 || samples.len() == frames);
        let mut file = cmaf::write_init(&Track::Audio(track.clone())).unwrap().to_vec();
        for (i, part) in samples.chunks(50).enumerate() {
            file.extend(cmaf::write_part(i as u32 + 1, part).unwrap());
        }
        assert_eq!(
            cmaf::read_init(&file[..cmaf::write_init(&Track::Audio(track)).unwrap().len()]).unwrap().codec_string(),
            "mp4a.40.2"
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audio.mp4");
        std::fs::write(&path, file).unwrap();
        let output = std::process::Command::new("ffprobe")
            .args([
                "-v",
                "error",
                "-count_frames",
                "-show_entries",
                "stream=nb_read_frames,codec_name",
                "-of",
                "csv=p=0",
            ])
            .arg(path)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert_eq!(told, format!("aac,{}", samples.len()), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_source_made_here_transcodes_without_any_clip() {
    let (track, samples) = millrace_media::synthetic::source(640, 360, 30, 75, 30).unwrap();
    let segments = demux::cut(&samples, 90_000, 18_000);
    assert_eq!(segments.iter().map(|s| s.len()).collect::<Vec<_>>(), [5, 5, 3]);
    let spec = [rendition("180p", 320, 180, 300_000)];
    let init = cmaf::write_init(&Track::Video(track)).unwrap();
    let mut session = Session::open(&init, &spec, &EncoderKind::x264()).unwrap();
    let mut file = session.inits().next().unwrap().to_vec();
    for segment in &segments {
        let parts: Vec<Vec<Sample>> = segment.iter().map(|p| p.to_vec()).collect();
        file.extend(transcode(&mut session, &parts, 1).unwrap().parts[0].iter().flatten());
    }
    assert_eq!(decoded_times(&file), (0..75).map(|n| n * 3_000).collect::<Vec<_>>());
}

#[test]
fn a_source_whose_headers_tell_no_true_frame_rate_is_measured() {
    let (track, mut samples) = millrace_media::synthetic::source(320, 180, 30, 30, 30).unwrap();
    for sample in &mut samples {
        // Sixty a second, whatever the parameter sets say.
        (sample.dts, sample.pts, sample.duration) = (sample.dts / 2, sample.pts / 2, 1_500);
    }
    let spec = [rendition("90p", 160, 90, 100_000)];
    let init = cmaf::write_init(&Track::Video(track)).unwrap();
    let mut session = Session::open(&init, &spec, &EncoderKind::x264()).unwrap();
    let made = transcode(&mut session, &[samples], 1).unwrap();
    let Track::Video(track) = cmaf::read_init(&made.inits[0]).unwrap() else { panic!("video") };
    assert_eq!(track.format().unwrap().fps, Some((120, 2)));
}

#[test]
fn a_machine_without_nvenc_says_why() {
    match millrace_media::nvenc::probe(0) {
        Ok(found) => assert_eq!((found.gpu, found.encoder), (0, "h264_nvenc")),
        Err(reason) => {
            eprintln!("{reason}");
            // Every option was taken; it is the opening that failed.
            assert!(reason.starts_with("opening the encoder h264_nvenc"), "{reason}");
        }
    }
}
