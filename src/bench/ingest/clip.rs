//! What is published: one clip of 640x360, encoded once, as each protocol carries it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use millrace_broadcaster::publisher::{rtmp, whip};
use millrace_media::h264::{AvcConfig, sample_to_annexb};

use crate::bench::{BenchError, ffmpeg};

/// The clip's length: it is published in a loop.
const SECONDS: u32 = 20;
pub(super) const LOOP: Duration = Duration::from_secs(SECONDS as u64);
/// Bit/s of the picture and of the sound: 600 kbit/s in all, which others publish their figures at.
const PICTURE: &str = "504k";
const SOUND: &str = "96k";
/// An AVC picture in FLV: its length-prefixed NAL units come after so many bytes.
const AVC_HEADER: usize = 5;
/// One packet of Opus.
const OPUS: Duration = Duration::from_millis(20);
/// The size of a packet of MPEG-TS, and how many of them one of SRT carries.
const TS: usize = 188;
const TS_IN_SRT: usize = 7;
/// Bytes at a picture's end by which it is known again: encoded pictures that differ differ there.
const TAIL: usize = 24;

/// The clip.
pub(super) struct Clip {
    /// What it was made from.
    pub(super) from: String,
    /// Bit/s of the FLV.
    pub(super) bitrate: u64,
    /// What RTMP sends once, before all else.
    pub(super) heads: Vec<rtmp::Tag>,
    /// Pictures and sound in FLV, by their times.
    pub(super) tags: Vec<rtmp::Tag>,
    /// The same for WebRTC.
    pub(super) units: Vec<Unit>,
    /// The same for SRT.
    pub(super) frames: Vec<Frame>,
}

/// A picture in Annex B, or a packet of Opus.
pub(super) struct Unit {
    pub(super) at: Duration,
    pub(super) video: bool,
    pub(super) data: Bytes,
}

/// The packets of MPEG-TS from one start of a picture or sound to the next.
pub(super) struct Frame {
    pub(super) at: Duration,
    /// Of a picture: its end.
    pub(super) tail: Option<Tail>,
    pub(super) payloads: Vec<Vec<u8>>,
}

/// The end of a picture.
pub(super) type Tail = [u8; TAIL];

/// The end of a picture, in any container.
pub(super) fn tail(data: &[u8]) -> Option<Tail> {
    data.last_chunk().copied()
}

fn wrong(what: &str) -> BenchError {
    BenchError::Io { what: what.to_owned(), error: std::io::ErrorKind::InvalidData.into() }
}

impl Clip {
    /// Makes it in `dir`, from `source` or what there is.
    pub(super) async fn make(dir: &Path, source: Option<&PathBuf>) -> Result<Self, BenchError> {
        let log = dir.join("ffmpeg.log");
        let [flv, ogg, ts] = ["ingest.flv", "ingest.ogg", "ingest.ts"].map(|name| dir.join(name));
        let (mut command, from) = ffmpeg::input(source, (640, 360));
        command
            .args(["-t", &SECONDS.to_string(), "-vf", "scale=640:360,setsar=1,fps=30,format=yuv420p"])
            .args(["-c:v", "libx264", "-preset", "veryfast", "-profile:v", "baseline"])
            .args(["-b:v", PICTURE, "-maxrate", PICTURE, "-bufsize", PICTURE])
            .args(["-g", "60", "-keyint_min", "60", "-sc_threshold", "0"])
            .args(["-c:a", "aac", "-b:a", SOUND, "-ac", "2", "-ar", "48000", "-f", "flv"])
            .arg(&flv);
        ffmpeg::run("ffmpeg, making the clip of 360p,", command, &log, 10 * LOOP).await?;
        let mut command = ffmpeg::command();
        command.arg("-i").arg(&flv).args(["-map", "0:a?", "-c:a", "libopus", "-b:a", SOUND]);
        command.args(["-page_duration", &OPUS.as_micros().to_string()]).arg(&ogg);
        command.args(["-map", "0", "-c", "copy", "-f", "mpegts"]).arg(&ts);
        ffmpeg::run("ffmpeg, making the clip for WHIP and SRT,", command, &log, 10 * LOOP).await?;

        let read = |path: &Path| std::fs::read(path).map_err(BenchError::io(path.display()));
        let file = read(&flv)?;
        let bitrate = file.len() as u64 * 8 / u64::from(SECONDS);
        let tags = rtmp::tags(&file).ok_or_else(|| wrong("the clip is no FLV"))?;
        // A frame of sound that would reach into the next round is left to that.
        let end = (LOOP - Duration::from_millis(10)).as_millis() as u32;
        let (tags, heads): (Vec<_>, Vec<_>) =
            tags.into_iter().filter(|tag| tag.at < end).partition(rtmp::Tag::is_media);
        let units = units(&heads, &tags, &read(&ogg)?)?;
        let frames = frames(&read(&ts)?, &tags).ok_or_else(|| wrong("the clip is no MPEG-TS"))?;
        Ok(Self { from, bitrate, heads, tags, units, frames })
    }
}

