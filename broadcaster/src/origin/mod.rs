//! The origin: HLS out of memory. Nothing is written to disk.
//!
//! | file | what |
//! | --- | --- |
//! | `mod` | the streams by name, and the handle that a publication writes through |
//! | `stream` | what a stream lists, and how far it has come: sans-IO |
//! | `rendition` | parts, segments and init segments of one rendition: sans-IO |
//! | `playlist` | playlists as text: pure |
//! | `directives` | what a player asks of a playlist: pure |
//! | `shared` | a stream that many requests wait for, and its playlists ready to send |
//! | `access` | who may watch: pure |
//! | `viewers` | how many watch: sans-IO |
//! | `http` | the routes |
//! | `reader` | what the recorder reads |
//!
//! Paths: `/live/{name}/master.m3u8`, and per rendition `/live/{name}/{rendition}/` with `index.m3u8`, `init-{n}.mp4`, `{number}.m4s`
//! for segments and `{number}.{index}.m4s` for their parts.

mod access;
mod directives;
#[cfg(fuzzing)]
pub mod fuzz;
mod http;
#[cfg(test)]
pub(crate) mod http_tests;
#[cfg(test)]
mod part_tests;
pub(crate) mod playlist;
pub(crate) mod reader;
mod rendition;
mod shared;
mod stream;
#[cfg(test)]
mod tests;
mod thumbnail;
mod viewers;

pub use access::{Access, LEAST_SECRET};
pub(crate) use access::{Denied, console_expiry};
pub use directives::{DirectiveError, Directives};
pub(crate) use http::for_players;
pub(crate) use rendition::Description;
pub(crate) use stream::Lags;
pub use stream::{AUDIO, KEEP_ENDED, Keep, LINGER, SOURCE, STREAM_BYTES, WINDOW};

use crate::events::SegmentEvent;
use bytes::Bytes;
use millrace_media::cmaf::{self, CmafError, Track};
use rendition::Part;
use shared::Shared;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use stream::{Slot, Stream};
use tokio::sync::Semaphore;

/// Longest name of a stream or rendition.
const MAX_NAME: usize = 64;

/// Why the origin does not take something.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// A name that cannot be part of a path.
    #[error("the name {0:?} is not 1 to {MAX_NAME} letters, digits, dashes, dots and underscores")]
    BadName(String),
    /// The table is full of live ones.
    #[error("the origin holds {0} live streams already: wait for one to end")]
    TooManyStreams(usize),
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
    /// An init segment or a part that no player could read.
    #[error("rendition {rendition:?} cannot be read: {error}")]
    Unreadable {
        /// Which.
        rendition: String,
        /// What is wrong with it.
        error: CmafError,
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
    keep: Keep,
    access: Access,
    /// Places for requests that wait.
    held: Arc<Semaphore>,
    /// Places for thumbnails that are made.
    drawing: Arc<Semaphore>,
}

impl Default for Origin {
    fn default() -> Self {
        Self::new()
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
        Self::keeping(Keep::default())
    }

    /// The same with other bounds.
    pub fn keeping(keep: Keep) -> Self {
        Self {
            streams: Arc::default(),
            keep,
            access: Access::default(),
            held: Arc::new(Semaphore::new(http::MAX_HELD)),
            drawing: Arc::new(Semaphore::new(thumbnail::AT_ONCE)),
        }
    }

    /// The same for those viewers only whom `access` lets in.
    pub fn with_access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// The path of a stream's master playlist for somebody who may watch until `expiry`, unix seconds.
    pub fn path(&self, name: &str, expiry: u64) -> String {
        self.access.path(name, expiry)
    }

    /// How many have watched the stream `name` in the last half minute.
    pub fn viewers(&self, name: &str) -> usize {
        self.find(name).map_or(0, |shared| shared.viewers().count(Instant::now()))
    }

    /// What players of the stream `name` are behind by, once its first segment is there.
    pub(crate) fn lags(&self, name: &str) -> Option<Lags> {
        self.find(name)?.look(Stream::lags)
    }

    /// Begins a publication of the stream `name`: a new stream, or one whose publisher came back. An older handle of the same
    /// stream may still finish what it began, and no more.
    pub fn stream(&self, name: &str) -> Result<StreamHandle, OriginError> {
        check_name(name)?;
        let now = Instant::now();
        self.sweep();
        let mut streams = self.lock();
        if !streams.contains_key(name) && streams.len() >= self.keep.streams {
            // Those first for whose publisher nobody waits any more.
            let age = |stream: &Stream| Some((!stream.is_over(now), stream.ended()?));
            let ended = streams.iter().filter_map(|(name, shared)| Some((shared.look(age)?, name)));
            let first = ended.min().map(|(_, name)| name.clone());
            streams.remove(&first.ok_or(OriginError::TooManyStreams(self.keep.streams))?);
        }
        let shared = streams.entry(name.to_owned()).or_insert_with(|| {
            let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Arc::new(Shared::new(Stream::new(format!("{:x}", age.as_millis()), self.keep)))
        });
        let (publication, base) = shared.change(|stream| stream.begin(now));
        Ok(StreamHandle { shared: Arc::clone(shared), publication, base })
    }

