//! From a transport stream to ingest events. Sans-IO.
//!
//! Times of 33 bits become ticks that do not wrap, and those that are missing are counted on. After a loss no picture is passed on until the
//! next key picture, and of sound what arrived whole.

use super::adts::{BlocksError, Frames};
use super::pes::Pes;
use super::psi;
use super::ts::{Demuxer, Said, TsError};
use crate::events::{IngestEvent, TICKS_PER_SECOND, TIMELINE_JUMP, TrackKind};
use crate::ingest::aac::{self, AacError};
use crate::ingest::avc::configure;
use crate::ingest::tracks::{Expect, Stamp, Tracks, Unwrap};
use crate::segmenter::MAX_GOP_SECONDS;
use bytes::{BufMut, Bytes, BytesMut};
use millrace_media::cmaf::CmafError;
use millrace_media::h264;

/// So much sound without a picture is a stream of sound alone, whatever its program map promises.
const VIDEO_WAIT: i64 = 10 * TICKS_PER_SECOND;
/// So long a stream may take to its first key picture.
const KEY_WAIT: i64 = MAX_GOP_SECONDS * TICKS_PER_SECOND;
/// Pictures in one PES packet, of which each is an event that waits. One is usual.
const MOST_PICTURES: usize = 64;
/// Parameter sets of a kind in one picture: what an `avcC` record holds of the first kind.
const MOST_SETS: usize = 31;
/// Once or twice a clock steps back; oftener it is B-frames.
const MOST_BACK: u32 = 8;

/// Why a publication cannot go on. The message is for the log: SRT has no words for its publisher.
#[derive(Debug, thiserror::Error)]
pub(super) enum IntakeError {
    /// Codecs that are not taken.
    #[error(transparent)]
    Ts(#[from] TsError),
    /// AAC that is not taken.
    #[error(transparent)]
    Aac(#[from] AacError),
    /// ADTS that is not taken.
    #[error(transparent)]
    Blocks(#[from] BlocksError),
    /// Parameter sets that are not taken.
    #[error("the h.264 parameter sets are not accepted: {0}")]
    Video(#[from] CmafError),
    /// B-frames, and nothing that says when to decode them.
    #[error(
        "pictures come in another order than they are shown, without decoding times: switch B-frames off in the encoder"
    )]
    Reordered,
    /// Nothing to begin with.
    #[error("no keyframe for {MAX_GOP_SECONDS} s: set the encoder's keyframe interval to 2 s")]
    NoKey,
}

/// What the log says of a publication at its end.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    /// Pictures passed on.
    pub(super) pictures: u64,
    /// Pictures dropped because they, or what they build on, did not arrive whole.
    pub(super) dropped: u64,
    /// Frames of sound passed on.
    pub(super) sounds: u64,
}

/// State of one publication.
pub(super) struct Intake {
    demuxer: Demuxer,
    said: Vec<Said>,
    clock: Unwrap<33>,
    video: Video,
    audio: Audio,
    tracks: Tracks,
    pub(super) counts: Counts,
}

#[derive(Default)]
struct Video {
    pid: Option<u16>,
    /// Whether pictures are passed on: from a key picture on, until one is lost.
    intact: bool,
    /// When the first picture was to be decoded.
    first: Option<i64>,
    last: Option<Times>,
    /// From one picture to the next, ticks.
    step: i64,
    /// Whether pictures have been shown at other times than they are decoded.
    reorders: bool,
    /// Pictures that went back without a decoding time.
    back: u32,
}

#[derive(Default)]
struct Audio {
    pid: Option<u16>,
    frames: Frames,
    /// The last time that was told, and the samples since.
    base: Option<(i64, i64)>,
    first: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    dts: i64,
    pts: i64,
}

impl Intake {
    /// For the stream `name`, which stands in its first event.
    pub(super) fn new(name: &str) -> Self {
        let mut tracks = Tracks::new(name);
        tracks.expect(TrackKind::Video, Expect::Must); // until the program map says what there is
        Self {
            demuxer: Demuxer::default(),
            said: Vec::new(),
            clock: Unwrap::default(),
            video: Video::default(),
            audio: Audio::default(),
            tracks,
            counts: Counts::default(),
        }
    }

