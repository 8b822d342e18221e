//! Samples as one progressive MP4: what a player needs in front, so that it plays while it is fetched. Nothing is encoded anew.
//!
//! The samples themselves do not pass through here: tell their sizes and times by [`Progressive::chunk`], write [`Progressive::head`], and
//! then the samples' bytes, chunk by chunk in the same order.

use bytes::{BufMut, Bytes, BytesMut};
use mp4_atom::Encode;

use crate::cmaf::{CmafError, Track, trak};

/// Ticks per second of the movie's own times, such as where a track begins.
const MOVIE_TIMESCALE: u32 = 90_000;

/// What is to be known of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleEntry {
    /// Decode time, in ticks of its track. It must rise within the track.
    pub dts: i64,
    /// Presentation time, in ticks of its track.
    pub pts: i64,
    /// Bytes.
    pub size: u32,
    /// Whether decoding can start here.
    pub key: bool,
}

/// A file in the making.
#[derive(Debug, Default)]
pub struct Progressive {
    tracks: Vec<Contents>,
    /// Of all samples.
    bytes: u64,
}

#[derive(Debug)]
struct Contents {
    track: Track,
    samples: Vec<SampleEntry>,
    /// Where each chunk begins, from the first sample's byte on, and its number of samples.
    chunks: Vec<(u64, u32)>,
}

impl Progressive {
    /// A file of these tracks.
    pub fn new(tracks: Vec<Track>) -> Self {
        let contents = |track| Contents { track, samples: Vec::new(), chunks: Vec::new() };
        Self { tracks: tracks.into_iter().map(contents).collect(), bytes: 0 }
    }

    /// Samples of the track with this index, whose bytes follow those of the chunk before. No samples are no chunk.
    pub fn chunk(&mut self, track: usize, samples: &[SampleEntry]) {
        let Some(contents) = self.tracks.get_mut(track).filter(|_| !samples.is_empty()) else { return };
        contents.chunks.push((self.bytes, samples.len() as u32));
        contents.samples.extend_from_slice(samples);
        self.bytes += samples.iter().map(|sample| u64::from(sample.size)).sum::<u64>();
    }

    /// All that is in front of the samples' bytes. The presentation begins at `start`, seconds on the clock that the tracks share: what is
    /// before is decoded and not shown.
    ///
    /// # Errors
    /// When a track's configuration does not read, or its times do not rise or are too far apart.
    pub fn head(&self, start: f64) -> Result<Bytes, CmafError> {
        let ftyp = mp4_atom::Ftyp {
            major_brand: b"isom".into(),
            minor_version: 512,
            compatible_brands: vec![b"isom".into(), b"iso2".into(), b"mp41".into()],
        };
        let mut front = Vec::new();
        ftyp.encode(&mut front)?;
        // Offsets have 64 bits, so that the length of the head does not depend on them.
        let length = front.len() + self.moov(start, 0)?.len() + 16;
        let moov = self.moov(start, length as u64)?;
        let mut out = BytesMut::with_capacity(length);
        out.put_slice(&front);
        out.put_slice(&moov);
        out.put_u32(1);
        out.put_slice(b"mdat");
        out.put_u64(self.bytes + 16);
        Ok(out.freeze())
    }

    /// Bytes of the samples, which follow the head.
    pub fn payload(&self) -> u64 {
        self.bytes
    }

    fn moov(&self, start: f64, offset: u64) -> Result<Vec<u8>, CmafError> {
        let tracks: Vec<_> = self.tracks.iter().filter(|contents| !contents.samples.is_empty()).collect();
        let mut moov = mp4_atom::Moov {
            mvhd: mp4_atom::Mvhd {
                timescale: MOVIE_TIMESCALE,
                rate: 1.into(),
                volume: 1.into(),
                next_track_id: tracks.len() as u32 + 1,
                ..Default::default()
            },
            ..Default::default()
        };
        for (contents, id) in tracks.into_iter().zip(1..) {
            let trak = contents.trak(id, start, offset)?;
            moov.mvhd.duration = moov.mvhd.duration.max(trak.tkhd.duration);
            moov.trak.push(trak);
        }
        let mut out = Vec::new();
        moov.encode(&mut out)?;
        Ok(out)
    }
}

