//! A stretch of a recording as one MP4, without encoding anything anew: from the key picture at or before its beginning.
//!
//! The segments are read twice, one at a time: first for the table that an MP4 begins with, then for the bytes.

use super::sheet::{Entry, Line, read};
use crate::events::TICKS_PER_SECOND;
use crate::origin::{AUDIO, check_name};
use bytes::{Bytes, BytesMut};
use futures::Stream;
use futures::future::BoxFuture;
use millrace_media::cmaf::{CmafError, Sample, Track, read_init, read_segment};
use millrace_media::progressive::{Progressive, SampleEntry};
use std::collections::VecDeque;
use std::sync::Arc;

/// Longest clip, seconds: its table of samples is held in memory, some 10 MB.
pub const MOST_SECONDS: f64 = 3_600.0;
/// Segments before the beginning that are looked through for a key picture.
const BACK: usize = 8;

/// Why there is no clip.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// A time that does not read.
    #[error("{0:?} is no time: give seconds, or hours, minutes and seconds as 00:01:10")]
    Time(String),
    /// An end before the beginning.
    #[error("the clip would end at {to} s and begin at {from} s: its end must be later")]
    Order {
        /// Seconds.
        from: f64,
        /// Seconds.
        to: f64,
    },
    /// Too much.
    #[error("the clip would have {0:.0} s, and the most is {MOST_SECONDS:.0}: make several")]
    TooLong(f64),
    /// Beyond the end.
    #[error("the clip would begin at {from} s, and the recording has {length:.1} s")]
    Beyond {
        /// Seconds.
        from: f64,
        /// Seconds.
        length: f64,
    },
    /// A rendition that is not there.
    #[error("the recording has no rendition {name:?}: it has {known}")]
    Rendition {
        /// Which was asked for.
        name: String,
        /// Those that are there.
        known: String,
    },
    /// Nothing to show.
    #[error("the recording has nothing but gaps there")]
    Gap,
    /// Another encoding.
    #[error("the encoding changes {0:.1} s into the recording: clip what is before it and what is after it apart")]
    Encoding(f64),
    /// A file that is not there, or cannot be read.
    #[error("{0}")]
    Source(String),
    /// A segment that does not read.
    #[error("a segment does not read: {0}")]
    Media(#[from] CmafError),
}

/// Where the files of a recording are.
pub trait Source: Send + Sync + 'static {
    /// A whole file, by its name below the recording's folder; or what is wrong with it, in words.
    fn get(&self, file: String) -> BoxFuture<'_, Result<Bytes, String>>;
}

/// The two times of a clip, seconds; without a beginning it is the recording's, without an end the longest there may be.
pub fn stretch(from: Option<&str>, to: Option<&str>) -> Result<(f64, f64), ClipError> {
    let from = from.map_or(Ok(0.0), seconds)?;
    let to = to.map_or(Ok(from + MOST_SECONDS), seconds)?;
    if to <= from {
        return Err(ClipError::Order { from, to });
    }
    if to - from > MOST_SECONDS {
        return Err(ClipError::TooLong(to - from));
    }
    Ok((from, to))
}

fn seconds(text: &str) -> Result<f64, ClipError> {
    let wrong = || ClipError::Time(text.to_owned());
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit() || c == b'.');
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 || !parts.iter().all(|part| digits(part)) {
        return Err(wrong());
    }
    parts.iter().try_fold(0.0, |sum, part| Ok(sum * 60.0 + part.parse::<f64>().map_err(|_| wrong())?))
}

/// A rendition of a recording.
pub struct Recorded {
    source: Arc<dyn Source>,
    /// Those that are wanted: the picture's, then the sound's.
    tracks: Vec<Rendition>,
}

struct Rendition {
    name: String,
    listed: Vec<Line>,
}

impl Recorded {
    /// The rendition called so, or the first that the master playlist names, with the sound beside it.
    pub async fn open(source: Arc<dyn Source>, rendition: Option<&str>) -> Result<Self, ClipError> {
        let text = |bytes: Bytes| String::from_utf8_lossy(&bytes).into_owned();
        let master = text(source.get("master.m3u8".into()).await.map_err(ClipError::Source)?);
        let known: Vec<String> =
            master.lines().filter_map(|line| line.strip_suffix("/index.m3u8")).map(Into::into).collect();
        let known: Vec<String> = known.into_iter().filter(|name| check_name(name).is_ok()).collect();
        let wanted = rendition.or(known.first().map(String::as_str)).unwrap_or(AUDIO).to_owned();
        if !known.contains(&wanted) {
            return Err(ClipError::Rendition { name: wanted, known: known.join(", ") });
        }
        let sound = (wanted != AUDIO && master.contains("TYPE=AUDIO")).then(|| AUDIO.to_owned());
        let mut tracks = Vec::new();
        for name in [wanted].into_iter().chain(sound) {
            let playlist = source.get(format!("{name}/index.m3u8")).await.map_err(ClipError::Source)?;
            tracks.push(Rendition { listed: read(&name, &text(playlist)), name });
        }
        Ok(Self { source, tracks })
    }

