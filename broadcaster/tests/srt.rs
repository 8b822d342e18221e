//! Debian's FFmpeg publishes by SRT; a real player reads the HLS back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::relay::{Faults, Relay};
use common::{Counts, Line, Outcome, counts, decode_errors, lavfi, media, push};
use millrace_broadcaster::publisher::srt;
use std::path::Path;
use std::time::{Duration, Instant};

const PASSPHRASE: &str = "known-to-both-sides";
/// The same in a URL.
const SECRET: &str = "&passphrase=known-to-both-sides";
/// With B-frames, which is what an encoder makes unless it is told otherwise.
const ENCODED_BY: [&str; 9] = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-g", "30", "-shortest"];

/// A picture and a tone of so many seconds, 30 pictures a second, in real time.
fn made(seconds: u32, url: &str) -> common::Push {
    let picture = format!("testsrc2=s=640x360:r=30:d={seconds}");
    let sound = format!("sine=f=440:r=48000:d={seconds}");
    let sound = ["-f", "lavfi", "-i", &sound, "-c:a", "aac"];
    push(Path::new(&picture), url, &[&sound[..], &ENCODED_BY].concat()).before(&["-re", "-f", "lavfi"])
}

async fn source(line: &Line) -> Counts {
    let video = counts(&line.http("/live/demo/source/index.m3u8")).await.video;
    let audio = counts(&line.http("/live/demo/audio/index.m3u8")).await.audio;
    Counts { video, audio }
}

async fn assert_decodes(line: &Line) {
    let errors = decode_errors(&line.http("/live/demo/master.m3u8")).await;
    assert!(errors.is_empty(), "{errors}");
}

/// FFmpeg 5.1 has no words for the codes of applications.
const TOLD: &str = "Application-defined rejection reason";

/// What a publisher with this stream id is told.
async fn refusal(line: &Line, stream_id: &str) -> String {
    srt::Client::publish(line.srt, stream_id).await.err().unwrap().to_string()
}

fn assert_refused(outcome: &Outcome, words: &str) {
    assert!(!outcome.success && outcome.stderr.contains(words), "{words}: {}", outcome.stderr);
}

#[tokio::test]
async fn every_picture_and_frame_of_sound_arrives() {
    let line = Line::start().await;
    let outcome = made(6, &line.srt("secret", "")).finish().await;
    assert!(outcome.success, "{}", outcome.stderr);
    line.wait_for_end("demo").await;
    assert_eq!(line.ends().await, [true]);
    let seen = source(&line).await;
    println!("{seen:?} of 180 pictures and 6 s of sound");
    assert_eq!(seen.video, 180);
    assert!((281..=284).contains(&seen.audio), "{seen:?}");
    assert_decodes(&line).await;
    line.stop().await;
}

#[tokio::test]
async fn encrypted_streams_of_either_key_size_arrive_and_others_are_refused() {
    let line = Line::with_passphrase(PASSPHRASE).await;
    for (n, size) in ["", "&pbkeylen=16", "&pbkeylen=32"].into_iter().enumerate() {
        let outcome = made(2, &line.srt("secret", &format!("{SECRET}{size}"))).finish().await;
        assert!(outcome.success, "{size}: {}", outcome.stderr);
        line.wait_for_ends(n + 1).await;
    }
    assert_eq!(line.ends().await, [true; 3]);
    let wrong = made(2, &line.srt("secret", "&passphrase=known-to-one-side")).finish().await;
    assert_refused(&wrong, "Incorrect passphrase");
    assert_refused(&made(2, &line.srt("secret", "")).finish().await, "Password required or unexpected");
    assert_eq!(line.started().await, 3);
    line.stop().await;

    let open = Line::start().await;
    assert_refused(&made(2, &open.srt("secret", SECRET)).finish().await, "Password required or unexpected");
    open.stop().await;
}

#[tokio::test]
async fn every_form_of_stream_id_is_taken() {
    let line = Line::start().await;
    for (n, id) in ["live/secret", "#!::r=secret,m=publish", "#!::m=publish,r=live/secret,t=stream"].iter().enumerate()
    {
        let outcome = made(1, &line.srt(id, "")).finish().await;
        assert!(outcome.success, "{id}: {}", outcome.stderr);
        line.wait_for_ends(n + 1).await;
    }
    assert_eq!(line.started().await, 3);
    line.stop().await;
}

#[tokio::test]
async fn refusals_name_their_reason_by_its_code() {
    let line = Line::start().await;
    for (id, code) in [("guess", 401), ("", 401), ("#!::r=secret,m=request", 405), ("#!::r=guess,m=publish", 401)] {
        assert_eq!(refusal(&line, id).await, format!("the server refuses: code {}", 2_000 + code), "{id}");
        assert_refused(&made(2, &line.srt(id, "")).finish().await, TOLD);
    }
    assert_eq!(line.started().await, 0);

    let mut first = made(20, &line.srt("secret", "")).start();
    line.wait_for_start().await;
    assert_eq!(refusal(&line, "secret").await, "the server refuses: code 2409");
    assert_refused(&made(2, &line.srt("secret", "")).finish().await, TOLD);
    let by_rtmp = lavfi(&["-c:v", "libx264", "-an"], &line.url("secret")).finish().await;
    assert_refused(&by_rtmp, "already has a publisher");
    assert!(first.is_running());
    assert_eq!(line.started().await, 1);
    line.stop().await; // returns only when every connection is closed
}