    /// Takes bytes of the transport stream as they came. `gap` says that something is missing before them.
    pub(super) fn push(&mut self, bytes: &[u8], gap: bool) -> Result<(), IntakeError> {
        self.demuxer.push(bytes, gap, &mut self.said)?;
        self.take()
    }

    /// The stream has ended where it should: what waits for its end is whole.
    pub(super) fn finish(&mut self) -> Result<(), IntakeError> {
        self.demuxer.finish(&mut self.said);
        self.take()
    }

    /// Pictures and frames of sound that have been read, passed on or not.
    pub(super) fn read(&self) -> u64 {
        self.counts.pictures + self.counts.dropped + self.counts.sounds
    }

    /// The next event.
    pub(super) fn poll(&mut self) -> Option<IngestEvent> {
        self.tracks.poll()
    }

    fn take(&mut self) -> Result<(), IntakeError> {
        for said in std::mem::take(&mut self.said) {
            match said {
                Said::Tracks(tracks) => self.program(tracks),
                Said::Lost(TrackKind::Video) => self.video.intact = false,
                Said::Lost(TrackKind::Audio) => self.audio.frames.lost(),
                Said::Pes(TrackKind::Video, pes) => self.pictures(&pes)?,
                Said::Pes(TrackKind::Audio, pes) => self.sound(&pes)?,
            }
        }
        Ok(())
    }

    /// What the program map promises from here on.
    fn program(&mut self, found: psi::Tracks) {
        if found.video != self.video.pid {
            self.video.pid = found.video;
            self.video.intact = false;
        }
        if found.audio != self.audio.pid {
            self.audio.pid = found.audio;
            self.audio.frames.lost();
        }
        self.tracks.expect(TrackKind::Video, if found.video.is_some() { Expect::Must } else { Expect::May });
        self.tracks.expect(TrackKind::Audio, if found.audio.is_some() { Expect::May } else { Expect::Not });
    }

    fn pictures(&mut self, pes: &Pes) -> Result<(), IntakeError> {
        for (i, picture) in Picture::all(&pes.data).into_iter().enumerate() {
            // The times are those of the first picture that begins in the packet.
            let time = |t: Option<u64>| t.filter(|_| i == 0);
            let Some(times) = self.times(time(pes.pts), time(pes.dts))? else { continue };
            self.picture(picture, times, pes.whole)?;
        }
        if !pes.whole {
            self.video.intact = false;
        }
        Ok(())
    }

    /// When a picture is decoded and shown. `None` before any time was told.
    fn times(&mut self, pts: Option<u64>, dts: Option<u64>) -> Result<Option<Times>, IntakeError> {
        let Video { last, step, reorders, back, .. } = &mut self.video;
        let next = last.map(|last| last.dts + *step);
        let (dts, pts) = match (dts.map(|t| self.clock.at(t)), pts.map(|t| self.clock.at(t)), next) {
            (Some(dts), Some(pts), _) => {
                *reorders |= dts != pts;
                (dts, pts)
            }
            // A picture that is shown when it is decoded has no decoding time; one of a stream with B-frames may have lost it, and is then
            // shown well after its turn.
            (None, Some(pts), Some(next)) if *reorders && (next + *step / 2..next + TIMELINE_JUMP).contains(&pts) => {
                (next, pts)
            }
            (None, Some(pts), _) => {
                if !*reorders && last.is_some_and(|last| (1..TIMELINE_JUMP).contains(&(last.pts - pts))) {
                    *back += 1;
                    if *back > MOST_BACK {
                        return Err(IntakeError::Reordered);
                    }
                }
                (pts, pts)
            }
            (_, None, Some(next)) => (next, next + last.map_or(0, |last| last.pts - last.dts)),
            (_, None, None) => return Ok(None),
        };
        if let Some(last) = last
            && (1..TIMELINE_JUMP).contains(&(dts - last.dts))
        {
            *step = dts - last.dts;
        }
        let times = Times { dts, pts };
        *last = Some(times);
        Ok(Some(times))
    }

