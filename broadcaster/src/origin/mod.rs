//! The origin: HLS out of memory. Nothing is written to disk.
//!
//! | file | what |
//! | --- | --- |
//! | `mod` | the streams by name, and the handle that a publication writes through |
//! | `stream` | what a stream holds and lists: sans-IO |
//! | `playlist` | playlists as text: pure |
//! | `http` | the routes |
//! | `reader` | what the recorder reads |
//!
//! Paths: `/live/{name}/master.m3u8`, and per rendition `/live/{name}/{rendition}/` with `index.m3u8`, `init-{n}.mp4` and `{number}.m4s`.

mod http;
pub(crate) mod playlist;
pub(crate) mod reader;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use stream::Description;
pub use stream::{AUDIO, KEEP_ENDED, LINGER, SOURCE, WINDOW};

use crate::events::SegmentEvent;
use bytes::Bytes;
use millrace_media::cmaf::{self, Track};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use stream::{Slot, Stream};
use tokio::sync::watch;

/// Streams at once, live and ended: each may hold some tens of megabytes.
pub const MAX_STREAMS: usize = 256;
/// Longest name of a stream or rendition.
const MAX_NAME: usize = 64;

/// Why the origin does not take something.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// A name that cannot be part of a path.
    #[error("the name {0:?} is not 1 to {MAX_NAME} letters, digits, dashes, dots and underscores")]
    BadName(String),
    /// The table is full.
    #[error("the origin holds {MAX_STREAMS} streams already: wait for one to end")]
    TooManyStreams,
    /// A rendition that was not announced.
    #[error("the stream has no rendition {0:?}: announce it with set_ladder")]
    UnknownRendition(String),
    /// Parts before their init segment.
    #[error("rendition {0:?} has no init segment yet")]
    NoInit(String),
    /// Parts out of order.
    #[error("part {index} of segment {number} came where part {expected} should: reset the segment for a new attempt")]
    PartOrder {
        /// Number of the segment.
        number: u64,
        /// Index that came.
        index: u32,
        /// Index that should have come.
        expected: u32,
    },
    /// Source segments out of order.
    #[error("source segment {number} came where {expected} should")]
    SegmentOrder {
        /// Number that came.
        number: u64,
        /// Number that should have come.
        expected: u64,
    },
    /// A rendition ahead of its source.
    #[error("segment {number} is too far ahead of source segment {newest}")]
    TooFarAhead {
        /// Number that came.
        number: u64,
        /// The source's newest.
        newest: u64,
    },
    /// More bytes than any segment may have.
    #[error("segment {0} is larger than a segment may be")]
    SegmentTooLarge(u64),
}

/// One rung of the ladder, as it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LadderRendition {
    /// Name in paths: `720p`.
    pub name: String,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Bit/s that its encoder aims at.
    pub bitrate: u32,
}

/// All streams of a broadcaster. Cheap to clone.
#[derive(Clone)]
pub struct Origin {
    streams: Arc<Mutex<BTreeMap<String, Arc<Shared>>>>,
    linger: Duration,
}

impl Default for Origin {
    fn default() -> Self {
        Self::new()
    }
}

/// A stream and the bell that rings when it changes.
struct Shared {
    stream: Mutex<Stream>,
    changed: watch::Sender<()>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one publication writes through. Segments count from 0 here; the playlist's numbers go on from the publication before.
#[derive(Clone)]
pub struct StreamHandle {
    shared: Arc<Shared>,
    publication: u64,
    base: u64,
}

impl Origin {
    /// An origin without streams, whose playlists wait [`LINGER`] for a publisher that vanished.
    pub fn new() -> Self {
        Self::with_linger(LINGER)
    }

    /// The same with another wait.
    pub fn with_linger(linger: Duration) -> Self {
        Self { streams: Arc::default(), linger }
    }

    /// Begins a publication of the stream `name`: a new stream, or one whose publisher came back. An older handle of the same
    /// stream may still finish what it began, and no more.
    pub fn stream(&self, name: &str) -> Result<StreamHandle, OriginError> {
        check_name(name)?;
        let now = Instant::now();
        self.sweep();
        let mut streams = self.lock();
        if !streams.contains_key(name) && streams.len() >= MAX_STREAMS {
            return Err(OriginError::TooManyStreams);
        }
        let shared = streams.entry(name.to_owned()).or_insert_with(|| {
            let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let stream = Mutex::new(Stream::new(format!("{:x}", age.as_millis()), self.linger));
            Arc::new(Shared { stream, changed: watch::Sender::new(()) })
        });
        let (publication, base) = shared.lock().begin(now);
        Ok(StreamHandle { shared: Arc::clone(shared), publication, base })
    }

    /// Drops the streams that ended [`KEEP_ENDED`] ago or earlier. Called on every new publication; call it on a timer too.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.lock().retain(|_, shared| !shared.lock().is_spent(now));
    }

    /// The HTTP routes, to be merged into a server.
    pub fn router(&self) -> axum::Router {
        http::router(self.clone())
    }

