//! FFmpeg publishes HEVC by Enhanced RTMP to the whole network: the source is served as it comes, and its ladder is H.264.

use crate::media::{Publisher, frames, play, recent_ffmpeg};
use crate::network::Network;
use crate::playlist::Watch;
use std::ffi::OsStr;
use std::time::Duration;

/// Until the segments are out: x265 has its own delay.
const START: Duration = Duration::from_secs(60);

#[test]
fn a_source_in_hevc_is_played_transcoded_with_its_own_frames_and_times() {
    let Some(program) = recent_ffmpeg() else { return };
    let network = Network::start(&["--source", "none"]);
    let arguments = [
        ["-f", "lavfi", "-i", "testsrc2=size=960x540:rate=30"].as_slice(),
        &["-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"],
        &["-pix_fmt", "yuv420p", "-c:v", "libx265", "-preset", "ultrafast", "-b:v", "1500k"],
        // With B-frames, whose order the network must keep, and in GOPs that can be cut.
        &["-x265-params", "log-level=error:keyint=60:min-keyint=60:scenecut=0:open-gop=0:bframes=3"],
        &["-c:a", "aac"],
    ];
    let arguments: Vec<&OsStr> = arguments.iter().flat_map(|some| some.iter().map(OsStr::new)).collect();
    let publisher = Publisher::start_by(&program, &arguments, &network.rtmp(&network.live.key));
    network.until_stream_is(&network.live.name, "live");
    let mut watch = Watch::new(network.master(&network.live.name));
    watch.until_more(4, START);
    watch.assert_whole();
    watch.assert_same_frames();

    let master = watch.last.as_ref().unwrap();
    let mut listed: Vec<_> =
        master.variants.iter().map(|v| (v.name.as_str(), v.height.unwrap(), v.codecs.as_str())).collect();
    listed.sort_unstable();
    let [low, high, source] = listed[..] else { panic!("{listed:?}") };
    assert_eq!((low.0, low.1, high.0, high.1), ("360p", 360, "480p", 480));
    assert!(low.2.contains("avc1.") && high.2.contains("avc1."), "{listed:?}");
    assert!(source.2.starts_with("hvc1.1.6.L") && source.2.contains("mp4a.40.2"), "{listed:?}");
    for variant in &master.variants {
        assert!((variant.frame_rate.unwrap() - 30.0).abs() < 0.1, "{}: {:?}", variant.name, variant.frame_rate);
        play(&variant.url, 60);
    }
    for (seq, (_, bytes)) in &watch.seen["source"] {
        let source = frames(bytes).unwrap();
        assert_eq!(source.len(), 60, "segment {seq}: two seconds at 30 frames a second");
        assert!(source.iter().all(|f| (f.width, f.height) == (960, 540)), "segment {seq}");
    }
    let paid = network.segments().unwrap();
    assert!(paid.iter().any(|segment| segment["result"] == "pass"), "{paid:?}");

    publisher.stop();
    network.until_stream_is(&network.live.name, "ended");
    network.assert_well();
}
