//! A live session with all that happens to one: what every playlist says, reload by reload and part by part, and what players make of it.

use crate::browser::Viewer;
use crate::media::{Publisher, pattern};
use crate::network::Network;
use crate::process::{output, signal, wait_for_exit};
use serde::Deserialize;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::NamedTempFile;

/// What `tests/browser/follow.mjs` prints.
#[derive(Debug, Deserialize)]
struct Followed {
    playlists: u64,
    reloads: u64,
    deltas: u64,
    segments: u64,
    parts: u64,
    discontinuities: u64,
    findings: Vec<String>,
}

fn publish(network: &Network, size: &str) -> Publisher {
    let arguments = pattern(size, &["-preset", "ultrafast", "-tune", "zerolatency"]);
    Publisher::start(&arguments, &network.rtmp(&network.live.key))
}

/// GStreamer's player, which counts in `told` what it would have shown.
fn gstreamer(url: &str, told: &NamedTempFile) -> Child {
    let mut player = Command::new("gst-launch-1.0");
    player.args(["-v", "playbin3", &format!("uri={url}"), "audio-sink=fakesink sync=true"]);
    player.arg("video-sink=fpsdisplaysink video-sink=fakesink text-overlay=false sync=true");
    let (told, wrong) = (told.reopen().unwrap(), Stdio::inherit());
    player.stdin(Stdio::null()).stdout(told).stderr(wrong).spawn().unwrap()
}

#[test]
fn playlists_and_players_go_through_a_whole_session() {
    // `MILLRACE_SESSION_SECONDS` makes the quiet stretches longer.
    let quiet =
        std::env::var("MILLRACE_SESSION_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(75) / 5;
    let quiet = Duration::from_secs(quiet);
    let network = Network::start(&["--source", "none"]);
    let first = publish(&network, "640x360");
    let name = network.live.name.clone();
    network.until_stream_is(&name, "live");
    let master = network.master(&name);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/follow.mjs");
    let url = master.clone();
    let follower = std::thread::spawn(move || output(Command::new("node").args([script, &url])));
    let viewer = Viewer::play(&master, "360p", 4 * quiet.as_secs());
    // Another player, which reads whole segments, and complains of what it cannot decode.
    let reader = Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-v", "error", "-xerror", "-i", &master, "-map", "0:v:0", "-f", "null", "-"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(quiet);
    // Not before: GStreamer 1.22 takes a live playlist of one segment for an end.
    let told = NamedTempFile::new().unwrap();
    let mut gstreamer = gstreamer(&master, &told);

    // The publisher's network is gone for a moment.
    first.vanish();
    std::thread::sleep(Duration::from_secs(2));
    let second = publish(&network, "640x360");
    std::thread::sleep(quiet);

    // A transcoder is lost, whichever works.
    for pid in &network.ready.pids.transcoders[..1] {
        signal("KILL", *pid);
    }
    std::thread::sleep(quiet);

    // The publisher comes back with another picture.
    second.vanish();
    let third = publish(&network, "426x240");
    std::thread::sleep(quiet);

    // The orchestrator is lost.
    signal("KILL", network.ready.pids.orchestrator);
    std::thread::sleep(quiet);
    third.stop();
    network.until_stream_is(&name, "ended");

    let followed = follower.join().unwrap().unwrap();
    let seen: Followed = serde_json::from_slice(&followed.stdout).unwrap();
    println!("{seen:?}");
    assert!(seen.findings.is_empty());
    assert!(seen.playlists == 3 && seen.reloads > 100 && seen.deltas > 0 && seen.segments > 60 && seen.parts > 300);
    // Two of them, in each playlist.
    assert_eq!(seen.discontinuities, 6);
    let shown = viewer.shown(240);
    assert!(shown.parts > 50, "it played whole segments");
    let read = reader.wait_with_output().unwrap();
    assert!(read.status.success(), "ffmpeg: {}, {}", read.status, String::from_utf8_lossy(&read.stderr));
    let ended = wait_for_exit("GStreamer ends", &mut gstreamer, Duration::from_secs(60));
    let told = std::fs::read_to_string(told.path()).unwrap();
    let rendered = told.rsplit_once("rendered: ").and_then(|(_, rest)| rest.split(',').next()?.parse::<u64>().ok());
    println!("GStreamer rendered {rendered:?} pictures: {}", told.lines().rev().take(8).collect::<Vec<_>>().join("\n"));
    assert!(ended.success(), "GStreamer: {ended}");
    // Five sixths of what four stretches have, at 30 a second: it waits at each break.
    assert!(rendered.unwrap_or(0) > 100 * quiet.as_secs(), "{rendered:?}");
}
