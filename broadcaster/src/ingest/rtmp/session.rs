//! One RTMP connection as a state machine: bytes and the time in; bytes, events and the next timeout out.
//!
//! It takes publishers only. [`Session::poll`] is pulled: it reads one message at a time out of what [`Session::receive`] put in,
//! and reads on only when asked again. So a caller that stops pulling stops the publisher, and memory holds what was received
//! last and the messages that are half-read.

use super::aggregate::{self, AggregateError};
use super::amf0::{self, Amf0Error, Value};
use super::chunk::{ChunkError, Message, Reader, Writer, kind};
use super::flv;
use super::handshake::{Handshake, NotRtmp};
use super::intake::{Intake, IntakeError};
use crate::events::IngestEvent;
use bytes::BytesMut;
use std::time::{Duration, Instant};

/// Chunks that this server writes: large, since what it writes is small.
const CHUNK_SIZE: u32 = 65_536;
/// Acknowledgement window and peer bandwidth, the value of common servers.
const WINDOW: u32 = 2_500_000;
/// Message streams that one connection may create. Encoders create one.
const MAX_STREAMS: u32 = 8;
/// Bit of `capsEx` that says that the client knows how to follow a ReconnectRequest.
const CAN_RECONNECT: u32 = 1;
/// Enhanced RTMP: this end can decode (1) and forward (4) the codec.
const CODEC_INFO: f64 = 5.0;
/// Codecs that are taken, by their FourCC.
const VIDEO_CODECS: &[&str] = &["avc1", "hvc1", "av01", "vp09", "vp08"];
const AUDIO_CODECS: &[&str] = &["mp4a"];

/// How long a peer may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// From the connection to the end of the handshake.
    pub handshake: Duration,
    /// From the handshake to the first access units of an accepted publication.
    pub setup: Duration,
    /// Between any two bytes after that.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5), // four network round trips on the worst mobile link
            setup: Duration::from_secs(15),    // OBS opens its audio encoder in this time
            idle: Duration::from_secs(10),     // longer than any encoder's pause, shorter than a player's buffer
        }
    }
}

/// What a connection says.
#[derive(Debug)]
pub enum Event {
    /// A publisher asks to use a key: answer with [`Session::accept`] or [`Session::refuse`].
    Publish {
        /// The application part of the URL, `live`.
        app: String,
        /// The key, without its query.
        key: String,
    },
    /// Something of the accepted publication. The last is `Ended`.
    Ingest(IngestEvent),
}

/// Statuses with which a publication is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The key is unknown.
    Unauthorized,
    /// The key is in use.
    BadName,
    /// The stream cannot be taken: its codec, its form.
    Rejected,
    /// Playing is not offered here.
    PlayFailed,
}

impl Status {
    /// The `code` of the onStatus object.
    pub fn code(self) -> &'static str {
        match self {
            Status::Unauthorized => "NetStream.Publish.Unauthorized",
            Status::BadName => "NetStream.Publish.BadName",
            Status::Rejected => "NetStream.Publish.Rejected",
            Status::PlayFailed => "NetStream.Play.Failed",
        }
    }
}