impl Contents {
    fn trak(&self, id: u32, start: f64, offset: u64) -> Result<mp4_atom::Trak, CmafError> {
        let timescale = self.track.timescale();
        let mut trak = trak(&self.track)?;
        let stbl = &mut trak.mdia.minf.stbl;
        let mut last = 1;
        let mut length = 0;
        let (mut deltas, mut offsets): (Vec<mp4_atom::SttsEntry>, Vec<mp4_atom::CttsEntry>) = (Vec::new(), Vec::new());
        for (index, sample) in self.samples.iter().enumerate() {
            let time = || CmafError::Time { index, dts: sample.dts, pts: sample.pts };
            if let Some(next) = self.samples.get(index + 1) {
                last = u32::try_from(next.dts - sample.dts).ok().filter(|delta| *delta > 0).ok_or_else(time)?;
            } // the last sample is as long as the one before it
            length += u64::from(last);
            match deltas.last_mut().filter(|entry| entry.sample_delta == last) {
                Some(entry) => entry.sample_count += 1,
                None => deltas.push(mp4_atom::SttsEntry { sample_count: 1, sample_delta: last }),
            }
            let shown = sample.pts - sample.dts;
            match offsets.last_mut().filter(|entry| entry.sample_offset == shown) {
                Some(entry) => entry.sample_count += 1,
                None => offsets.push(mp4_atom::CttsEntry { sample_count: 1, sample_offset: shown }),
            }
        }
        stbl.stts.entries = deltas;
        if offsets.iter().any(|entry| entry.sample_offset != 0) {
            stbl.ctts = Some(mp4_atom::Ctts { entries: offsets });
        }
        if self.samples.iter().any(|sample| !sample.key) {
            let keys = self.samples.iter().zip(1..).filter(|(sample, _)| sample.key).map(|(_, number)| number);
            stbl.stss = Some(mp4_atom::Stss { entries: keys.collect() });
        }
        for ((_, samples_per_chunk), first_chunk) in self.chunks.iter().zip(1..) {
            let (entries, samples_per_chunk) = (&mut stbl.stsc.entries, *samples_per_chunk);
            if entries.last().is_none_or(|entry| entry.samples_per_chunk != samples_per_chunk) {
                entries.push(mp4_atom::StscEntry { first_chunk, samples_per_chunk, sample_description_index: 1 });
            }
        }
        let sizes = self.samples.iter().map(|sample| sample.size).collect();
        stbl.stsz.samples = mp4_atom::StszSamples::Different { sizes };
        stbl.co64 = Some(mp4_atom::Co64 { entries: self.chunks.iter().map(|(at, _)| offset + at).collect() });

        // From `start` on, on the track's own clock, which begins with its first sample.
        let first = self.samples.first().map_or(0, |sample| sample.dts);
        let ticks = (start * f64::from(timescale)).round() as i64 - first;
        let movie = |ticks: u64| ticks * u64::from(MOVIE_TIMESCALE) / u64::from(timescale);
        let mut entries = Vec::new();
        // Where the track begins later, nothing of it is shown until then.
        let begins = self.samples.iter().map(|sample| sample.pts - first).min().unwrap_or(0);
        let wait = u64::try_from(begins - ticks).unwrap_or(0);
        if wait > 0 {
            entries.push(mp4_atom::ElstEntry { segment_duration: movie(wait), media_time: None, media_rate: 1.into() });
        }
        let from = u64::try_from(ticks.max(begins)).unwrap_or(0);
        let end = self.samples.iter().map(|sample| sample.pts - first).max().unwrap_or(0) + i64::from(last);
        let shown = movie(u64::try_from(end).unwrap_or(0).saturating_sub(from));
        entries.push(mp4_atom::ElstEntry { segment_duration: shown, media_time: Some(from), media_rate: 1.into() });
        trak.tkhd.track_id = id;
        trak.tkhd.duration = movie(wait) + shown;
        trak.mdia.mdhd.duration = length;
        trak.edts = Some(mp4_atom::Edts { elst: Some(mp4_atom::Elst { entries }) });
        Ok(trak)
    }
}
