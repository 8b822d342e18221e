//! One WebRTC peer: the `rtc` crate's sans-IO connection with what a WHIP session needs of it, and no more.

use super::nomination::Nomination;
use super::offer::{MOST_CANDIDATES, Offer};
use super::problem::Problem;
use super::reorder::Packet;
use crate::events::TrackKind;
use bytes::BytesMut;
use rtc::interceptor::{NackGeneratorBuilder, Registry, Slot};
use rtc::peer_connection::configuration::interceptor_registry::{
    configure_rtcp_reports, configure_simulcast_extension_headers, configure_twcc_receiver_only,
};
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::event::{RTCPeerConnectionEvent, RTCTrackEvent};
use rtc::peer_connection::message::{RTCMessage, TaggedRTCMessage};
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::{RTCIceConnectionState, RTCPeerConnectionState};
use rtc::peer_connection::transport::{CandidateConfig, CandidateHostConfig, RTCIceCandidate, RTCIceCandidateInit};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtp_transceiver::RTCRtpReceiverId;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// From one request for lost packets to the next, and how often one is asked for: within the wait of the order.
const NACK_INTERVAL: Duration = Duration::from_millis(50);
const MOST_NACKS: u16 = 8;
/// Packets that may arrive before a missing one without being called lost: networks swap neighbours.
const NACK_PATIENCE: u16 = 2;
/// Packets sent again come late: a second of 8 Mb/s. Older ones are taken for replays.
const REPLAY_WINDOW: usize = 1_024;
/// ICE: without a sign of life for so long it is disconnected, and then failed; signs of life are sent so often.
const ICE_TIMEOUTS: (Duration, Duration, Duration) =
    (Duration::from_secs(3), Duration::from_secs(7), Duration::from_secs(2));

/// What a peer says.
#[derive(Debug)]
pub(super) enum Said {
    /// Media.
    Packet(TrackKind, Packet),
    /// The same moment by the wall clock and by the track's time.
    Report(TrackKind, u64, u32),
    /// The peer has said goodbye.
    Closed,
    /// The path is lost.
    Failed,
}

struct Track {
    kind: TrackKind,
    id: String,
    receiver: RTCRtpReceiverId,
    ssrc: u32,
}

/// One peer.
pub(super) struct Peer {
    connection: RTCPeerConnection,
    offer: Offer,
    /// Where datagrams arrive, as far as ICE is concerned: one of the addresses in the answer for each family.
    local: Vec<SocketAddr>,
    tracks: Vec<Track>,
    /// Candidates that may still be added.
    candidates_left: usize,
    nomination: Nomination,
}

/// An answer: the whole description, or what changed in it.
pub(super) struct Answer {
    pub(super) sdp: String,
}

impl Peer {
    /// Answers an offer. `local` is where the client can reach this session.
    pub(super) fn answer(mut offer: Offer, local: Vec<SocketAddr>, now: Instant) -> Result<(Self, Answer), Problem> {
        let mut media = MediaEngine::default();
        for (kind, codec) in std::mem::take(&mut offer.codecs) {
            media.register_codec(codec, kind).map_err(refused)?;
        }
        let nack = NackGeneratorBuilder::new()
            .with_interval(NACK_INTERVAL)
            .with_max_nacks_per_packet(MOST_NACKS)
            .with_skip_last_n(NACK_PATIENCE)
            .build();
        configure_simulcast_extension_headers(&mut media).map_err(refused)?; // `mid`, by which tracks are told apart
        let registry = Registry::new().with(Slot::NackGenerator, nack);
        let registry = configure_twcc_receiver_only(registry, &mut media).map_err(refused)?;
        let (disconnected, failed, alive) = ICE_TIMEOUTS;
        let settings = SettingEngineBuilder::new()
            .with_answering_dtls_role(offer.role)
            .with_ice_timeouts(Some(disconnected), Some(failed), Some(alive))
            .with_srtp_replay_protection_window(REPLAY_WINDOW)
            .build();
        let mut connection = RTCPeerConnectionBuilder::new()
            .with_media_engine(media)
            .with_interceptor_registry(configure_rtcp_reports(registry))
            .with_setting_engine(settings)
            .build(now)
            .map_err(refused)?;
        let description = RTCSessionDescription::offer(offer.sdp.clone()).map_err(refused)?;
        connection.set_remote_description(now, description).map_err(refused)?;
        for address in &local {
            let base_config = CandidateConfig {
                network: "udp".to_owned(),
                address: address.ip().to_string(),
                port: address.port(),
                component: 1,
                ..CandidateConfig::default()
            };
            let candidate = CandidateHostConfig { base_config, ..CandidateHostConfig::default() };
            let candidate = RTCIceCandidate::from(&candidate.new_candidate_host().map_err(refused)?);
            connection.add_local_candidate(candidate.to_json().map_err(refused)?).map_err(refused)?;
        }
        connection.add_local_candidate(RTCIceCandidateInit::default()).map_err(refused)?; // there are no more
        let candidates = std::mem::take(&mut offer.candidates);
        let mut peer = Self {
            connection,
            offer,
            local,
            tracks: Vec::new(),
            candidates_left: MOST_CANDIDATES,
            nomination: Nomination::default(),
        };
        let answer = peer.describe(now)?;
        if answer.sdp.lines().any(|line| line.starts_with("m=") && line.split(' ').nth(1) == Some("0")) {
            return Err(refused("a section of it finds no match"));
        }
        peer.add_candidates(candidates);
        Ok((peer, answer))
    }

