//! Messages over one bidirectional QUIC stream: a length (u32, little endian), then postcard. A message is handed over as
//! soon as its last byte is here; nothing waits for the end of the stream.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use quinn::{ReadError, RecvStream, SendStream, VarInt, WriteError};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{task::consume_budget, time::timeout};

use crate::Closed;

/// The longest message in bytes: a 200 ms part at 20 Mb/s is 0.5 MB, an IDR may be several times its share.
pub const MAX_MESSAGE: usize = 8 << 20;
/// Bytes of the length in front of a message.
const PREFIX: usize = 4;
/// The stream's error code for a message that breaks the rules above.
const MALFORMED: u32 = 1;

/// Both directions of a stream between two peers.
#[derive(Debug)]
pub struct Channel {
    /// Our direction.
    pub sender: Sender,
    /// The peer's direction.
    pub receiver: Receiver,
}

impl Channel {
    pub(crate) fn new((send, recv): (SendStream, RecvStream)) -> Self {
        Self {
            sender: Sender { stream: send, torn: false },
            receiver: Receiver { stream: recv, buffer: BytesMut::new(), failed: None },
        }
    }

    /// The two directions apart, for two tasks.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

/// Why a message was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Too long; nothing of it was sent.
    #[error("the message has {length} bytes, the limit is {MAX_MESSAGE}: send smaller parts")]
    TooLong {
        /// The message's length in bytes.
        length: usize,
    },
    /// serde could not write it; nothing of it was sent.
    #[error("the message cannot be encoded: {0}")]
    Encode(String),
    /// The peer reads this channel no more.
    #[error("the peer stopped reading the channel with code {0}")]
    Stopped(u64),
    /// The direction was finished, or a message was given up half-way.
    #[error("the channel takes no more messages on this side")]
    Finished,
    /// The peer did not read fast enough. The channel can send no more.
    #[error("the peer did not take the message within {0:?}")]
    TimedOut(Duration),
    /// The connection is gone.
    #[error(transparent)]
    Closed(#[from] Closed),
}

impl From<WriteError> for SendError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => Self::Stopped(code.into_inner()),
            WriteError::ConnectionLost(e) => Self::Closed(e.into()),
            WriteError::ClosedStream | WriteError::ZeroRttRejected => Self::Finished,
        }
    }
}

/// The sending direction. Dropping it finishes it; a message that was given up half-way shows at the peer as an error.
#[derive(Debug)]
pub struct Sender {
    stream: SendStream,
    /// A message is half-way out: nothing may follow it but the end.
    torn: bool,
}

impl Sender {
    /// Sends one message; returns when QUIC has taken all of it, which is later than now if the peer reads slowly: at
    /// most the channel's window (2 MiB) is on its way. Dropped half-way, the channel sends no more.
    pub async fn send<M: Serialize>(&mut self, message: &M) -> Result<(), SendError> {
        let framed = frame(message)?;
        self.write(&[framed]).await
    }

    /// [`Sender::send`] with a limit in time.
    pub async fn send_within<M: Serialize>(&mut self, message: &M, within: Duration) -> Result<(), SendError> {
        timeout(within, self.send(message)).await.unwrap_or(Err(SendError::TimedOut(within)))
    }

    /// Sends a message that is encoded already, as [`Receiver::recv_bytes`] hands it out: a relay needs no decoding.
    pub async fn send_bytes(&mut self, message: Bytes) -> Result<(), SendError> {
        let prefix = prefix(message.len())?;
        self.write(&[Bytes::copy_from_slice(&prefix), message]).await
    }

    async fn write(&mut self, chunks: &[Bytes]) -> Result<(), SendError> {
        if self.torn {
            return Err(SendError::Finished);
        }
        consume_budget().await; // while there is room QUIC takes all at once: give others their turn
        self.torn = true;
        self.stream.write_all_chunks(&mut chunks.to_vec()).await?;
        self.torn = false;
        Ok(())
    }

    /// Says that no message follows. What was sent still arrives.
    pub fn finish(&mut self) {
        let _ = self.stream.finish(); // finishing twice, or after a reset, changes nothing
    }

    /// Finishes and waits until the peer has all of it, as before closing a connection.
    pub async fn finish_and_wait(&mut self, within: Duration) -> Result<(), SendError> {
        self.finish();
        match timeout(within, self.stream.stopped()).await {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(code))) => Err(SendError::Stopped(code.into_inner())),
            Ok(Err(quinn::StoppedError::ConnectionLost(e))) => Err(SendError::Closed(e.into())),
            Ok(Err(quinn::StoppedError::ZeroRttRejected)) => Err(SendError::Finished),
            Err(_) => Err(SendError::TimedOut(within)),
        }
    }

    /// Gives the direction up: the peer's next `recv` fails and unsent messages are dropped.
    pub fn reset(&mut self, code: u32) {
        let _ = self.stream.reset(VarInt::from_u32(code));
    }

    /// Higher numbers are sent first when the line is full; 0 is usual.
    pub fn set_priority(&mut self, priority: i32) {
        let _ = self.stream.set_priority(priority);
    }
}

