//! Playlists as text, by RFC 8216bis. Pure: a stream and the time in, a string out.

use super::stream::{AUDIO, Description, Entry, Rendition, SOURCE, Stream};
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
        sound_alone(&mut text, &sound.about.codec, (sound.peak, sound.average()));
        return Some(text);
    }
    // A source that is not listed itself has no variant until its ladder is known.
    let source = stream.renditions.get(SOURCE).filter(|source| source.peak > 0 && !stream.ladder.is_empty())?;
    if let Some(audio) = audio {
        audio_group(&mut text, audio.about.channels);
    }
    let rate = stream.frame_rate.map_or(30.0, snap);
    for name in &stream.ladder {
        let Some(rendition) = stream.renditions.get(name) else { continue };
        let sound = audio.map(|audio| (audio.about.codec.as_str(), (audio.peak, audio.average())));
        variant(&mut text, name, &rendition.about, bandwidth(rendition, source), rate, sound);
    }
    Some(text)
}

/// The audio rendition as the group that every variant names.
pub(crate) fn audio_group(text: &mut String, channels: u8) {
    let _ = writeln!(
        text,
        "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"audio\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"{channels}\",URI=\"audio/index.m3u8\""
    );
}

/// A variant with picture: its own peak and average bit/s, and codec, peak and average of the sound beside it.
pub(crate) fn variant(
    text: &mut String,
    name: &str,
    about: &Description,
    (peak, average): (u64, u64),
    rate: f64,
    sound: Option<(&str, (u64, u64))>,
) {
    let (audio_peak, audio_average) = sound.map_or((0, 0), |(_, rates)| rates);
    let _ = writeln!(
        text,
        "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}{}\",RESOLUTION={}x{},FRAME-RATE={rate:.3}{}\n{name}/index.m3u8",
        peak + audio_peak,
        average + audio_average,
        about.codec,
        sound.map(|(codec, _)| format!(",{codec}")).unwrap_or_default(),
        about.width,
        about.height,
        if sound.is_some() { ",AUDIO=\"audio\"" } else { "" },
    );
}

/// The only variant of a stream of sound.
pub(crate) fn sound_alone(text: &mut String, codec: &str, (peak, average): (u64, u64)) {
    let _ = writeln!(
        text,
        "#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},CODECS=\"{codec}\"\naudio/index.m3u8"
    );
}

/// Peak and average bit/s of a video rendition without audio.
fn bandwidth(rendition: &Rendition, source: &Rendition) -> (u64, u64) {
    match (rendition.peak, u64::from(rendition.about.bitrate)) {
        (0, 0) => (source.peak, source.average()),
        (0, configured) => (configured * UNMEASURED_MARGIN / 10, configured),
        (peak, _) => (peak, rendition.average()),
    }
}

/// The media playlist of a rendition; `None` while it has nothing to list. One that was never made has gaps to list. The flag says
/// that it has ended.
pub(super) fn media(stream: &Stream, name: &str, now: Instant) -> Option<(String, bool)> {
    let target = stream.target?;
    let (entries, ended) = stream.entries(name, now);
    entries.first()?;
    // Gaps before the first segment name its init too. Where there are only gaps, players fetch nothing.
    let first_init = entries.iter().find_map(|entry| Some((entry.of, entry.segment?.init)));
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
        let init = segment.map(|segment| (of, segment.init)).or(current).or(first_init);
        if let Some((of, id)) = init.filter(|_| init != current || slot.discontinuity) {
            let _ = writeln!(text, "#EXT-X-MAP:URI=\"{}init-{id}.mp4?v={tag}\"", folder(of));
            current = init;
        }
        let ticks = segment.and_then(|segment| segment.duration).unwrap_or(slot.duration);
        let _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{}", date(slot.date));
        let uri = format!("{}{}.m4s?v={tag}", folder(of), slot.number);
        entry(&mut text, segment.is_none(), seconds(ticks, target), &uri);
    }
    if ended {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    Some((text, ended))
}

/// A segment, or the gap where it would be.
pub(crate) fn entry(text: &mut String, gap: bool, seconds: f64, uri: &str) {
    if gap {
        text.push_str("#EXT-X-GAP\n");
    }
    let _ = writeln!(text, "#EXTINF:{seconds:.5},\n{uri}");
}

/// A segment's duration as it may be listed: one that is too long leaves a gap, and a gap obeys the target duration too.
pub(crate) fn seconds(ticks: i64, target: i64) -> f64 {
    ticks.min(target * TICKS_PER_SECOND + TICKS_PER_SECOND / 2 - 1) as f64 / TICKS_PER_SECOND as f64
}

pub(crate) fn header(independent: bool) -> String {
    let independent = if independent { "#EXT-X-INDEPENDENT-SEGMENTS\n" } else { "" };
    format!("#EXTM3U\n#EXT-X-VERSION:{VERSION}\n{independent}")
}

/// The common rate that a measured one stands for, if it is within what millisecond timestamps blur over two seconds.
pub(crate) fn snap(measured: f64) -> f64 {
    let common = [24000.0 / 1001.0, 24.0, 25.0, 30000.0 / 1001.0, 30.0, 48.0, 50.0, 60000.0 / 1001.0, 60.0];
    let nearest = common.into_iter().min_by(|a, b| (a - measured).abs().total_cmp(&(b - measured).abs()));
    nearest.filter(|rate| (rate - measured).abs() < rate * 0.001).unwrap_or(measured)
}

/// Unix milliseconds as ISO 8601 in UTC, by the civil-from-days calculation.
pub(crate) fn date(ms: i64) -> String {
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
