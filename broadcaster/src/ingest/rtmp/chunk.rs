//! The chunk stream of RTMP: messages cut into chunks that may interleave, and put together again.
//!
//! Every length that a peer declares is judged against a limit before anything is allocated for it, and memory grows only
//! with the bytes that really came.

use bytes::{Buf, Bytes, BytesMut};
use std::collections::BTreeMap;

/// A 4K IDR picture at 60 Mb/s is some 2 MB; a part, which must hold at least one picture, may have 8 MiB.
pub const MAX_MEDIA_MESSAGE: usize = 6 << 20;
/// Commands and metadata are a few hundred bytes; encoders that stuff a whole configuration in stay below this.
pub const MAX_CONTROL_MESSAGE: usize = 64 << 10;
/// Encoders use five chunk streams or fewer.
const MAX_CHUNK_STREAMS: usize = 16;
/// Sum of all half-read messages of one connection: one large picture and what interleaves with it.
const MAX_PARTIAL: usize = 8 << 20;
/// Until told otherwise, chunks carry 128 bytes.
const DEFAULT_CHUNK_SIZE: usize = 128;
/// The largest chunk size that makes sense: a message's length has 24 bits.
const MAX_CHUNK_SIZE: u32 = 0x00FF_FFFF;
/// A timestamp field with this value says that four more bytes hold the timestamp.
const EXTENDED: u32 = 0x00FF_FFFF;

/// Message types of RTMP that this server reads or writes.
pub mod kind {
    /// The sender's chunk size from here on.
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Forget a half-sent message.
    pub const ABORT: u8 = 2;
    /// Bytes received so far.
    pub const ACKNOWLEDGEMENT: u8 = 3;
    /// Stream begin, ping and the like.
    pub const USER_CONTROL: u8 = 4;
    /// How often the sender wants acknowledgements.
    pub const WINDOW_ACK_SIZE: u8 = 5;
    /// How much the peer may have in flight.
    pub const SET_PEER_BANDWIDTH: u8 = 6;
    /// An FLV audio tag body.
    pub const AUDIO: u8 = 8;
    /// An FLV video tag body.
    pub const VIDEO: u8 = 9;
    /// Metadata in AMF0.
    pub const DATA_AMF0: u8 = 18;
    /// A command in AMF3: a zero byte, then AMF0.
    pub const COMMAND_AMF3: u8 = 17;
    /// A command in AMF0.
    pub const COMMAND_AMF0: u8 = 20;
    /// Several messages in one.
    pub const AGGREGATE: u8 = 22;
}

/// One whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Message type, see [`kind`].
    pub kind: u8,
    /// Message stream: 0 for the connection, else what `createStream` returned.
    pub stream: u32,
    /// Milliseconds, wrapping at 32 bits.
    pub timestamp: u32,
    /// The body.
    pub body: Bytes,
}

/// Why the bytes of a peer are not a chunk stream that this server accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A header that refers to an earlier one that never came.
    #[error("chunk stream {0} starts with a compressed header")]
    NoHeader(u32),
    /// Too many chunk streams.
    #[error("more than {MAX_CHUNK_STREAMS} chunk streams on one connection")]
    TooManyStreams,
    /// A declared length beyond the limit of its type.
    #[error("message of type {kind} declares {length} bytes, the limit is {limit}")]
    TooLong {
        /// Message type.
        kind: u8,
        /// Bytes declared.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Too much half-read.
    #[error("half-sent messages exceed {MAX_PARTIAL} bytes")]
    TooMuchPartial,
    /// A new message began inside another of the same chunk stream.
    #[error("chunk stream {0} starts a message before it ends the last")]
    Interrupted(u32),
    /// Zero or negative chunk size.
    #[error("chunk size {0} is outside 1 to {MAX_CHUNK_SIZE}")]
    BadChunkSize(u32),
}

/// What is known of one chunk stream.
#[derive(Default)]
struct Stream {
    timestamp: u32,
    /// Timestamp field of the last header: absolute after type 0, else a delta.
    field: u32,
    extended: bool,
    length: usize,
    kind: u8,
    message_stream: u32,
    partial: BytesMut,
    in_message: bool,
}

