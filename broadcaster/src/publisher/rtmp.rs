//! A publisher by RTMP: the tags of an FLV file, sent as they lie in it.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{PublisherError, soon};
use crate::ingest::rtmp::amf0::{Value, decode, encode};
use crate::ingest::rtmp::chunk::{Message, Reader, Writer, kind};

/// Most messages are one chunk, as with OBS.
const CHUNK_SIZE: u32 = 65_536;
/// A block of the handshake.
const BLOCK: usize = 1_536;
/// Bytes in front of a tag's body, and of the file's first.
const TAG_HEADER: usize = 11;
const FILE_HEADER: usize = 9 + 4;

/// An FLV tag.
#[derive(Debug, Clone)]
pub struct Tag {
    /// Audio, video or data, as RTMP numbers messages.
    pub kind: u8,
    /// Milliseconds.
    pub at: u32,
    /// What the message carries.
    pub body: Bytes,
}

impl Tag {
    /// Whether it is a picture or sound, and neither a codec's configuration nor data.
    pub fn is_media(&self) -> bool {
        match self.kind {
            kind::VIDEO | kind::AUDIO => self.body.get(1) == Some(&1),
            _ => false,
        }
    }

    /// Whether it is of the picture.
    pub fn is_video(&self) -> bool {
        self.kind == kind::VIDEO
    }
}

/// The tags of an FLV file; `None` where it is cut short or no FLV.
pub fn tags(file: &[u8]) -> Option<Vec<Tag>> {
    let mut rest = file.strip_prefix(b"FLV").and_then(|_| file.get(FILE_HEADER..))?;
    let mut tags = Vec::new();
    while let Some((header, after)) = rest.split_first_chunk::<TAG_HEADER>() {
        let [kind, a, b, c, t1, t2, t3, t0, ..] = *header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let (body, after) = after.split_at_checked(length)?;
        tags.push(Tag { kind, at: u32::from_be_bytes([t0, t1, t2, t3]), body: Bytes::copy_from_slice(body) });
        rest = after.get(4..)?;
    }
    Some(tags)
}

/// What a client says first, before it has heard anything.
pub fn greeting() -> Vec<u8> {
    let mut greeting = vec![0x5a; 1 + BLOCK];
    greeting[0] = 3;
    greeting[1..9].fill(0); // time, and a zero version: the simple handshake
    greeting
}

/// A connection on which the server has agreed to a publication.
pub struct Client {
    socket: TcpStream,
    writer: Writer,
    stream: u32,
    key: String,
    out: Vec<u8>,
}

impl Client {
    /// Publishes to `rtmp://address/app/key`, up to the server's agreement.
    ///
    /// # Errors
    /// The server's refusal in its own words; a lost connection; twenty seconds without an answer.
    pub async fn publish(address: SocketAddr, app: &str, key: &str) -> Result<Self, PublisherError> {
        soon("the server's agreement", Self::come_in(address, app, key)).await
    }

    async fn come_in(address: SocketAddr, app: &str, key: &str) -> Result<Self, PublisherError> {
        let mut socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        socket.write_all(&greeting()).await?;
        let mut answer = vec![0; 1 + 2 * BLOCK];
        socket.read_exact(&mut answer).await?;
        socket.write_all(&answer[1..=BLOCK]).await?;

        let (writer, text) = (Writer::default(), |text: &str| Value::String(text.into()));
        let mut client = Self { socket, writer, stream: 0, key: key.to_owned(), out: Vec::new() };
        client.writer.write(&mut client.out, 2, kind::SET_CHUNK_SIZE, 0, &CHUNK_SIZE.to_be_bytes());
        client.writer.set_chunk_size(CHUNK_SIZE);
        let about = vec![
            ("app".to_owned(), text(app)),
            ("type".to_owned(), text("nonprivate")),
            ("tcUrl".to_owned(), text(&format!("rtmp://{address}/{app}"))),
        ];
        client.command(0, &[text("connect"), Value::Number(1.0), Value::Object(about)]);
        client.command(0, &[text("createStream"), Value::Number(2.0), Value::Null]);
        client.flush().await?;

        let (mut reader, mut input) = (Reader::default(), BytesMut::new());
        loop {
            while let Some(message) = reader.next(&mut input).map_err(PublisherError::protocol)? {
                if message.kind == kind::SET_CHUNK_SIZE {
                    let size = message.body.first_chunk().map_or(0, |size| u32::from_be_bytes(*size));
                    reader.set_chunk_size(size).map_err(PublisherError::protocol)?;
                }
                if client.heard(&message)? {
                    return Ok(client);
                }
                client.flush().await?;
            }
            if client.socket.read_buf(&mut input).await? == 0 {
                return Err(PublisherError::Refused("it closed the connection".into()));
            }
        }
    }