/// Why a connection is over before its publisher said so. The output may hold an onStatus that explains it: write that, then close.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Not RTMP at all.
    #[error(transparent)]
    NotRtmp(#[from] NotRtmp),
    /// A broken chunk stream.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// An aggregate that cannot be taken apart.
    #[error(transparent)]
    Aggregate(#[from] AggregateError),
    /// A command that cannot be read.
    #[error(transparent)]
    Amf0(#[from] Amf0Error),
    /// A stream that cannot be taken.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// A command out of order or without what it needs.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// A player.
    #[error("play is not offered over rtmp: this is an ingest, watch over hls")]
    Play,
    /// The peer took too long.
    #[error("{what} took longer than {limit:?}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        limit: Duration,
    },
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Handshake,
    /// Connected or about to be; no publication.
    Idle,
    /// A publication was asked for and is being judged.
    Asked {
        stream: u32,
    },
    Publishing {
        stream: u32,
    },
    Finished,
}

/// The state machine.
pub struct Session {
    timeouts: Timeouts,
    handshake: Handshake,
    state: State,
    input: BytesMut,
    output: Vec<u8>,
    reader: Reader,
    writer: Writer,
    /// Of the accepted publication.
    intake: Option<Intake>,
    ended: bool,
    app: Option<String>,
    streams: u32,
    can_reconnect: bool,
    opened: Instant,
    heard: Instant,
    received: u64,
    acknowledged: u64,
    ack_window: u64,
}

impl Session {
    /// A connection that has just been opened. `seed` fills the handshake.
    pub fn new(timeouts: Timeouts, seed: u64, now: Instant) -> Self {
        Self {
            timeouts,
            handshake: Handshake::new(seed),
            state: State::Handshake,
            input: BytesMut::new(),
            output: Vec::new(),
            reader: Reader::default(),
            writer: Writer::default(),
            intake: None,
            ended: false,
            app: None,
            streams: 0,
            can_reconnect: false,
            opened: now,
            heard: now,
            received: 0,
            acknowledged: 0,
            ack_window: WINDOW.into(),
        }
    }

    /// The buffer that received bytes go into; call [`Session::received`] after.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Says that `count` bytes were put into [`Session::input`].
    pub fn received(&mut self, count: usize, now: Instant) {
        self.heard = now;
        self.received += count as u64;
        if self.received - self.acknowledged >= self.ack_window && self.state != State::Handshake {
            self.acknowledged = self.received;
            self.control(kind::ACKNOWLEDGEMENT, &(self.received as u32).to_be_bytes());
        }
    }

    /// Takes bytes as one call, for callers that have them in a slice.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) {
        self.input.extend_from_slice(bytes);
        self.received(bytes.len(), now);
    }

    /// Bytes to send, all at once.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// True once the publication ended by itself: nothing more comes.
    pub fn finished(&self) -> bool {
        self.state == State::Finished
    }

    /// True while a publication is live.
    pub fn publishing(&self) -> bool {
        matches!(self.state, State::Publishing { .. })
    }

    /// When to call [`Session::check`] at the latest.
    pub fn next_timeout(&self) -> Instant {
        self.deadline().0
    }

    /// Says whether a deadline has passed.
    pub fn check(&mut self, now: Instant) -> Result<(), SessionError> {
        let (deadline, what, limit) = self.deadline();
        if now < deadline {
            return Ok(());
        }
        let error = SessionError::Timeout { what, limit };
        if self.publishing() {
            self.status(Status::Rejected, &error.to_string());
        }
        Err(error)
    }

    fn deadline(&self) -> (Instant, &'static str, Duration) {
        let Timeouts { handshake, setup, idle } = self.timeouts;
        match self.state {
            State::Handshake => (self.opened + handshake, "the handshake", handshake),
            _ if !self.intake.as_ref().is_some_and(Intake::started) => {
                (self.opened + setup, "setting up the stream", setup)
            }
            _ => (self.heard + idle, "the next packet", idle),
        }
    }

    /// The next event, or `None` when more bytes (or an answer to a publish request) are needed. After an error, send the
    /// output and close.
    pub fn poll(&mut self) -> Result<Option<Event>, SessionError> {
        if self.state == State::Handshake {
            if !self.handshake.step(&mut self.input, &mut self.output)? {
                return Ok(None);
            }
            self.state = State::Idle;
        }
        loop {
            if let Some(event) = self.intake.as_mut().and_then(Intake::poll) {
                return Ok(Some(Event::Ingest(event)));
            }
            if std::mem::take(&mut self.ended) {
                return Ok(Some(Event::Ingest(IngestEvent::Ended { clean: true })));
            }
            if matches!(self.state, State::Asked { .. } | State::Finished) {
                return Ok(None);
            }
            let Some(message) = self.reader.next(&mut self.input)? else { return Ok(None) };
            if let Some(event) = self.message(message)? {
                return Ok(Some(event));
            }
        }
    }

    /// Accepts the publication that was asked for, under its public name.
    pub fn accept(&mut self, name: &str) {
        let State::Asked { stream } = self.state else { return };
        self.state = State::Publishing { stream };
        self.intake = Some(Intake::new(name));
        self.on_status(stream, "status", "NetStream.Publish.Start", "publishing");
    }

    /// Turns a publication away, asked for or under way, with a reason in words. Send the output and close.
    pub fn refuse(&mut self, status: Status, reason: &str) {
        self.status(status, reason);
        self.state = State::Finished;
    }

    /// Asks the encoder to reconnect, if it said that it can. Returns whether it was asked.
    pub fn ask_to_reconnect(&mut self) -> bool {
        if self.can_reconnect {
            self.on_status(0, "status", "NetConnection.Connect.ReconnectRequest", "the server is draining");
        }
        self.can_reconnect
    }

    fn message(&mut self, message: Message) -> Result<Option<Event>, SessionError> {
        let Message { kind, stream, timestamp, body } = message;
        match kind {
            kind::SET_CHUNK_SIZE => self.reader.set_chunk_size(number(&body)?)?,
            kind::ABORT => self.reader.abort(number(&body)?),
            kind::WINDOW_ACK_SIZE => self.ack_window = number(&body)?.clamp(4_096, WINDOW).into(),
            kind::USER_CONTROL => {
                // A ping is answered with what it holds.
                if let Some((&[0, 6], time)) = body.split_first_chunk::<2>()
                    && time.len() == 4
                {
                    self.control(kind::USER_CONTROL, &[&[0, 7], time].concat());
                }
            }
            kind::AUDIO | kind::VIDEO => {
                let (State::Publishing { stream: published }, Some(intake)) = (&self.state, &mut self.intake) else {
                    return Ok(None);
                };
                if stream == *published {
                    let tag = if kind == kind::AUDIO { flv::audio(body) } else { flv::video(body) };
                    let result = tag.map_err(IntakeError::from).and_then(|tag| intake.tag(timestamp, tag));
                    if let Err(error) = result {
                        self.status(Status::Rejected, &error.to_string());
                        return Err(error.into());
                    }
                }
            }
            kind::AGGREGATE if self.publishing() => {
                // What comes out is audio, video and data: no event of the connection, and no aggregate again.
                for message in aggregate::unpack(Message { kind, stream, timestamp, body })? {
                    self.message(message)?;
                }
            }
            kind::DATA_AMF0 if self.publishing() => {
                // [@setDataFrame,] onMetaData, object. Metadata that cannot be read is none.
                let values = amf0::decode(&body).unwrap_or_default();
                let at = values.iter().position(|value| value.as_str() == Some("onMetaData"));
                if let (Some(object), Some(intake)) = (at.and_then(|at| values.get(at + 1)), &mut self.intake) {
                    intake.metadata(object);
                }
            }
            kind::COMMAND_AMF0 => return self.command(stream, &amf0::decode(&body)?),
            kind::COMMAND_AMF3 => return self.command(stream, &amf0::decode(body.get(1..).unwrap_or_default())?),
            _ => {}
        }
        Ok(None)
    }

    fn command(&mut self, stream: u32, values: &[Value]) -> Result<Option<Event>, SessionError> {
        let (Some(name), transaction) = (values.first().and_then(Value::as_str), values.get(1)) else {
            return Err(SessionError::Protocol("a command without a name"));
        };
        let transaction = transaction.and_then(Value::as_number).unwrap_or(0.0);
        match name {
            "connect" => self.connect(transaction, values.get(2).unwrap_or(&Value::Null))?,
            _ if self.app.is_none() => return Err(SessionError::Protocol("a command before connect")),
            "createStream" => {
                if self.streams == MAX_STREAMS {
                    return Err(SessionError::Protocol("too many message streams on one connection"));
                }
                self.streams += 1;
                self.result(transaction, Value::Null, Value::Number(self.streams.into()));
            }
            "publish" => return self.publish(stream, values.get(3).and_then(Value::as_str)),
            "play" | "play2" => {
                let error = SessionError::Play;
                self.on_status(stream, "error", Status::PlayFailed.code(), &error.to_string());
                return Err(error);
            }
            "FCUnpublish" | "deleteStream" | "closeStream" => {
                if let State::Publishing { stream } = self.state {
                    self.on_status(stream, "status", "NetStream.Unpublish.Success", "the stream has ended");
                    self.state = State::Finished;
                    self.ended = self.intake.as_ref().is_some_and(Intake::started);
                }
            }
            // releaseStream, FCPublish, _checkbw and what else encoders ask for out of habit
            _ if transaction != 0.0 => self.result(transaction, Value::Null, Value::Null),
            _ => {}
        }
        Ok(None)
    }

    fn connect(&mut self, transaction: f64, object: &Value) -> Result<(), SessionError> {
        let Some(app) = object.get("app").and_then(Value::as_str) else {
            return Err(SessionError::Protocol("connect without an app"));
        };
        self.app = Some(app.split('?').next().unwrap_or_default().trim_matches('/').to_owned());
        self.control(kind::WINDOW_ACK_SIZE, &WINDOW.to_be_bytes());
        let [a, b, c, d] = WINDOW.to_be_bytes();
        self.control(kind::SET_PEER_BANDWIDTH, &[a, b, c, d, 2]); // 2: dynamic
        self.control(kind::SET_CHUNK_SIZE, &CHUNK_SIZE.to_be_bytes());
        self.writer.set_chunk_size(CHUNK_SIZE);

        let text = |text: &str| Value::String(text.into());
        let mut server = vec![("fmsVer".into(), text("FMS/3,0,1,123")), ("capabilities".into(), Value::Number(31.0))];
        // A client of Enhanced RTMP says what it can; this end answers with what it takes.
        let caps = object.get("capsEx").and_then(Value::as_number);
        self.can_reconnect = caps.is_some_and(|caps| caps as u32 & CAN_RECONNECT != 0);
        if caps.is_some() || object.get("fourCcList").is_some() || object.get("videoFourCcInfoMap").is_some() {
            let info = |codecs: &[&str]| {
                Value::Object(codecs.iter().map(|codec| ((*codec).into(), Value::Number(CODEC_INFO))).collect())
            };
            let all = VIDEO_CODECS.iter().chain(AUDIO_CODECS).map(|codec| text(codec)).collect();
            server.extend([
                ("capsEx".into(), Value::Number(f64::from(CAN_RECONNECT))),
                ("fourCcList".into(), Value::Array(all)),
                ("videoFourCcInfoMap".into(), info(VIDEO_CODECS)),
                ("audioFourCcInfoMap".into(), info(AUDIO_CODECS)),
            ]);
        }
        let mut status = status_object("status", "NetConnection.Connect.Success", "connected");
        if let Value::Object(properties) = &mut status {
            properties.push(("objectEncoding".into(), Value::Number(0.0)));
        }
        self.result(transaction, Value::Object(server), status);
        Ok(())
    }

    fn publish(&mut self, stream: u32, key: Option<&str>) -> Result<Option<Event>, SessionError> {
        if self.state != State::Idle || stream == 0 || stream > self.streams {
            return Err(SessionError::Protocol("publish out of order"));
        }
        let key = key.unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
        self.state = State::Asked { stream };
        Ok(Some(Event::Publish { app: self.app.clone().unwrap_or_default(), key }))
    }

    fn status(&mut self, status: Status, reason: &str) {
        let stream = match self.state {
            State::Asked { stream } | State::Publishing { stream, .. } => stream,
            _ => return,
        };
        self.on_status(stream, "error", status.code(), reason);
    }

    fn on_status(&mut self, stream: u32, level: &str, code: &str, description: &str) {
        let object = status_object(level, code, description);
        self.write_command(stream, &[Value::String("onStatus".into()), Value::Number(0.0), Value::Null, object]);
    }

    fn result(&mut self, transaction: f64, first: Value, second: Value) {
        self.write_command(0, &[Value::String("_result".into()), Value::Number(transaction), first, second]);
    }

    fn write_command(&mut self, stream: u32, values: &[Value]) {
        self.writer.write(&mut self.output, 3, kind::COMMAND_AMF0, stream, &amf0::encode(values));
    }

    fn control(&mut self, kind: u8, body: &[u8]) {
        self.writer.write(&mut self.output, 2, kind, 0, body);
    }
}

fn number(body: &[u8]) -> Result<u32, SessionError> {
    let bytes = body.first_chunk::<4>().ok_or(SessionError::Protocol("a control message is cut short"))?;
    Ok(u32::from_be_bytes(*bytes))
}

fn status_object(level: &str, code: &str, description: &str) -> Value {
    let text = |text: &str| Value::String(text.into());
    Value::Object(vec![
        ("level".into(), text(level)),
        ("code".into(), text(code)),
        ("description".into(), text(description)),
    ])
}
