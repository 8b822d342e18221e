//! The RTMP state machine against a peer that the test plays, on a clock that the test owns.

use super::amf0::{Value, decode, encode};
use super::chunk::{Message, Reader, Writer, kind};
use super::session::{Event, Session, SessionError, Status, Timeouts};
use crate::events::IngestEvent;
use bytes::BytesMut;
use std::time::{Duration, Instant};

struct Peer {
    session: Session,
    writer: Writer,
    reader: Reader,
    now: Instant,
}

fn text(text: &str) -> Value {
    Value::String(text.into())
}

impl Peer {
    fn new() -> Self {
        let now = Instant::now();
        let session = Session::new(Timeouts::default(), 7, now);
        Self { session, writer: Writer::default(), reader: Reader::default(), now }
    }

    /// Shakes hands and connects; returns what `connect` was answered with.
    fn connected(extra: Vec<(String, Value)>) -> (Self, Vec<Message>) {
        let mut peer = Self::new();
        let mut hello = vec![3];
        hello.extend([9; 1536]);
        peer.session.receive(&hello, peer.now);
        assert!(peer.session.poll().unwrap().is_none());
        let answer = peer.session.take_output();
        assert_eq!((answer.len(), answer[0]), (1 + 2 * 1536, 3));
        assert_eq!(answer[1 + 1536..], [9; 1536], "s2 echoes c1");
        peer.session.receive(&answer[1..1537], peer.now);
        let mut object = vec![("app".to_owned(), text("live"))];
        object.extend(extra);
        peer.command(0, &[text("connect"), Value::Number(1.0), Value::Object(object)]);
        assert!(peer.session.poll().unwrap().is_none());
        let messages = peer.sent();
        (peer, messages)
    }

    /// As far as an accepted publication.
    fn publishing() -> Self {
        let (mut peer, _) = Self::connected(Vec::new());
        assert_eq!(peer.ask("secret"), ("live".into(), "secret".into()));
        peer.session.accept("demo");
        assert_eq!(status(&peer.sent()[0]), ("status".into(), "NetStream.Publish.Start".into()));
        peer
    }

    /// Sends what both tracks need to be known.
    fn start(&mut self) {
        self.send(4, kind::AUDIO, 1, b"\xaf\x00\x12\x10");
        self.send(6, kind::VIDEO, 1, &[b"\x17\x00\0\0\0", &avcc()[..]].concat());
        assert!(matches!(self.session.poll().unwrap(), Some(Event::Ingest(IngestEvent::Started { .. }))));
    }

    fn ask(&mut self, key: &str) -> (String, String) {
        self.command(0, &[text("createStream"), Value::Number(2.0), Value::Null]);
        assert!(self.session.poll().unwrap().is_none());
        let answer = decode(&self.sent()[0].body).unwrap();
        assert_eq!((&answer[0], &answer[3]), (&text("_result"), &Value::Number(1.0)));
        self.command(1, &[text("publish"), Value::Number(3.0), Value::Null, text(key), text("live")]);
        match self.session.poll().unwrap() {
            Some(Event::Publish { app, key }) => (app, key),
            other => panic!("{other:?}"),
        }
    }

    fn send(&mut self, chunk_stream: u8, kind: u8, stream: u32, body: &[u8]) {
        let mut out = Vec::new();
        self.writer.write(&mut out, chunk_stream, kind, stream, body);
        self.session.receive(&out, self.now);
    }

    fn command(&mut self, stream: u32, values: &[Value]) {
        self.send(3, kind::COMMAND_AMF0, stream, &encode(values));
    }

    fn sent(&mut self) -> Vec<Message> {
        let mut bytes = BytesMut::from(&self.session.take_output()[..]);
        let mut messages = Vec::new();
        while let Some(message) = self.reader.next(&mut bytes).unwrap() {
            if message.kind == kind::SET_CHUNK_SIZE {
                self.reader.set_chunk_size(u32::from_be_bytes(message.body[..].try_into().unwrap())).unwrap();
            }
            messages.push(message);
        }
        messages
    }
}

/// Baseline 1.0, 64x64.
fn avcc() -> Vec<u8> {
    let sps = b"\x67\x42\xc0\x0a\xd9\x04\x26\xc0\x44\0\0\x03\0\x04\0\0\x03\0\xc8\x3c\x48\x99\x20";
    [b"\x01\x42\xc0\x0a\xff\xe1\0\x17", &sps[..], b"\x01\0\x05\x68\xcb\x83\xcb\x20"].concat()
}

