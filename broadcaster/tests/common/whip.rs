//! A WHIP client, and the media that it publishes.

use super::relay::Relay;
use super::{Answer, Line};
use bytes::Bytes;
use millrace_broadcaster::publisher::whip;
use millrace_media::h264::{AvcConfig, sample_to_annexb};
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use std::time::{Duration, Instant};

pub const SDP: (&str, &str) = ("Content-Type", "application/sdp");
pub const FRAGMENT: (&str, &str) = ("Content-Type", "application/trickle-ice-sdpfrag");
pub const KEY: (&str, &str) = ("Authorization", "Bearer secret");

/// What is published: pictures and packets of sound with the time of each.
pub struct Media {
    items: Vec<(Duration, RtpCodecKind, Bytes)>,
    pub pictures: usize,
}

impl Media {
    /// `seconds` of 30 pictures a second of this size, a key picture each second, and a tone.
    pub fn new(width: u32, height: u32, seconds: u32) -> Self {
        let (track, samples) = millrace_media::synthetic::source(width, height, 30, seconds * 30, 30).unwrap();
        let config = AvcConfig::parse(&track.config).unwrap();
        let mut items: Vec<_> = samples
            .iter()
            .map(|sample| {
                let at = Duration::from_micros(sample.pts as u64 * 1_000_000 / 90_000);
                let data = sample_to_annexb(&sample.data, sample.key.then_some(&config)).unwrap();
                (at, RtpCodecKind::Video, data)
            })
            .collect();
        let pictures = items.len();
        items.extend(tone(seconds));
        items.sort_by_key(|(at, ..)| *at);
        Self { items, pictures }
    }

    /// This, then `other`.
    pub fn then(mut self, other: Self) -> Self {
        let end = self.items.last().unwrap().0 + Duration::from_millis(20);
        self.items.extend(other.items.into_iter().map(|(at, kind, data)| (at + end, kind, data)));
        self.pictures += other.pictures;
        self
    }

    /// Cuts it in two.
    pub fn split(mut self, at: Duration) -> (Self, Self) {
        let middle = self.items.partition_point(|(time, ..)| *time < at);
        let mut rest = self.items.split_off(middle);
        rest.iter_mut().for_each(|(time, ..)| *time -= at);
        let count = |items: &[(Duration, RtpCodecKind, Bytes)]| {
            items.iter().filter(|(_, kind, _)| *kind == RtpCodecKind::Video).count()
        };
        let (pictures, others) = (count(&self.items), count(&rest));
        (Self { items: self.items, pictures }, Self { items: rest, pictures: others })
    }
}

fn tone(seconds: u32) -> impl Iterator<Item = (Duration, RtpCodecKind, Bytes)> {
    let source = format!("sine=frequency=440:sample_rate=48000:duration={seconds}");
    let output = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", &source, "-c:a", "libopus", "-ac", "2", "-page_duration", "20000"])
        .args(["-f", "ogg", "-"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let pages = whip::opus(&output.stdout).unwrap();
    pages.into_iter().enumerate().map(|(n, page)| (Duration::from_millis(n as u64 * 20), RtpCodecKind::Audio, page))
}

/// A client that is publishing.
pub struct Client {
    publisher: whip::Client,
    pub session: String,
    pub etag: String,
}

impl Client {
    /// A client with an offer of H.264 and Opus, and the offer.
    pub async fn new() -> (Self, String) {
        let (publisher, offer) = whip::Client::new().await.unwrap();
        (Self { publisher, session: String::new(), etag: String::new() }, offer)
    }

    /// Publishes to a line, and is connected when this returns.
    pub async fn publish(line: &Line) -> Self {
        let (mut client, offer) = Self::new().await;
        let created = line.send("POST", "/whip", &[SDP, KEY], &offer).await;
        client.accept(&created, |answer| answer.to_owned());
        client.connect().await;
        client
    }

    /// Publishes to a path with the key in it.
    pub async fn publish_at(line: &Line, path: &str) -> Self {
        let (mut client, offer) = Self::new().await;
        let created = line.send("POST", path, &[SDP], &offer).await;
        client.accept(&created, |answer| answer.to_owned());
        client.connect().await;
        client
    }

    /// Publishes through a relay.
    pub async fn publish_through(line: &Line, relay: Relay) -> Self {
        let (mut client, offer) = Self::new().await;
        // Without candidates of its own: the relay is all that the server sees of it.
        let offer: String =
            offer.lines().filter(|l| !l.starts_with("a=candidate")).map(|l| format!("{l}\r\n")).collect();
        let created = line.send("POST", "/whip", &[SDP, KEY], &offer).await;
        let (host, port) = (relay.outside.ip().to_string(), relay.outside.port().to_string());
        let first = created.text.lines().find(|l| l.starts_with("a=candidate") && l.contains(" 127.0.0.1 "));
        let fields: Vec<&str> = first.unwrap().split(' ').collect();
        let server = format!("{}:{}", fields[4], fields[5]).parse().unwrap();
        let line = [&fields[..4], &[host.as_str(), port.as_str()], &fields[6..]].concat().join(" ");
        client.accept(&created, |answer| {
            let lines = answer.lines().map(|l| if l.starts_with("a=candidate") { line.as_str() } else { l });
            lines.map(|l| format!("{l}\r\n")).collect()
        });
        tokio::spawn(relay.run(server));
        client.connect().await;
        client
    }

    pub fn accept(&mut self, created: &Answer, change: impl Fn(&str) -> String) {
        assert_eq!(created.status, 201, "{}", created.text);
        (self.session, self.etag) = (created.header("location"), created.header("etag"));
        self.publisher.accept(&change(&created.text)).unwrap();
    }

    /// Restarts ICE with a PATCH and takes the answer.
    pub async fn restart_ice(&mut self, line: &Line) -> Answer {
        let fragment = self.publisher.restart_ice().unwrap();
        let answer = line.send("PATCH", &self.session, &[FRAGMENT, KEY, ("If-Match", "*")], &fragment).await;
        self.publisher.restarted(&answer.text).unwrap();
        answer
    }

    pub async fn connect(&mut self) {
        self.publisher.connect().await.unwrap();
    }

    /// Sends media at its own pace.
    pub async fn send(&mut self, media: &Media) {
        let began = Instant::now();
        for (at, kind, data) in &media.items {
            self.publisher.idle(began + *at).await.unwrap();
            self.publisher.send(*kind == RtpCodecKind::Video, *at, data).await.unwrap();
        }
        self.idle(Duration::from_millis(300)).await;
    }

    /// Answers what comes for a while, and sends nothing new.
    pub async fn idle(&mut self, time: Duration) {
        self.publisher.idle(Instant::now() + time).await.unwrap();
    }

    pub async fn delete(self, line: &Line) -> u16 {
        let status = line.send("DELETE", &self.session, &[KEY], "").await.status;
        let _ = self.publisher.close().await;
        status
    }
}

/// A refusal as `problem+json` with this status, whose words hold `named`.
pub fn assert_problem(answer: &Answer, status: u16, named: &str) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text);
    let problem: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
    assert_eq!(problem["status"], status);
    assert!(problem["detail"].as_str().unwrap().contains(named), "{} should name {named}", answer.text);
}
