//! A browser, FFmpeg and GStreamer publish by WHIP to the whole network, and what they send is played transcoded.

use crate::browser::Viewer;
use crate::http::{hang_up, whip};
use crate::media::{frames, play, recent_ffmpeg};
use crate::network::Network;
use crate::playlist::Watch;
use crate::process::{output, signal, wait_for, wait_for_exit};
use crate::webrtcbin::{self, Webrtcbin};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Until three segments are out in every variant.
const START: Duration = Duration::from_secs(60);
/// How long the browser publishes: START is mostly the browser's own.
const PUBLISH_SECONDS: u32 = 25;

/// A camera for the browser: 640x360 at 30 frames a second, which it repeats.
fn camera(dir: &std::path::Path) -> std::path::PathBuf {
    let path = dir.join("camera.y4m");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30:duration=4"]);
    output(ffmpeg.args(["-pix_fmt", "yuv420p"]).arg(&path)).unwrap();
    path
}

/// Looks on until three segments of the ladder are out, and at what they are, in a browser too: no smaller than that.
fn assert_transcoded(network: &Network, height: u64) -> Watch {
    let viewer = Viewer::start(&network.master(&network.live.name), "360p");
    let mut watch = Watch::new(network.master(&network.live.name));
    watch.until_more(3, START);
    watch.assert_whole();
    watch.assert_same_frames();
    watch.assert_plays(&["360p", "source"]);
    let shown = viewer.saw().height;
    assert!((height..=360).contains(&shown), "a viewer saw {shown} lines");
    watch
}

#[test]
fn a_browser_publishes_and_is_played_transcoded() {
    let network = Network::start(&["--source", "none"]);
    let dir = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/whip.mjs");
    let mut browser = Command::new("node")
        .args([script, &network.ready.broadcaster_api, &network.live.key, &PUBLISH_SECONDS.to_string()])
        .arg(camera(dir.path()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(browser.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().map(Result::unwrap).as_deref(), Some("publishing"));
    network.until_stream_is(&network.live.name, "live");
    // It begins small where its machine is busy.
    let watch = assert_transcoded(&network, 90);
    // Key pictures are asked for, so that segments are about as long as their target; a new size ends one early.
    let durations: Vec<f64> = watch.seen["source"].values().map(|(segment, _)| segment.duration).collect();
    assert!(durations.iter().all(|d| *d < 3.5), "segments of {durations:?} s");
    assert!(durations.iter().sum::<f64>() > durations.len() as f64, "segments of {durations:?} s");

    let sent: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    println!("the browser sent {sent}; segments of {durations:?} s");
    assert!(wait_for_exit("the browser ends", &mut browser, START).success());
    assert_eq!((&sent["codec"], &sent["ended"]), (&Value::from("video/H264"), &Value::from(200)));
    network.until_stream_is(&network.live.name, "ended");
    network.assert_well();
    assert!(!network.logs().contains(&network.live.key), "a key is in the logs");
}

#[test]
fn ffmpeg_publishes_by_whip_and_is_played_transcoded() {
    let Some(program) = recent_ffmpeg() else { return };
    let network = Network::start(&["--source", "none"]);
    let url = format!("{}/whip/{}", network.ready.broadcaster_api, network.live.key);
    let mut ffmpeg = Command::new(program);
    ffmpeg.args(["-hide_banner", "-v", "warning", "-re", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30"]);
    ffmpeg.args(["-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]);
    ffmpeg.args(["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "baseline"]);
    ffmpeg.args(["-b:v", "1M", "-g", "60", "-pix_fmt", "yuv420p", "-c:a", "libopus", "-ac", "2", "-f", "whip", &url]);
    let mut ffmpeg = ffmpeg.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_for("the stream is live", START, || {
        if let Some(status) = ffmpeg.try_wait().unwrap() {
            panic!("ffmpeg ended: {status}");
        }
        network.stream(&network.live.name)
    });
    assert_transcoded(&network, 360);
    signal("INT", ffmpeg.id().into());
    wait_for_exit("ffmpeg ends after Ctrl-C", &mut ffmpeg, START);
    network.until_stream_is(&network.live.name, "ended");
    network.assert_well();
    assert!(!network.logs().contains(&network.live.key), "a key is in the logs");
}

/// Publishes what GStreamer encodes for as long as `look` looks, and ends it.
fn gstreamer(encode: &str, look: impl FnOnce(&Network)) {
    let network = Network::start(&["--source", "none"]);
    // More than anyone looks at.
    let (publisher, offer) = Webrtcbin::offer((640, 360), 30 * 120, encode);
    let url = format!("{}/whip/{}", network.ready.broadcaster_api, network.live.key);
    let (answer, session) = whip(&url, offer);
    publisher.accept(&answer);
    network.until_stream_is(&network.live.name, "live");
    look(&network);
    assert!(!publisher.is_done());
    hang_up(&session);
    network.until_stream_is(&network.live.name, "ended");
    network.assert_well();
    assert!(!network.logs().contains(&network.live.key), "a key is in the logs");
}

#[test]
fn gstreamer_publishes_h264_by_whip_and_is_played_transcoded() {
    gstreamer(webrtcbin::H264, |network| drop(assert_transcoded(network, 360)));
}

#[test]
fn gstreamer_publishes_vp8_by_whip_and_is_played_as_h264() {
    gstreamer(webrtcbin::VP8, |network| {
        let viewer = Viewer::start(&network.master(&network.live.name), "360p");
        let mut watch = Watch::new(network.master(&network.live.name));
        watch.until_more(4, START);
        watch.assert_whole();
        let variants = &watch.last.as_ref().unwrap().variants;
        let names: Vec<_> = variants.iter().map(|v| v.name.as_str()).collect();
        assert_eq!(names, ["360p"], "no player takes vp8: its source is not listed");
        assert!(variants[0].codecs.contains("avc1.") && variants[0].audio, "{}", variants[0].codecs);
        play(&variants[0].url, 30);
        viewer.shown(360);
        for (seq, (segment, bytes)) in watch.seen["360p"].iter().skip(1) {
            let shown = frames(bytes).unwrap();
            let expected = segment.duration * 30.0;
            assert!((shown.len() as f64 - expected).abs() < 2.0, "segment {seq}: {} of {expected}", shown.len());
            assert!(shown.iter().all(|f| (f.width, f.height) == (640, 360)), "segment {seq}");
        }
    });
}