/// Puts messages together from chunks.
pub struct Reader {
    chunk_size: usize,
    streams: BTreeMap<u32, Stream>,
    /// The chunk stream whose chunk is being read, and how many bytes of it are still to come.
    current: Option<(u32, usize)>,
    partial: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self { chunk_size: DEFAULT_CHUNK_SIZE, streams: BTreeMap::new(), current: None, partial: 0 }
    }
}

impl Reader {
    /// Obeys a SetChunkSize of the peer.
    pub fn set_chunk_size(&mut self, size: u32) -> Result<(), ChunkError> {
        if size == 0 || size > MAX_CHUNK_SIZE {
            return Err(ChunkError::BadChunkSize(size));
        }
        self.chunk_size = size as usize;
        Ok(())
    }

    /// Obeys an Abort of the peer: what came of that chunk stream's message is dropped.
    pub fn abort(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            self.partial -= stream.partial.len();
            stream.partial = BytesMut::new();
            stream.in_message = false;
        }
    }

    /// Takes from `input` until a message is whole. `None` means that more bytes are needed; all that could be used was.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<Message>, ChunkError> {
        loop {
            let (id, left) = match self.current {
                Some(current) => current,
                None => match self.header(input)? {
                    Some(current) => current,
                    None => return Ok(None),
                },
            };
            let Some(stream) = self.streams.get_mut(&id) else { return Err(ChunkError::NoHeader(id)) };
            let take = left.min(input.len());
            if self.partial + take > MAX_PARTIAL {
                return Err(ChunkError::TooMuchPartial);
            }
            stream.partial.extend_from_slice(&input[..take]);
            self.partial += take;
            input.advance(take);
            if take < left {
                self.current = Some((id, left - take));
                return Ok(None);
            }
            self.current = None;
            if stream.partial.len() == stream.length {
                stream.in_message = false;
                let body = std::mem::take(&mut stream.partial).freeze();
                self.partial -= body.len();
                return Ok(Some(Message {
                    kind: stream.kind,
                    stream: stream.message_stream,
                    timestamp: stream.timestamp,
                    body,
                }));
            }
        }
    }

    /// Reads one chunk header if all of it is there, and says which chunk stream has how many bytes in this chunk.
    fn header(&mut self, input: &mut BytesMut) -> Result<Option<(u32, usize)>, ChunkError> {
        let bytes: &[u8] = input;
        let Some(&first) = bytes.first() else { return Ok(None) };
        let (id, basic) = match (first & 0x3F, bytes) {
            (0, [_, low, ..]) => (64 + u32::from(*low), 2),
            (1, [_, low, high, ..]) => (64 + u32::from(*low) + (u32::from(*high) << 8), 3),
            (0 | 1, _) => return Ok(None),
            (id, _) => (u32::from(id), 1),
        };
        let format = first >> 6;
        let fields = [11, 7, 3, 0][usize::from(format)];
        let Some(header) = bytes.get(basic..basic + fields) else { return Ok(None) };
        let after = &bytes[basic + fields..];

        let known = self.streams.get(&id);
        if known.is_none() {
            // Old librtmp opens with a type 1 header, which lacks only the message stream; types 2 and 3 lack the length.
            if format > 1 {
                return Err(ChunkError::NoHeader(id));
            }
            if self.streams.len() >= MAX_CHUNK_STREAMS {
                return Err(ChunkError::TooManyStreams);
            }
        }
        let continues = known.is_some_and(|stream| stream.in_message);
        if continues && format != 3 {
            return Err(ChunkError::Interrupted(id));
        }

        let mut used = basic + fields;
        let mut field = if format == 3 { known.map_or(0, |stream| stream.field) } else { be24(header) };
        let extended = if format == 3 { known.is_some_and(|stream| stream.extended) } else { field == EXTENDED };
        if extended {
            let Some(value) = after.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes)) else { return Ok(None) };
            // Type 3 headers repeat the extended timestamp. A few senders do not: four bytes that differ are payload.
            if format != 3 || value == field {
                field = value;
                used += 4;
            }
        }
        if format <= 1 {
            let (length, kind) = (be24(&header[3..]) as usize, header[6]);
            let media = matches!(kind, kind::AUDIO | kind::VIDEO | kind::AGGREGATE);
            let limit = if media { MAX_MEDIA_MESSAGE } else { MAX_CONTROL_MESSAGE };
            if length > limit {
                return Err(ChunkError::TooLong { kind, length, limit });
            }
        }

        let stream = self.streams.entry(id).or_default();
        if format <= 1 {
            stream.length = be24(&header[3..]) as usize;
            stream.kind = header[6];
        }
        if format == 0 {
            stream.message_stream = u32::from_le_bytes([header[7], header[8], header[9], header[10]]);
        }
        if !continues {
            stream.timestamp = if format == 0 { field } else { stream.timestamp.wrapping_add(field) };
            stream.in_message = true;
        }
        stream.field = field;
        stream.extended = extended;
        let left = (stream.length - stream.partial.len()).min(self.chunk_size);
        input.advance(used);
        Ok(Some((id, left)))
    }
}

