//! A real encoder pushes real clips by RTMP through ingest, segmenter and origin; a real player reads the HLS back.

mod common;

use common::{Line, counts, media, push, tone};
use millrace_broadcaster::publisher::rtmp;
use std::time::Duration;

/// Pushes a clip as it is and compares what comes out with what went in.
async fn round_trip(file: &str, audio: bool) {
    let Some(clip) = media(file) else { return };
    let line = Line::start().await;
    let source = counts(&clip.to_string_lossy()).await;
    let outcome = push(&clip, &line.url("secret"), &["-c", "copy"]).finish().await;
    assert!(outcome.success, "{}", outcome.stderr);
    line.wait_for_end("demo").await;

    let master = line.get("/live/demo/master.m3u8").await.text;
    assert_eq!(master.contains("TYPE=AUDIO"), audio, "{master}");
    let video = counts(&line.http("/live/demo/source/index.m3u8")).await;
    assert_eq!(video.video, source.video, "{file}: pictures");
    if audio {
        let sound = counts(&line.http("/live/demo/audio/index.m3u8")).await;
        assert_eq!(sound.audio, source.audio, "{file}: audio frames");
    }
    // Each decodes without a complaint.
    let errors = common::decode_errors(&line.http("/live/demo/master.m3u8")).await;
    assert!(errors.is_empty(), "{file}: {errors}");
    line.stop().await;
}

#[tokio::test]
async fn a_real_rtmp_recording_comes_out_whole() {
    round_trip("livepeer-rtmp.flv", true).await;
}

#[tokio::test]
async fn what_measurements_publish_with_is_a_publisher_like_others() {
    let Some(clip) = media("livepeer-rtmp.flv") else { return };
    let line = Line::start().await;
    let refused = rtmp::Client::publish(line.rtmp, "live", "guess").await.err().unwrap().to_string();
    assert!(refused.contains("NetStream.Publish.Unauthorized: unknown key"), "{refused}");

    let tags = rtmp::tags(&std::fs::read(&clip).unwrap()).unwrap();
    let mut client = rtmp::Client::publish(line.rtmp, "live", "secret").await.unwrap();
    for tag in &tags {
        client.send(tag.at, tag).await.unwrap();
    }
    client.end().await.unwrap();
    line.wait_for_end("demo").await;
    assert_eq!(line.ends().await, [true]);
    let (sent, came) =
        (counts(&clip.to_string_lossy()).await, counts(&line.http("/live/demo/source/index.m3u8")).await);
    assert_eq!(came.video, sent.video);
    assert_eq!(tags.iter().filter(|tag| tag.is_media() && tag.is_video()).count(), sent.video);
    line.stop().await;
}

#[tokio::test]
async fn a_clip_with_surround_sound_comes_out_whole() {
    round_trip("bigbuckbunny.mp4", true).await;
}

#[tokio::test]
async fn a_stream_without_audio_plays() {
    round_trip("bikes.mp4", false).await;
}

#[tokio::test]
async fn sound_alone_plays() {
    let line = Line::start().await;
    let outcome = tone(&line.url("secret")).finish().await;
    assert!(outcome.success, "{}", outcome.stderr);
    let playlist = line.wait_until_of("demo", "audio", |playlist| playlist.contains("#EXT-X-ENDLIST")).await;
    let master = line.get("/live/demo/master.m3u8").await.text;
    assert!(master.contains("CODECS=\"mp4a.40.2\"\naudio/index.m3u8") && !master.contains("source"), "{master}");
    assert!(
        playlist.contains("#EXT-X-TARGETDURATION:2\n") && playlist.contains("#EXT-X-PROGRAM-DATE-TIME:"),
        "{playlist}"
    );
    let heard = counts(&line.http("/live/demo/master.m3u8")).await;
    // Frames of 1,024 samples, and the encoder's own first one.
    assert_eq!((heard.video, heard.audio), (0, (12 * 48_000_usize).div_ceil(1024) + 1));
    let errors = common::decode_errors(&line.http("/live/demo/master.m3u8")).await;
    assert!(errors.is_empty(), "{errors}");
    line.stop().await;
}

#[tokio::test]
async fn a_vertical_clip_plays() {
    round_trip("portrait.ts", false).await;
}

#[tokio::test]
async fn a_clip_in_4_2_2_passes_through() {
    round_trip("livepeer-422.ts", true).await;
}

