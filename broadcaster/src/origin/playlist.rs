//! Playlists as text, by RFC 8216bis. Pure: a stream and the time in, a string out.

use super::rendition::{Description, Part, Rendition};
use super::stream::{AUDIO, Entry, Hint, SOURCE, Slot, Stream, Tail};
use crate::events::TICKS_PER_SECOND;
use crate::segmenter::longest_segment;
use millrace_media::captions::Captions;
use std::fmt::Write as _;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// EXT-X-GAP is of version 8 …
const VERSION: u32 = 8;
/// … and EXT-X-SKIP of version 9.
const SKIP_VERSION: u32 = 9;
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
    caption_group(&mut text, source.about.captions);
    let rate = stream.frame_rate.map_or(30.0, snap);
    for name in &stream.ladder {
        let Some(rendition) = stream.renditions.get(name) else { continue };
        let sound = audio.map(|audio| (audio.about.codec.as_str(), (audio.peak, audio.average())));
        variant(&mut text, name, &rendition.about, bandwidth(rendition, source), rate, sound);
    }
    for name in &stream.ladder {
        let Some(rendition) = stream.renditions.get(name) else { continue };
        let Description { codec, width, height, .. } = &rendition.about;
        // Until it is measured, key pictures take no more than all of it.
        let rate = if rendition.key_peak > 0 { rendition.key_peak } else { bandwidth(rendition, source).0 };
        let _ = writeln!(
            text,
            "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={rate},CODECS=\"{codec}\",RESOLUTION={width}x{height},URI=\"{name}/iframes.m3u8\""
        );
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

/// The channels of closed captions as the group that every variant with picture names. Nothing is said where there are none: they may
/// come later, and a player that was told `NONE` would not look for them.
pub(crate) fn caption_group(text: &mut String, captions: Captions) {
    for name in captions.names() {
        let _ = writeln!(
            text,
            "#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID=\"captions\",NAME=\"{name}\",INSTREAM-ID=\"{name}\",DEFAULT=NO,AUTOSELECT=YES"
        );
    }
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
        "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}{}\",RESOLUTION={}x{},FRAME-RATE={rate:.3}{}{}\n{name}/index.m3u8",
        peak + audio_peak,
        average + audio_average,
        about.codec,
        sound.map(|(codec, _)| format!(",{codec}")).unwrap_or_default(),
        about.width,
        about.height,
        if sound.is_some() { ",AUDIO=\"audio\"" } else { "" },
        if about.captions == Captions::default() { "" } else { ",CLOSED-CAPTIONS=\"captions\"" },
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

/// What a player may leave out that knows it already: all but so many target durations.
const SKIP_UNTIL: i64 = 6;
/// Parts are listed of the open segment and of so many before it, which is less than the three target durations that RFC 8216bis allows: who
/// reads parts is nearer to the edge.
const WITH_PARTS: usize = 2;
/// Players stay so many target durations, or parts, behind the edge (RFC 8216bis asks for at least three, and twice the part target).
pub(super) const HOLD_BACK: i64 = 3;

/// A media playlist.
pub(super) struct Media {
    pub(super) text: String,
    /// It has ended.
    pub(super) ended: bool,
}

/// The media playlist of a rendition; `None` while it has nothing to list. One that was never made has gaps to list. With `skip` it
/// leaves out what a player that asks so knows.
pub(super) fn media(stream: &Stream, name: &str, now: Instant, skip: bool) -> Option<Media> {
    let target = stream.target?;
    let ended = stream.has_ended(name, now);
    let entries: Vec<Entry<'_>> = stream.entries(name).collect();
    entries.first()?;
    let tail = stream.tail(name).filter(|_| !ended);
    let part_target = stream.part_target(name);
    // Gaps before the first segment name its init too. Where there are only gaps, players fetch nothing.
    let first_init = entries.iter().find_map(|entry| Some((entry.of, entry.segment?.init)));
    let skipped = if skip && !ended { skippable(&entries, &tail, target) } else { 0 };
    let version = if skipped > 0 { SKIP_VERSION } else { VERSION };

    let mut text = header_of(version, stream.is_independent(name));
    let _ = writeln!(text, "#EXT-X-TARGETDURATION:{target}");
    if !ended {
        text.push_str(&control(target, part_target));
    }
    let _ = writeln!(text, "#EXT-X-MEDIA-SEQUENCE:{}", stream.window_start());
    let _ = writeln!(text, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", stream.discontinuity_sequence);
    if skipped > 0 {
        let _ = writeln!(text, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}");
    }
    let mut lister = Lister { text, stream, name, first_init, current: None };
    for (place, entry) in entries.iter().enumerate() {
        if place >= skipped {
            lister.entry(entry, target, !ended && place + WITH_PARTS >= entries.len());
        } else if let Some(segment) = entry.segment {
            lister.current = Some((entry.of, segment.init));
        }
    }
    if let Some(tail) = &tail {
        lister.tail(tail);
        if part_target.is_some() {
            let Hint { number, index } = stream.hint(name, tail);
            let (folder, tag) = (lister.folder(tail.of), &stream.tag);
            let _ = writeln!(lister.text, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{folder}{number}.{index}.m4s?v={tag}\"");
        }
        reports(&mut lister.text, stream, name, now);
    }
    let mut text = lister.text;
    if ended {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    Some(Media { text, ended })
}

/// The playlist of the key pictures that the segments of a video rendition begin with, for players that show them while seeking; `None`
/// while there is nothing to list.
pub(super) fn key_pictures(stream: &Stream, name: &str, now: Instant) -> Option<Media> {
    let target = stream.target?;
    let ended = stream.has_ended(name, now);
    let entries: Vec<Entry<'_>> = stream.entries(name).collect();
    let first_init = entries.iter().find_map(|entry| Some((entry.of, entry.segment?.init)));
    first_init?;
    let mut text = header(false);
    let _ = writeln!(text, "#EXT-X-TARGETDURATION:{target}");
    let _ = writeln!(text, "#EXT-X-MEDIA-SEQUENCE:{}", stream.window_start());
    let _ = writeln!(text, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", stream.discontinuity_sequence);
    text.push_str("#EXT-X-I-FRAMES-ONLY\n");
    let mut lister = Lister { text, stream, name, first_init, current: None };
    for Entry { slot, of, segment } in &entries {
        let picture = segment.and_then(|segment| Some((segment.init, segment.key_picture()?)));
        lister.begin(slot, picture.map(|(init, _)| (*of, init)));
        match picture {
            Some((_, bytes)) => {
                let _ = writeln!(lister.text, "#EXT-X-BYTERANGE:{bytes}@0");
            }
            None => lister.text.push_str("#EXT-X-GAP\n"),
        }
        lister.end(of, slot.number, Entry { slot, of, segment: *segment }.ticks(target));
    }
    let mut text = lister.text;
    if ended {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    Some(Media { text, ended })
}

/// How many entries are so old that a delta update may leave them out.
fn skippable(entries: &[Entry<'_>], tail: &Option<Tail<'_>>, target: i64) -> usize {
    let mut kept = tail_ticks(tail);
    let fresh = entries.iter().rev().take_while(|entry| {
        kept += entry.ticks(target);
        kept <= SKIP_UNTIL * target * TICKS_PER_SECOND
    });
    entries.len() - fresh.count()
}

fn tail_ticks(tail: &Option<Tail<'_>>) -> i64 {
    tail.iter().flat_map(|tail| &tail.parts).map(|(_, ticks)| ticks).sum()
}

/// What a live playlist says of how it is to be asked for.
fn control(target: i64, part_target: Option<i64>) -> String {
    let mut text =
        format!("#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL={:.1}", (SKIP_UNTIL * target) as f64);
    if let Some(ticks) = part_target {
        let longest = in_seconds(ticks);
        let _ = write!(text, ",PART-HOLD-BACK={:.5}", HOLD_BACK as f64 * longest);
        let _ = write!(text, "\n#EXT-X-PART-INF:PART-TARGET={longest:.5}");
    }
    text.push('\n');
    text
}

/// Where the other playlists of the stream are, so that a player which switches knows what to ask for.
fn reports(text: &mut String, stream: &Stream, name: &str, now: Instant) {
    let others = stream.ladder.iter().map(String::as_str).chain([AUDIO]).filter(|other| *other != name);
    for other in others {
        let edge = stream.edge(other, now);
        let blocked = stream.target.is_none() || !stream.renditions.contains_key(other) || edge.over || edge.next == 0;
        if blocked {
            continue;
        }
        // The last part that is listed is of the open segment, or else of the one before.
        let (segment, part) = match edge.parts.checked_sub(1) {
            Some(part) => (edge.next, Some(part)),
            None => (edge.next - 1, stream.parts(other, edge.next - 1).len().checked_sub(1).map(|part| part as u32)),
        };
        let part = part.map(|part| format!(",LAST-PART={part}")).unwrap_or_default();
        let _ = writeln!(text, "#EXT-X-RENDITION-REPORT:URI=\"../{other}/index.m3u8\",LAST-MSN={segment}{part}");
    }
}

/// Writes segments and parts.
struct Lister<'a> {
    text: String,
    stream: &'a Stream,
    name: &'a str,
    first_init: Option<(&'a str, u32)>,
    /// The init segment that holds.
    current: Option<(&'a str, u32)>,
}

impl<'a> Lister<'a> {
    fn entry(&mut self, Entry { slot, of, segment }: &Entry<'a>, target: i64, with_parts: bool) {
        self.begin(slot, segment.map(|segment| (*of, segment.init)));
        match segment {
            None => self.text.push_str("#EXT-X-GAP\n"),
            Some(_) if with_parts => self.parts(of, slot.number, &self.stream.parts(self.name, slot.number)),
            Some(_) => {}
        }
        self.end(of, slot.number, Entry { slot, of, segment: *segment }.ticks(target));
    }

    fn begin(&mut self, slot: &Slot, init: Option<(&'a str, u32)>) {
        if slot.discontinuity {
            self.text.push_str("#EXT-X-DISCONTINUITY\n");
        }
        self.map(init, slot.discontinuity);
        let _ = writeln!(self.text, "#EXT-X-PROGRAM-DATE-TIME:{}", date(slot.date));
    }

    fn end(&mut self, of: &str, number: u64, ticks: i64) {
        let uri = format!("{}{number}.m4s?v={}", self.folder(of), self.stream.tag);
        entry(&mut self.text, false, in_seconds(ticks), &uri);
    }

    fn tail(&mut self, tail: &Tail<'a>) {
        if tail.parts.is_empty() {
            return;
        }
        if tail.discontinuity {
            self.text.push_str("#EXT-X-DISCONTINUITY\n");
        }
        self.map(tail.init.map(|init| (tail.of, init)), tail.discontinuity);
        self.parts(tail.of, tail.number, &tail.parts);
    }

    fn map(&mut self, own: Option<(&'a str, u32)>, discontinuity: bool) {
        let init = own.or(self.current).or(self.first_init);
        if let Some((of, id)) = init.filter(|_| init != self.current || discontinuity) {
            let folder = self.folder(of);
            let _ = writeln!(self.text, "#EXT-X-MAP:URI=\"{folder}init-{id}.mp4?v={}\"", self.stream.tag);
            self.current = init;
        }
    }

    fn parts(&mut self, of: &str, number: u64, parts: &[(&Part, i64)]) {
        let (folder, tag) = (self.folder(of), &self.stream.tag);
        for (index, (part, ticks)) in parts.iter().enumerate() {
            let independent = if part.independent { ",INDEPENDENT=YES" } else { "" };
            let duration = in_seconds(*ticks);
            let _ = writeln!(
                self.text,
                "#EXT-X-PART:DURATION={duration:.5},URI=\"{folder}{number}.{index}.m4s?v={tag}\"{independent}"
            );
        }
    }

    fn folder(&self, of: &str) -> String {
        if of == self.name { String::new() } else { format!("../{of}/") }
    }
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
    in_seconds(ticks.min(longest_segment(target)))
}

fn in_seconds(ticks: i64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND as f64
}

/// The first lines of a playlist.
pub(crate) fn header(independent: bool) -> String {
    header_of(VERSION, independent)
}

fn header_of(version: u32, independent: bool) -> String {
    let independent = if independent { "#EXT-X-INDEPENDENT-SEGMENTS\n" } else { "" };
    format!("#EXTM3U\n#EXT-X-VERSION:{version}\n{independent}")
}

/// The common rate that a measured one stands for, if it is within what millisecond timestamps blur over two seconds.
pub(crate) fn snap(measured: f64) -> f64 {
    let common = [24000.0 / 1001.0, 24.0, 25.0, 30000.0 / 1001.0, 30.0, 48.0, 50.0, 60000.0 / 1001.0, 60.0];
    let nearest = common.into_iter().min_by(|a, b| (a - measured).abs().total_cmp(&(b - measured).abs()));
    nearest.filter(|rate| (rate - measured).abs() < rate * 0.001).unwrap_or(measured)
}

/// Unix milliseconds as ISO 8601 in UTC.
pub(crate) fn date(ms: i64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms.max(0).unsigned_abs())).to_string()
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
