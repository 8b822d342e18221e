//! Streams that end other servers: odd keyframes, clocks that jump, stand or wrap, tracks that come late. Each is published by a
//! real FFmpeg, and what a player reads back is told in a table.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test fails by panicking, and tells its figures

mod common;

use common::{Line, counts, decode_errors, push};
use millrace_broadcaster::ingest::aac;
use std::path::Path;
use std::process::{Command, Stdio};

/// What is published, and what must come of it.
struct Case {
    name: &'static str,
    /// Seconds of 25 pictures.
    seconds: usize,
    /// Of the picture's encoder, beside the usual.
    video: &'static [&'static str],
    /// Of the whole; times of `setts` are FLV's, milliseconds.
    output: &'static [&'static str],
    /// Where other than at its start sound begins, seconds.
    sound: &'static str,
    /// Pictures that a player gets.
    pictures: usize,
    discontinuities: usize,
    target: usize,
}

const USUAL: Case = Case {
    name: "two seconds between keyframes",
    seconds: 8,
    video: &["-g", "50"],
    output: &[],
    sound: "0",
    pictures: 200,
    discontinuities: 0,
    target: 2,
};

const CASES: [Case; 13] = [
    USUAL,
    Case { name: "every picture a keyframe", video: &["-g", "1"], ..USUAL },
    Case {
        name: "a keyframe every eight seconds",
        seconds: 16,
        video: &["-g", "200"],
        pictures: 400,
        target: 8,
        ..USUAL
    },
    Case {
        name: "the second keyframe after two seconds, the third eight later",
        seconds: 14,
        video: &["-g", "1000", "-force_key_frames", "0,2,10"],
        pictures: 350,
        ..USUAL
    },
    Case {
        name: "one keyframe in sixteen seconds",
        seconds: 16,
        video: &["-g", "1000"],
        pictures: 400,
        target: 11,
        ..USUAL
    },
    Case {
        name: "open GOPs: only the first picture is a keyframe that stands alone",
        video: &["-g", "50", "-bf", "3", "-x264-params", "open-gop=1"],
        target: 8,
        ..USUAL
    },
    Case {
        name: "the clock jumps ten seconds ahead",
        output: &["-bsf:v", "setts=ts=TS+gte(N\\,100)*10000", "-bsf:a", "setts=ts=TS+gte(N\\,188)*10000"],
        discontinuities: 1,
        ..USUAL
    },
    Case {
        name: "a pause of two and a half seconds",
        output: &["-bsf:v", "setts=ts=TS+gte(N\\,100)*2500", "-bsf:a", "setts=ts=TS+gte(N\\,188)*2500"],
        discontinuities: 1,
        ..USUAL
    },
    Case { name: "the clock wraps at 31 bits, as FFmpeg's does", output: &["-output_ts_offset", "2147480"], ..USUAL },
    Case { name: "sound three seconds late", sound: "3", output: &["-t", "8"], ..USUAL },
    Case {
        name: "the picture stops after four seconds, and comes back eight later",
        seconds: 16,
        output: &["-bsf:v", "noise=drop=between(n\\,100\\,299)"],
        pictures: 200 + 38, // stills
        ..USUAL
    },
    Case {
        name: "the sound stops after four seconds, and comes back eight later",
        seconds: 16,
        output: &["-bsf:a", "noise=drop=between(n\\,188\\,562)"],
        pictures: 400,
        ..USUAL
    },
    Case { name: "uneven pictures", output: &["-bsf:v", "setts=ts=TS+mod(N\\,3)*12"], ..USUAL },
];

#[tokio::test]
async fn whatever_its_clock_and_keyframes_do_a_stream_plays() {
    println!(
        "| stream | pictures encoded | played | discontinuities | target duration |\n| --- | --- | --- | --- | --- |"
    );
    for case in CASES {
        let line = Line::start().await;
        let picture = format!("testsrc2=s=320x180:r=25:d={}", case.seconds);
        let sound = format!("sine=f=440:r=48000:d={}", case.seconds);
        let sound = ["-itsoffset", case.sound, "-f", "lavfi", "-i", &sound];
        let encoders = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-sc_threshold", "0", "-c:a", "aac"];
        let args = [&sound[..], &encoders, case.video, case.output].concat();
        let outcome = push(Path::new(&picture), &line.url("secret"), &args).before(&["-f", "lavfi"]).finish().await;
        assert!(outcome.success, "{}: {}", case.name, outcome.stderr);
        line.wait_for_end("demo").await;
        let source = line.get("/live/demo/source/index.m3u8").await.text;
        let tag = |tag: &str| source.lines().filter(|line| line.starts_with(tag)).count();
        let target = source.lines().find_map(|line| line.strip_prefix("#EXT-X-TARGETDURATION:")).unwrap();
        let played = counts(&line.http("/live/demo/source/index.m3u8")).await.video;
        let breaks = tag("#EXT-X-DISCONTINUITY");
        println!("| {} | {} | {played} | {} | {target} s |", case.name, case.seconds * 25, breaks - 1);
        // The header counts discontinuities by a tag that begins alike.
        assert_eq!(
            (played, breaks - 1, tag("#EXT-X-GAP")),
            (case.pictures, case.discontinuities, 0),
            "{}: {source}",
            case.name
        );
        assert_eq!(target.parse(), Ok(case.target), "{}", case.name);
        let longest =
            source.lines().filter_map(|line| line.strip_prefix("#EXTINF:")?.trim_end_matches(',').parse().ok());
        assert!(longest.fold(0.0, f64::max).round() <= case.target as f64, "{}: {source}", case.name);
        let audio = line.get("/live/demo/audio/index.m3u8").await.text;
        assert!(!audio.contains("#EXT-X-GAP"), "{}: {audio}", case.name);
        let errors = decode_errors(&line.http("/live/demo/master.m3u8")).await;
        assert!(errors.is_empty(), "{}: {errors}", case.name);
        line.stop().await;
    }
}

/// Ten frames of silence in ADTS, for every channel configuration that has one, are decoded by FFmpeg to what it should last.
#[test]
fn silence_is_what_decoders_take_for_it() {
    const INDEX_48K: u8 = 3;
    for (configuration, channels) in [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6)] {
        let frame = aac::silence(&[2 << 3 | INDEX_48K >> 1, (INDEX_48K & 1) << 7 | configuration << 3]).unwrap();
        let length = frame.len() + 7;
        let header = [
            0xFF,
            0xF1,
            1 << 6 | INDEX_48K << 2 | configuration >> 2,
            (configuration & 3) << 6 | (length >> 11) as u8,
            (length >> 3) as u8,
            (length << 5) as u8 | 0x1F,
            0xFC,
        ];
        let file = std::env::temp_dir().join(format!("silence-{configuration}-{}.aac", std::process::id()));
        std::fs::write(&file, [&header[..], &frame].concat().repeat(10)).unwrap();
        let ffmpeg = Command::new("ffmpeg")
            .args(["-v", "warning", "-xerror", "-i", file.to_str().unwrap(), "-f", "s16le", "-"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        std::fs::remove_file(&file).unwrap();
        let said = String::from_utf8_lossy(&ffmpeg.stderr);
        assert!(ffmpeg.status.success() && !said.contains("rror"), "{configuration}: {said}");
        assert_eq!(ffmpeg.stdout, vec![0; 10 * 1024 * 2 * channels], "{configuration}: {said}");
    }
}