#[tokio::test]
async fn a_publisher_that_vanishes_ends_its_stream_within_seconds() {
    let line = Line::start().await;
    let mut publisher = made(20, &line.srt("secret", "")).start();
    line.wait_until("demo", |playlist| playlist.contains("#EXTINF")).await;
    publisher.kill().await;
    let began = Instant::now();
    line.wait_for_ends(1).await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(line.ends().await, [false]);
    let again = made(1, &line.srt("secret", "")).finish().await;
    assert!(again.success, "the name is free: {}", again.stderr);
    line.wait_for_ends(2).await;
    line.stop().await;
}

#[tokio::test]
async fn a_path_that_loses_and_swaps_packets_costs_nothing_that_can_be_sent_again() {
    let line = Line::with_passphrase(PASSPHRASE).await;
    let relay = Relay::new(Faults { lost: 5, swapped: 5, ..Faults::default() }).await;
    // The publisher asks for two seconds, and gets them: on a busy machine 200 ms are soon over.
    let url = format!("srt://{}?streamid=secret{SECRET}&latency=2000000&linger=5", relay.outside);
    let path = tokio::spawn(relay.run(line.srt));
    let outcome = made(12, &url).finish().await;
    assert!(outcome.success, "{}", outcome.stderr);
    line.wait_for_ends(1).await;
    line.wait_for_end("demo").await;
    let seen = source(&line).await;
    println!("5 % lost and 5 % swapped: {} of 360 pictures arrived, {} frames of sound", seen.video, seen.audio);
    assert_eq!(seen.video, 360);
    assert!((562..=566).contains(&seen.audio), "{seen:?}");
    assert_decodes(&line).await;
    path.abort();
    line.stop().await;
}

#[tokio::test]
async fn real_transport_streams_arrive_whole() {
    for (clip, pictures, sounds) in [("portrait.ts", 30, 0), ("missing-dts.ts", 120, 0), ("livepeer-422.ts", 217, 179)]
    {
        let Some(path) = media(clip) else { return };
        let line = Line::start().await;
        let outcome = push(&path, &line.srt("secret", ""), &["-c", "copy"]).before(&["-re"]).finish().await;
        assert!(outcome.success, "{clip}: {}", outcome.stderr);
        line.wait_for_end("demo").await;
        let seen = counts(&line.http("/live/demo/source/index.m3u8")).await;
        assert_eq!(seen.video, pictures, "{clip}");
        if sounds > 0 {
            assert_eq!(source(&line).await.audio, sounds, "{clip}");
        }
        line.stop().await;
    }
}

#[tokio::test]
async fn codecs_that_are_not_taken_are_cut_off() {
    let line = Line::start().await;
    for args in [&["-c:v", "mpeg2video", "-an"][..], &["-c:v", "libx264", "-c:a", "mp2"]] {
        let outcome = lavfi(args, &line.srt("secret", "")).finish().await;
        assert!(!outcome.success, "{args:?} went on to its end");
    }
    assert_eq!(line.started().await, 0);
    line.stop().await;
}

#[tokio::test]
async fn sound_alone_plays() {
    let line = Line::start().await;
    let sound = push(Path::new("sine=f=440:r=48000:d=5"), &line.srt("secret", ""), &["-c:a", "aac"]);
    let outcome = sound.before(&["-re", "-f", "lavfi"]).finish().await;
    assert!(outcome.success, "{}", outcome.stderr);
    line.wait_until_of("demo", "audio", |playlist| playlist.contains("#EXT-X-ENDLIST")).await;
    let heard = counts(&line.http("/live/demo/master.m3u8")).await;
    assert_eq!(heard.video, 0);
    assert!((233..=236).contains(&heard.audio), "{heard:?}");
    assert_decodes(&line).await;
    line.stop().await;
}

#[tokio::test]
async fn garbage_and_forged_packets_disturb_nobody() {
    let line = Line::start().await;
    let publisher = tokio::spawn(made(4, &line.srt("secret", "")).finish());
    line.wait_for_start().await;
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut seed = 3u32;
    for n in 0..3_000 {
        let mut datagram = vec![0; n % 1_500];
        for byte in &mut datagram {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (seed >> 24) as u8;
        }
        if let Some(first) = datagram.first_mut().filter(|_| n % 2 == 0) {
            *first = 0x80; // control packets, handshakes among them
        }
        if n % 4 == 0 && datagram.len() > 1 {
            datagram[1] = 0;
        }
        stranger.send_to(&datagram, line.srt).unwrap();
        if n % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let outcome = publisher.await.unwrap();
    assert!(outcome.success, "{}", outcome.stderr);
    line.wait_for_end("demo").await;
    assert_eq!(source(&line).await.video, 120);
    line.stop().await;
}