fn status(message: &Message) -> (String, String) {
    let values = decode(&message.body).unwrap();
    assert_eq!(values[0], text("onStatus"));
    let property = |name| values[3].get(name).and_then(Value::as_str).unwrap().to_owned();
    (property("level"), property("code"))
}

#[test]
fn connect_announces_window_bandwidth_and_chunk_size() {
    let (_, messages) = Peer::connected(Vec::new());
    let control: Vec<_> = messages.iter().take(3).map(|m| (m.kind, m.body.to_vec())).collect();
    let window = 2_500_000u32.to_be_bytes().to_vec();
    assert_eq!(control[0], (kind::WINDOW_ACK_SIZE, window.clone()));
    assert_eq!(control[1], (kind::SET_PEER_BANDWIDTH, [window, vec![2]].concat()));
    assert_eq!(control[2], (kind::SET_CHUNK_SIZE, 65_536u32.to_be_bytes().to_vec()));
    let result = decode(&messages[3].body).unwrap();
    assert_eq!(result[0], text("_result"));
    assert_eq!(result[3].get("code"), Some(&text("NetConnection.Connect.Success")));
    assert_eq!(result[2].get("fourCcList"), None, "an old client hears nothing of enhanced rtmp");
}

#[test]
fn an_enhanced_client_is_told_which_codecs_are_taken_and_may_be_asked_to_reconnect() {
    let offer = vec![
        ("capsEx".to_owned(), Value::Number(1.0)),
        ("fourCcList".to_owned(), Value::Array(vec![text("hvc1"), text("avc1")])),
    ];
    let (mut peer, messages) = Peer::connected(offer);
    let result = decode(&messages[3].body).unwrap();
    assert_eq!(
        result[2].get("fourCcList"),
        Some(&Value::Array(["avc1", "hvc1", "av01", "vp09", "vp08", "mp4a"].map(text).to_vec()))
    );
    for codec in ["avc1", "hvc1", "av01", "vp09", "vp08"] {
        assert_eq!(result[2].get("videoFourCcInfoMap").unwrap().get(codec), Some(&Value::Number(5.0)));
    }
    assert!(peer.session.ask_to_reconnect());
    assert_eq!(status(&peer.sent()[0]).1, "NetConnection.Connect.ReconnectRequest");
    assert!(!Peer::connected(Vec::new()).0.session.ask_to_reconnect());
}

#[test]
fn refusals_carry_their_status_as_an_error() {
    for refusal in [Status::Unauthorized, Status::BadName] {
        let (mut peer, _) = Peer::connected(Vec::new());
        peer.ask("wrong?token=1");
        peer.session.refuse(refusal, "no");
        assert_eq!(status(&peer.sent()[0]), ("error".into(), refusal.code().into()));
        assert!(peer.session.finished());
    }
}

#[test]
fn a_codec_that_is_not_taken_is_named_to_the_publisher() {
    for (kind, body, codec) in [
        (kind::VIDEO, &b"\x90vvc1cfg"[..], "VVC"),
        (kind::VIDEO, &b"\x12data"[..], "H.263"),
        (kind::AUDIO, &b"\x2fdata"[..], "MP3"),
    ] {
        let mut peer = Peer::publishing();
        peer.send(4, kind, 1, body);
        let error = peer.session.poll().unwrap_err();
        assert!(error.to_string().contains(codec) && error.to_string().contains("send "), "{error}");
        assert_eq!(status(&peer.sent()[0]), ("error".into(), "NetStream.Publish.Rejected".into()));
    }
}

#[test]
fn a_player_is_turned_away() {
    let (mut peer, _) = Peer::connected(Vec::new());
    peer.command(1, &[text("play"), Value::Number(3.0), Value::Null, text("demo")]);
    assert!(matches!(peer.session.poll(), Err(SessionError::Play)));
    assert_eq!(status(&peer.sent()[0]), ("error".into(), "NetStream.Play.Failed".into()));
}