    fn describe(&mut self, now: Instant) -> Result<Answer, Problem> {
        let answer = self.connection.create_answer(None).map_err(refused)?;
        self.connection.set_local_description(now, answer).map_err(refused)?;
        let answer = self.connection.local_description().ok_or_else(|| refused("no answer came of it"))?;
        // With RTCP on the port of RTP there is one component; the library names the candidates of a second.
        let second = |line: &str| line.starts_with("a=candidate:") && line.split(' ').nth(1) == Some("2");
        let lines = answer.sdp.lines().filter(|line| !second(line));
        Ok(Answer { sdp: lines.map(|line| format!("{line}\r\n")).collect() })
    }

    /// Takes the client's new ICE credentials and answers with ours, as an SDP fragment.
    pub(super) fn restart(
        &mut self,
        ufrag: &str,
        password: &str,
        candidates: Vec<String>,
        now: Instant,
    ) -> Result<Answer, Problem> {
        let offer = RTCSessionDescription::offer(self.offer.restarted(ufrag, password)).map_err(refused)?;
        self.connection.set_remote_description(now, offer).map_err(refused)?;
        let answer = self.describe(now)?;
        self.candidates_left = MOST_CANDIDATES;
        self.add_candidates(candidates);
        let (mut seen, mut fragment) = (Vec::new(), String::new());
        for line in answer.sdp.lines() {
            let ice = ["a=ice-ufrag:", "a=ice-pwd:", "a=candidate:"].iter().any(|start| line.starts_with(start));
            if ice && !seen.contains(&line) {
                seen.push(line);
                fragment.push_str(line);
                fragment.push_str("\r\n");
            }
        }
        Ok(Answer { sdp: fragment })
    }

    /// Tries these candidates too. One that cannot be used is left out, as the RFC has it.
    pub(super) fn add_candidates(&mut self, candidates: Vec<String>) {
        for candidate in candidates.into_iter().take(self.candidates_left) {
            self.candidates_left -= 1;
            // Names are not looked up: a browser that hides its address behind one is known by its first packet.
            let address = candidate.split_ascii_whitespace().nth(4).and_then(|address| address.parse().ok());
            if !address.is_some_and(usable) {
                continue;
            }
            let candidate = RTCIceCandidateInit { candidate: format!("candidate:{candidate}"), ..Default::default() };
            if let Err(error) = self.connection.add_remote_candidate(candidate) {
                tracing::debug!(%error, "a candidate is left out");
            }
        }
    }

    /// Takes a datagram.
    pub(super) fn receive(&mut self, bytes: &[u8], from: SocketAddr, now: Instant) {
        let Some(local_addr) = self.local.iter().find(|local| local.is_ipv4() == from.is_ipv4()) else { return };
        let transport = TransportContext {
            local_addr: *local_addr,
            peer_addr: from,
            transport_protocol: TransportProtocol::UDP,
            ecn: None,
        };
        let again = self.nomination.after(bytes, from);
        for message in [Some(BytesMut::from(bytes)), again].into_iter().flatten() {
            if let Err(error) = self.connection.handle_read(TaggedBytesMut { now, transport, message }) {
                tracing::trace!(%from, %error, "a datagram is left out");
            }
        }
    }

