//! A publisher by WHIP, on the `rtc` crate: H.264 and Opus as they are, paced by whoever drives it. Its HTTP is spoken by others.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
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
use tokio::net::UdpSocket;

use super::{PublisherError, soon};

/// Bytes of a packet at most, with its headers: below an Ethernet frame.
const PACKET: usize = 1_200;
/// A picture that repeats the time of the one before, as at the joint of a loop, comes a frame after it.
const FRAME: Duration = Duration::from_millis(33);

/// The packets of an Ogg file of Opus, in order. `None` where it is no Ogg.
pub fn opus(file: &[u8]) -> Option<Vec<Bytes>> {
    let (mut ogg, _) = OggReader::new(std::io::Cursor::new(file), true).ok()?;
    let mut packets = Vec::new();
    while let Ok((page, _)) = ogg.parse_next_page() {
        if !page.starts_with(b"Opus") {
            packets.push(page.freeze());
        }
    }
    Some(packets)
}

struct Sender {
    id: RTCRtpSenderId,
    packetizer: Box<dyn Packetizer>,
    /// Time of the last packet of it.
    last: Option<Duration>,
    rate: u32,
}

/// A client, publishing or about to.
pub struct Client {
    connection: RTCPeerConnection,
    socket: UdpSocket,
    local: SocketAddr,
    video: Sender,
    audio: Sender,
    connected: bool,
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

fn sender(connection: &mut RTCPeerConnection, kind: RtpCodecKind) -> Result<Sender, PublisherError> {
    let (codec, ssrc) = (codec(kind), rand::random());
    let coding = RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() };
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: coding,
        codec: codec.rtp_codec.clone(),
        ..Default::default()
    };
    let track = MediaStreamTrack::new("s".into(), format!("t-{kind}"), format!("l-{kind}"), kind, vec![encoding]);
    let id = connection.add_track(track).map_err(PublisherError::protocol)?;
    let packetizer = new_packetizer(
        Instant::now(),
        PACKET,
        codec.payload_type,
        ssrc,
        codec.rtp_codec.payloader().map_err(PublisherError::protocol)?,
        Box::new(rtc::rtp::sequence::new_random_sequencer()),
        codec.rtp_codec.clock_rate,
    );
    Ok(Sender { id, packetizer: Box::new(packetizer), last: None, rate: codec.rtp_codec.clock_rate })
}

impl Client {
    /// A client with an offer of H.264 and Opus, and the offer.
    ///
    /// # Errors
    /// No socket on loopback.
    pub async fn new() -> Result<(Self, String), PublisherError> {
        let wrong = PublisherError::protocol;
        let mut engine = MediaEngine::default();
        for kind in [RtpCodecKind::Video, RtpCodecKind::Audio] {
            engine.register_codec(codec(kind), kind).map_err(wrong)?;
        }
        let registry = register_default_interceptors(Registry::new(), &mut engine).map_err(wrong)?;
        let mut connection = RTCPeerConnectionBuilder::new()
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .build(Instant::now())
            .map_err(wrong)?;
        let video = sender(&mut connection, RtpCodecKind::Video)?;
        let audio = sender(&mut connection, RtpCodecKind::Audio)?;
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let local = socket.local_addr()?;
        let base_config = CandidateConfig {
            network: "udp".into(),
            address: local.ip().to_string(),
            port: local.port(),
            component: 1,
            ..Default::default()
        };
        let candidate =
            CandidateHostConfig { base_config, ..Default::default() }.new_candidate_host().map_err(wrong)?;
        let offer = connection.create_offer(None).map_err(wrong)?;
        connection.set_local_description(Instant::now(), offer).map_err(wrong)?;
        let candidate = RTCIceCandidate::from(&candidate).to_json().map_err(wrong)?;
        connection.add_local_candidate(candidate).map_err(wrong)?;
        let mut client = Self { connection, socket, local, video, audio, connected: false, answer: String::new() };
        let offer = client.described()?.replace("a=sendrecv", "a=sendonly");
        Ok((client, offer))
    }

    fn described(&mut self) -> Result<String, PublisherError> {
        let described = self.connection.local_description();
        Ok(described.ok_or_else(|| PublisherError::protocol("there is no offer"))?.sdp)
    }

    /// Takes the server's answer.
    ///
    /// # Errors
    /// An answer that is none to the offer.
    pub fn accept(&mut self, answer: &str) -> Result<(), PublisherError> {
        answer.clone_into(&mut self.answer);
        let answer = RTCSessionDescription::answer(self.answer.clone()).map_err(PublisherError::protocol)?;
        self.connection.set_remote_description(Instant::now(), answer).map_err(PublisherError::protocol)
    }

