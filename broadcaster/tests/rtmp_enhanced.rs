//! What newer encoders do over RTMP: other codecs and several tracks by Enhanced RTMP, TLS, a move to another server.
#![allow(clippy::unwrap_used)] // a helper that fails fails its test

mod common;

use common::{Line, Push, counts, decode_errors, media, push, recent_ffmpeg};
use millrace_broadcaster::ingest::rtmp::amf0::{Value, decode, encode};
use millrace_broadcaster::ingest::rtmp::chunk::{Message, Reader, Writer, kind};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const COPY: [&str; 2] = ["-c", "copy"];
/// What [`hevc`] makes, as a playlist names it.
const HEVC: &str = "hvc1.1.6.L63.90";

/// Makes a file with a tone and a moving picture of `seconds` seconds at 30 pictures a second.
async fn made(program: &OsStr, dir: &Path, name: &str, seconds: u32, video: &[&str]) -> PathBuf {
    let path = dir.join(name);
    let (picture, tone) = (format!("testsrc2=s=640x360:r=30:d={seconds}"), format!("sine=f=440:r=48000:d={seconds}"));
    let mut ffmpeg = tokio::process::Command::new(program);
    ffmpeg.args(["-v", "error", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &tone]).args(video);
    let output = ffmpeg.args(["-c:a", "aac"]).arg(&path).kill_on_drop(true).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

/// HEVC with B-frames, a keyframe every second, by x265 with these parameters besides.
async fn hevc(program: &OsStr, dir: &Path, seconds: u32, parameters: &str) -> PathBuf {
    let parameters = format!("log-level=error:keyint=30:min-keyint=30:{parameters}");
    let video = ["-pix_fmt", "yuv420p", "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", &parameters];
    made(program, dir, "hevc.mp4", seconds, &video).await
}

/// Pushes `what` and expects `pictures` of this codec and `sounds` of AAC to come out, without a fault.
async fn comes_out_whole(line: &Line, what: Push, codec: &str, pictures: usize, sounds: usize) {
    let outcome = what.finish().await;
    assert!(outcome.success, "{}", outcome.stderr);
    line.wait_for_end("demo").await;
    let master = line.get("/live/demo/master.m3u8").await.text;
    assert!(master.contains(&format!("{codec},mp4a.40.2")), "{master}");
    assert_eq!(counts(&line.http("/live/demo/source/index.m3u8")).await.video, pictures);
    assert_eq!(counts(&line.http("/live/demo/audio/index.m3u8")).await.audio, sounds);
    let errors = decode_errors(&line.http("/live/demo/master.m3u8")).await;
    assert!(errors.is_empty(), "{errors}");
}

/// Pushes a clip as it is by RTMPS, and checks the server's certificate.
fn secure_copy(line: &Line, clip: &Path, key: &str) -> Push {
    let trusted = line.trusted();
    let options: Vec<&str> = COPY.into_iter().chain(trusted.iter().map(String::as_str)).collect();
    push(clip, &line.secure_url(key), &options)
}

#[tokio::test]
async fn hevc_comes_out_whole_by_rtmp_and_by_rtmps() {
    let Some(program) = recent_ffmpeg() else { return };
    let dir = tempfile::tempdir().unwrap();
    let clip = hevc(&program, dir.path(), 6, "open-gop=0:bframes=3").await;
    let source = counts(&clip.to_string_lossy()).await;
    assert_eq!(source.video, 180);
    for secure in [false, true] {
        let line = Line::start().await;
        let copy = if secure { secure_copy(&line, &clip, "secret") } else { push(&clip, &line.url("secret"), &COPY) };
        let copy = copy.by(&program);
        comes_out_whole(&line, copy, HEVC, source.video, source.audio).await;
        line.stop().await;
    }
}

#[tokio::test]
async fn av1_and_vp9_come_out_whole() {
    let Some(program) = recent_ffmpeg() else { return };
    let dir = tempfile::tempdir().unwrap();
    let vp9 = ["-c:v", "libvpx-vp9", "-cpu-used", "8", "-g", "30", "-lag-in-frames", "16", "-deadline"];
    for (name, codec, video) in [
        (
            "svt.mp4",
            "av01.0.01M.10",
            &["-c:v", "libsvtav1", "-preset", "12", "-g", "30", "-pix_fmt", "yuv420p10le"][..],
        ),
        ("aom.mkv", "av01.0.01M.08", &["-c:v", "libaom-av1", "-usage", "realtime", "-cpu-used", "8", "-g", "30"]),
        ("good.mp4", "vp09.00.30.08", &[&vp9[..], &["good"]].concat()),
        ("realtime.webm", "vp09.00.30.08", &[&vp9[..], &["realtime", "-f", "matroska"]].concat()),
    ] {
        let video = [video, &["-b:v", "500k"]].concat();
        let clip = made(&program, dir.path(), name, 4, &[&["-pix_fmt", "yuv420p"], &video[..]].concat()).await;
        let source = counts(&clip.to_string_lossy()).await;
        assert_eq!(source.video, 120, "{name}");
        let line = Line::start().await;
        let copy = push(&clip, &line.url("secret"), &COPY).by(&program);
        comes_out_whole(&line, copy, codec, source.video, source.audio).await;
        line.stop().await;
    }
}

#[tokio::test]
async fn vp8_comes_out_whole_and_is_not_listed() {
    let Some(program) = recent_ffmpeg() else { return };
    let dir = tempfile::tempdir().unwrap();
    let video = ["-pix_fmt", "yuv420p", "-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-an"];
    let clip = made(&program, dir.path(), "vp8.ivf", 2, &video).await;
    let line = Line::start().await;
    let mut encoder = Encoder::connect(&line, 0.0).await;
    encoder.send(kind::AUDIO, 1, b"\xaf\x00\x12\x10").await;
    let frames = ivf(&std::fs::read(clip).unwrap());
    for frame in &frames {
        encoder.send(kind::VIDEO, 1, &[b"\xa1vp08", &frame[..]].concat()).await;
    }
    encoder.command(0, &[text("deleteStream"), Value::Number(4.0), Value::Null, Value::Number(1.0)]).await;
    line.wait_for_ends(1).await;
    let mut whole = line.get("/live/demo/source/init-0.mp4").await.body;
    whole.extend(line.get("/live/demo/source/0.m4s").await.body);
    let file = dir.path().join("source.mp4");
    std::fs::write(&file, whole).unwrap();
    assert_eq!((counts(&file.to_string_lossy()).await.video, frames.len()), (60, 60));
    assert_eq!(decode_errors(&file.to_string_lossy()).await, "");
    assert_eq!(line.get("/live/demo/master.m3u8").await.status, 404);
    let source = line.get("/live/demo/source/index.m3u8").await.text; // there is no ladder here that could stand in
    assert_eq!(source.matches("#EXT-X-GAP").count(), source.matches(".m4s").count(), "{source}");
    assert!(!source.contains("#EXT-X-MAP") && source.contains("#EXT-X-ENDLIST"), "{source}");
    line.stop().await;
}

/// The frames of an IVF file.
fn ivf(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &file[32..];
    let mut frames = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<12>() {
        let (frame, next) = after.split_at(u32::from_le_bytes(head[..4].try_into().unwrap()) as usize);
        frames.push(frame.to_vec());
        rest = next;
    }
    frames
}

#[tokio::test]
async fn of_several_tracks_the_first_is_served() {
    let Some(program) = recent_ffmpeg() else { return };
    let dir = tempfile::tempdir().unwrap();
    let clip = hevc(&program, dir.path(), 4, "open-gop=0").await;
    let source = counts(&clip.to_string_lossy()).await;
    let line = Line::start().await;
    let tracks = ["-map", "0:v", "-map", "0:a", "-map", "0:v", "-map", "0:a", "-c", "copy"];
    let all = push(&clip, &line.url("secret"), &tracks).by(&program);
    comes_out_whole(&line, all, HEVC, source.video, source.audio).await;
    line.stop().await;
}

#[tokio::test]
async fn what_cannot_be_cut_or_is_not_taken_is_refused_with_a_reason() {
    let Some(program) = recent_ffmpeg() else { return };
    let dir = tempfile::tempdir().unwrap();
    let open = hevc(&program, dir.path(), 15, "open-gop=1:bframes=3").await;
    let closed = hevc(&program, dir.path(), 4, "open-gop=0").await;
    let opus: &[&str] = &["-c:v", "copy", "-c:a", "libopus"];
    for (clip, codecs, named) in [(open, &COPY[..], "open-gop=0"), (closed, opus, "Opus")] {
        let line = Line::start().await;
        // At a live pace: a file that is sent at once is over before the answer is read.
        let outcome = push(&clip, &line.url("secret"), codecs).by(&program).paced(1).finish().await;
        assert!(!outcome.success, "{named}");
        assert!(outcome.stderr.contains(named), "{}", outcome.stderr);
        line.stop().await;
    }
}

#[tokio::test]
async fn an_old_encoder_publishes_by_rtmps() {
    let Some(clip) = media("livepeer-rtmp.flv") else { return };
    let line = Line::start().await;
    let source = counts(&clip.to_string_lossy()).await;
    let outcome = secure_copy(&line, &clip, "secret").finish().await;
    assert!(outcome.success, "{}", outcome.stderr);
    line.wait_for_end("demo").await;
    assert_eq!(line.ends().await, [true]);
    assert_eq!(counts(&line.http("/live/demo/source/index.m3u8")).await.video, source.video);
    assert_eq!(counts(&line.http("/live/demo/audio/index.m3u8")).await.audio, source.audio);
    // The keys are the same, and so are the refusals.
    let outcome = secure_copy(&line, &clip, "guess").finish().await;
    assert!(!outcome.success && outcome.stderr.contains("unknown key"), "{}", outcome.stderr);
    line.stop().await;
}

#[tokio::test]
async fn rtmps_speaks_tls_alone_and_within_its_limit() {
    let line = Line::start().await;
    for greeting in [&b"\x03plain rtmp"[..], b"GET / HTTP/1.1\r\n\r\n", &[0xFF; 4096]] {
        let mut socket = TcpStream::connect(line.rtmps).await.unwrap();
        let _ = socket.write_all(greeting).await;
        let closed = tokio::time::timeout(Duration::from_secs(4), socket.read_to_end(&mut Vec::new())).await;
        assert!(closed.is_ok(), "{}", greeting.escape_ascii());
    }
    // Who says nothing is given up after the handshake's five seconds, and a server that stops waits for nobody.
    let began = Instant::now();
    let mut silent = TcpStream::connect(line.rtmps).await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
    assert!((Duration::from_secs(4)..Duration::from_secs(7)).contains(&began.elapsed()), "{:?}", began.elapsed());
    let waiting = TcpStream::connect(line.rtmps).await.unwrap();
    let began = Instant::now();
    line.stop().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    drop(waiting);
}

/// An encoder that the test plays: as much of RTMP as a publisher needs.
struct Encoder {
    socket: TcpStream,
    reader: Reader,
    input: bytes::BytesMut,
}

fn text(text: &str) -> Value {
    Value::String(text.into())
}

impl Encoder {
    /// Connects with these `capsEx`, and publishes.
    async fn connect(line: &Line, capabilities: f64) -> Self {
        let socket = TcpStream::connect(line.rtmp).await.unwrap();
        let mut encoder = Self { socket, reader: Reader::default(), input: bytes::BytesMut::new() };
        let mut hello = vec![3];
        hello.extend([7; 1536]);
        encoder.socket.write_all(&hello).await.unwrap();
        let mut answer = vec![0; 1 + 2 * 1536];
        encoder.socket.read_exact(&mut answer).await.unwrap();
        encoder.socket.write_all(&answer[1..1537]).await.unwrap();
        let object = vec![("app".to_owned(), text("live")), ("capsEx".to_owned(), Value::Number(capabilities))];
        encoder.command(0, &[text("connect"), Value::Number(1.0), Value::Object(object)]).await;
        encoder.command(0, &[text("createStream"), Value::Number(2.0), Value::Null]).await;
        encoder.command(1, &[text("publish"), Value::Number(3.0), Value::Null, text("secret"), text("live")]).await;
        encoder
    }

    /// The same, and sends a picture of H.264.
    async fn publish(line: &Line, capabilities: f64) -> Self {
        let mut encoder = Self::connect(line, capabilities).await;
        let sps = b"\x67\x42\xc0\x0a\xd9\x04\x26\xc0\x44\0\0\x03\0\x04\0\0\x03\0\xc8\x3c\x48\x99\x20";
        let avcc = [b"\x01\x42\xc0\x0a\xff\xe1\0\x17", &sps[..], b"\x01\0\x05\x68\xcb\x83\xcb\x20"].concat();
        encoder.send(kind::VIDEO, 1, &[b"\x17\x00\0\0\0", &avcc[..]].concat()).await;
        encoder.send(kind::AUDIO, 1, b"\xaf\x00\x12\x10").await;
        encoder.send(kind::VIDEO, 1, b"\x17\x01\0\0\0\0\0\0\x02\x65\x88").await;
        encoder
    }

    async fn send(&mut self, kind: u8, stream: u32, body: &[u8]) {
        let mut out = Vec::new();
        Writer::default().write(&mut out, 4, kind, stream, body);
        self.socket.write_all(&out).await.unwrap();
    }

    async fn command(&mut self, stream: u32, values: &[Value]) {
        self.send(kind::COMMAND_AMF0, stream, &encode(values)).await;
    }

    /// The next message, or `None` when the server has closed.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.reader.next(&mut self.input).unwrap() {
                if message.kind == kind::SET_CHUNK_SIZE {
                    let size = u32::from_be_bytes(message.body[..].try_into().unwrap());
                    self.reader.set_chunk_size(size).unwrap();
                }
                return Some(message);
            }
            if self.socket.read_buf(&mut self.input).await.unwrap() == 0 {
                return None;
            }
        }
    }

    /// The code of the next onStatus.
    async fn status(&mut self) -> Option<String> {
        while let Some(message) = self.next().await {
            if message.kind == kind::COMMAND_AMF0 {
                let values = decode(&message.body).unwrap();
                if values[0] == text("onStatus") {
                    return values[3].get("code").and_then(Value::as_str).map(str::to_owned);
                }
            }
        }
        None
    }
}

