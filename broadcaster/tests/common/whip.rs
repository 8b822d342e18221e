//! A WHIP client on the `rtc` crate, and the media that it publishes.

use super::relay::Relay;
use super::{Answer, Line, PATIENCE};
use bytes::{Bytes, BytesMut};
use millrace_media::h264::{AvcConfig, sample_to_annexb};
use rtc::interceptor::Registry;
use rtc::media::io::ogg_reader::OggReader;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::{CandidateConfig, CandidateHostConfig, RTCIceCandidate};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp::packetizer::{Packetizer, new_packetizer};
use rtc::rtp_transceiver::RTCRtpSenderId;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

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
    let (mut ogg, _) = OggReader::new(std::io::Cursor::new(output.stdout), true).unwrap();
    let mut pages = Vec::new();
    while let Ok((page, _)) = ogg.parse_next_page() {
        if !page.starts_with(b"Opus") {
            pages.push(page.freeze());
        }
    }
    pages.into_iter().enumerate().map(|(n, page)| (Duration::from_millis(n as u64 * 20), RtpCodecKind::Audio, page))
}

struct Sender {
    kind: RtpCodecKind,
    id: RTCRtpSenderId,
    packetizer: Box<dyn Packetizer>,
    /// Time of the last packet of it, in its own ticks.
    last: Option<Duration>,
    rate: u32,
}

/// A client that is publishing.
pub struct Client {
    connection: RTCPeerConnection,
    socket: UdpSocket,
    local: SocketAddr,
    senders: Vec<Sender>,
    connected: bool,
    pub session: String,
    pub etag: String,
    answer: String,
}

