//! The source of one segment as its assigner keeps it: parts are appended as they are made and read by any number of
//! attempts, each from the first part on. This is what makes a lost worker harmless.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::{B256, Keccak256, keccak256};
use bytes::Bytes;
use tokio::sync::watch;

/// Bytes that one segment may hold: two seconds at 100 Mb/s, with room for a late key frame.
pub const MAX_SEGMENT_BYTES: usize = 64 << 20;
/// Parts that one segment may hold: ten seconds of parts of 20 ms.
pub const MAX_SEGMENT_PARTS: usize = 512;

/// Why a part cannot be appended.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum SourceError {
    /// Too many bytes.
    #[error(
        "a segment may hold {MAX_SEGMENT_BYTES} bytes, and this one is larger: lower the bit rate or the key frame interval"
    )]
    TooLarge,
    /// Too many parts.
    #[error("a segment may hold {MAX_SEGMENT_PARTS} parts, and this one has more: send a key frame more often")]
    TooManyParts,
    /// A part came out of its order.
    #[error("part {got} came where part {want} was due")]
    OutOfOrder {
        /// The index that came.
        got: u32,
        /// The index that was due.
        want: u32,
    },
    /// The segment is over.
    #[error("the segment is complete: no part can follow")]
    Ended,
}

/// What a reader of the source meets next.
#[derive(Debug, Clone)]
pub enum Next {
    /// The next part.
    Part {
        /// Its index within the segment.
        index: u32,
        /// One `moof` and `mdat`.
        bytes: Bytes,
    },
    /// Every part was read.
    End {
        /// Parts in the segment.
        parts: u32,
        /// Frames in the segment.
        frames: u32,
    },
    /// The source stopped before its end.
    Aborted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Ended,
    Aborted,
}

#[derive(Debug)]
struct Kept {
    parts: Vec<Bytes>,
    bytes: usize,
    frames: u32,
    hash: Keccak256,
    state: State,
}

/// One segment's source: its initialisation segment and its parts so far.
#[derive(Debug)]
pub struct Source {
    init: Bytes,
    kept: Mutex<Kept>,
    opened: Instant,
    ended: OnceLock<Instant>,
    grown: watch::Sender<()>,
}

impl Source {
    /// An empty segment that decodes with `init`.
    pub fn new(init: Bytes) -> Self {
        let mut hash = Keccak256::new();
        hash.update(keccak256(&init));
        let kept = Kept { parts: Vec::new(), bytes: 0, frames: 0, hash, state: State::Open };
        Self {
            init,
            kept: Mutex::new(kept),
            opened: Instant::now(),
            ended: OnceLock::new(),
            grown: watch::Sender::new(()),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The initialisation segment (`ftyp` and `moov`).
    pub fn init(&self) -> &Bytes {
        &self.init
    }

    /// Appends part `index`, which holds `frames` frames.
    pub fn push(&self, index: u32, part: Bytes, frames: u32) -> Result<(), SourceError> {
        {
            let mut kept = self.kept();
            if kept.state != State::Open {
                return Err(SourceError::Ended);
            }
            let want = kept.parts.len() as u32;
            if index != want {
                return Err(SourceError::OutOfOrder { got: index, want });
            }
            if kept.parts.len() >= MAX_SEGMENT_PARTS {
                return Err(SourceError::TooManyParts);
            }
            kept.bytes += part.len();
            if kept.bytes > MAX_SEGMENT_BYTES {
                return Err(SourceError::TooLarge);
            }
            kept.frames = kept.frames.saturating_add(frames);
            kept.hash.update(keccak256(&part));
            kept.parts.push(part);
        }
        self.grown.send_replace(());
        Ok(())
    }

    /// Says that every part is here.
    pub fn end(&self) {
        self.leave_open(State::Ended);
    }

    /// Says that the rest will not come. A complete source stays complete.
    pub fn abort(&self) {
        self.leave_open(State::Aborted);
    }

    fn leave_open(&self, state: State) {
        {
            let mut kept = self.kept();
            if kept.state == State::Open {
                kept.state = state;
                self.ended.get_or_init(Instant::now);
            }
        }
        self.grown.send_replace(());
    }

    /// When its first part was to come.
    pub(crate) fn opened_at(&self) -> Instant {
        self.opened
    }

    /// When the last part came; none while more may come.
    pub(crate) fn ended_at(&self) -> Option<Instant> {
        self.ended.get().copied()
    }

    /// How long ago the last part came; none while more may come. What a worker takes beyond this is its latency.
    pub fn since_end(&self) -> Option<Duration> {
        self.ended.get().map(Instant::elapsed)
    }

    /// How long the source took to come, once it is complete: a worker that gets it only now needs some time like it.
    pub fn took(&self) -> Option<Duration> {
        self.ended.get().map(|ended| ended.duration_since(self.opened))
    }

    /// Frames so far.
    pub fn frames(&self) -> u32 {
        self.kept().frames
    }

    /// Parts so far.
    pub fn parts(&self) -> Vec<Bytes> {
        self.kept().parts.clone()
    }

    /// The hash that an assignment names: keccak256 over the hash of the initialisation segment and of every part in order.
    pub fn hash(&self) -> B256 {
        self.kept().hash.clone().finalize()
    }

    /// A reader from the first part on.
    pub fn reader(&self) -> Reader<'_> {
        Reader { source: self, next: 0, grown: self.grown.subscribe() }
    }
}

/// Reads a source from its first part to its end, waiting for what is not there yet.
#[derive(Debug)]
pub struct Reader<'a> {
    source: &'a Source,
    next: usize,
    grown: watch::Receiver<()>,
}