    fn find(&self, name: &str) -> Option<Arc<Shared>> {
        self.lock().get(name).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Shared>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamHandle {
    /// Announces the ladder that transcoders make, from segment `from` on. Call it before the first segment ends: until then a
    /// rendition of an earlier publication is listed with gaps. The playlist of one that is not named any more goes on with the
    /// segments of the highest one that is.
    pub fn set_ladder(&self, ladder: &[LadderRendition], from: u64) -> Result<(), OriginError> {
        for rung in ladder {
            check_name(&rung.name)?;
        }
        let describe = |LadderRendition { name, width, height, bitrate }: &LadderRendition| {
            let (width, height, bitrate) = (*width, *height, *bitrate);
            (name.clone(), Description { codec: likely_codec(height).to_owned(), width, height, bitrate, channels: 0 })
        };
        self.change(|stream| {
            stream.set_ladder(ladder.iter().map(describe).collect(), self.base + from);
            Ok(())
        })
    }

    /// Takes what the segmenter says: the source and audio renditions, discontinuities and the end come through here.
    pub fn apply(&self, event: &SegmentEvent) -> Result<(), OriginError> {
        self.change(|stream| {
            if !stream.is_current(self.publication) {
                return Ok(());
            }
            match event {
                SegmentEvent::VideoInit(bytes, track) => {
                    let (width, height) = (track.width.into(), track.height.into());
                    let about = Description { codec: track.codec_string(), width, height, ..Description::default() };
                    // It may join a stream of sound.
                    stream.add_source(stream.next_number(), about, track.codec.is_playable());
                    stream.set_init(SOURCE, bytes.clone())
                }
                SegmentEvent::AudioInit(bytes, track) => {
                    let about =
                        Description { codec: track.codec_string(), channels: track.channels, ..Description::default() };
                    // Audio may join late: what was finished before has none.
                    stream.add_rendition(AUDIO, stream.next_number(), about);
                    stream.set_init(AUDIO, bytes.clone())
                }
                SegmentEvent::VideoPart { seq, index, bytes, .. } => {
                    stream.add_part(SOURCE, self.base + seq, *index, bytes.clone())
                }
                SegmentEvent::VideoSegmentEnd { seq, duration, frames, independent, program_date_time, .. } => {
                    let slot = Slot::new(self.base + seq, *duration, *program_date_time, *independent);
                    stream.finish_source(SOURCE, slot, *frames, Instant::now())
                }
                SegmentEvent::AudioPart { seq, index, bytes, .. } => {
                    stream.add_part(AUDIO, self.base + seq, *index, bytes.clone())
                }
                SegmentEvent::AudioSegmentEnd { seq, duration, alone: None, .. } => {
                    stream.finish_segment(AUDIO, self.base + seq, Some(*duration))
                }
                SegmentEvent::AudioSegmentEnd { seq, duration, alone: Some(date), .. } => {
                    let slot = Slot::new(self.base + seq, *duration, *date, true);
                    stream.finish_source(AUDIO, slot, 0, Instant::now())
                }
                SegmentEvent::Discontinuity { seq } => {
                    stream.break_at(self.base + seq);
                    Ok(())
                }
                SegmentEvent::End { clean } => {
                    stream.end(*clean, Instant::now());
                    Ok(())
                }
            }
        })
    }

    /// The init segment that the following parts of a rendition need. The same bytes again change nothing.
    pub fn set_init(&self, rendition: &str, bytes: Bytes) -> Result<(), OriginError> {
        let codec = match cmaf::read_init(&bytes) {
            Ok(Track::Video(track)) => Some(track.codec_string()),
            _ => None,
        };
        self.change(|stream| {
            stream.set_init(rendition, bytes)?;
            if let Some(codec) = codec {
                stream.set_codec(rendition, codec);
            }
            Ok(())
        })
    }

    /// The next part of a rendition's segment. Parts of a segment that is finished, a gap, or delisted are ignored.
    pub fn add_part(&self, rendition: &str, seq: u64, index: u32, bytes: Bytes) -> Result<(), OriginError> {
        self.change(|stream| stream.add_part(rendition, self.base + seq, index, bytes))
    }

    /// Forgets the parts of an unfinished segment: another attempt follows from part 0.
    pub fn reset_segment(&self, rendition: &str, seq: u64) {
        let _ = self.change(|stream| {
            stream.reset_segment(rendition, self.base + seq);
            Ok(())
        });
    }

    /// The segment is complete. It is listed once all before it are complete or gaps; its duration and date are the source's.
    pub fn finish_segment(&self, rendition: &str, seq: u64) -> Result<(), OriginError> {
        self.change(|stream| stream.finish_segment(rendition, self.base + seq, None))
    }

    /// The segment will never be complete: it is listed as a gap. A finished one stays as it is.
    pub fn gap(&self, rendition: &str, seq: u64) {
        let _ = self.change(|stream| {
            stream.gap(rendition, self.base + seq);
            Ok(())
        });
    }

    /// Ends the stream, for a caller whose segmenter could not. Playlists end at once when `clean`, else after the wait for its publisher.
    pub fn end(&self, clean: bool) {
        let _ = self.apply(&SegmentEvent::End { clean });
    }

    /// What a recorder reads the stream by.
    pub(crate) fn reader(&self) -> reader::Reader {
        reader::Reader::new(Arc::clone(&self.shared))
    }

    /// The playlist's number of this publication's segment 0.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    fn change<T>(&self, change: impl FnOnce(&mut Stream) -> Result<T, OriginError>) -> Result<T, OriginError> {
        let result = change(&mut self.shared.lock());
        self.shared.changed.send_replace(());
        result
    }
}

/// Whether a stream or a rendition may be called so: it is part of a path.
pub fn check_name(name: &str) -> Result<(), OriginError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=MAX_NAME).contains(&name.len()) && name.chars().all(fine) && !name.starts_with('.') {
        Ok(())
    } else {
        Err(OriginError::BadName(name.to_owned()))
    }
}

/// What an encoder will say for this height, until its init segment says it: High profile at the level of 30 to 60 fps.
fn likely_codec(height: u32) -> &'static str {
    match height {
        0..=480 => "avc1.64001f",
        481..=720 => "avc1.640020",
        721..=1088 => "avc1.64002a",
        _ => "avc1.640034",
    }
}