/// Cuts messages into chunks. Always full headers: eleven bytes more, and no state.
pub struct Writer {
    chunk_size: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Self { chunk_size: DEFAULT_CHUNK_SIZE }
    }
}

impl Writer {
    /// From the next message on, chunks have this size (the peer has been told).
    pub fn set_chunk_size(&mut self, size: u32) {
        self.chunk_size = size as usize;
    }

    /// Appends a message with timestamp 0 to `out`. `chunk_stream` is 2 for control, 3 to 63 for others.
    pub fn write(&self, out: &mut Vec<u8>, chunk_stream: u8, kind: u8, stream: u32, body: &[u8]) {
        self.write_at(out, chunk_stream, kind, stream, 0, body);
    }

    /// The same with a timestamp, milliseconds.
    pub fn write_at(&self, out: &mut Vec<u8>, chunk_stream: u8, kind: u8, stream: u32, timestamp: u32, body: &[u8]) {
        let id = chunk_stream & 0x3F;
        let extended = timestamp.to_be_bytes();
        let extended = if timestamp >= EXTENDED { &extended[..] } else { &[] };
        out.push(id);
        out.extend(&timestamp.min(EXTENDED).to_be_bytes()[1..]);
        out.extend(&(body.len() as u32).to_be_bytes()[1..]);
        out.push(kind);
        out.extend(stream.to_le_bytes());
        out.extend(extended);
        for (index, chunk) in body.chunks(self.chunk_size).enumerate() {
            if index > 0 {
                out.push(0xC0 | id);
                out.extend(extended);
            }
            out.extend(chunk);
        }
    }
}

