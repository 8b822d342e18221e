//! Offers of real clients, and what is wrong with others.

use super::offer::{MOST_CANDIDATES, Offer};
use super::peer::Peer;
use millrace_media::cmaf::Codec;
use std::time::Instant;

/// As Chromium makes it, less most of its codecs.
pub(super) const CHROMIUM: &str = "v=0\r
o=- 4611731400430051336 2 IN IP4 127.0.0.1\r
s=-\r
t=0 0\r
a=group:BUNDLE 0 1\r
a=extmap-allow-mixed\r
a=msid-semantic: WMS stream\r
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0\r
c=IN IP4 0.0.0.0\r
a=rtcp:9 IN IP4 0.0.0.0\r
a=candidate:1 1 udp 2113937151 3b1f6d1c.local 50000 typ host generation 0\r
a=candidate:2 1 udp 2113937151 192.0.2.7 50000 typ host generation 0\r
a=ice-ufrag:Yf8o\r
a=ice-pwd:V2h1c3QgYSBwYXNzd29yZCEh\r
a=ice-options:trickle\r
a=fingerprint:sha-256 19:E2:1C:3B:4B:9F:81:E6:B8:5C:F4:A5:A8:D8:73:04:BB:05:2F:70:9F:04:A9:0E:05:E9:26:33:E8:70:88:A2\r
a=setup:actpass\r
a=mid:0\r
a=sendonly\r
a=msid:stream a\r
a=rtcp-mux\r
a=rtpmap:111 opus/48000/2\r
a=fmtp:111 minptime=10;useinbandfec=1\r
a=rtpmap:63 red/48000/2\r
a=rtpmap:0 PCMU/8000\r
a=ssrc:1 cname:c\r
m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 104\r
c=IN IP4 0.0.0.0\r
a=rtcp:9 IN IP4 0.0.0.0\r
a=ice-ufrag:Yf8o\r
a=ice-pwd:V2h1c3QgYSBwYXNzd29yZCEh\r
a=fingerprint:sha-256 19:E2:1C:3B:4B:9F:81:E6:B8:5C:F4:A5:A8:D8:73:04:BB:05:2F:70:9F:04:A9:0E:05:E9:26:33:E8:70:88:A2\r
a=setup:actpass\r
a=mid:1\r
a=sendonly\r
a=msid:stream v\r
a=rtcp-mux\r
a=rtcp-rsize\r
a=rtpmap:96 VP8/90000\r
a=rtpmap:97 rtx/90000\r
a=fmtp:97 apt=96\r
a=rtpmap:102 H264/90000\r
a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r
a=rtpmap:103 rtx/90000\r
a=fmtp:103 apt=102\r
a=rtpmap:104 H264/90000\r
a=fmtp:104 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f\r
a=ssrc:2 cname:c\r
";

#[test]
fn an_offer_of_a_browser_is_answered_with_h264_and_opus() {
    let offer = Offer::read(CHROMIUM).unwrap();
    let numbers: Vec<u8> = offer.codecs.iter().map(|(_, codec)| codec.payload_type).collect();
    assert_eq!(numbers, [111, 102, 104]);
    assert_eq!((offer.ufrag.as_str(), offer.sound, offer.candidates.len()), ("Yf8o", true, 2));
    assert!(!offer.sdp.contains("a=candidate"));
    let restarted = offer.restarted("new1", "another password of length");
    assert_eq!(restarted.matches("a=ice-ufrag:new1\r\n").count(), 2);
    assert!(!restarted.contains("Yf8o"));
}

#[test]
fn one_codec_is_answered_with_and_it_is_h264_where_that_is_offered() {
    for (sdp, codec, numbers) in [
        (CHROMIUM.to_owned(), Codec::H264, vec![111, 102, 104]),
        (CHROMIUM.replace("H264", "VP9"), Codec::Vp9, vec![111, 102, 104]),
        (CHROMIUM.replace("H264", "AV1"), Codec::Vp8, vec![111, 96]),
    ] {
        let offer = Offer::read(&sdp).unwrap();
        let answered: Vec<u8> = offer.codecs.iter().map(|(_, codec)| codec.payload_type).collect();
        assert_eq!((offer.video, answered), (codec, numbers));
    }
}