fn prefix(length: usize) -> Result<[u8; PREFIX], SendError> {
    match u32::try_from(length) {
        Ok(n) if length <= MAX_MESSAGE => Ok(n.to_le_bytes()),
        _ => Err(SendError::TooLong { length }),
    }
}

fn frame<M: Serialize>(message: &M) -> Result<Bytes, SendError> {
    let mut framed = postcard::to_extend(message, vec![0; PREFIX]).map_err(|e| SendError::Encode(e.to_string()))?;
    let length = prefix(framed.len() - PREFIX)?;
    framed[..PREFIX].copy_from_slice(&length);
    Ok(framed.into())
}

/// Why no message came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecvError {
    /// The peer announces more than we take. The channel is stopped.
    #[error("the peer announces a message of {length} bytes, the limit is {MAX_MESSAGE}")]
    TooLong {
        /// The announced length in bytes.
        length: u32,
    },
    /// The bytes are no such message. The channel is stopped.
    #[error("the peer's message cannot be read: {0}")]
    Decode(String),
    /// The stream ended inside a message.
    #[error("the channel ended inside a message")]
    Truncated,
    /// The peer gave its direction up.
    #[error("the peer gave the channel up with code {0}")]
    Reset(u64),
    /// Nothing came in time. Receiving again goes on where this left off.
    #[error("no message came within {0:?}")]
    TimedOut(Duration),
    /// The connection is gone.
    #[error(transparent)]
    Closed(#[from] Closed),
}

impl From<ReadError> for RecvError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::Reset(code.into_inner()),
            ReadError::ConnectionLost(e) => Self::Closed(e.into()),
            ReadError::ClosedStream => Self::Truncated,
            other => Self::Closed(Closed::Failed(other.to_string())),
        }
    }
}

/// The receiving direction. Dropping it tells the peer to stop.
#[derive(Debug)]
pub struct Receiver {
    stream: RecvStream,
    /// What has come of the message: never more than one message with its length. It grows with the bytes that came, not
    /// with the length that was announced.
    buffer: BytesMut,
    failed: Option<RecvError>,
}

impl Receiver {
    /// The next message; `None` after the peer has finished. May be dropped while it waits (in a `select!`): nothing is
    /// lost. An error stays: every later call gives the same.
    pub async fn recv<M: DeserializeOwned>(&mut self) -> Result<Option<M>, RecvError> {
        let Some(bytes) = self.recv_bytes().await? else { return Ok(None) };
        match postcard::take_from_bytes(&bytes) {
            Ok((message, [])) => Ok(Some(message)),
            Ok((_, rest)) => Err(self.fail(RecvError::Decode(format!("{} bytes too many", rest.len())))),
            Err(e) => Err(self.fail(RecvError::Decode(e.to_string()))),
        }
    }

    /// [`Receiver::recv`] with a limit in time.
    pub async fn recv_within<M: DeserializeOwned>(&mut self, within: Duration) -> Result<Option<M>, RecvError> {
        timeout(within, self.recv()).await.unwrap_or(Err(RecvError::TimedOut(within)))
    }

    /// The next message as it was encoded, at most [`MAX_MESSAGE`] bytes.
    pub async fn recv_bytes(&mut self) -> Result<Option<Bytes>, RecvError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        consume_budget().await; // while there are bytes QUIC hands them out at once: give others their turn
        loop {
            let missing = match self.buffer.first_chunk::<PREFIX>() {
                None => PREFIX - self.buffer.len(),
                Some(prefix) => {
                    let announced = u32::from_le_bytes(*prefix);
                    let length = announced as usize;
                    if length > MAX_MESSAGE {
                        return Err(self.fail(RecvError::TooLong { length: announced }));
                    }
                    let have = self.buffer.len() - PREFIX;
                    if have == length {
                        let mut framed = std::mem::take(&mut self.buffer);
                        framed.advance(PREFIX);
                        return Ok(Some(framed.freeze()));
                    }
                    length - have
                }
            };
            match self.stream.read_chunk(missing, true).await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk.bytes),
                Ok(None) if self.buffer.is_empty() => return Ok(None),
                Ok(None) => return Err(self.fail(RecvError::Truncated)),
                Err(e) => return Err(self.fail(e.into())),
            }
        }
    }

    /// Tells the peer that we read no more of this channel.
    pub fn stop(&mut self, code: u32) {
        let _ = self.stream.stop(VarInt::from_u32(code));
    }

    /// Bytes allocated for a message.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.buffer.capacity()
    }

    fn fail(&mut self, error: RecvError) -> RecvError {
        self.stop(MALFORMED);
        self.buffer = BytesMut::new();
        self.failed = Some(error.clone());
        error
    }
}
