//! What ingest turns away, as a real encoder sees it: with the status of the protocol and a reason in words.

mod common;

use common::{Line, lavfi, media, push};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_wrong_key_is_refused_with_a_reason() {
    let line = Line::start().await;
    let outcome = lavfi(&["-c:v", "libx264"], &line.url("guess")).finish().await;
    assert!(!outcome.success);
    assert!(outcome.stderr.contains("unknown key"), "{}", outcome.stderr);
    assert_eq!(line.started().await, 0);
    line.stop().await;
}

#[tokio::test]
async fn a_second_publisher_on_a_live_key_is_refused_and_the_first_goes_on() {
    let Some(clip) = media("bikes.mp4") else { return };
    let line = Line::start().await;
    let mut first = push(&clip, &line.url("secret"), &["-c", "copy"]).realtime();
    line.wait_for_start().await;
    let outcome = push(&clip, &line.url("secret"), &["-c", "copy"]).finish().await;
    assert!(!outcome.success);
    assert!(outcome.stderr.contains("already has a publisher"), "{}", outcome.stderr);
    assert!(first.is_running());
    assert_eq!(line.started().await, 1);
    first.kill().await;
    line.stop().await;
}

#[tokio::test]
async fn codecs_that_are_not_taken_are_named_and_refused() {
    let line = Line::start().await;
    for (codec, named) in [("flv1", "FLV1"), ("flashsv", "Screen Video")] {
        let outcome = lavfi(&["-c:v", codec, "-an"], &line.url("secret")).finish().await;
        assert!(!outcome.success, "{codec}");
        assert!(outcome.stderr.contains(named) && outcome.stderr.contains("H.264"), "{}", outcome.stderr);
    }
    let mp3 = ["-c:v", "libx264", "-c:a", "libmp3lame", "-ar", "44100"];
    let outcome = lavfi(&mp3, &line.url("secret")).finish().await;
    assert!(!outcome.success);
    assert!(outcome.stderr.contains("MP3") && outcome.stderr.contains("AAC"), "{}", outcome.stderr);
    assert_eq!(line.started().await, 0);
    line.stop().await;
}

#[tokio::test]
async fn a_player_is_turned_away() {
    let line = Line::start().await;
    let outcome = common::play(&line.url("secret")).finish().await;
    assert!(!outcome.success);
    assert!(outcome.stderr.contains("watch over hls"), "{}", outcome.stderr);
    line.stop().await;
}

#[tokio::test]
async fn garbage_closes_its_connection_and_no_other() {
    let line = Line::start().await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xFF; 4096], &[3; 8192]] {
        let mut socket = tokio::net::TcpStream::connect(line.rtmp).await.unwrap();
        let _ = socket.write_all(garbage).await;
        let mut answer = Vec::new();
        // Closed by the server, well before the handshake's timeout.
        let closed = tokio::time::timeout(std::time::Duration::from_secs(4), socket.read_to_end(&mut answer)).await;
        assert!(closed.is_ok());
    }
    let Some(clip) = media("bikes.mp4") else { return };
    assert!(push(&clip, &line.url("secret"), &["-c", "copy"]).finish().await.success);
    line.stop().await;
}

#[tokio::test]
async fn a_server_that_drains_ends_its_streams_and_returns() {
    let Some(clip) = media("bikes.mp4") else { return };
    let line = Line::start().await;
    let publisher = push(&clip, &line.url("secret"), &["-c", "copy"]).realtime();
    line.wait_for_start().await;
    line.stop().await; // returns only when every connection is closed
    drop(publisher);
}
