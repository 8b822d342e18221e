//! Transcodes a clip's video to 720p, 480p and 360p as a live session does, for a comparison with one `ffmpeg` process making the same ladder:
//!
//! ```text
//! time cargo run --release -p millrace-media --example ladder -- clip.mp4 [repeat [folder for the renditions]]
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use millrace_media::cmaf::{self, Track};
use millrace_media::demux;
use millrace_media::transcode::{EncoderKind, Output, RenditionSpec, Session};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("give a clip")?;
    let repeat: usize = args.next().map_or(Ok(1), |n| n.parse())?;
    let folder = args.next();
    let (track, samples) = demux::read_file(Path::new(&path))?.video.ok_or("the clip has no H.264 video")?;
    let ladder = [("720p", 1280, 720, 3_000_000), ("480p", 854, 480, 1_200_000), ("360p", 640, 360, 700_000)];
    let ladder =
        ladder.map(|(name, width, height, bitrate)| RenditionSpec { name: name.to_owned(), width, height, bitrate });
    let mut session = Session::open(&cmaf::write_init(&Track::Video(track))?, &ladder, &EncoderKind::x264())?;
    let start = Instant::now();
    let (mut frames, mut decode, mut encode) = (0, Duration::ZERO, [Duration::ZERO; 3]);
    let mut slowest = Duration::ZERO;
    let mut files = [const { Vec::new() }; 3];
    let mut keep = |outputs: Vec<Output>| {
        for output in outputs.into_iter().filter(|_| folder.is_some()) {
            let (Output::Init { rendition, bytes } | Output::Part { rendition, bytes, .. }) = output;
            files[usize::from(rendition)].push(bytes);
        }
    };
    for _ in 0..repeat {
        for segment in demux::cut(&samples, 180_000, 18_000) {
            session.begin_segment();
            for part in segment {
                let bytes = cmaf::write_part(1, part)?;
                let pushed = Instant::now();
                keep(session.push_part(&bytes)?);
                slowest = slowest.max(pushed.elapsed());
            }
            let (last, stats) = session.end_segment()?;
            keep(last);
            frames += stats.frames;
            decode += stats.decode;
            encode.iter_mut().zip(&stats.renditions).for_each(|(sum, r)| *sum += r.encode);
        }
    }
    eprintln!(
        "{frames} frames in {:?}: decode {decode:?}, lanes {encode:?}, slowest part {slowest:?}",
        start.elapsed()
    );
    for (spec, file) in ladder.iter().zip(files) {
        if let Some(folder) = &folder {
            std::fs::write(Path::new(folder).join(&spec.name).with_extension("mp4"), file.concat())?;
        }
    }
    Ok(())
}
