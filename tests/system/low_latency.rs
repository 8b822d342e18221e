//! A live session with all that happens to one: what every playlist says, reload by reload and part by part, and what players make of it.

use crate::browser::Viewer;
use crate::media::Publisher;
use crate::network::Network;
use crate::process::{output, signal};
use serde::Deserialize;
use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::time::Duration;

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
    let picture = format!("testsrc2=size={size}:rate=30");
    let arguments = [
        "-f",
        "lavfi",
        "-i",
        &picture,
        "-re",
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440:sample_rate=48000",
        "-pix_fmt",
        "yuv420p",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-tune",
        "zerolatency",
        "-b:v",
        "1M",
        "-g",
        "60",
        "-c:a",
        "aac",
    ];
    Publisher::start(&arguments.map(OsStr::new), &network.rtmp(&network.live.key))
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

    let told = follower.join().unwrap().unwrap();
    let seen: Followed = serde_json::from_slice(&told.stdout).unwrap();
    println!("{seen:?}");
    assert!(seen.findings.is_empty());
    assert!(seen.playlists == 3 && seen.reloads > 100 && seen.deltas > 0 && seen.segments > 60 && seen.parts > 300);
    // Two of them, in each playlist.
    assert_eq!(seen.discontinuities, 6);
    let shown = viewer.shown(240);
    assert!(shown.parts > 50, "it played whole segments");
    let read = reader.wait_with_output().unwrap();
    assert!(read.status.success(), "ffmpeg: {}, {}", read.status, String::from_utf8_lossy(&read.stderr));
}
