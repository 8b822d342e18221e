//! Playlists as text, by RFC 8216bis. Pure: a stream and the time in, a string out.

use super::stream::{AUDIO, Entry, Rendition, SOURCE, Stream};
use crate::events::TICKS_PER_SECOND;
use std::fmt::Write as _;
use std::time::Instant;

/// EXT-X-GAP is of version 8.
const VERSION: u32 = 8;
/// What constant-bitrate encoders overshoot in one segment; used for a rendition that has no segment yet.
const UNMEASURED_MARGIN: u64 = 11; // tenths

/// The master playlist, once what the publisher sends has a segment to measure; `None` before.
pub(super) fn master(stream: &Stream) -> Option<String> {
    let active = |name: &str| stream.renditions.get(name).filter(|rendition| rendition.is_active());
    let audio = active(AUDIO);
    let mut text = header(stream.is_independent(SOURCE));
    if !stream.video {
        let sound = audio.filter(|audio| audio.peak > 0)?;
        let (peak, average, codec) = (sound.peak, sound.average(), &sound.about.codec);
        let _ = writeln!(
            text,
            "#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},CODECS=\"{codec}\"\naudio/index.m3u8"
        );
        return Some(text);
    }
    // A source that is not listed itself has no variant until its ladder is known.
    let source = stream.renditions.get(SOURCE).filter(|source| source.peak > 0 && !stream.ladder.is_empty())?;
    if let Some(audio) = audio {
        let _ = writeln!(
            text,
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"audio\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"{}\",URI=\"audio/index.m3u8\"",
            audio.about.channels
        );
    }
    let rate = stream.frame_rate.map(snap).unwrap_or(30.0);
    for name in &stream.ladder {
        let Some(rendition) = stream.renditions.get(name) else { continue };
        let (peak, average) = bandwidth(rendition, source);
        let (audio_peak, audio_average) = audio.map_or((0, 0), |audio| (audio.peak, audio.average()));
        let about = &rendition.about;
        let _ = write!(
            text,
            "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}{}\",RESOLUTION={}x{},FRAME-RATE={rate:.3}",
            peak + audio_peak,
            average + audio_average,
            about.codec,
            audio.map(|audio| format!(",{}", audio.about.codec)).unwrap_or_default(),
            about.width,
            about.height,
        );
        let _ = writeln!(text, "{}\n{name}/index.m3u8", if audio.is_some() { ",AUDIO=\"audio\"" } else { "" });
    }
    Some(text)
}

/// Peak and average bit/s of a video rendition without audio.
fn bandwidth(rendition: &Rendition, source: &Rendition) -> (u64, u64) {
    match (rendition.peak, u64::from(rendition.about.bitrate)) {
        (0, 0) => (source.peak, source.average()),
        (0, configured) => (configured * UNMEASURED_MARGIN / 10, configured),
        (peak, _) => (peak, rendition.average()),
    }
}

/// The media playlist of a rendition; `None` while it has nothing to list. The flag says that it has ended.
pub(super) fn media(stream: &Stream, name: &str, now: Instant) -> Option<(String, bool)> {
    let target = stream.target?;
    let (entries, ended) = stream.entries(name, now);
    // Gaps before the first segment name its init too, since one must come before any of them.
    let first_init = entries.iter().find_map(|entry| Some((entry.of, entry.segment?.init)))?;
    let folder = |of: &str| if of == name { String::new() } else { format!("../{of}/") };
    let tag = &stream.tag;
    let mut text = header(stream.is_independent(name));
    let _ = writeln!(text, "#EXT-X-TARGETDURATION:{target}");
    let _ = writeln!(text, "#EXT-X-MEDIA-SEQUENCE:{}", stream.window_start());
    let _ = writeln!(text, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", stream.discontinuity_sequence);
    let mut current = None;
    for Entry { slot, of, segment } in entries {
        if slot.discontinuity {
            text.push_str("#EXT-X-DISCONTINUITY\n");
        }
        let init = segment.map_or(current.unwrap_or(first_init), |segment| (of, segment.init));
        if current != Some(init) || slot.discontinuity {
            let _ = writeln!(text, "#EXT-X-MAP:URI=\"{}init-{}.mp4?v={tag}\"", folder(init.0), init.1);
            current = Some(init);
        }
        let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{}", date(slot.date));
        if segment.is_none() {
            text.push_str("#EXT-X-GAP\n");
        }
        // A segment that may not be listed leaves a gap, and a gap obeys the target duration too.
        let ticks = segment
            .and_then(|segment| segment.duration)
            .unwrap_or(slot.duration)
            .min(target * TICKS_PER_SECOND + TICKS_PER_SECOND / 2 - 1);
        let seconds = ticks as f64 / TICKS_PER_SECOND as f64;
        let _ = writeln!(text, "#EXTINF:{seconds:.5},\n{}{}.m4s?v={tag}", folder(of), slot.number);
    }
    if ended {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    Some((text, ended))
}

fn header(independent: bool) -> String {
    let independent = if independent { "#EXT-X-INDEPENDENT-SEGMENTS\n" } else { "" };
    format!("#EXTM3U\n#EXT-X-VERSION:{VERSION}\n{independent}")
}

/// The common rate that a measured one stands for, if it is within what millisecond timestamps blur over two seconds.
fn snap(measured: f64) -> f64 {
    let common = [24000.0 / 1001.0, 24.0, 25.0, 30000.0 / 1001.0, 30.0, 48.0, 50.0, 60000.0 / 1001.0, 60.0];
    let nearest = common.into_iter().min_by(|a, b| (a - measured).abs().total_cmp(&(b - measured).abs()));
    nearest.filter(|rate| (rate - measured).abs() < rate * 0.001).unwrap_or(measured)
}

/// Unix milliseconds as ISO 8601 in UTC, by the civil-from-days calculation.
fn date(ms: i64) -> String {
    let (days, ms) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let shifted = days + 719_468; // days since 0000-03-01
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_iso_8601() {
        assert_eq!(date(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(date(951_782_400_123), "2000-02-29T00:00:00.123Z");
        assert_eq!(date(1_798_761_599_999), "2026-12-31T23:59:59.999Z");
    }

    #[test]
    fn measured_rates_snap_to_common_ones_only_when_close() {
        assert_eq!(snap(29.99), 30.0);
        assert!((snap(29.968) - 29.97).abs() < 0.001);
        assert_eq!(snap(17.3), 17.3);
    }
}
