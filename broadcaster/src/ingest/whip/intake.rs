//! From RTP packets and sender reports to ingest events. Sans-IO.
//!
//! Packets are put in order, pictures together, sound into AAC, and both on one line of time. After a loss nothing is passed on
//! until the next key picture, which is asked for at once; one is also asked for twice in every segment.

use super::clock::Clock;
use super::picture::{Assembler, Picture};
use super::reorder::{Packet, Reorder};
use crate::events::{IngestEvent, TICKS_PER_SECOND, TIMELINE_JUMP, TrackKind};
use crate::ingest::avc::configure;
use crate::ingest::tracks::{Expect, Stamp, Tracks};
use millrace_media::AvError;
use millrace_media::audio::OpusToAac;
use millrace_media::cmaf::{CmafError, Codec, VideoTrack};
use std::time::{Duration, Instant};

/// So long a missing packet of a picture is waited for: several requests on a path of 100 ms.
const VIDEO_WAIT: Duration = Duration::from_millis(500);
/// And one of sound, which is not asked for again: only its own detour.
const AUDIO_WAIT: Duration = Duration::from_millis(120);
/// From one key picture to the request for the next: half of the segments' target. A segment ends with every other one, and where an
/// encoder takes its time, the segmenter has one in between to end at before the segment is too long for its playlist.
const KEY_INTERVAL: Duration = Duration::from_secs(1);
/// From one request to the next while none is answered.
const KEY_RETRY: Duration = Duration::from_millis(500);

/// Why a publication cannot go on. The message is for the log: WebRTC has no words for its publisher.
#[derive(Debug, thiserror::Error)]
pub(super) enum IntakeError {
    /// Parameter sets or a key frame that are not accepted.
    #[error("the video is not accepted: {0}")]
    Video(#[from] CmafError),
    /// Alternate references of VP8.
    #[error(
        "a frame comes that is not to be shown: switch alternate references off in the encoder (libvpx: auto-alt-ref=0)"
    )]
    Hidden,
    /// B-frames.
    #[error("pictures come in another order than they are shown: switch B-frames off in the encoder")]
    Reordered,
}

/// What the log says of a publication at its end.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    /// Pictures passed on.
    pub(super) pictures: u64,
    /// Pictures dropped because they, or what they build on, did not arrive whole.
    pub(super) dropped: u64,
    /// Key pictures asked for.
    pub(super) requests: u64,
}

/// State of one publication.
pub(super) struct Intake {
    name: String,
    clock: Clock,
    video: Video,
    audio: Option<Audio>,
    tracks: Tracks,
    pub(super) counts: Counts,
}

struct Video {
    codec: Codec,
    order: Reorder,
    assembler: Assembler,
    layered: bool,
    /// Pictures are dropped until a key picture comes.
    broken: bool,
    last_dts: Option<i64>,
    last_key: Option<Instant>,
    last_request: Option<Instant>,
}

struct Audio {
    order: Reorder,
    codec: OpusToAac,
}

impl Intake {
    /// For the stream `name`, of this video codec, with sound if the offer has any.
    ///
    /// # Errors
    /// When this FFmpeg has no Opus or no AAC.
    pub(super) fn new(name: &str, codec: Codec, sound: bool, now: Instant) -> Result<Self, AvError> {
        let audio = match sound {
            true => Some(Audio { order: Reorder::new(AUDIO_WAIT), codec: OpusToAac::new()? }),
            false => None,
        };
        let mut tracks = Tracks::new(name);
        tracks.expect(TrackKind::Video, Expect::Must);
        tracks.expect(TrackKind::Audio, if sound { Expect::May } else { Expect::Not });
        Ok(Self {
            name: name.to_owned(),
            clock: Clock::new(now),
            video: Video {
                codec,
                order: Reorder::new(VIDEO_WAIT),
                assembler: Assembler::new(codec),
                layered: false,
                broken: true,
                last_dts: None,
                last_key: None,
                last_request: None,
            },
            audio,
            tracks,
            counts: Counts::default(),
        })
    }

    /// Takes one packet as it arrived.
    pub(super) fn packet(&mut self, kind: TrackKind, packet: Packet, now: Instant) -> Result<(), IntakeError> {
        match (kind, &mut self.audio) {
            (TrackKind::Video, _) => {
                if !packet.payload.is_empty() {
                    self.clock.video_arrived(packet.timestamp, now); // padding repeats old times
                }
                self.video.order.push(packet, now);
            }
            (TrackKind::Audio, Some(audio)) => {
                self.clock.audio_arrived(packet.timestamp, now);
                audio.order.push(packet, now);
            }
            (TrackKind::Audio, None) => {}
        }
        self.advance(now)
    }