/// As WebRTC carries it, by time.
fn units(heads: &[rtmp::Tag], tags: &[rtmp::Tag], ogg: &[u8]) -> Result<Vec<Unit>, BenchError> {
    let config = heads.iter().find(|tag| tag.is_video()).and_then(|tag| tag.body.get(AVC_HEADER..));
    let config = config.and_then(|config| AvcConfig::parse(config).ok());
    let config = config.ok_or_else(|| wrong("the clip has no AVC configuration"))?;
    let mut units = Vec::new();
    for tag in tags.iter().filter(|tag| tag.is_video()) {
        let key = tag.body.first().is_some_and(|first| first >> 4 == 1);
        let sample = tag.body.get(AVC_HEADER..).unwrap_or_default();
        let data = sample_to_annexb(sample, key.then_some(&config)).map_err(|e| wrong(&e.to_string()))?;
        units.push(Unit { at: Duration::from_millis(tag.at.into()), video: true, data });
    }
    let sound = whip::opus(ogg).ok_or_else(|| wrong("the clip's sound is no Ogg"))?;
    let times = (0..).map(|n| n * OPUS).take_while(|at| *at < LOOP);
    units.extend(times.zip(sound).map(|(at, data)| Unit { at, video: false, data }));
    units.sort_by_key(|unit| unit.at);
    Ok(units)
}

/// As SRT carries it. `tags` are the same pictures in the same order.
fn frames(ts: &[u8], tags: &[rtmp::Tag]) -> Option<Vec<Frame>> {
    let mut pictures = tags.iter().filter(|tag| tag.is_video()).map(|tag| tail(&tag.body));
    let mut begun: Vec<(i64, Option<Tail>, Vec<u8>)> = Vec::new();
    let mut tables = Vec::new();
    for packet in ts.chunks_exact(TS) {
        match pes(packet) {
            Some((video, pts)) => {
                let tail = if video { pictures.next().flatten() } else { None };
                begun.push((pts, tail, [&std::mem::take(&mut tables)[..], packet].concat()));
            }
            // Tables go before what follows them.
            None if packet[1] & 0x40 != 0 => tables.extend(packet),
            None => begun.last_mut()?.2.extend(packet),
        }
    }
    let first = begun.iter().map(|(pts, ..)| *pts).min()?;
    let frame = |(pts, tail, bytes): (i64, _, Vec<u8>)| Frame {
        at: Duration::from_micros(((pts - first) * 100 / 9).unsigned_abs()),
        tail,
        payloads: bytes.chunks(TS * TS_IN_SRT).map(<[u8]>::to_vec).collect(),
    };
    // A container's order is that of sending; a frame of sound that is a little early is not held back for it.
    Some(begun.into_iter().map(frame).collect())
}

/// Whether a packet begins a picture, and its time, if it begins a picture or sound.
fn pes(packet: &[u8]) -> Option<(bool, i64)> {
    let adaptation = if packet.get(3)? & 0x20 != 0 { 1 + usize::from(*packet.get(4)?) } else { 0 };
    let payload = packet.get(4 + adaptation..).filter(|_| packet[1] & 0x40 != 0)?;
    let [0, 0, 1, id @ 0xc0..=0xef, _, _, _, flags, _, a, b, c, d, e, ..] = *payload else { return None };
    let [a, b, c, d, e] = [a, b, c, d, e].map(i64::from);
    let pts = ((a >> 1) & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1;
    (flags & 0x80 != 0).then_some((id >= 0xe0, pts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_that_begins_a_picture_says_when() {
        // 90,000 ticks and one: 0b000, 0b000000000000010, 0b101111110010001.
        let mut packet = vec![0x47, 0x41, 0x00, 0x30, 1, 0, 0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 5];
        packet.extend([0x21, 0x00, 0x05, 0xbf, 0x23]);
        packet.resize(TS, 0xff);
        assert_eq!(pes(&packet), Some((true, 90_001)));
        packet[9] = 0xc0;
        assert_eq!(pes(&packet), Some((false, 90_001)));
        packet[1] = 0x01;
        assert_eq!(pes(&packet), None, "it goes on, and begins nothing");
    }
}