impl Reader<'_> {
    /// The next part, or how the source ended. Cancel safe; it waits as long as the source stays open, so the caller sets the limit.
    pub async fn next(&mut self) -> Next {
        loop {
            self.grown.borrow_and_update();
            {
                let kept = self.source.kept();
                if let Some(bytes) = kept.parts.get(self.next) {
                    let index = self.next as u32;
                    self.next += 1;
                    return Next::Part { index, bytes: bytes.clone() };
                }
                match kept.state {
                    State::Open => {}
                    State::Ended => return Next::End { parts: kept.parts.len() as u32, frames: kept.frames },
                    State::Aborted => return Next::Aborted,
                }
            }
            if self.grown.changed().await.is_err() {
                return Next::Aborted;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_late_reader_replays_every_part_and_then_follows() {
        let source = Source::new(Bytes::from_static(b"init"));
        source.push(0, Bytes::from_static(b"a"), 6).unwrap();
        let mut reader = source.reader();
        assert!(matches!(reader.next().await, Next::Part { index: 0, .. }));
        let follow = async {
            let part = reader.next().await;
            (part, reader.next().await)
        };
        let feed = async {
            tokio::task::yield_now().await;
            source.push(1, Bytes::from_static(b"b"), 6).unwrap();
            tokio::task::yield_now().await;
            source.end();
        };
        let ((part, end), ()) = tokio::join!(follow, feed);
        assert!(matches!(part, Next::Part { index: 1, bytes } if bytes == "b"));
        assert!(matches!(end, Next::End { parts: 2, frames: 12 }));
    }

    #[test]
    fn order_and_size_are_bounded() {
        let source = Source::new(Bytes::new());
        assert_eq!(source.push(1, Bytes::new(), 1), Err(SourceError::OutOfOrder { got: 1, want: 0 }));
        for i in 0..MAX_SEGMENT_PARTS {
            source.push(i as u32, Bytes::new(), 1).unwrap();
        }
        assert_eq!(source.push(MAX_SEGMENT_PARTS as u32, Bytes::new(), 1), Err(SourceError::TooManyParts));
        source.end();
        source.abort();
        assert_eq!(source.push(0, Bytes::new(), 1), Err(SourceError::Ended));
    }

    #[test]
    fn the_hash_tells_part_boundaries_apart() {
        let one = Source::new(Bytes::new());
        one.push(0, Bytes::from_static(b"ab"), 6).unwrap();
        let two = Source::new(Bytes::new());
        two.push(0, Bytes::from_static(b"a"), 6).unwrap();
        two.push(1, Bytes::from_static(b"b"), 6).unwrap();
        assert_ne!(one.hash(), two.hash());
    }
}