#[tokio::test]
async fn a_clip_without_decoding_times_plays_as_far_as_its_encoder_sends_it() {
    let Some(clip) = media("missing-dts.ts") else { return };
    // As it is, FFmpeg's own muxer gives up after 37 of 120 pictures; told to number them (17 ms apart), it sends them all.
    let numbered = ["-c", "copy", "-bsf:v", "setts=dts=N*17:pts=N*17"];
    for (args, complete) in [(&["-c", "copy"][..], false), (&numbered[..], true)] {
        let line = Line::start().await;
        let outcome = push(&clip, &line.url("secret"), args).finish().await;
        assert_eq!(outcome.success, complete, "{}", outcome.stderr);
        line.wait_for_end("demo").await;
        let video = counts(&line.http("/live/demo/source/index.m3u8")).await.video;
        assert!(if complete { video == 120 } else { video >= 37 }, "{video} pictures");
        line.stop().await;
    }
}

#[tokio::test]
async fn playlists_are_served_as_players_expect() {
    let Some(clip) = media("bikes.mp4") else { return };
    let line = Line::start().await;
    assert_eq!(line.get("/live/demo/master.m3u8").await.status, 404);
    let publisher = push(&clip, &line.url("secret"), &["-c", "copy"]);
    assert!(publisher.finish().await.success);
    line.wait_for_end("demo").await;
    let playlist = line.get("/live/demo/source/index.m3u8").await;
    assert_eq!(playlist.header("content-type"), "application/vnd.apple.mpegurl");
    assert_eq!(playlist.header("access-control-allow-origin"), "*");
    assert!(playlist.header("cache-control").contains("max-age"));
    assert!(playlist.text.ends_with("#EXT-X-ENDLIST\n"));
    let packed = line.get_with("/live/demo/source/index.m3u8", "GET", &[("Accept-Encoding", "gzip")]).await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    let preflight = [("Origin", "http://player"), ("Access-Control-Request-Method", "GET")];
    let preflight = line.get_with("/live/demo/source/0.m4s", "OPTIONS", &preflight).await;
    assert_eq!(preflight.status, 200);
    assert!(preflight.header("access-control-allow-methods").contains("GET"));
    let segment = line.get("/live/demo/source/0.m4s").await;
    assert_eq!((segment.status, segment.header("content-type").as_str()), (200, "video/mp4"));
    assert_eq!(segment.header("content-length"), segment.body.len().to_string());
    assert_eq!(line.get("/live/demo/source/99.m4s").await.status, 404);
    assert_eq!(line.get("/live/demo/source/../../x").await.status, 404);
    line.stop().await;
}

#[tokio::test]
async fn a_player_that_is_early_waits_for_the_first_segment() {
    let Some(clip) = media("bikes.mp4") else { return };
    let line = Line::start().await;
    let mut publisher = push(&clip, &line.url("secret"), &["-c", "copy"]).realtime();
    line.wait_for_start().await;
    let early = line.get("/live/demo/source/index.m3u8").await;
    assert_eq!(early.status, 200, "{}", early.text);
    publisher.kill().await;
    line.stop().await;
}

#[tokio::test]
async fn a_killed_publisher_leaves_a_stream_that_its_successor_continues() {
    let Some(clip) = media("livepeer-rtmp.flv") else { return };
    let line = Line::start().await;
    let mut first = push(&clip, &line.url("secret"), &["-c", "copy"]).realtime();
    line.wait_until("demo", |playlist| playlist.contains("0.m4s")).await;
    first.kill().await;
    // At once, on the same key.
    let second = push(&clip, &line.url("secret"), &["-c", "copy"]);
    let outcome = second.finish().await;
    assert!(outcome.success, "{}", outcome.stderr);
    line.wait_for_end("demo").await;
    let playlist = line.get("/live/demo/source/index.m3u8").await.text;
    assert_eq!(playlist.matches("#EXT-X-DISCONTINUITY\n").count(), 1, "{playlist}");
    assert!(playlist.contains("init-"));
    assert_eq!(line.ends().await, [false, true], "first vanished, then finished");
    line.stop().await;
}

#[tokio::test]
async fn a_publisher_that_falls_silent_is_ended_by_the_idle_timeout() {
    let Some(clip) = media("bikes.mp4") else { return };
    let line = Line::with_idle(Duration::from_millis(500)).await;
    let mut publisher = push(&clip, &line.url("secret"), &["-c", "copy"]).realtime();
    line.wait_for_start().await;
    publisher.pause();
    line.wait_for_ends(1).await;
    publisher.kill().await;
    assert_eq!(line.ends().await, [false]);
    line.stop().await;
}
