//! The real clips, cut as a broadcaster cuts them, and FFmpeg's own tools as judges.

#![allow(dead_code)] // each test binary uses its share

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use millrace_media::cmaf::{self, Sample, Track, VideoTrack};
use millrace_media::demux;
use millrace_media::transcode::{Output, RenditionSpec, SegmentStats, Session, TranscodeError};

/// A clip, or `None` with a line that says so where the folder of clips is missing.
pub(crate) fn clip(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("MILLRACE_MEDIA").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/media"));
    let path = folder.join(name);
    if !path.exists() {
        eprintln!("skipped: {} is not here (MILLRACE_MEDIA names the folder of clips)", path.display());
        return None;
    }
    Some(path)
}

/// A source as the broadcaster hands it over: segments of parts.
pub(crate) struct Source {
    pub(crate) track: VideoTrack,
    pub(crate) init: Bytes,
    pub(crate) segments: Vec<Vec<Vec<Sample>>>,
}

/// Segments of 2 s where the clip's IDRs allow, parts of 200 ms.
pub(crate) fn source(name: &str) -> Option<Source> {
    Some(source_file(&clip(name)?))
}

/// Four seconds of HEVC with B-frames, an IDR every second: what x265 makes with these parameters besides.
pub(crate) fn hevc_source(pixels: &str, parameters: &str) -> Option<Source> {
    let parameters = format!("log-level=error:keyint=30:min-keyint=30:{parameters}");
    let options = ["-preset", "veryfast", "-b:v", "1M", "-x265-params", &parameters];
    made_source("libx265", "640x360", pixels, "hevc.mp4", &options)
}

/// Four seconds at 30 pictures a second, as this encoder of the system's FFmpeg makes them. `None` with a line that says so
/// where it has no such encoder.
pub(crate) fn made_source(encoder: &str, size: &str, pixels: &str, file: &str, options: &[&str]) -> Option<Source> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file);
    let input = format!("testsrc2=size={size}:rate=30:duration=4");
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", &input, "-pix_fmt", pixels])
        .args(["-c:v", encoder])
        .args(options)
        .arg(&path)
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    if complaints.contains("Unknown encoder") {
        eprintln!("skipped: this FFmpeg has no {encoder}");
        return None;
    }
    assert!(output.status.success(), "ffmpeg: {complaints}");
    Some(source_file(&path))
}

fn source_file(path: &Path) -> Source {
    let (track, samples) = demux::read_file(path).unwrap().video.unwrap();
    let segments = demux::cut(&samples, 2 * 90_000, 18_000);
    let segments = segments.into_iter().map(|s| s.into_iter().map(<[Sample]>::to_vec).collect()).collect();
    let init = cmaf::write_init(&Track::Video(track.clone())).unwrap();
    Source { track, init, segments }
}

pub(crate) fn rendition(name: &str, width: u32, height: u32, bitrate: u32) -> RenditionSpec {
    RenditionSpec { name: name.to_owned(), width, height, bitrate }
}

/// What a session made of one segment: per rendition the init segment and the parts.
pub(crate) struct Made {
    pub(crate) inits: Vec<Bytes>,
    pub(crate) parts: Vec<Vec<Bytes>>,
    pub(crate) stats: SegmentStats,
}

impl Made {
    pub(crate) fn samples(&self, rendition: usize) -> Vec<Sample> {
        self.parts[rendition].iter().flat_map(|part| cmaf::read_part(part).unwrap()).collect()
    }

    pub(crate) fn file(&self, rendition: usize) -> Vec<u8> {
        let parts = self.parts[rendition].iter().flatten();
        self.inits[rendition].iter().chain(parts).copied().collect()
    }
}

pub(crate) fn transcode(
    session: &mut Session,
    segment: &[Vec<Sample>],
    renditions: usize,
) -> Result<Made, TranscodeError> {
    session.begin_segment();
    let mut outputs = Vec::new();
    for (sequence, part) in segment.iter().enumerate() {
        outputs.extend(session.push_part(&cmaf::write_part(sequence as u32 + 1, part).unwrap())?);
    }
    let (last, stats) = session.end_segment()?;
    outputs.extend(last);
    let mut made = Made { inits: vec![Bytes::new(); renditions], parts: vec![Vec::new(); renditions], stats };
    for output in outputs {
        match output {
            Output::Init { rendition, bytes } => made.inits[usize::from(rendition)] = bytes,
            Output::Part { rendition, index, bytes } => {
                let parts = &mut made.parts[usize::from(rendition)];
                assert_eq!(index as usize, parts.len(), "parts come in order");
                parts.push(bytes);
            }
        }
    }
    Ok(made)
}

/// The presentation times of a file's frames, decoded by the `ffprobe` of the system, in ticks. Fails on any line of complaint.
pub(crate) fn decoded_times(file: &[u8]) -> Vec<i64> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rendition.mp4");
    std::fs::write(&path, file).unwrap();
    let output = Command::new("ffprobe")
        .args(["-v", "warning", "-select_streams", "v", "-show_entries", "frame=pts", "-of", "csv=p=0"])
        .arg(&path)
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "ffprobe: {complaints}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().filter_map(|l| l.trim_end_matches(',').parse().ok()).collect()
}