    fn picture(&mut self, picture: Picture, times: Times, whole: bool) -> Result<(), IntakeError> {
        let video = &mut self.video;
        let first = *video.first.get_or_insert(times.dts);
        if !whole || !(picture.key || video.intact) {
            self.counts.dropped += 1;
            self.tracks.lost();
            let waits = !self.tracks.started() && times.dts - first > KEY_WAIT;
            return if waits { Err(IntakeError::NoKey) } else { Ok(()) };
        }
        if !picture.coded {
            return Ok(()); // parameter sets alone: they come again with the next key picture
        }
        let configured = configure(self.tracks.video(), &picture.sps, &picture.pps)?;
        video.intact = if configured.is_some() { picture.key } else { self.tracks.video().is_some() };
        if !video.intact {
            self.counts.dropped += 1;
            self.tracks.lost();
            return Ok(());
        }
        if let Some(track) = configured {
            self.tracks.video_config(track);
        }
        self.counts.pictures += 1;
        let stamp = Stamp { dts: Some(times.dts), pts: Some(times.pts) };
        self.tracks.unit(TrackKind::Video, stamp, picture.key, picture.data.freeze());
        Ok(())
    }

    fn sound(&mut self, pes: &Pes) -> Result<(), IntakeError> {
        let mut told = pes.pts.map(|pts| self.clock.at(pts));
        let frames = self.audio.frames.push(&pes.data)?;
        if !pes.whole {
            self.audio.frames.lost();
        }
        for frame in frames {
            let track = match self.tracks.audio() {
                Some(track) if track.config[..] == frame.config => track.clone(),
                _ => {
                    let track = aac::track(Bytes::copy_from_slice(&frame.config))?;
                    self.tracks.audio_config(track.clone());
                    track
                }
            };
            // The time is that of the first frame that begins in the packet; from there, samples count.
            let told = if frame.earlier { None } else { told.take() };
            let audio = &mut self.audio;
            audio.base = told.map(|told| (told, 0)).or(audio.base);
            let Some((base, samples)) = &mut audio.base else { continue };
            let time = *base + *samples * TICKS_PER_SECOND / i64::from(track.sample_rate);
            *samples += aac::frame_samples(&track.config);
            let first = *audio.first.get_or_insert(time);
            if !self.tracks.started() && self.video.first.is_none() && time - first > VIDEO_WAIT {
                self.tracks.expect(TrackKind::Video, Expect::May);
            }
            self.counts.sounds += 1;
            let stamp = Stamp { dts: Some(time), pts: None };
            self.tracks.unit(TrackKind::Audio, stamp, true, frame.data);
        }
        Ok(())
    }
}

/// One coded picture.
#[derive(Default)]
struct Picture {
    sps: Vec<Bytes>,
    pps: Vec<Bytes>,
    key: bool,
    /// Whether there is any slice of it.
    coded: bool,
    /// NAL units with length prefixes: all but parameter sets, delimiters and filler.
    data: BytesMut,
}

impl Picture {
    /// The pictures of a PES packet. There is one in each but from few encoders, and then a delimiter stands before each.
    fn all(stream: &[u8]) -> Vec<Self> {
        let mut all = vec![Self::default()];
        for nal in h264::annexb_nals(stream) {
            if nal[0] & 0x1f == h264::NAL_DELIMITER && all.last().is_some_and(|picture| picture.coded) {
                if all.len() == MOST_PICTURES {
                    break;
                }
                all.push(Self::default());
            }
            let Some(picture) = all.last_mut() else { continue };
            match nal[0] & 0x1f {
                h264::NAL_SPS => keep(&mut picture.sps, nal),
                h264::NAL_PPS => keep(&mut picture.pps, nal),
                h264::NAL_DELIMITER | h264::NAL_FILLER => {}
                kind => {
                    picture.key |= kind == h264::NAL_IDR;
                    picture.coded |= (1..=h264::NAL_IDR).contains(&kind);
                    picture.data.put_u32(nal.len() as u32);
                    picture.data.put_slice(nal);
                }
            }
        }
        all
    }
}

fn keep(sets: &mut Vec<Bytes>, nal: &[u8]) {
    if sets.len() < MOST_SETS && !sets.iter().any(|set| set == nal) {
        sets.push(Bytes::copy_from_slice(nal));
    }
}