    /// Drops the streams that ended [`KEEP_ENDED`] ago or earlier. Called on every new publication; call it on a timer too.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.lock().retain(|_, shared| !shared.look(|stream| stream.is_spent(now)));
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
            (
                name.clone(),
                Description {
                    codec: likely_codec(height).to_owned(),
                    width,
                    height,
                    bitrate,
                    ..Description::default()
                },
            )
        };
        self.change(|stream| {
            stream.set_ladder(ladder.iter().map(describe).collect(), self.base + from);
            Ok(())
        })
    }

    /// Takes what the segmenter says at one time: the source and audio renditions, discontinuities and the end come through here.
    pub fn apply(&self, events: &[SegmentEvent]) -> Result<(), OriginError> {
        self.change(|stream| {
            if !stream.is_current(self.publication) {
                return Ok(());
            }
            events.iter().try_for_each(|event| self.take(stream, event))
        })
    }

    fn take(&self, stream: &mut Stream, event: &SegmentEvent) -> Result<(), OriginError> {
        match event {
            SegmentEvent::VideoInit(bytes, track) => {
                let (width, height) = (track.width.into(), track.height.into());
                let about = Description { codec: track.codec_string(), width, height, ..Description::default() };
                // It may join a stream of sound.
                stream.add_source(stream.next_number(), about, track.codec.is_playable());
                stream.set_init(SOURCE, bytes.clone(), track.timescale)
            }
            SegmentEvent::Captions(captions) => {
                stream.set_captions(*captions);
                Ok(())
            }
            SegmentEvent::AudioInit(bytes, track) => {
                let about =
                    Description { codec: track.codec_string(), channels: track.channels, ..Description::default() };
                // Audio may join late: what was finished before has none.
                stream.add_rendition(AUDIO, stream.next_number(), about);
                stream.set_init(AUDIO, bytes.clone(), track.sample_rate)
            }
            SegmentEvent::VideoPart { seq, index, start_pts, duration, bytes, .. } => {
                stream.reached = stream.reached.max(start_pts + duration);
                stream.add_part(SOURCE, self.base + seq, *index, read(SOURCE, bytes)?)
            }
            SegmentEvent::VideoSegmentEnd { seq, duration, frames, independent, program_date_time, .. } => {
                let slot = Slot::new(self.base + seq, *duration, *program_date_time, *independent);
                stream.finish_source(SOURCE, slot, *frames, Instant::now())
            }
            SegmentEvent::AudioPart { seq, index, bytes, .. } => {
                stream.add_part(AUDIO, self.base + seq, *index, read(AUDIO, bytes)?)
            }
            SegmentEvent::AudioSegmentEnd { seq, duration, alone: None, .. } => {
                stream.finish_segment(AUDIO, self.base + seq, Some(*duration))
            }
            SegmentEvent::AudioSegmentEnd { seq, duration, alone: Some(date), .. } => {
                stream.reached += duration;
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
    }

    /// The init segment that the following parts of a rendition need. The same bytes again change nothing.
    pub fn set_init(&self, rendition: &str, bytes: Bytes) -> Result<(), OriginError> {
        let unreadable = |error| OriginError::Unreadable { rendition: rendition.to_owned(), error };
        let (timescale, codec) = match cmaf::read_init(&bytes).map_err(unreadable)? {
            Track::Video(track) => (track.timescale, Some(track.codec_string())),
            Track::Audio(track) => (track.sample_rate, None),
        };
        self.change(|stream| {
            stream.set_init(rendition, bytes, timescale)?;
            if let Some(codec) = codec {
                stream.set_codec(rendition, codec);
            }
            Ok(())
        })
    }

    /// The next part of a rendition's segment. Parts of a segment that is finished, a gap, or delisted are ignored.
    pub fn add_part(&self, rendition: &str, seq: u64, index: u32, bytes: Bytes) -> Result<(), OriginError> {
        let part = read(rendition, &bytes)?;
        self.change(|stream| stream.add_part(rendition, self.base + seq, index, part))
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
        let _ = self.apply(&[SegmentEvent::End { clean }]);
    }

    /// What a recorder reads the stream by.
    pub(crate) fn reader(&self) -> reader::Reader {
        reader::Reader::new(Arc::clone(&self.shared))
    }

    /// The target duration that the stream's playlists have already, seconds: this publication goes on in them.
    pub fn target(&self) -> Option<i64> {
        self.shared.look(|stream| stream.target)
    }

    /// How far the times of publications before have come, ticks; 0 where this is the first.
    pub fn reached(&self) -> i64 {
        self.shared.look(|stream| stream.reached)
    }

    /// The playlist's number of this publication's segment 0.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    fn change<T>(&self, change: impl FnOnce(&mut Stream) -> Result<T, OriginError>) -> Result<T, OriginError> {
        self.shared.change(change)
    }
}

fn read(rendition: &str, bytes: &Bytes) -> Result<Part, OriginError> {
    Part::read(bytes.clone()).map_err(|error| OriginError::Unreadable { rendition: rendition.to_owned(), error })
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
