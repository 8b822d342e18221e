//! A real WebRTC client publishes by WHIP over UDP; a real player reads the HLS back.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a helper that fails fails its test

mod common;

use common::relay::{Faults, Relay};
use common::webrtcbin::{self, Webrtcbin};
use common::whip::{Client, KEY, Media, SDP};
use common::{Line, counts, decode_errors, lavfi, recent_ffmpeg};
use std::time::{Duration, Instant};

/// AAC frames in so many seconds, give or take what codecs keep back.
fn assert_sound(frames: usize, seconds: usize) {
    let whole = seconds * 48_000 / 1_024;
    assert!((whole - 8..=whole + 2).contains(&frames), "{frames} frames of sound in {seconds} s");
}

#[tokio::test]
async fn every_picture_arrives_and_the_sound_with_it() {
    let line = Line::start().await;
    let media = Media::new(640, 360, 6);
    let mut client = Client::publish(&line).await;
    client.send(&media).await;
    assert_eq!(client.delete(&line).await, 200);
    line.wait_for_end("demo").await;
    assert_eq!(line.ends().await, [true]);

    let master = line.get("/live/demo/master.m3u8").await.text;
    assert!(master.contains("TYPE=AUDIO") && master.contains("mp4a.40.2"), "{master}");
    let seen = counts(&line.http("/live/demo/source/index.m3u8")).await;
    assert_eq!(seen.video, media.pictures);
    assert_sound(counts(&line.http("/live/demo/audio/index.m3u8")).await.audio, 6);
    let errors = decode_errors(&line.http("/live/demo/master.m3u8")).await;
    assert!(errors.is_empty(), "{errors}");
    line.stop().await;
}