    /// The MP4 of what is between two times, seconds from the recording's beginning.
    pub async fn clip(self, from: f64, to: f64) -> Result<Clip, ClipError> {
        let main = self.tracks.first().ok_or(ClipError::Gap)?;
        let starts = starts(&main.listed);
        let length = starts.last().copied().unwrap_or(0.0);
        let at = starts.windows(2).position(|pair| pair[0] <= from && from < pair[1]);
        let at = at.ok_or(ClipError::Beyond { from, length })?;
        let mut plan = Plan::new(&self, from, to);
        let mut first = at;
        // Back to where decoding can begin.
        while !plan.begins_in(first, &starts).await? && first > 0 && at - first < BACK {
            first -= 1;
        }
        for index in first..main.listed.len() {
            if starts.get(index).is_none_or(|start| *start >= to) {
                break;
            }
            plan.take(index, &starts).await?;
        }
        plan.end(self.source.clone())
    }
}

/// When each segment begins, and the last ends, seconds.
fn starts(listed: &[Line]) -> Vec<f64> {
    let mut starts = vec![0.0];
    let mut ticks = 0;
    for line in listed {
        ticks += line.moment.duration;
        starts.push(ticks as f64 / TICKS_PER_SECOND as f64);
    }
    starts
}

/// Which samples of a file go into the clip.
struct Piece {
    file: String,
    samples: std::ops::Range<usize>,
}

struct Plan<'a> {
    recorded: &'a Recorded,
    from: f64,
    to: f64,
    inits: Vec<Option<(Bytes, Track)>>,
    pieces: VecDeque<Piece>,
    /// The samples of each piece, with the track that they are of.
    chunks: Vec<(usize, Vec<SampleEntry>)>,
    /// What to add to a time of the media, seconds, for the recording's time; until the next break.
    shift: Option<f64>,
    /// The last time that was given out, by track, ticks.
    last: Vec<Option<i64>>,
    /// When the first picture is decoded, and when it is shown, seconds of the recording.
    begins: (f64, f64),
}

impl<'a> Plan<'a> {
    fn new(recorded: &'a Recorded, from: f64, to: f64) -> Self {
        let tracks = recorded.tracks.len();
        Self {
            recorded,
            from,
            to,
            inits: vec![None; tracks],
            pieces: VecDeque::new(),
            chunks: Vec::new(),
            shift: None,
            last: vec![None; tracks],
            begins: (from, from),
        }
    }

    /// The file of a rendition's segment, with that of its init segment; `None` for a gap.
    fn files(&self, track: usize, number: u64) -> Option<(String, String)> {
        let rendition = self.recorded.tracks.get(track)?;
        let first = rendition.listed.first()?.moment.number;
        let line = rendition.listed.get(usize::try_from(number.checked_sub(first)?).ok()?)?;
        let folder = match &line.entry {
            Entry::Own { .. } => &rendition.name,
            Entry::Of(other) if check_name(other).is_ok() => other,
            _ => return None,
        };
        Some((format!("{folder}/{number}.m4s"), format!("{folder}/init-{}.mp4", line.init)))
    }

    async fn samples(
        &mut self,
        track: usize,
        number: u64,
        at: f64,
    ) -> Result<Option<(String, Vec<Sample>)>, ClipError> {
        let Some((file, init)) = self.files(track, number) else { return Ok(None) };
        let source = &self.recorded.source;
        let init = source.get(init).await.map_err(ClipError::Source)?;
        match self.inits.get_mut(track) {
            Some(Some((known, _))) if *known == init => {}
            Some(slot @ None) => *slot = Some((init.clone(), read_init(&init)?)),
            _ => return Err(ClipError::Encoding(at)),
        }
        let samples = read_segment(&source.get(file.clone()).await.map_err(ClipError::Source)?)?;
        Ok(Some((file, samples)))
    }

    fn rate(&self, track: usize) -> f64 {
        let init = self.inits.get(track).and_then(Option::as_ref);
        init.map_or(f64::from(TICKS_PER_SECOND as u32), |(_, track)| f64::from(track.timescale()))
    }

    /// Whether a segment has a key picture at or before the beginning; then the clip begins with the last of them.
    async fn begins_in(&mut self, index: usize, starts: &[f64]) -> Result<bool, ClipError> {
        let at = starts.get(index).copied().unwrap_or(0.0);
        let Some(&Line { moment, .. }) = self.recorded.tracks.first().and_then(|track| track.listed.get(index)) else {
            return Ok(false);
        };
        let Some((_, samples)) = self.samples(0, moment.number, at).await? else { return Ok(false) };
        let (first, rate) = (samples.first().map_or(0, |sample| sample.dts), self.rate(0));
        let time = |sample: &Sample| at + (sample.dts - first) as f64 / rate;
        let key = samples.iter().rfind(|sample| sample.key && time(sample) <= self.from);
        if let Some(key) = key {
            self.begins = (time(key), time(key) + (key.pts - key.dts) as f64 / rate);
        }
        Ok(key.is_some())
    }