/// Three bytes, big-endian; callers have checked that they are there.
fn be24(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(id: u8, timestamp: u32, length: usize, kind: u8) -> Vec<u8> {
        let mut out = vec![id];
        out.extend(&timestamp.min(EXTENDED).to_be_bytes()[1..]);
        out.extend(&(length as u32).to_be_bytes()[1..]);
        out.push(kind);
        out.extend(1u32.to_le_bytes());
        if timestamp >= EXTENDED {
            out.extend(timestamp.to_be_bytes());
        }
        out
    }

    fn read_all(reader: &mut Reader, bytes: &[u8]) -> Result<Vec<Message>, ChunkError> {
        let mut input = BytesMut::from(bytes);
        let mut messages = Vec::new();
        while let Some(message) = reader.next(&mut input)? {
            messages.push(message);
        }
        Ok(messages)
    }

    #[test]
    fn a_timestamp_of_any_length_comes_back() {
        for timestamp in [0, 1, EXTENDED - 1, EXTENDED, EXTENDED + 1, u32::MAX] {
            let (mut bytes, body) = (Vec::new(), [7; 300]);
            Writer::default().write_at(&mut bytes, 6, kind::VIDEO, 1, timestamp, &body);
            let messages = read_all(&mut Reader::default(), &bytes).unwrap();
            let found: Vec<_> = messages.iter().map(|m| (m.timestamp, &m.body[..])).collect();
            assert_eq!(found, [(timestamp, &body[..])]);
        }
    }

    #[test]
    fn what_the_writer_cuts_the_reader_puts_together_byte_by_byte() {
        let body: Vec<u8> = (0..1000u32).map(|n| n as u8).collect();
        let mut bytes = Vec::new();
        Writer::default().write(&mut bytes, 3, kind::COMMAND_AMF0, 7, &body);
        let mut reader = Reader::default();
        let mut input = BytesMut::new();
        let mut found = None;
        for byte in bytes {
            input.extend_from_slice(&[byte]);
            if let Some(message) = reader.next(&mut input).unwrap() {
                found = Some(message);
            }
        }
        let found = found.unwrap();
        assert_eq!((found.kind, found.stream, &found.body[..]), (kind::COMMAND_AMF0, 7, &body[..]));
    }

    #[test]
    fn messages_of_two_chunk_streams_may_interleave() {
        let mut bytes = full(4, 10, 200, kind::AUDIO);
        bytes.extend([1; 128]);
        bytes.extend(full(6, 11, 130, kind::VIDEO));
        bytes.extend([2; 128]);
        bytes.push(0xC4);
        bytes.extend([1; 72]);
        bytes.push(0xC6);
        bytes.extend([2; 2]);
        let messages = read_all(&mut Reader::default(), &bytes).unwrap();
        assert_eq!(messages[0].body, vec![1; 200]);
        assert_eq!(messages[1].body, vec![2; 130]);
        assert_eq!((messages[0].timestamp, messages[1].timestamp), (10, 11));
    }

    #[test]
    fn extended_timestamps_are_read_with_and_without_repetition_on_type_3() {
        for repeats in [true, false] {
            let mut bytes = full(4, 0xFFFF_FFF0, 200, kind::VIDEO);
            bytes.extend([1; 128]);
            bytes.push(0xC4);
            if repeats {
                bytes.extend(0xFFFF_FFF0u32.to_be_bytes());
            }
            bytes.extend([1; 72]);
            // A delta of 32 ms then crosses the wrap.
            bytes.extend([0x84, 0, 0, 32]);
            bytes.extend([3; 128]);
            bytes.push(0xC4);
            bytes.extend([3; 72]);
            let messages = read_all(&mut Reader::default(), &bytes).unwrap();
            assert_eq!(messages.iter().map(|m| m.timestamp).collect::<Vec<_>>(), [0xFFFF_FFF0, 16]);
            assert!(messages.iter().all(|m| m.body.len() == 200));
        }
    }

    #[test]
    fn declared_lengths_and_chunk_streams_are_bounded_before_anything_is_allocated() {
        let long = full(4, 0, MAX_MEDIA_MESSAGE + 1, kind::VIDEO);
        assert!(matches!(read_all(&mut Reader::default(), &long), Err(ChunkError::TooLong { .. })));
        let command = full(4, 0, MAX_CONTROL_MESSAGE + 1, kind::COMMAND_AMF0);
        assert!(matches!(read_all(&mut Reader::default(), &command), Err(ChunkError::TooLong { .. })));
        let mut many = Vec::new();
        for id in 2..60 {
            many.extend(full(id, 0, 1, kind::AUDIO));
            many.push(0);
        }
        assert_eq!(read_all(&mut Reader::default(), &many), Err(ChunkError::TooManyStreams));
        assert_eq!(read_all(&mut Reader::default(), &[0xC9]), Err(ChunkError::NoHeader(9)));
        assert!(Reader::default().set_chunk_size(0).is_err());
    }

    #[test]
    fn an_aborted_message_is_forgotten() {
        let mut reader = Reader::default();
        let mut bytes = full(4, 0, 200, kind::VIDEO);
        bytes.extend([1; 128]);
        assert!(read_all(&mut reader, &bytes).unwrap().is_empty());
        reader.abort(4);
        let mut bytes = full(4, 0, 2, kind::VIDEO);
        bytes.extend([9, 9]);
        assert_eq!(read_all(&mut reader, &bytes).unwrap()[0].body, vec![9, 9]);
    }
}