    /// Goes on after a message of the server. True once it has agreed.
    fn heard(&mut self, message: &Message) -> Result<bool, PublisherError> {
        if message.kind != kind::COMMAND_AMF0 {
            return Ok(false);
        }
        let values = decode(&message.body).map_err(PublisherError::protocol)?;
        let name = values.first().and_then(Value::as_str).unwrap_or_default();
        let said = |property: &str| values.get(3).and_then(|about| about.get(property)).and_then(Value::as_str);
        match (name, values.get(1).and_then(Value::as_number)) {
            ("_result", Some(2.0)) => {
                let stream = values.get(3).and_then(Value::as_number);
                self.stream = stream.ok_or_else(|| PublisherError::protocol("createStream gave no stream"))? as u32;
                let text = |text: &str| Value::String(text.into());
                let publish = [text("publish"), Value::Number(3.0), Value::Null, text(&self.key), text("live")];
                self.command(self.stream, &publish);
                Ok(false)
            }
            ("onStatus", _) if said("code") == Some("NetStream.Publish.Start") => Ok(true),
            ("_error" | "onStatus", _) => {
                let words = [said("code"), said("description")].map(Option::unwrap_or_default);
                Err(PublisherError::Refused(words.join(": ")))
            }
            _ => Ok(false),
        }
    }

    fn command(&mut self, stream: u32, values: &[Value]) {
        self.writer.write(&mut self.out, 3, kind::COMMAND_AMF0, stream, &encode(values));
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        self.socket.write_all(&self.out).await?;
        self.out.clear();
        Ok(())
    }

    fn write(&mut self, at: u32, tag: &Tag) {
        let chunk_stream = if tag.is_video() { 6 } else { 4 };
        self.writer.write_at(&mut self.out, chunk_stream, tag.kind, self.stream, at, &tag.body);
    }

    /// Sends a tag with the timestamp `at`, milliseconds. Waits while the server does not take it.
    pub async fn send(&mut self, at: u32, tag: &Tag) -> Result<(), PublisherError> {
        self.write(at, tag);
        Ok(self.flush().await?)
    }

    /// Sends the first half of a tag.
    pub async fn send_half(&mut self, at: u32, tag: &Tag) -> Result<(), PublisherError> {
        self.write(at, tag);
        self.out.truncate(self.out.len() / 2);
        Ok(self.flush().await?)
    }

    /// Says that the stream is over, and waits until the server has closed.
    pub async fn end(mut self) -> Result<(), PublisherError> {
        let (stream, key) = (f64::from(self.stream), Value::String(self.key.clone()));
        self.command(0, &[Value::String("FCUnpublish".into()), Value::Number(4.0), Value::Null, key]);
        let delete = [Value::String("deleteStream".into()), Value::Number(5.0), Value::Null, Value::Number(stream)];
        self.command(0, &delete);
        self.flush().await?;
        self.socket.shutdown().await?;
        self.closed().await
    }

    /// Until the server closes the connection.
    pub async fn closed(mut self) -> Result<(), PublisherError> {
        soon("the server's end of the connection", async {
            let mut sink = [0; 4_096];
            while self.socket.read(&mut sink).await? > 0 {}
            Ok(())
        })
        .await
    }

    /// Goes as a process does that is killed: the server is sent a reset.
    pub fn kill(self) -> std::io::Result<()> {
        socket2::SockRef::from(&self.socket).set_linger(Some(std::time::Duration::ZERO))
    }
}