#[tokio::test]
async fn a_picture_that_changes_its_size_goes_on_behind_a_discontinuity() {
    let line = Line::start().await;
    let media = Media::new(640, 360, 3).then(Media::new(360, 640, 3));
    let mut client = Client::publish(&line).await;
    client.send(&media).await;
    assert_eq!(client.delete(&line).await, 200);
    line.wait_for_end("demo").await;
    let playlist = line.get("/live/demo/source/index.m3u8").await.text;
    assert_eq!(playlist.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{playlist}");
    assert_eq!(playlist.matches("#EXT-X-MAP").count(), 2, "{playlist}");
    line.stop().await;
}

#[tokio::test]
async fn a_path_that_loses_and_swaps_packets_costs_few_pictures_and_none_is_broken() {
    let line = Line::start().await;
    let media = Media::new(640, 360, 10);
    let mut client =
        Client::publish_through(&line, Relay::new(Faults { lost: 5, swapped: 5, ..Faults::default() }).await).await;
    client.send(&media).await;
    assert_eq!(client.delete(&line).await, 200);
    line.wait_for_end("demo").await;
    let seen = counts(&line.http("/live/demo/source/index.m3u8")).await;
    let sound = counts(&line.http("/live/demo/audio/index.m3u8")).await;
    println!(
        "5 % lost and 5 % swapped: {} of {} pictures arrived, {} frames of sound",
        seen.video, media.pictures, sound.audio
    );
    // A picture whose packets were lost three times over takes those up to the next key picture with it, 30 at most.
    assert!(seen.video >= media.pictures * 8 / 10, "{} of {} pictures", seen.video, media.pictures);
    assert_sound(sound.audio, 10); // lost sound is silence: the line is whole
    let errors = decode_errors(&line.http("/live/demo/master.m3u8")).await;
    assert!(errors.is_empty(), "{errors}");
    line.stop().await;
}

#[tokio::test]
async fn a_publisher_that_vanishes_ends_its_stream_within_seconds() {
    let line = Line::start().await;
    let mut client = Client::publish(&line).await;
    client.send(&Media::new(320, 240, 3)).await;
    drop(client);
    let began = Instant::now();
    line.wait_for_ends(1).await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(line.ends().await, [false]);
    // The name is free, and so is the port.
    let mut again = Client::publish(&line).await;
    again.send(&Media::new(320, 240, 1)).await;
    assert_eq!(again.delete(&line).await, 200);
    line.stop().await;
}

#[tokio::test]
async fn ice_restarts_under_a_new_tag_and_no_picture_is_lost() {
    let line = Line::start().await;
    let (first, second) = Media::new(320, 240, 4).split(Duration::from_secs(2));
    let pictures = first.pictures + second.pictures;
    let mut client = Client::publish(&line).await;
    client.send(&first).await;
    let answer = client.restart_ice(&line).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/trickle-ice-sdpfrag");
    assert!(!answer.header("etag").is_empty() && answer.header("etag") != client.etag);
    client.idle(Duration::from_secs(1)).await;
    client.send(&second).await;
    let headers = [common::whip::FRAGMENT, KEY, ("If-Match", client.etag.as_str())];
    let stale = line.send("PATCH", &client.session, &headers, "a=end-of-candidates\r\n").await;
    assert_eq!(stale.status, 412);
    assert_eq!(client.delete(&line).await, 200);
    line.wait_for_end("demo").await;
    let seen = counts(&line.http("/live/demo/source/index.m3u8")).await;
    assert_eq!(seen.video, pictures);
    line.stop().await;
}

#[tokio::test]
async fn a_name_is_live_once_across_protocols() {
    let line = Line::start().await;
    let mut client = Client::publish(&line).await;
    client.send(&Media::new(320, 240, 1)).await;
    let second = tokio::spawn({
        let url = line.url("secret");
        async move { lavfi(&["-c:v", "libx264", "-an"], &url).finish().await }
    });
    client.idle(Duration::from_secs(3)).await;
    let second = second.await.unwrap();
    assert!(!second.success && second.stderr.contains("publisher"), "{}", second.stderr);
    let (_, offer) = Client::new().await;
    assert_eq!(line.send("POST", "/whip", &[SDP, KEY], &offer).await.status, 409);
    client.delete(&line).await;

    let publisher = lavfi(&["-c:v", "libx264", "-an"], &line.url("secret")).realtime();
    line.wait_for_starts(2).await;
    assert_eq!(line.send("POST", "/whip", &[SDP, KEY], &offer).await.status, 409);
    drop(publisher);
    line.stop().await;
}

#[tokio::test]
async fn a_consumer_that_stops_a_stream_closes_its_publisher() {
    let line = Line::start().await;
    let mut client = Client::publish(&line).await;
    client.send(&Media::new(320, 240, 1)).await;
    let session = client.session.clone();
    line.stop().await; // returns only when every session is over
    client.idle(Duration::from_millis(100)).await;
    assert!(!session.is_empty());
}

/// Publishes six seconds by FFmpeg's own WHIP, which chooses its role in DTLS itself.
async fn assert_ffmpeg_publishes(flags: &[&str]) {
    let Some(program) = recent_ffmpeg() else { return };
    let line = Line::start().await;
    let mut ffmpeg = tokio::process::Command::new(&program);
    ffmpeg.args(["-hide_banner", "-v", "warning", "-re", "-f", "lavfi", "-i", "testsrc2=s=640x360:r=30:d=6"]);
    ffmpeg.args(["-re", "-f", "lavfi", "-i", "sine=f=440:r=48000:d=6", "-c:v", "libx264", "-preset", "ultrafast"]);
    ffmpeg.args(["-tune", "zerolatency", "-profile:v", "baseline", "-pix_fmt", "yuv420p", "-b:v", "1M", "-g", "30"]);
    ffmpeg.args(["-c:a", "libopus", "-ac", "2", "-f", "whip"]).args(flags).arg(line.http("/whip/secret"));
    let output = ffmpeg.stdin(std::process::Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(40), output).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    line.wait_for_end("demo").await;
    assert_eq!(line.ends().await, [true], "FFmpeg says goodbye: {said}");
    let seen = counts(&line.http("/live/demo/source/index.m3u8")).await;
    let sound = counts(&line.http("/live/demo/audio/index.m3u8")).await;
    println!("FFmpeg {flags:?}: {} of 180 pictures, {} frames of sound", seen.video, sound.audio);
    assert!(seen.video >= 178, "{} of 180 pictures", seen.video);
    assert_sound(sound.audio, 6);
    line.stop().await;
}

#[tokio::test]
async fn ffmpeg_s_muxer_publishes_and_waits_for_dtls() {
    assert_ffmpeg_publishes(&[]).await;
}

#[tokio::test]
async fn ffmpeg_s_muxer_publishes_and_begins_dtls_itself() {
    assert_ffmpeg_publishes(&["-whip_flags", "dtls_active"]).await;
}

/// Publishes eight seconds by GStreamer and says goodbye. No picture that it was given is lost, and sound comes with them.
async fn assert_webrtcbin_publishes(line: &Line, encode: &str) {
    let (client, offer) = Webrtcbin::offer((640, 360), 240, encode);
    let created = line.send("POST", "/whip", &[SDP, KEY], &offer).await;
    assert_eq!(created.status, 201, "{}", created.text);
    client.accept(&created.text);
    let until = Instant::now() + Duration::from_secs(40);
    while !client.is_done() {
        assert!(Instant::now() < until, "webrtcbin does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What is on its way is here when it was all counted, or when nothing has come for a second.
    let mut seen = line.pictures();
    while seen < client.sent() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if std::mem::replace(&mut seen, line.pictures()) == seen {
            break;
        }
    }
    let ended = line.send("DELETE", &created.header("location"), &[KEY], "").await;
    assert_eq!(ended.status, 200);
    line.wait_for_ends(1).await;
    assert_eq!(line.ends().await, [true]);
    let sound = counts(&line.http("/live/demo/audio/index.m3u8")).await;
    let (sent, seen) = (client.sent(), line.pictures());
    println!("webrtcbin: {seen} pictures of {sent} that were sent, {} frames of sound", sound.audio);
    assert!(sent > 0 && (sent..=240).contains(&seen), "{seen} pictures of {sent}");
    // Sound before the first picture has no place; on a busy machine more of the beginning is missing, for a reason that is not known.
    let whole = sent * 48_000 / 1_024 / 30;
    assert!(sound.audio > whole / 2, "{} frames of sound with {sent} pictures", sound.audio);
}

/// What GStreamer published is listed under this codec, and every picture of it plays.
async fn assert_playable(line: &Line, codec: &str) {
    let master = line.get("/live/demo/master.m3u8").await.text;
    assert!(master.contains(codec) && master.contains("640x360"), "{master}");
    assert_eq!(counts(&line.http("/live/demo/source/index.m3u8")).await.video, line.pictures());
    let errors = decode_errors(&line.http("/live/demo/master.m3u8")).await;
    assert!(errors.is_empty(), "{errors}");
}

#[tokio::test]
async fn gstreamer_publishes_h264_and_every_picture_arrives() {
    let line = Line::start().await;
    assert_webrtcbin_publishes(&line, webrtcbin::H264).await;
    assert_playable(&line, "avc1.").await;
    line.stop().await;
}

#[tokio::test]
async fn gstreamer_publishes_vp9_and_every_picture_arrives() {
    let line = Line::start().await;
    assert_webrtcbin_publishes(&line, webrtcbin::VP9).await;
    assert_playable(&line, "vp09.").await;
    line.stop().await;
}

#[tokio::test]
async fn gstreamer_publishes_vp8_and_every_picture_arrives() {
    let line = Line::start().await;
    assert_webrtcbin_publishes(&line, webrtcbin::VP8).await; // which no player takes as it is: there is no ladder here
    line.stop().await;
}