#[test]
fn an_unpublish_ends_cleanly_and_nothing_follows() {
    let mut peer = Peer::publishing();
    peer.start();
    peer.command(0, &[text("FCUnpublish"), Value::Number(4.0), Value::Null, text("secret")]);
    peer.command(0, &[text("deleteStream"), Value::Number(5.0), Value::Null, Value::Number(1.0)]);
    assert!(matches!(peer.session.poll().unwrap(), Some(Event::Ingest(IngestEvent::Ended { clean: true }))));
    assert!(peer.session.finished() && peer.session.poll().unwrap().is_none());
    assert_eq!(status(peer.sent().last().unwrap()).1, "NetStream.Unpublish.Success");
}

#[test]
fn an_aggregate_is_taken_apart_in_its_place() {
    let mut peer = Peer::publishing();
    peer.start();
    let mut body = Vec::new();
    for (kind, time, data) in
        [(kind::VIDEO, 100u8, &b"\x17\x01\0\0\0\0\0\0\x02\x65\x88"[..]), (kind::AUDIO, 123, b"\xaf\x01raw")]
    {
        body.extend([kind, 0, 0, data.len() as u8, 0, 0, time, 0, 0, 0, 0]);
        body.extend(data);
        body.extend([0; 4]);
    }
    peer.send(5, kind::AGGREGATE, 1, &body);
    let mut units = Vec::new();
    while let Some(Event::Ingest(IngestEvent::Unit(unit))) = peer.session.poll().unwrap() {
        units.push((unit.dts, unit.data.len()));
    }
    assert_eq!(units, [(0, 6), (23 * 90, 3)]);
    peer.send(5, kind::AGGREGATE, 1, &body[..body.len() - 8]);
    assert!(matches!(peer.session.poll(), Err(SessionError::Aggregate(_))));
}

#[test]
fn nothing_is_read_while_a_publication_is_judged() {
    let (mut peer, _) = Peer::connected(Vec::new());
    peer.ask("secret");
    peer.send(6, kind::VIDEO, 1, b"\x90av01cfg");
    assert!(peer.session.poll().unwrap().is_none());
    peer.session.accept("demo");
    assert!(peer.session.poll().is_err());
}

#[test]
fn garbage_and_commands_out_of_order_end_the_session() {
    let mut web = Peer::new();
    web.session.receive(b"GET / HTTP/1.1\r\n", web.now);
    assert!(matches!(web.session.poll(), Err(SessionError::NotRtmp(_))));

    let (mut early, _) = Peer::connected(Vec::new());
    early.command(1, &[text("publish"), Value::Number(3.0), Value::Null, text("key"), text("live")]);
    assert!(matches!(early.session.poll(), Err(SessionError::Protocol(_))));

    let (mut deep, _) = Peer::connected(Vec::new());
    deep.send(3, kind::COMMAND_AMF0, 0, &[0x0A, 0, 0, 0, 1].repeat(10_000));
    assert!(matches!(deep.session.poll(), Err(SessionError::Amf0(_))));
}

#[test]
fn each_stage_has_its_deadline() {
    let limits = Timeouts::default();
    let silent = Peer::new();
    assert_eq!(silent.session.next_timeout(), silent.now + limits.handshake);

    let mut mute = Peer::publishing();
    assert_eq!(mute.session.next_timeout(), mute.now + limits.setup);
    mute.session.check(mute.now + limits.setup - Duration::from_millis(1)).unwrap();
    assert!(matches!(mute.session.check(mute.now + limits.setup), Err(SessionError::Timeout { .. })));
    assert_eq!(status(&mute.sent()[0]).0, "error");
}

#[test]
fn pings_are_answered_and_bytes_acknowledged() {
    let (mut peer, _) = Peer::connected(Vec::new());
    peer.send(2, kind::USER_CONTROL, 0, &[0, 6, 1, 2, 3, 4]);
    peer.session.poll().unwrap();
    assert_eq!(peer.sent()[0].body, vec![0, 7, 1, 2, 3, 4]);
    peer.send(2, kind::WINDOW_ACK_SIZE, 0, &4_096u32.to_be_bytes());
    peer.session.poll().unwrap();
    peer.send(4, kind::AUDIO, 1, &[0; 4_096]);
    assert_eq!(peer.sent()[0].kind, kind::ACKNOWLEDGEMENT);
}

#[test]
fn random_bytes_after_the_handshake_never_panic() {
    let mut state = 1u64;
    for _ in 0..2_000 {
        let (mut peer, _) = Peer::connected(Vec::new());
        let noise: Vec<u8> = (0..256)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        peer.session.receive(&noise, peer.now);
        while let Ok(Some(_)) = peer.session.poll() {}
    }
}
