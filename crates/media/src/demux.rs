//! A media file as a track and its samples: for tests, benchmarks and the demo stream. Not for live input, and not for files from strangers.

use std::path::Path;

use bytes::Bytes;
use ffmpeg_next as ffmpeg;

use crate::cmaf::{AudioTrack, CmafError, Codec, Sample, VideoTrack};
use crate::h264::{self, AvcConfig};
use crate::h265::{self, HevcConfig};
use crate::nal::NalError;
use crate::{VIDEO_TIMESCALE, av1};

/// Why a file could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum DemuxError {
    /// FFmpeg could not open or read it.
    #[error("the file does not read: {0}")]
    File(#[from] ffmpeg::Error),
    /// A track does not read.
    #[error("the video track does not read: {0}")]
    Video(#[from] CmafError),
    /// The parameter sets or samples do not read.
    #[error("the video track's headers do not read: {0}")]
    ParameterSets(#[from] NalError),
    /// The audio has no configuration.
    #[error("the AAC track has neither a configuration nor ADTS headers")]
    Audio,
}

/// The first video track of a codec that is taken and the first AAC track of a file, each with its samples in decode order, strictly rising and without gaps. Video times are in
/// ticks of 90 kHz, audio times in samples; both are moved together so that none is negative.
#[derive(Debug, Clone, Default)]
pub struct Demuxed {
    /// The video track.
    pub video: Option<(VideoTrack, Vec<Sample>)>,
    /// The AAC track.
    pub audio: Option<(AudioTrack, Vec<Sample>)>,
}

/// One packet, its times in ticks of its track.
struct Unit {
    dts: Option<i64>,
    pts: Option<i64>,
    duration: i64,
    data: Vec<u8>,
}

/// Reads a whole file.
///
/// # Errors
/// When the file does not open, or its video or AAC track is not usable.
pub fn read_file(path: &Path) -> Result<Demuxed, DemuxError> {
    crate::av::init();
    let mut input = ffmpeg::format::input(path)?;
    let find = |id| {
        let stream = input.streams().find(|s| s.parameters().id() == id)?;
        Some((stream.index(), extradata(&stream.parameters()), sample_rate(&stream.parameters())))
    };
    let codecs = [
        (ffmpeg::codec::Id::H264, Codec::H264),
        (ffmpeg::codec::Id::HEVC, Codec::H265),
        (ffmpeg::codec::Id::AV1, Codec::Av1),
        (ffmpeg::codec::Id::VP9, Codec::Vp9),
        (ffmpeg::codec::Id::VP8, Codec::Vp8),
    ];
    let video = codecs.into_iter().find_map(|(id, codec)| find(id).map(|(index, config, _)| (index, codec, config)));
    let audio = find(ffmpeg::codec::Id::AAC);
    let (mut video_units, mut audio_units) = (Vec::new(), Vec::new());
    for (stream, packet) in input.packets() {
        let (units, rate) = match (&video, &audio) {
            (Some((index, ..)), _) if *index == stream.index() => (&mut video_units, VIDEO_TIMESCALE),
            (_, Some((index, _, rate))) if *index == stream.index() => (&mut audio_units, *rate),
            _ => continue,
        };
        let base = stream.time_base();
        let ticks = |t: i64| rescale(t, base, rate);
        units.push(Unit {
            dts: packet.dts().map(ticks),
            pts: packet.pts().map(ticks),
            duration: ticks(packet.duration()),
            data: packet.data().unwrap_or_default().to_vec(),
        });
    }
    let video =
        video.filter(|_| !video_units.is_empty()).map(|(_, codec, config)| video_samples(codec, &config, video_units));
    let audio =
        audio.filter(|_| !audio_units.is_empty()).map(|(_, config, rate)| audio_samples(config, rate, audio_units));
    let mut found = Demuxed { video: video.transpose()?, audio: audio.transpose()? };
    found.start_at_zero_or_later();
    Ok(found)
}

impl Demuxed {
    /// Moves both tracks by the same time, so that neither starts below zero: MP4 files often do.
    fn start_at_zero_or_later(&mut self) {
        let mut tracks: Vec<(u32, &mut Vec<Sample>)> = Vec::new();
        tracks.extend(self.video.as_mut().map(|(track, samples)| (track.timescale, samples)));
        tracks.extend(self.audio.as_mut().map(|(track, samples)| (track.sample_rate, samples)));
        let starts = tracks.iter().filter_map(|(rate, s)| Some(s.first()?.dts as f64 / f64::from(*rate)));
        let shift = -starts.fold(0.0, f64::min);
        for (rate, samples) in tracks {
            let ticks = (shift * f64::from(rate)).ceil() as i64;
            for sample in samples {
                sample.dts += ticks;
                sample.pts += ticks;
            }
        }
    }
}

fn video_samples(codec: Codec, extradata: &[u8], units: Vec<Unit>) -> Result<(VideoTrack, Vec<Sample>), DemuxError> {
    let annexb = extradata.first() != Some(&1);
    let track = match codec {
        Codec::H264 if annexb => VideoTrack::h264(AvcConfig::from_annexb(extradata)?.to_record()?)?,
        Codec::H264 => VideoTrack::h264(AvcConfig::parse(extradata)?.to_record()?)?,
        Codec::H265 if annexb => VideoTrack::h265(&HevcConfig::from_annexb(extradata)?.to_record()?)?,
        Codec::H265 => VideoTrack::h265(extradata)?,
        Codec::Av1 | Codec::Vp9 | Codec::Vp8 => {
            let mut found = units.iter().filter_map(|unit| VideoTrack::of_key_frame(codec, &unit.data).transpose());
            found.next().ok_or(NalError::Missing("key frame"))??
        }
    };
    let samples = timed(units).map(|(mut sample, data)| {
        sample.data = match codec {
            Codec::H264 if annexb => h264::annexb_to_sample(&data),
            Codec::H265 if annexb => h265::annexb_to_sample(&data),
            Codec::Av1 => av1::to_sample(&data, &track.config)?,
            _ => data.into(),
        };
        sample.key = track.is_start(&sample.data);
        Ok(sample)
    });
    let samples = samples.collect::<Result<_, DemuxError>>()?;
    Ok((track, samples))
}

fn audio_samples(config: Vec<u8>, rate: u32, units: Vec<Unit>) -> Result<(AudioTrack, Vec<Sample>), DemuxError> {
    // MPEG-TS carries ADTS: the configuration is in front of each frame.
    let adts = config.is_empty();
    let config = if adts { units.first().and_then(|u| adts_config(&u.data)).ok_or(DemuxError::Audio)? } else { config };
    let channels = config.get(1).map_or(2, |b| b >> 3 & 0xf);
    let samples = timed(units).map(|(mut sample, data)| {
        let header = if !adts {
            0
        } else if data.get(1).is_some_and(|b| b & 1 == 1) {
            7
        } else {
            9
        };
        let data = Bytes::from(data);
        sample.data = data.slice(header.min(data.len())..);
        sample.key = true;
        sample
    });
    let samples = samples.collect();
    Ok((AudioTrack { sample_rate: rate, channels, config: config.into() }, samples))
}

/// The AudioSpecificConfig of a frame with an ADTS header.
fn adts_config(frame: &[u8]) -> Option<Vec<u8>> {
    let [0xff, sync, b2, b3, ..] = frame else { return None };
    if sync & 0xf0 != 0xf0 {
        return None;
    }
    let (object, rate, channels) = ((b2 >> 6) + 1, b2 >> 2 & 0xf, (b2 & 1) << 2 | b3 >> 6);
    Some(vec![object << 3 | rate >> 1, (rate & 1) << 7 | channels << 3])
}

/// Gives every unit a decode time that rises and durations that lead from one to the next. A missing time is guessed from its neighbour.
fn timed(units: Vec<Unit>) -> impl Iterator<Item = (Sample, Vec<u8>)> {
    let mut dts: Vec<i64> = Vec::with_capacity(units.len());
    for (i, unit) in units.iter().enumerate() {
        let last = dts.last().map(|last| (*last, units[i - 1].duration.max(1)));
        let guess = last.map_or(0, |(last, duration)| last + duration);
        let floor = last.map_or(i64::MIN, |(last, _)| last + 1);
        dts.push(unit.dts.or(unit.pts).unwrap_or(guess).max(floor));
    }
    let durations: Vec<i64> = (0..units.len())
        .map(|i| match dts.get(i + 1) {
            Some(next) => next - dts[i],
            None if units[i].duration > 0 => units[i].duration,
            None => i.checked_sub(1).map_or(1, |last| dts[i] - dts[last]),
        })
        .collect();
    units.into_iter().zip(dts).zip(durations).map(|((unit, dts), duration)| {
        let pts = unit.pts.unwrap_or(dts);
        (Sample { dts, pts, duration: duration as u32, key: false, data: Bytes::new() }, unit.data)
    })
}

/// Cuts video samples into segments and parts as a broadcaster does: a segment starts at the first IDR that lies `segment` ticks or more behind the
/// last start, a part has at most `part` ticks. Samples before the first IDR are left out.
pub fn cut(samples: &[Sample], segment: i64, part: i64) -> Vec<Vec<&[Sample]>> {
    let Some(first) = samples.iter().position(|s| s.key) else { return Vec::new() };
    let mut segments = Vec::new();
    let mut parts = Vec::new();
    let (mut segment_start, mut start) = (first, first);
    for at in first..samples.len() {
        let end = samples[at].dts + i64::from(samples[at].duration);
        if at > start && end - samples[start].dts > part {
            parts.push(&samples[start..at]);
            start = at;
        }
        if at > segment_start && samples[at].key && samples[at].dts - samples[segment_start].dts >= segment {
            if at > start {
                parts.push(&samples[start..at]);
            }
            segments.push(std::mem::take(&mut parts));
            (segment_start, start) = (at, at);
        }
    }
    parts.push(&samples[start..]);
    segments.push(parts);
    segments
}

fn rescale(ticks: i64, base: ffmpeg::Rational, rate: u32) -> i64 {
    let (num, den) = (i128::from(base.numerator()), i128::from(base.denominator().max(1)));
    let scaled = i128::from(ticks) * num * i128::from(rate);
    // To the nearest, so that what was written as a whole number of ticks comes back as it.
    (scaled.div_euclid(den) + i128::from(scaled.rem_euclid(den) * 2 >= den)) as i64
}

fn extradata(parameters: &ffmpeg::codec::Parameters) -> Vec<u8> {
    // SAFETY: the parameters own `extradata_size` bytes at `extradata`, or none.
    unsafe {
        let raw = &*parameters.as_ptr();
        if raw.extradata.is_null() {
            return Vec::new();
        }
        std::slice::from_raw_parts(raw.extradata, raw.extradata_size.unsigned_abs() as usize).to_vec()
    }
}

fn sample_rate(parameters: &ffmpeg::codec::Parameters) -> u32 {
    // SAFETY: the parameters are alive; the field is a plain number.
    unsafe { (*parameters.as_ptr()).sample_rate.unsigned_abs() }
}
