//! What a recorder reads of a stream: the timeline, what each playlist has for it, and the bytes, which are shared and not copied.

use super::AUDIO;
use super::rendition::Description;
use super::shared::Shared;
use super::stream::Stream;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// A stream, as a recorder sees it.
pub(crate) struct Reader {
    shared: Arc<Shared>,
    changed: watch::Receiver<()>,
}

/// One segment of the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) number: u64,
    /// Ticks.
    pub(crate) duration: i64,
    /// Unix milliseconds.
    pub(crate) date: i64,
    pub(crate) independent: bool,
    pub(crate) discontinuity: bool,
}

/// What a playlist has for a segment of the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listed {
    Gap,
    /// Its own segment.
    Own {
        init: u32,
        /// Ticks, where they differ from the timeline's.
        duration: Option<i64>,
    },
    /// The segment of another rendition, which stands in for it.
    Of(String),
}

/// A rendition and its news.
pub(crate) struct News {
    pub(crate) about: Description,
    /// The master playlist names it as a variant.
    pub(crate) variant: bool,
    /// From the number on that was asked for, without holes.
    pub(crate) listed: Vec<(u64, Listed)>,
}

/// A look at the stream.
pub(crate) struct Look {
    /// First segment of the playlists that are open now, or ended last.
    pub(crate) since: u64,
    /// Number of the segment that is not finished yet.
    pub(crate) next: u64,
    /// The playlists have ended.
    pub(crate) over: bool,
    /// Target duration, seconds.
    pub(crate) target: Option<i64>,
    /// Frames per second.
    pub(crate) frame_rate: Option<f64>,
    /// From the number on that was asked for; what was not kept so long is missing.
    pub(crate) timeline: Vec<Moment>,
    pub(crate) renditions: BTreeMap<String, News>,
    /// Order of the variants.
    pub(crate) ladder: Vec<String>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let mut changed = shared.changed();
        changed.mark_changed();
        Self { shared, changed }
    }

    /// Until the stream changed since the last call. False when it is gone for good.
    pub(crate) async fn changed(&mut self) -> bool {
        self.changed.changed().await.is_ok()
    }

    /// First segment of the playlists that are open now, or ended last.
    pub(crate) fn since(&self) -> u64 {
        self.shared.look(Stream::since)
    }

    /// The timeline from segment `from` on, and each playlist from the number that `next` gives for it.
    pub(crate) fn look(&self, from: u64, next: impl Fn(&str) -> u64) -> Look {
        self.shared.look(|stream| look(stream, from, next))
    }

    /// The parts of a finished segment, and its init segment; `None` once they are gone.
    pub(crate) fn fetch(&self, rendition: &str, number: u64) -> Option<(Vec<Bytes>, Bytes)> {
        self.shared.look(|stream| {
            let segment = stream.segment(rendition, number)?;
            let init = stream.renditions.get(rendition)?.inits.get(&segment.init)?;
            Some((segment.parts.iter().map(|part| part.bytes.clone()).collect(), init.bytes.clone()))
        })
    }
}

fn look(stream: &Stream, from: u64, next: impl Fn(&str) -> u64) -> Look {
    let timeline = stream.kept_from(from).map(|slot| Moment {
        number: slot.number,
        duration: slot.duration,
        date: slot.date,
        independent: slot.independent,
        discontinuity: slot.discontinuity,
    });
    let news = |name: &String| {
        let rendition = stream.renditions.get(name)?;
        let settled = stream.kept_from(next(name)).map_while(|slot| {
            let (of, segment) = stream.settled(name, slot)?;
            let listed = match segment {
                None => Listed::Gap,
                Some(_) if of != name => Listed::Of(of.to_owned()),
                Some(segment) => Listed::Own { init: segment.init, duration: segment.duration },
            };
            Some((slot.number, listed))
        });
        let variant = name != AUDIO && stream.ladder.contains(name);
        Some((name.clone(), News { about: rendition.about.clone(), variant, listed: settled.collect() }))
    };
    Look {
        since: stream.since(),
        next: stream.next_number(),
        over: stream.is_over(Instant::now()),
        target: stream.target,
        frame_rate: stream.frame_rate,
        timeline: timeline.collect(),
        renditions: stream.renditions.keys().filter_map(news).collect(),
        ladder: stream.ladder.clone(),
    }
}