#[test]
fn the_role_that_the_client_leaves_in_dtls_is_the_one_in_the_answer() {
    for (asked, answered) in [("actpass", "active"), ("passive", "active"), ("active", "passive")] {
        let offer = Offer::read(&CHROMIUM.replace("actpass", asked)).unwrap();
        let (_, answer) = Peer::answer(offer, vec!["192.0.2.1:4000".parse().unwrap()], Instant::now()).unwrap();
        let setup: Vec<&str> = answer.sdp.lines().filter_map(|line| line.strip_prefix("a=setup:")).collect();
        assert_eq!(setup, [answered; 2], "to {asked}");
    }
}

#[test]
fn what_cannot_be_answered_is_refused_whole_and_with_its_reason() {
    let video_at = CHROMIUM.find("m=video").unwrap();
    let (audio, video) = CHROMIUM.split_at(video_at);
    let twice = format!("{CHROMIUM}{}", video.replace("a=mid:1", "a=mid:2"));
    let data = format!("{CHROMIUM}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\na=sctp-port:5000\r\n");
    let cases: [(String, u16, &str); 16] = [
        (String::new(), 400, "SDP"),
        ("{\"sdp\": 1}".into(), 400, "SDP"),
        (CHROMIUM[..40].into(), 400, "SDP"),
        ("v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n".into(), 400, "m= line"),
        (audio.into(), 422, "audio-only"),
        (CHROMIUM.replace("H264", "AV1").replace("VP8", "H265"), 422, "H.264"),
        (CHROMIUM.replace("opus", "G722"), 422, "Opus"),
        (twice, 406, "more than one m=video"),
        (data, 422, "m=application"),
        (CHROMIUM.replace("a=sendonly", "a=recvonly"), 422, "sendonly"),
        (CHROMIUM.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"), 422, "SAVPF"),
        (CHROMIUM.replace("a=fingerprint", "a=x"), 400, "fingerprint"),
        (CHROMIUM.replace("a=ice-ufrag", "a=x"), 400, "ufrag"),
        (CHROMIUM.replace("a=setup", "a=x"), 400, "setup"),
        (CHROMIUM.replace("actpass", "holdconn"), 400, "holdconn"),
        (CHROMIUM.replace("a=mid:1", "a=x"), 400, "mid"),
    ];
    for (sdp, status, named) in cases {
        let problem = Offer::read(&sdp).unwrap_err();
        assert_eq!(problem.status, status, "{}", problem.detail);
        assert!(problem.detail.contains(named), "{}", problem.detail);
    }
}

#[test]
fn candidates_are_bounded() {
    let many: String = (0..200).map(|n| format!("a=candidate:{n} 1 udp 1 192.0.2.7 {n} typ host\r\n")).collect();
    assert_eq!(Offer::read(&format!("{CHROMIUM}{many}")).unwrap().candidates.len(), MOST_CANDIDATES);
}

#[test]
fn no_mutilation_of_an_offer_panics() {
    let mut seed = 1u32;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % below
    };
    let lines: Vec<&str> = CHROMIUM.lines().collect();
    for _ in 0..3_000 {
        let mut lines = lines.clone();
        match random(3) {
            0 => drop(lines.remove(random(lines.len()))),
            1 => lines.insert(random(lines.len()), CHROMIUM.lines().nth(random(lines.len())).unwrap_or("a=")),
            _ => {}
        }
        let mut bytes = lines.join("\r\n").into_bytes();
        for _ in 0..random(4) {
            let at = random(bytes.len());
            bytes[at] = b" :;=/\r\n0a~"[random(10)];
        }
        bytes.truncate(bytes.len() - if random(4) == 0 { random(bytes.len()) } else { 0 });
        let sdp = String::from_utf8_lossy(&bytes).into_owned();
        if let Ok(offer) = Offer::read(&sdp) {
            let local = vec!["192.0.2.1:4000".parse().unwrap()];
            let _ = Peer::answer(offer, local, Instant::now());
        }
    }
}