    /// Takes a sender report: the same moment in 32.32 seconds and in the track's own time.
    pub(super) fn report(&mut self, kind: TrackKind, ntp: u64, timestamp: u32) {
        match kind {
            TrackKind::Video => self.clock.video_report(ntp, timestamp),
            TrackKind::Audio => self.clock.audio_report(ntp, timestamp),
        }
    }

    /// Does what is due at `now`.
    pub(super) fn advance(&mut self, now: Instant) -> Result<(), IntakeError> {
        let mut pictures = Vec::new();
        while let Some((lost, packet)) = self.video.order.pop(now) {
            self.video.assembler.push(lost, packet, &mut pictures);
        }
        for picture in pictures {
            self.picture(picture, now)?;
        }
        if self.video.assembler.is_layered() && !std::mem::replace(&mut self.video.layered, true) {
            tracing::warn!(stream = %self.name, "of the spatial layers of vp9 only the lowest is taken: choose one layer, L1T1, in the encoder");
        }
        while let Some((_, packet)) = self.audio.as_mut().and_then(|audio| audio.order.pop(now)) {
            self.sound(packet.timestamp, &packet.payload);
        }
        Ok(())
    }

    /// When [`advance`](Self::advance) has something to do though nothing arrives.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let audio = self.audio.as_ref().and_then(|audio| audio.order.next_timeout());
        self.video.order.next_timeout().into_iter().chain(audio).min()
    }

    /// Whether to ask the publisher for a key picture now.
    pub(super) fn wants_key_picture(&mut self, now: Instant) -> bool {
        let video = &mut self.video;
        let due = video.broken || video.last_key.is_none_or(|last| now >= last + KEY_INTERVAL);
        let asked = video.last_request.is_some_and(|last| now < last + KEY_RETRY);
        if due && !asked {
            video.last_request = Some(now);
            self.counts.requests += 1;
        }
        due && !asked
    }

    /// The next event.
    pub(super) fn poll(&mut self) -> Option<IngestEvent> {
        self.tracks.poll()
    }

    fn picture(&mut self, mut picture: Picture, now: Instant) -> Result<(), IntakeError> {
        if !picture.whole {
            self.drop_picture();
            return Ok(());
        }
        let configured = self.configured(&mut picture)?;
        if picture.data.is_empty() {
            return Ok(()); // parameter sets alone: they come again with the next key picture
        }
        let video = &mut self.video;
        let Some(track) = configured.as_ref().or(self.tracks.video()) else {
            self.drop_picture();
            return Ok(());
        };
        if (video.broken || !picture.follows || configured.is_some()) && !picture.key {
            self.drop_picture();
            return Ok(());
        }
        if !track.is_shown(&picture.data) {
            return Err(IntakeError::Hidden);
        }
        let dts = self.clock.video(picture.timestamp);
        if video.last_dts.is_some_and(|last| dts <= last && last - dts <= TIMELINE_JUMP) {
            return Err(IntakeError::Reordered);
        }
        video.last_dts = Some(dts);
        video.broken = false;
        if picture.key {
            video.last_key = Some(now);
        }
        if let Some(track) = configured {
            self.tracks.video_config(track);
        }
        self.counts.pictures += 1;
        self.tracks.unit(TrackKind::Video, Stamp { dts: Some(dts), pts: None }, picture.key, picture.data);
        Ok(())
    }

    fn drop_picture(&mut self) {
        self.video.broken = true;
        self.counts.dropped += 1;
        self.tracks.lost();
    }

    /// The track that begins with this picture, if it is another than before. Notes whether the picture is a key picture.
    fn configured(&self, picture: &mut Picture) -> Result<Option<VideoTrack>, CmafError> {
        let now = self.tracks.video();
        if self.video.codec == Codec::H264 {
            return configure(now, &picture.sps, &picture.pps);
        }
        let track = VideoTrack::of_key_frame(self.video.codec, &picture.data)?;
        picture.key = track.is_some();
        Ok(track.filter(|track| now != Some(track)))
    }

    fn sound(&mut self, timestamp: u32, payload: &[u8]) {
        let Some(audio) = &mut self.audio else { return };
        let Some(pts) = self.clock.audio(timestamp) else { return };
        let frames = match audio.codec.push(pts, payload) {
            Ok(frames) => frames,
            Err(error) => {
                tracing::debug!(stream = %self.name, %error, "a packet of sound is left out");
                return;
            }
        };
        for frame in frames {
            self.tracks.audio_config(audio.codec.track().clone());
            let time = frame.pts * TICKS_PER_SECOND / i64::from(millrace_media::audio::SAMPLE_RATE);
            let stamp = Stamp { dts: Some(time), pts: None };
            self.tracks.unit(TrackKind::Audio, stamp, true, frame.data);
        }
    }
}
