//! Aggregate messages: several audio, video and data messages in one, each behind a header as FLV files have it.

use super::chunk::{Message, kind};
use bytes::Buf;

/// Most messages in one. Servers that send aggregates gather some ten; a second of two tracks has a hundred.
const MAX_MESSAGES: usize = 1024;
/// Type, size, timestamp in two pieces, message stream.
const HEADER: usize = 11;
/// Behind each message, its size again.
const BACK_POINTER: usize = 4;

/// Why an aggregate is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AggregateError {
    /// A message runs past the end of the aggregate.
    #[error("a message of an aggregate runs past its end")]
    Truncated,
    /// More messages than any encoder gathers.
    #[error("an aggregate of more than {MAX_MESSAGES} messages")]
    TooMany,
}

/// Takes an aggregate apart. What comes out are audio, video and data messages; others have no place in it and are left out. The
/// aggregate's message stream rules, and its timestamp is that of its first message: the others keep their distance from that one.
pub fn unpack(aggregate: Message) -> Result<Vec<Message>, AggregateError> {
    let Message { stream, timestamp, mut body, .. } = aggregate;
    let (mut messages, mut first, mut count) = (Vec::new(), None, 0);
    while !body.is_empty() {
        let head = *body.first_chunk::<HEADER>().ok_or(AggregateError::Truncated)?;
        body.advance(HEADER);
        let size = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
        let time = u32::from_be_bytes([head[7], head[4], head[5], head[6]]);
        if size > body.len() {
            return Err(AggregateError::Truncated);
        }
        let data = body.split_to(size);
        body.advance(BACK_POINTER.min(body.len())); // not all write that of the last
        count += 1;
        if count > MAX_MESSAGES {
            return Err(AggregateError::TooMany);
        }
        let distance = time.wrapping_sub(*first.get_or_insert(time));
        if matches!(head[0], kind::AUDIO | kind::VIDEO | kind::DATA_AMF0) {
            let timestamp = timestamp.wrapping_add(distance);
            messages.push(Message { kind: head[0], stream, timestamp, body: data });
        }
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aggregate(timestamp: u32, messages: &[(u8, u32, &[u8])]) -> Message {
        let mut body = Vec::new();
        for (kind, time, data) in messages {
            let [upper, time @ ..] = time.to_be_bytes();
            body.push(*kind);
            body.extend(&(data.len() as u32).to_be_bytes()[1..]);
            body.extend(time);
            body.extend([upper, 9, 9, 9]); // a message stream that does not count
            body.extend(*data);
            body.extend((data.len() as u32 + 11).to_be_bytes());
        }
        Message { kind: kind::AGGREGATE, stream: 1, timestamp, body: body.into() }
    }

    #[test]
    fn messages_keep_their_distance_from_the_first() {
        let times = [0xFFFF_FFF0, 0x0000_0010, 0xFFFF_FFF8];
        let sent =
            [(kind::VIDEO, times[0], &b"v"[..]), (kind::AUDIO, times[1], b""), (kind::DATA_AMF0, times[2], b"d")];
        let got = unpack(aggregate(1000, &sent)).unwrap();
        let shape: Vec<_> = got.iter().map(|m| (m.kind, m.stream, m.timestamp, &m.body[..])).collect();
        let expected: [(u8, u32, u32, &[u8]); 3] =
            [(kind::VIDEO, 1, 1000, b"v"), (kind::AUDIO, 1, 1032, b""), (kind::DATA_AMF0, 1, 1008, b"d")];
        assert_eq!(shape, expected);
    }

    #[test]
    fn commands_and_aggregates_within_are_left_out() {
        let sent = [(kind::COMMAND_AMF0, 7, &b"x"[..]), (kind::AGGREGATE, 7, b"y"), (kind::AUDIO, 9, b"z")];
        let got = unpack(aggregate(0, &sent)).unwrap();
        assert_eq!(got.iter().map(|m| (m.kind, m.timestamp)).collect::<Vec<_>>(), [(kind::AUDIO, 2)]);
    }

    #[test]
    fn cut_bent_and_overlong_aggregates_are_refused_or_read_and_never_panic() {
        let whole = aggregate(0, &[(kind::VIDEO, 0, b"abc"), (kind::AUDIO, 5, b"de")]);
        for end in 0..whole.body.len() {
            let cut = Message { body: whole.body.slice(..end), ..whole.clone() };
            assert_eq!(unpack(cut).is_ok(), matches!(end, 0 | 14..=18 | 31..), "cut at {end}");
            for value in [0, 1, 0x7f, 0xff] {
                let mut bent = whole.body.to_vec();
                bent[end] = value;
                let _ = unpack(Message { body: bent.into(), ..whole.clone() });
            }
        }
        let many = vec![(kind::AUDIO, 0, &b""[..]); MAX_MESSAGES + 1];
        assert_eq!(unpack(aggregate(0, &many)), Err(AggregateError::TooMany));
        assert_eq!(unpack(aggregate(0, &many[1..])).unwrap().len(), MAX_MESSAGES);
    }
}