    /// The next datagram to send, and where to.
    pub(super) fn transmit(&mut self) -> Option<(BytesMut, SocketAddr)> {
        self.connection.poll_write().map(|out| (out.message, out.transport.peer_addr))
    }

    /// When [`advance`](Self::advance) has something to do.
    pub(super) fn next_timeout(&mut self) -> Option<Instant> {
        self.connection.poll_timeout()
    }

    /// Does what is due at `now`.
    pub(super) fn advance(&mut self, now: Instant) {
        if let Err(error) = self.connection.handle_timeout(now) {
            tracing::debug!(%error, "webrtc");
        }
    }

    /// What the peer has said next.
    pub(super) fn poll(&mut self) -> Option<Said> {
        while let Some(event) = self.connection.poll_event() {
            match event {
                RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) => match state {
                    RTCPeerConnectionState::Failed => return Some(Said::Failed),
                    RTCPeerConnectionState::Closed => return Some(Said::Closed),
                    _ => tracing::debug!(%state, "webrtc"),
                },
                RTCPeerConnectionEvent::OnIceConnectionStateChangeEvent(state) => {
                    use RTCIceConnectionState::{Completed, Connected};
                    self.nomination.settled(matches!(state, Connected | Completed));
                }
                RTCPeerConnectionEvent::OnTrack(RTCTrackEvent::OnOpen(track)) => {
                    let kind = self.connection.rtp_receiver(track.receiver_id).map(|receiver| receiver.track().kind());
                    let kind = match kind {
                        Some(RtpCodecKind::Video) => TrackKind::Video,
                        Some(RtpCodecKind::Audio) => TrackKind::Audio,
                        _ => continue,
                    };
                    if self.tracks.iter().all(|known| known.kind != kind) {
                        let (receiver, ssrc) = (track.receiver_id, track.ssrc);
                        self.tracks.push(Track { kind, id: track.track_id, receiver, ssrc });
                    }
                }
                _ => {}
            }
        }
        while let Some(TaggedRTCMessage { message, .. }) = self.connection.poll_read() {
            match message {
                RTCMessage::RtpPacket(id, packet) => {
                    let known = self.tracks.iter().find(|track| track.id == id && track.ssrc == packet.header.ssrc);
                    if let Some(track) = known {
                        let packet = Packet {
                            sequence: packet.header.sequence_number,
                            timestamp: packet.header.timestamp,
                            marker: packet.header.marker,
                            payload: packet.payload,
                        };
                        return Some(Said::Packet(track.kind, packet));
                    }
                }
                RTCMessage::RtcpPacket(_, packets) => {
                    let report = packets.iter().find_map(|packet| packet.as_any().downcast_ref::<SenderReport>());
                    let known = report.and_then(|r| self.tracks.iter().find(|t| t.ssrc == r.ssrc).map(|t| (t, r)));
                    if let Some((track, report)) = known {
                        return Some(Said::Report(track.kind, report.ntp_time, report.rtp_time));
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// Asks for a key picture. Tells whether there is a track to ask for one.
    pub(super) fn ask_for_key_picture(&mut self, now: Instant) {
        let Some(track) = self.tracks.iter().find(|track| track.kind == TrackKind::Video) else { return };
        let request = PictureLossIndication { sender_ssrc: 0, media_ssrc: track.ssrc };
        if let Some(mut receiver) = self.connection.rtp_receiver(track.receiver)
            && let Err(error) = receiver.write_rtcp(now, vec![Box::new(request)])
        {
            tracing::debug!(%error, "a key picture could not be asked for");
        }
    }

    /// Says goodbye; what there is to send comes out of [`transmit`](Self::transmit).
    pub(super) fn close(&mut self) {
        if let Err(error) = self.connection.close() {
            tracing::debug!(%error, "webrtc");
        }
    }
}

/// Whether checks may be sent to an address that a stranger names.
fn usable(address: std::net::IpAddr) -> bool {
    !address.is_multicast() && !address.is_unspecified()
}

fn refused(error: impl std::fmt::Display) -> Problem {
    Problem::new(422, "Offer not accepted", format!("the offer cannot be answered: {error}"))
}
