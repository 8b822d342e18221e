//! Paths between a publisher and its server that lose, delay or stop, and what a viewer sees of a stream that came over them, in
//! frozen frames: a WebRTC client by WHIP, which has a moment to send again what was lost, and FFmpeg by SRT, which has two seconds.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test fails by panicking, and tells its figures

mod common;

use common::relay::{Faults, Relay};
use common::whip::{Client, Media};
use common::{Line, decode_errors, push, shown};
use std::path::Path;
use std::time::Duration;

const SECONDS: u32 = 12;
/// Pictures a second, with a keyframe each second.
const RATE: u32 = 30;
const PICTURES: usize = (SECONDS * RATE) as usize;
const JITTER: Duration = Duration::from_millis(50);
const CUT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3));

/// A viewer's stream.
struct Seen {
    /// Pictures that were shown for their time.
    pictures: usize,
    /// For how many times of a picture the one before stood still.
    frozen: usize,
    /// The longest of these, milliseconds.
    longest_ms: usize,
}

impl Seen {
    /// Of the source rendition, whose playlists have ended.
    async fn of(line: &Line) -> Self {
        let times = shown(&line.http("/live/demo/source/index.m3u8")).await;
        let frame = 1.0 / f64::from(RATE);
        let mut seen = Self { pictures: 1, frozen: 0, longest_ms: 0 };
        let mut freeze = 0.0;
        for pair in times.windows(2) {
            let lasted = pair[1] - pair[0];
            if lasted < 1.5 * frame {
                (seen.pictures, freeze) = (seen.pictures + 1, 0.0);
            } else {
                // Stills that stand in for pictures follow each other at once.
                freeze += lasted;
                seen.frozen += (lasted / frame).round() as usize - 1;
                seen.longest_ms = seen.longest_ms.max((freeze * 1000.0) as usize);
            }
        }
        seen
    }
}

async fn by_whip(faults: Faults) -> Seen {
    let line = Line::start().await;
    let mut client = Client::publish_through(&line, Relay::new(faults).await).await;
    client.send(&Media::new(320, 180, SECONDS)).await;
    assert_eq!(client.delete(&line).await, 200);
    watched(line, "WHIP").await
}

async fn by_srt(faults: Faults) -> Seen {
    let line = Line::start().await;
    let relay = Relay::new(faults).await;
    let url = format!("srt://{}?streamid=secret&latency=2000000&linger=5&connect_timeout=15000", relay.outside);
    let path = tokio::spawn(relay.run(line.srt));
    let picture = format!("testsrc2=s=320x180:r={RATE}:d={SECONDS}");
    let sound = format!("sine=f=440:r=48000:d={SECONDS}");
    let sound = ["-re", "-f", "lavfi", "-i", &sound, "-c:a", "aac"];
    let encoded = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "30"];
    let publisher = push(Path::new(&picture), &url, &[&sound[..], &encoded].concat()).before(&["-re", "-f", "lavfi"]);
    let outcome = publisher.finish().await;
    assert!(outcome.success, "{}", outcome.stderr);
    let seen = watched(line, "SRT").await;
    path.abort();
    seen
}

async fn watched(line: Line, protocol: &str) -> Seen {
    line.wait_for_ends(1).await;
    line.wait_for_end("demo").await;
    assert_eq!(line.started().await, 1, "{protocol}: one stream from beginning to end");
    let errors = decode_errors(&line.http("/live/demo/master.m3u8")).await;
    assert!(errors.is_empty(), "{protocol}: {errors}");
    for rendition in ["source", "audio"] {
        let playlist = line.get(&format!("/live/demo/{rendition}/index.m3u8")).await.text;
        assert!(!playlist.contains("#EXT-X-GAP"), "{protocol}: {playlist}");
    }
    let seen = Seen::of(&line).await;
    line.stop().await;
    seen
}

#[tokio::test]
async fn what_a_viewer_sees_of_a_bad_path_is_bounded() {
    println!(
        "| path | by | pictures of {PICTURES} | frozen frames | longest freeze |\n| --- | --- | --- | --- | --- |"
    );
    let none = Faults::default();
    // A picture whose packets do not come takes those up to the next keyframe with it: 30 at most.
    let cases = [
        ("nothing lost", none, PICTURES - 5),
        ("5 % lost", Faults { lost: 5, ..none }, PICTURES - 90),
        ("50 ms jitter: packets overtake each other", Faults { jitter: JITTER, ..none }, PICTURES - 90),
        ("both", Faults { lost: 5, jitter: JITTER, ..none }, PICTURES - 120),
        ("nothing for 3 s", Faults { cut: Some(CUT), ..none }, PICTURES - 150),
    ];
    for (name, faults, least) in cases {
        // One after the other: a repeat that comes late for want of a core is no fault of the path.
        let (whip, srt) = (by_whip(faults).await, by_srt(faults).await);
        for (by, Seen { pictures, frozen, longest_ms }) in [("WHIP", whip), ("SRT", srt)] {
            println!("| {name} | {by} | {pictures} | {frozen} | {longest_ms} ms |");
            assert!((least..=PICTURES).contains(&pictures), "{name} by {by}: {pictures}");
            assert!(frozen <= PICTURES - least + 30, "{name} by {by}: {frozen}");
        }
    }
}
