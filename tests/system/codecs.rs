//! FFmpeg publishes by Enhanced RTMP what is no H.264 to the whole network: the source is served as it comes, and its ladder is H.264.

use crate::browser::Viewer;
use crate::media::{Publisher, frames, play, recent_ffmpeg};
use crate::network::Network;
use crate::playlist::Watch;
use std::ffi::OsStr;
use std::time::Duration;

/// Until the segments are out: each encoder has its own delay.
const START: Duration = Duration::from_secs(60);

/// A source that FFmpeg makes: 30 pictures a second, a keyframe every two seconds.
struct Encoded<'a> {
    size: (u64, u64),
    options: &'a [&'a str],
    /// How its name in the master playlist begins.
    codec: &'a str,
    /// The renditions that it gets, lowest first.
    rungs: &'a [&'static str],
}

#[test]
fn a_source_in_hevc_is_played_transcoded_with_its_own_frames_and_times() {
    // With B-frames, whose order the network must keep, and in GOPs that can be cut.
    let x265 = "log-level=error:keyint=60:min-keyint=60:scenecut=0:open-gop=0:bframes=3";
    follow(&Encoded {
        size: (960, 540),
        options: &["-c:v", "libx265", "-preset", "ultrafast", "-b:v", "1500k", "-x265-params", x265],
        codec: "hvc1.1.6.L",
        rungs: &["360p", "480p"],
    });
}

#[test]
fn a_source_in_av1_is_played_transcoded_with_its_own_frames_and_times() {
    // With pictures that are coded early and shown later.
    follow(&Encoded {
        size: (640, 360),
        options: &["-c:v", "libsvtav1", "-preset", "12", "-b:v", "800k", "-g", "60", "-svtav1-params", "pred-struct=2"],
        codec: "av01.0.0",
        rungs: &["360p"],
    });
}

#[test]
fn a_source_in_vp9_is_played_transcoded_with_its_own_frames_and_times() {
    follow(&Encoded {
        size: (640, 360),
        options: &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "800k", "-g", "60"],
        codec: "vp09.00.30.08",
        rungs: &["360p"],
    });
}

fn follow(encoded: &Encoded<'_>) {
    let Some(program) = recent_ffmpeg() else { return };
    let network = Network::start(&["--source", "none"]);
    let picture = format!("testsrc2=size={}x{}:rate=30", encoded.size.0, encoded.size.1);
    let input = ["-f", "lavfi", "-i", &picture];
    let arguments = [
        input.as_slice(),
        &["-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-pix_fmt", "yuv420p"],
        encoded.options,
        &["-c:a", "aac"],
    ];
    let arguments: Vec<&OsStr> = arguments.iter().flat_map(|some| some.iter().map(OsStr::new)).collect();
    let publisher = Publisher::start_by(&program, &arguments, &network.rtmp(&network.live.key));
    network.until_stream_is(&network.live.name, "live");
    let viewer = Viewer::start(&network.master(&network.live.name), encoded.rungs[0]);
    let mut watch = Watch::new(network.master(&network.live.name));
    watch.until_more(4, START);
    watch.assert_whole();
    watch.assert_same_frames();

    let master = watch.last.as_ref().unwrap();
    let mut listed: Vec<_> =
        master.variants.iter().map(|v| (v.name.as_str(), v.height.unwrap(), v.codecs.as_str())).collect();
    listed.sort_unstable();
    let Some((source, rungs)) = listed.split_last() else { panic!("nothing is listed") };
    assert_eq!(rungs.iter().map(|rung| rung.0).collect::<Vec<_>>(), encoded.rungs);
    assert!(rungs.iter().all(|rung| format!("{}p", rung.1) == rung.0 && rung.2.contains("avc1.")), "{listed:?}");
    assert!(source.2.starts_with(encoded.codec) && source.2.contains("mp4a.40.2"), "{listed:?}");
    for variant in &master.variants {
        assert!((variant.frame_rate.unwrap() - 30.0).abs() < 0.1, "{}: {:?}", variant.name, variant.frame_rate);
        play(&variant.url, 60);
    }
    for (seq, (_, bytes)) in &watch.seen["source"] {
        let source = frames(bytes).unwrap();
        assert_eq!(source.len(), 60, "segment {seq}: two seconds at 30 frames a second");
        assert!(source.iter().all(|f| (f.width, f.height) == encoded.size), "segment {seq}");
    }
    viewer.shown(360);
    let paid = network.segments().unwrap();
    assert!(paid.iter().any(|segment| segment["result"] == "pass"), "{paid:?}");

    publisher.stop();
    network.until_stream_is(&network.live.name, "ended");
    network.assert_well();
}