    /// Takes a segment of each track in, as far as it belongs to the clip.
    async fn take(&mut self, index: usize, starts: &[f64]) -> Result<(), ClipError> {
        let at = starts.get(index).copied().unwrap_or(0.0);
        let Some(&Line { moment, .. }) = self.recorded.tracks.first().and_then(|track| track.listed.get(index)) else {
            return Ok(());
        };
        let number = moment.number;
        if moment.discontinuity {
            self.shift = None;
        }
        for track in 0..self.recorded.tracks.len() {
            let Some((file, samples)) = self.samples(track, number, at).await? else {
                if track == 0 {
                    self.shift = None; // what follows begins where the timeline says
                    return Ok(());
                }
                continue;
            };
            let rate = self.rate(track);
            let first = samples.first().map_or(0.0, |sample| sample.dts as f64 / rate);
            let shift = *self.shift.get_or_insert(at - first);
            let wanted = |sample: &Sample| {
                let time = sample.dts as f64 / rate + shift;
                let length = f64::from(sample.duration) / rate;
                // Of sound, all that is heard while the picture is there.
                let begun = if track == 0 { time >= self.begins.0 - 0.5 / rate } else { time + length > self.begins.1 };
                begun && time < self.to
            };
            let start = samples.iter().position(wanted).unwrap_or(samples.len());
            let end = samples.iter().rposition(wanted).map_or(start, |last| last + 1);
            let ticks = (shift * rate).round() as i64;
            let mut start = start;
            // Behind a break, times may overlap by a little: what is over is left out.
            let last = self.last.get(track).copied().flatten();
            while start < end && last.is_some_and(|last| samples[start].dts + ticks <= last) {
                start += 1;
            }
            let entries: Vec<SampleEntry> = samples[start..end]
                .iter()
                .map(|sample| SampleEntry {
                    dts: sample.dts + ticks,
                    pts: sample.pts + ticks,
                    size: sample.data.len() as u32,
                    key: sample.key,
                })
                .collect();
            let Some(newest) = entries.last() else { continue };
            if let Some(slot) = self.last.get_mut(track) {
                *slot = Some(newest.dts);
            }
            self.pieces.push_back(Piece { file, samples: start..end });
            self.chunks.push((track, entries));
        }
        Ok(())
    }

    fn end(self, source: Arc<dyn Source>) -> Result<Clip, ClipError> {
        let tracks: Vec<(usize, Track)> =
            self.inits.into_iter().enumerate().filter_map(|(index, init)| Some((index, init?.1))).collect();
        let place = |track: usize| tracks.iter().position(|(index, _)| *index == track);
        let mut file = Progressive::new(tracks.iter().map(|(_, track)| track.clone()).collect());
        for (track, samples) in &self.chunks {
            file.chunk(place(*track).unwrap_or(usize::MAX), samples);
        }
        if file.payload() == 0 {
            return Err(ClipError::Gap);
        }
        let head = file.head(self.begins.1)?;
        Ok(Clip { length: head.len() as u64 + file.payload(), head: Some(head), pieces: self.pieces, source })
    }
}

/// An MP4 that is ready to be sent.
pub struct Clip {
    head: Option<Bytes>,
    pieces: VecDeque<Piece>,
    source: Arc<dyn Source>,
    length: u64,
}

impl Clip {
    /// Bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The file, a segment's samples at a time. It ends early with what is wrong, where a segment has gone meanwhile.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, ClipError>> + Send {
        futures::stream::try_unfold(self, |mut clip| async move {
            if let Some(head) = clip.head.take() {
                return Ok(Some((head, clip)));
            }
            let Some(Piece { file, samples }) = clip.pieces.pop_front() else { return Ok(None) };
            let all = read_segment(&clip.source.get(file).await.map_err(ClipError::Source)?)?;
            let mut bytes = BytesMut::new();
            all.get(samples).unwrap_or_default().iter().for_each(|sample| bytes.extend_from_slice(&sample.data));
            Ok(Some((bytes.freeze(), clip)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_clock_times_and_a_clip_is_bounded() {
        assert_eq!(stretch(Some("00:01:10"), Some("120.5")).ok(), Some((70.0, 120.5)));
        assert_eq!(stretch(None, None).ok(), Some((0.0, MOST_SECONDS)));
        for (from, to, words) in [
            ("soon", "2", "\"soon\" is no time"),
            ("-1", "2", "no time"),
            ("1:2:3:4", "2", "no time"),
            ("1.2.3", "2", "no time"),
            ("5", "5", "later"),
            ("0", "1:00:01", "the most is 3600"),
        ] {
            let error = stretch(Some(from), Some(to)).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