    /// Begins a restart of ICE: the lines of its new credentials, as a PATCH carries them.
    pub fn restart_ice(&mut self) -> Result<String, PublisherError> {
        self.connection.restart_ice();
        let offer = self.connection.create_offer(None).map_err(PublisherError::protocol)?;
        self.connection.set_local_description(Instant::now(), offer).map_err(PublisherError::protocol)?;
        let offer = self.described()?;
        let mut lines: Vec<&str> =
            offer.lines().filter(|l| l.starts_with("a=ice-ufrag") || l.starts_with("a=ice-pwd")).collect();
        lines.truncate(2);
        Ok(lines.join("\r\n") + "\r\n")
    }

    /// Takes the credentials that answer a restart.
    pub fn restarted(&mut self, fragment: &str) -> Result<(), PublisherError> {
        let value = |sdp: &str, key: &str| sdp.lines().find_map(|l| l.strip_prefix(key)).map(str::to_owned);
        let mut changed = self.answer.clone();
        for key in ["a=ice-ufrag:", "a=ice-pwd:"] {
            let both = value(&self.answer, key).zip(value(fragment, key));
            let (old, new) = both.ok_or_else(|| PublisherError::protocol(format!("the answer has no {key}")))?;
            changed = changed.replace(&old, &new);
        }
        self.accept(&changed)
    }

    /// Goes on until media can flow.
    ///
    /// # Errors
    /// Twenty seconds without a connection.
    pub async fn connect(&mut self) -> Result<(), PublisherError> {
        soon("a connection by ICE and DTLS", async {
            while !self.connected {
                self.step(Instant::now() + Duration::from_millis(20)).await?;
            }
            Ok(())
        })
        .await
    }

    /// Sends a picture (Annex B) or a packet of Opus, of the time `at` on the clock of both. Returns the moment before the last of its
    /// packets went out.
    pub async fn send(&mut self, video: bool, at: Duration, data: &Bytes) -> Result<Instant, PublisherError> {
        let sender = if video { &mut self.video } else { &mut self.audio };
        let step = match sender.last.replace(at) {
            None => Duration::ZERO,
            Some(_) if at == Duration::ZERO => FRAME,
            Some(last) => at.saturating_sub(last),
        };
        // The packetiser adds the samples of a packet after it: the step to this one goes before.
        sender.packetizer.skip_samples((step.as_secs_f64() * f64::from(sender.rate)).round() as u32);
        let packets = sender.packetizer.packetize(Instant::now(), data, 0).map_err(PublisherError::protocol)?;
        let id = sender.id;
        for packet in packets {
            let sender = self.connection.rtp_sender(id);
            let mut sender = sender.ok_or_else(|| PublisherError::protocol("the track is gone"))?;
            sender.write_rtp(Instant::now(), packet).map_err(PublisherError::protocol)?;
        }
        self.transmit().await
    }

    /// Answers what comes until `deadline`, and sends nothing new.
    pub async fn idle(&mut self, deadline: Instant) -> Result<(), PublisherError> {
        while Instant::now() < deadline {
            self.step(deadline).await?;
        }
        Ok(())
    }

    /// Tells the peer that this is the end, as far as WebRTC can.
    pub async fn close(mut self) -> Result<(), PublisherError> {
        self.connection.close().map_err(PublisherError::protocol)?;
        self.transmit().await?;
        Ok(())
    }

    async fn transmit(&mut self) -> Result<Instant, PublisherError> {
        let mut last = Instant::now();
        while let Some(out) = self.connection.poll_write() {
            last = Instant::now();
            let _ = self.socket.send_to(&out.message, out.transport.peer_addr).await; // lost, as on a network
        }
        Ok(last)
    }

    /// One turn of the wheel, until `deadline` or something arrives.
    async fn step(&mut self, deadline: Instant) -> Result<(), PublisherError> {
        self.connection.handle_timeout(Instant::now()).map_err(PublisherError::protocol)?;
        while let Some(event) = self.connection.poll_event() {
            if let RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) = event {
                self.connected |= state == RTCPeerConnectionState::Connected;
            }
        }
        while self.connection.poll_read().is_some() {}
        self.transmit().await?;
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
            let _ = self.connection.handle_read(message); // what cannot be read is left
            if Instant::now() >= due {
                break;
            }
        }
        Ok(())
    }
}
