//! What an SDP offer says, checked against what WHIP and this server take, and the SDP fragments of trickle ICE. Sans-IO.

use super::problem::Problem;
use millrace_media::cmaf::Codec;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::transport::RTCDtlsRole;
use rtc::rtp_transceiver::rtp_sender::{RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RtpCodecKind};

/// Remote candidates of a session that are looked at; each costs checks to an address that a stranger names.
pub(super) const MOST_CANDIDATES: usize = 32;
/// Payload types of one medium that are looked at.
const MOST_FORMATS: usize = 64;

/// An offer that can be answered.
#[derive(Debug)]
pub(super) struct Offer {
    /// The offer without candidates.
    pub(super) sdp: String,
    pub(super) candidates: Vec<String>,
    /// The client's ICE user name fragment.
    pub(super) ufrag: String,
    /// Codecs to answer with, under the client's own numbers.
    pub(super) codecs: Vec<(RtpCodecKind, RTCRtpCodecParameters)>,
    /// The one codec of the video that is answered with.
    pub(super) video: Codec,
    pub(super) sound: bool,
    /// The role that is left for this side.
    pub(super) role: RTCDtlsRole,
}

/// An SDP fragment (RFC 8840).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fragment {
    /// ICE user name fragment and password.
    pub(super) credentials: Option<(String, String)>,
    pub(super) candidates: Vec<String>,
}

impl Offer {
    /// Reads an offer.
    pub(super) fn read(sdp: &str) -> Result<Self, Problem> {
        let broken =
            |detail: &str| Problem::new(400, "Malformed SDP", format!("the offer is no SDP of WebRTC: {detail}"));
        let (sdp, candidates) = without_candidates(sdp);
        let parsed = RTCSessionDescription::offer(sdp.clone()).and_then(|offer| offer.unmarshal());
        let parsed = parsed.map_err(|error| broken(&error.to_string()))?;
        if parsed.media_descriptions.is_empty() {
            return Err(broken("it has no m= line"));
        }
        let (mut codecs, mut sound, mut picture, mut video) = (Vec::new(), false, false, None);
        let mut setup = parsed.attribute("setup").cloned();
        let mut ufrag = parsed.attribute("ice-ufrag").cloned();
        let mut fingerprint = parsed.attribute("fingerprint").is_some();
        for media in &parsed.media_descriptions {
            let attribute = |key: &str| media.attribute(key).flatten().map(str::to_owned);
            setup = setup.or_else(|| attribute("setup"));
            ufrag = ufrag.or_else(|| attribute("ice-ufrag"));
            fingerprint |= attribute("fingerprint").is_some();
            let kind = media.media_name.media.as_str();
            if attribute("mid").is_none_or(|mid| mid.is_empty()) {
                return Err(broken(&format!("its m={kind} section has no a=mid")));
            }
            if media.has_attribute("recvonly") || media.has_attribute("inactive") {
                return Err(refused(format!(
                    "its m={kind} section does not send: WHIP takes a=sendonly (or sendrecv)"
                )));
            }
            if !media.media_name.protos.iter().any(|proto| proto == "SAVPF") {
                return Err(refused(format!("its m={kind} section is not UDP/TLS/RTP/SAVPF: media must be encrypted")));
            }
            let seen = match kind {
                "video" => &mut picture,
                "audio" => &mut sound,
                _ => {
                    return Err(refused(format!(
                        "its m={kind} section is not taken: send one video and at most one audio"
                    )));
                }
            };
            if std::mem::replace(seen, true) {
                return Err(Problem::new(
                    406,
                    "Too many tracks",
                    format!("the offer has more than one m={kind} section, and a stream has one at most"),
                ));
            }
            let formats = formats(media);
            let found = if kind == "video" {
                let preferred = PREFERRED.iter().find_map(|(codec, name)| {
                    let found = pictures(&formats, name);
                    (!found.is_empty()).then_some((*codec, found))
                });
                let (codec, found) = preferred.unzip();
                video = codec;
                found.unwrap_or_default()
            } else {
                opus(&formats)
            };
            if found.is_empty() {
                let names: Vec<&str> = formats.iter().map(|format| format.name.as_str()).collect();
                let wanted = if kind == "video" { "H.264 (packetization-mode 0 or 1), VP9 or VP8" } else { "Opus" };
                return Err(refused(format!(
                    "its m={kind} section offers {}, and this server takes {wanted}: choose that in the encoder",
                    if names.is_empty() { "no codec".to_owned() } else { names.join(", ") }
                )));
            }
            let medium = if kind == "video" { RtpCodecKind::Video } else { RtpCodecKind::Audio };
            codecs.extend(found.into_iter().map(|codec| (medium, codec)));
        }
        let video = video.ok_or_else(|| {
            refused("it has no video: audio-only streams are not served yet, add an H.264 track".into())
        })?;
        if !fingerprint {
            return Err(broken("it has no a=fingerprint"));
        }
        let ufrag = ufrag.filter(|ufrag| !ufrag.is_empty()).ok_or_else(|| broken("it has no a=ice-ufrag"))?;
        let role = match setup.as_deref().map(str::trim) {
            Some("passive") => RTCDtlsRole::Client,
            Some("active") => RTCDtlsRole::Server,
            Some("actpass") => RTCDtlsRole::Client,
            other => {
                let other = other.unwrap_or("nothing");
                return Err(broken(&format!("its a=setup says {other:?}, not actpass, active or passive")));
            }
        };
        Ok(Self { sdp, candidates, ufrag, codecs, video, sound, role })
    }