#[tokio::test]
async fn an_encoder_that_can_is_asked_to_reconnect_when_the_server_drains() {
    const RECONNECT: &str = "NetConnection.Connect.ReconnectRequest";
    for (capabilities, leaves) in [(1.0, true), (1.0, false), (0.0, false)] {
        let line = Line::start().await;
        let mut encoder = Encoder::publish(&line, capabilities).await;
        assert_eq!(encoder.status().await.as_deref(), Some("NetStream.Publish.Start"));
        line.wait_for_start().await;
        let began = Instant::now();
        let stopping = tokio::spawn(line.stop());
        if capabilities > 0.0 {
            assert_eq!(encoder.status().await.as_deref(), Some(RECONNECT));
        }
        if leaves {
            // It publishes elsewhere now, and ends here.
            encoder.command(0, &[text("deleteStream"), Value::Number(4.0), Value::Null, Value::Number(1.0)]).await;
            assert_eq!(encoder.status().await.as_deref(), Some("NetStream.Unpublish.Success"));
        } else {
            assert_eq!(encoder.status().await.as_deref(), Some("NetStream.Publish.Rejected"), "cut off with a reason");
        }
        drop(encoder);
        stopping.await.unwrap();
        // Who was asked and stays has five seconds.
        let expected = if capabilities > 0.0 && !leaves { 4.0..7.0 } else { 0.0..3.0 };
        assert!(expected.contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
    }
}