fn codec(kind: RtpCodecKind) -> RTCRtpCodecParameters {
    let (mime_type, clock_rate, channels, fmtp, payload_type) = match kind {
        RtpCodecKind::Video => {
            ("video/H264", 90_000, 0, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f", 102)
        }
        _ => ("audio/opus", 48_000, 2, "minptime=10;useinbandfec=1", 111),
    };
    let rtp_codec = RTCRtpCodec {
        mime_type: mime_type.into(),
        clock_rate,
        channels,
        sdp_fmtp_line: fmtp.into(),
        rtcp_feedback: Vec::new(),
    };
    RTCRtpCodecParameters { rtp_codec, payload_type }
}

impl Client {
    /// A client with an offer of H.264 and Opus, and the offer.
    pub async fn new() -> (Self, String) {
        let mut engine = MediaEngine::default();
        for kind in [RtpCodecKind::Video, RtpCodecKind::Audio] {
            engine.register_codec(codec(kind), kind).unwrap();
        }
        let registry = register_default_interceptors(Registry::new(), &mut engine).unwrap();
        let mut connection = RTCPeerConnectionBuilder::new()
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .build(Instant::now())
            .unwrap();
        let mut senders = Vec::new();
        for kind in [RtpCodecKind::Video, RtpCodecKind::Audio] {
            let (codec, ssrc) = (codec(kind), rand::random());
            let coding = RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() };
            let encoding = RTCRtpEncodingParameters {
                rtp_coding_parameters: coding,
                codec: codec.rtp_codec.clone(),
                ..Default::default()
            };
            let track =
                MediaStreamTrack::new("s".into(), format!("t-{kind}"), format!("l-{kind}"), kind, vec![encoding]);
            let id = connection.add_track(track).unwrap();
            let packetizer = new_packetizer(
                Instant::now(),
                1_200,
                codec.payload_type,
                ssrc,
                codec.rtp_codec.payloader().unwrap(),
                Box::new(rtc::rtp::sequence::new_random_sequencer()),
                codec.rtp_codec.clock_rate,
            );
            let rate = codec.rtp_codec.clock_rate;
            senders.push(Sender { kind, id, packetizer: Box::new(packetizer), last: None, rate });
        }
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let local = socket.local_addr().unwrap();
        let base_config = CandidateConfig {
            network: "udp".into(),
            address: local.ip().to_string(),
            port: local.port(),
            component: 1,
            ..Default::default()
        };
        let candidate = CandidateHostConfig { base_config, ..Default::default() }.new_candidate_host().unwrap();
        let offer = connection.create_offer(None).unwrap();
        connection.set_local_description(Instant::now(), offer).unwrap();
        connection.add_local_candidate(RTCIceCandidate::from(&candidate).to_json().unwrap()).unwrap();
        let offer = connection.local_description().unwrap().sdp.replace("a=sendrecv", "a=sendonly");
        let (session, etag, answer) = Default::default();
        (Self { connection, socket, local, senders, connected: false, session, etag, answer }, offer)
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
        self.answer = change(&created.text);
        let answer = RTCSessionDescription::answer(self.answer.clone()).unwrap();
        self.connection.set_remote_description(Instant::now(), answer).unwrap();
    }

    /// Restarts ICE with a PATCH and takes the answer.
    pub async fn restart_ice(&mut self, line: &Line) -> Answer {
        self.connection.restart_ice();
        let offer = self.connection.create_offer(None).unwrap();
        self.connection.set_local_description(Instant::now(), offer).unwrap();
        let offer = self.connection.local_description().unwrap().sdp;
        let ice = |sdp: &str| -> String {
            let mut lines: Vec<&str> =
                sdp.lines().filter(|l| l.starts_with("a=ice-ufrag") || l.starts_with("a=ice-pwd")).collect();
            lines.truncate(2);
            lines.join("\r\n") + "\r\n"
        };
        let answer = line.send("PATCH", &self.session, &[FRAGMENT, KEY, ("If-Match", "*")], &ice(&offer)).await;
        let value = |sdp: &str, key: &str| sdp.lines().find_map(|l| l.strip_prefix(key)).unwrap().to_owned();
        let mut changed = self.answer.clone();
        for key in ["a=ice-ufrag:", "a=ice-pwd:"] {
            changed = changed.replace(&value(&self.answer, key), &value(&answer.text, key));
        }
        let changed = RTCSessionDescription::answer(changed).unwrap();
        self.connection.set_remote_description(Instant::now(), changed).unwrap();
        answer
    }

    pub async fn connect(&mut self) {
        let until = Instant::now() + PATIENCE;
        while !self.connected {
            assert!(Instant::now() < until, "webrtc does not connect");
            self.step(Instant::now() + Duration::from_millis(20)).await;
        }
    }

    /// Sends media at its own pace.
    pub async fn send(&mut self, media: &Media) {
        let began = Instant::now();
        for (at, kind, data) in &media.items {
            while Instant::now() < began + *at {
                self.step(began + *at).await;
            }
            let sender = self.senders.iter_mut().find(|sender| sender.kind == *kind).unwrap();
            let step = sender.last.map_or(Duration::ZERO, |last| at.saturating_sub(last));
            let step = if sender.last.is_some() && *at == Duration::ZERO { Duration::from_millis(33) } else { step };
            // The packetiser adds the samples of a packet after it: the step to this one goes before.
            sender.packetizer.skip_samples((step.as_secs_f64() * f64::from(sender.rate)).round() as u32);
            sender.last = Some(*at);
            let packets = sender.packetizer.packetize(Instant::now(), data, 0).unwrap();
            for packet in packets {
                let mut sender = self.connection.rtp_sender(sender.id).unwrap();
                sender.write_rtp(Instant::now(), packet).unwrap();
            }
            self.step(Instant::now()).await;
        }
        self.idle(Duration::from_millis(300)).await;
    }

    /// Answers what comes for a while, and sends nothing new.
    pub async fn idle(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.step(until).await;
        }
    }

    pub async fn delete(mut self, line: &Line) -> u16 {
        let status = line.send("DELETE", &self.session, &[KEY], "").await.status;
        let _ = self.connection.close();
        status
    }

    /// One turn of the wheel, until `deadline` or something arrives.
    async fn step(&mut self, deadline: Instant) {
        self.connection.handle_timeout(Instant::now()).unwrap();
        while let Some(event) = self.connection.poll_event() {
            if let RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) = event {
                self.connected |= state == RTCPeerConnectionState::Connected;
            }
        }
        while self.connection.poll_read().is_some() {}
        while let Some(out) = self.connection.poll_write() {
            let _ = self.socket.send_to(&out.message, out.transport.peer_addr).await;
        }
        let due = self.connection.poll_timeout().unwrap_or(deadline).min(deadline);
        let mut buffer = [0; 2_048];
        while let Ok(Ok((count, peer_addr))) =
            tokio::time::timeout_at(due.into(), self.socket.recv_from(&mut buffer)).await
        {
            let transport = TransportContext {
                local_addr: self.local,
                peer_addr,
                transport_protocol: TransportProtocol::UDP,
                ecn: None,
            };
            let message = TaggedBytesMut { now: Instant::now(), transport, message: BytesMut::from(&buffer[..count]) };
            let _ = self.connection.handle_read(message);
            if Instant::now() >= due {
                break;
            }
        }
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