    /// The same offer with other ICE credentials: what an ICE restart is, to a peer connection.
    pub(super) fn restarted(&self, ufrag: &str, password: &str) -> String {
        let line = |line: &str| match line.split_once(':') {
            Some(("a=ice-ufrag", _)) => format!("a=ice-ufrag:{ufrag}\r\n"),
            Some(("a=ice-pwd", _)) => format!("a=ice-pwd:{password}\r\n"),
            _ => format!("{line}\r\n"),
        };
        self.sdp.lines().map(line).collect()
    }
}

fn refused(detail: String) -> Problem {
    Problem::new(422, "Offer not accepted", format!("the offer cannot be answered: {detail}"))
}

/// Candidates are taken one by one, so that one of an unknown kind spoils nothing.
fn without_candidates(sdp: &str) -> (String, Vec<String>) {
    let (mut rest, mut candidates) = (String::with_capacity(sdp.len()), Vec::new());
    for line in sdp.lines() {
        match line.strip_prefix("a=candidate:") {
            Some(candidate) => candidates.push(candidate.trim().to_owned()),
            None if line.starts_with("a=end-of-candidates") => {}
            None => {
                rest.push_str(line);
                rest.push_str("\r\n");
            }
        }
    }
    candidates.dedup();
    candidates.truncate(MOST_CANDIDATES);
    (rest, candidates)
}

struct Format {
    payload_type: u8,
    name: String,
    clock_rate: u32,
    channels: u16,
    fmtp: String,
}

fn formats(media: &rtc::sdp::MediaDescription) -> Vec<Format> {
    let of = |key: &'static str, number: &str| {
        let number = number.to_owned();
        media.attributes.iter().filter(move |a| a.key == key).find_map(move |a| {
            let (of, value) = a.value.as_deref()?.split_once(' ')?;
            (of == number).then(|| value.trim().to_owned())
        })
    };
    let read = |number: &String| {
        let map = of("rtpmap", number)?;
        let mut parts = map.split('/');
        Some(Format {
            payload_type: number.parse().ok()?,
            name: parts.next()?.to_owned(),
            clock_rate: parts.next()?.parse().ok()?,
            channels: parts.next().and_then(|channels| channels.parse().ok()).unwrap_or(0),
            fmtp: of("fmtp", number).unwrap_or_default(),
        })
    };
    media.media_name.formats.iter().take(MOST_FORMATS).filter_map(read).collect()
}

fn codec(format: &Format, mime_type: &str) -> RTCRtpCodecParameters {
    let feedback =
        |(typ, parameter): &(&str, &str)| RTCPFeedback { typ: (*typ).into(), parameter: (*parameter).into() };
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: mime_type.to_owned(),
            clock_rate: format.clock_rate,
            channels: format.channels,
            sdp_fmtp_line: format.fmtp.clone(),
            rtcp_feedback: FEEDBACK.iter().filter(|_| mime_type.starts_with("video")).map(feedback).collect(),
        },
        payload_type: format.payload_type,
    }
}

const FEEDBACK: &[(&str, &str)] = &[("nack", ""), ("nack", "pli"), ("ccm", "fir"), ("transport-cc", "")];

/// What is answered with, the best first: H.264 plays everywhere as it is, VP9 in most players, VP8 in none.
const PREFERRED: [(Codec, &str); 3] = [(Codec::H264, "H264"), (Codec::Vp9, "VP9"), (Codec::Vp8, "VP8")];

/// Every format of this codec in the offer, of whatever profile: it is passed on as it is, and the ladder's decoder takes them all. No
/// RTX: what is sent again then comes under its own number, so that the requests for it stop.
fn pictures(formats: &[Format], name: &str) -> Vec<RTCRtpCodecParameters> {
    let taken = |format: &&Format| {
        format.name.eq_ignore_ascii_case(name)
            && format.clock_rate == 90_000
            && !format.fmtp.replace(' ', "").contains("packetization-mode=2")
    };
    formats.iter().filter(taken).map(|format| codec(format, &format!("video/{name}"))).collect()
}

fn opus(formats: &[Format]) -> Vec<RTCRtpCodecParameters> {
    let taken = |format: &&Format| format.name.eq_ignore_ascii_case("opus") && format.clock_rate == 48_000;
    formats.iter().filter(taken).map(|format| codec(format, "audio/opus")).collect()
}

impl Fragment {
    /// Reads a fragment.
    pub(super) fn read(text: &str) -> Result<Self, Problem> {
        let broken = |detail: &str| {
            Problem::new(400, "Malformed SDP fragment", format!("the body is no trickle ICE fragment: {detail}"))
        };
        let (mut fragment, mut ufrag, mut password) = (Self::default(), None, None);
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            let (kind, value) = line.split_once('=').ok_or_else(|| broken("a line has no '='"))?;
            if kind.len() != 1 || !kind.as_bytes()[0].is_ascii_lowercase() {
                return Err(broken("a line does not begin with one letter and '='"));
            }
            match value.split_once(':') {
                Some(("ice-ufrag", value)) if kind == "a" => ufrag = Some(value),
                Some(("ice-pwd", value)) if kind == "a" => password = Some(value),
                Some(("candidate", value)) if kind == "a" && fragment.candidates.len() < MOST_CANDIDATES => {
                    fragment.candidates.push(value.to_owned());
                }
                _ => {}
            }
        }
        let ice_chars = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
        fragment.credentials = match (ufrag, password) {
            (None, None) => None,
            (Some(ufrag), Some(password)) => {
                if !(4..=256).contains(&ufrag.len()) || !(22..=256).contains(&password.len()) {
                    return Err(broken("a=ice-ufrag takes 4 to 256 characters and a=ice-pwd 22 to 256"));
                }
                if !ice_chars(ufrag) || !ice_chars(password) {
                    return Err(broken("a=ice-ufrag and a=ice-pwd take letters, digits, '+' and '/'"));
                }
                Some((ufrag.to_owned(), password.to_owned()))
            }
            _ => return Err(broken("a=ice-ufrag and a=ice-pwd come together")),
        };
        if fragment.credentials.is_none() && fragment.candidates.is_empty() && !text.contains("a=end-of-candidates") {
            return Err(broken("it has neither credentials nor candidates"));
        }
        Ok(fragment)
    }
}
