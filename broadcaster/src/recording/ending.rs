//! The end of a recording: made when its stream ends, or at the next start where the process ended first.

use super::catalog::{self, State, Summary};
use super::marker::{Described, Marker};
use super::sheet::{Entry, Line, Sheet, Track, read};
use super::store::{Found, Store, StoreError};
use crate::origin::AUDIO;
use crate::origin::reader::Moment;
use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// The newest segments of each rendition are looked into when a recording is mended: some minutes, which is more than a disk that says too
/// early that it has written can have left short.
const LOOKED_INTO: usize = 128;

/// Writes the playlists as they will stay, and then the summary; then the recording has its end.
pub(super) async fn end(store: &Store, marker: &Marker, sheet: &Sheet, recovered: bool) -> Result<Summary, StoreError> {
    let folder = marker.folder();
    for name in sheet.tracks.keys() {
        store.put(&format!("{folder}/{name}/index.m3u8"), vec![sheet.ended(name).into()]).await?;
    }
    let master = sheet.master().unwrap_or_default();
    store.put(&format!("{folder}/master.m3u8"), vec![master.into()]).await?;
    let state = if recovered { State::Recovered } else { State::Ended };
    let summary = Summary { state, ..marker.summary(sheet.totals()) };
    catalog::put(store, &summary).await?;
    store.delete(vec![marker.key()]).await?;
    Ok(summary)
}

/// Makes an end of what a process left without one: every whole segment in the store is listed. `None` where there was none.
pub(super) async fn mend(store: &Store, described: Described) -> Result<Option<Summary>, StoreError> {
    let Some(marker) = &described.marker else { return Ok(None) };
    if described.deleted {
        catalog::remove(store, marker).await?;
        return Ok(None);
    }
    let folder = marker.folder();
    let mut listed = HashMap::new();
    for name in described.tracks.keys() {
        let text = match store.get(&format!("{folder}/{name}/index.m3u8")).await {
            Ok(text) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) if error.is_missing() => String::new(),
            Err(error) => return Err(error),
        };
        listed.insert(name.clone(), read(name, &text));
    }
    let files = store.list(&folder).await?;
    let mut sheet = rebuild(&described, listed);
    let sizes: HashMap<&str, u64> = files.iter().map(|Found { key, size }| (key.as_str(), *size)).collect();
    keep_whole(store, &folder, &mut sheet, &sizes).await;
    if sheet.totals().bytes == 0 {
        catalog::remove(store, marker).await?;
        return Ok(None);
    }
    end(store, marker, &sheet, true).await.map(Some)
}

/// What playlists and marker say together. The marker knows all that a playlist may lack.
fn rebuild(described: &Described, mut listed: HashMap<String, Vec<Line>>) -> Sheet {
    let mut sheet = Sheet {
        target: described.target,
        frame_rate: described.frame_rate,
        ladder: described.ladder.clone(),
        ..Sheet::default()
    };
    // Durations of sound are its own.
    let longest =
        listed.iter().max_by_key(|(name, entries)| (*name != AUDIO, entries.len())).map(|(_, entries)| entries);
    for Line { moment, .. } in longest.into_iter().flatten() {
        if sheet.timeline.is_empty() && moment.number != described.first {
            break;
        }
        sheet.extend(Moment { independent: !described.dependent, ..*moment });
    }
    for (index, (duration, date, discontinuity)) in described.timeline.iter().enumerate() {
        let (number, independent) = (described.first + (described.from + index) as u64, !described.dependent);
        let moment = Moment { number, duration: *duration, date: *date, independent, discontinuity: *discontinuity };
        match sheet.timeline.get_mut(described.from + index) {
            Some(known) => *known = moment,
            None => sheet.extend(moment),
        }
    }
    for (name, tail) in &described.tracks {
        let mut entries: Vec<_> = listed.remove(name).unwrap_or_default().into_iter().map(|line| line.entry).collect();
        entries.truncate(tail.from);
        entries.resize(tail.from, Entry::Gap);
        entries.extend(tail.entries.iter().cloned());
        entries.truncate(sheet.timeline.len());
        sheet.tracks.insert(name.clone(), Track { about: tail.about.clone(), entries });
    }
    sheet
}

/// Takes out what is not whole, and ends each rendition with its last whole segment.
async fn keep_whole(store: &Store, folder: &str, sheet: &mut Sheet, sizes: &HashMap<&str, u64>) {
    let first = sheet.first().unwrap_or(0);
    let mut length = 0;
    for (name, track) in &mut sheet.tracks {
        let looked_into = track.entries.len().saturating_sub(LOOKED_INTO);
        for (index, entry) in track.entries.iter_mut().enumerate() {
            let Entry::Own { bytes, .. } = entry else { continue };
            let key = format!("{folder}/{name}/{}.m4s", first + index as u64);
            let size = sizes.get(key.as_str()).copied().unwrap_or(0);
            let said = *bytes == 0 || *bytes == size;
            let whole = match store.path(&key) {
                Some(path) if index >= looked_into => is_whole(&path, size),
                _ => true,
            };
            if size > 0 && said && whole {
                *bytes = size;
            } else {
                *entry = Entry::Gap;
            }
        }
        let own = |entry: &Entry| matches!(entry, Entry::Own { .. });
        length = length.max(track.entries.iter().rposition(own).map_or(0, |last| last + 1));
    }
    sheet.timeline.truncate(length);
    // What the process had no time to write is no gap: nothing follows it.
    for name in sheet.tracks.keys().cloned().collect::<Vec<_>>() {
        let kept = sheet.last_segment(&name).map_or(0, |last| last + 1);
        if let Some(track) = sheet.tracks.get_mut(&name) {
            track.entries.truncate(kept);
        }
    }
}

/// Whether a file is boxes from its first byte to its last.
fn is_whole(path: &Path, size: u64) -> bool {
    let Ok(mut file) = std::fs::File::open(path) else { return false };
    let mut at = 0;
    while at < size {
        let mut head = [0; 8];
        if file.seek(SeekFrom::Start(at)).is_err() || file.read_exact(&mut head).is_err() {
            return false;
        }
        let length = u64::from(u32::from_be_bytes([head[0], head[1], head[2], head[3]]));
        if length < 8 || !matches!(&head[4..], b"moof" | b"mdat") {
            return false;
        }
        at += length;
    }
    at == size
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::{Description, SOURCE};
    use std::fs;
    use std::sync::Arc;

    /// A `moof` and an `mdat` with `bytes` in it.
    fn segment(bytes: usize) -> Vec<u8> {
        let mut segment = b"\0\0\0\x08moof".to_vec();
        segment.extend((bytes as u32 + 8).to_be_bytes());
        segment.extend(b"mdat");
        segment.resize(segment.len() + bytes, 7);
        segment
    }

    fn sheet(entries: Vec<Entry>) -> Sheet {
        let moment = |number: usize| {
            let (date, independent) = (1_798_761_599_000 + number as i64 * 2_000, true);
            Moment { number: 5 + number as u64, duration: 180_000, date, independent, discontinuity: number == 3 }
        };
        let about = Description { codec: "avc1.64001f".into(), width: 640, height: 360, ..Description::default() };
        Sheet {
            target: 2,
            frame_rate: Some(25.0),
            ladder: vec![SOURCE.into()],
            timeline: (0..entries.len()).map(moment).collect(),
            tracks: [(SOURCE.to_owned(), Track { about, entries })].into(),
        }
    }

    /// A recording that was left with `listed` of its segments in the playlist.
    async fn left(store: &Store, sheet: &Sheet, listed: usize) -> Marker {
        let marker = Marker::new("node", "show");
        let tracks = sheet.tracks.iter().map(|(name, track)| {
            let (about, entries) = (track.about.clone(), track.entries[listed..].to_vec());
            (name.clone(), super::super::marker::Tail { about, from: listed, entries })
        });
        store.put(&marker.key(), vec![marker.describe(sheet, tracks.collect())]).await.unwrap();
        let playlist = sheet.growing(SOURCE, listed) + "#EXT-X-PROGRAM-DATE-TI";
        store.put(&format!("{}/{SOURCE}/index.m3u8", marker.folder()), vec![playlist.into()]).await.unwrap();
        marker
    }

    async fn mended(store: &Store, marker: &Marker) -> Option<Summary> {
        let text = store.get(&marker.key()).await.unwrap();
        mend(store, serde_json::from_slice(&text).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn every_whole_segment_is_listed_and_no_torn_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::Folder(Arc::new(dir.path().to_owned()));
        let own = |bytes: u64| Entry::Own { init: 0, ticks: 0, bytes: bytes + 16 };
        // Two are listed. The marker knows of four more: one is there, one was cut short, one is there, one never was.
        let marker = left(&store, &sheet([10, 20, 30, 40, 50, 60].map(own).into()), 2).await;
        let put = async |number: u64, bytes: Vec<u8>| {
            store.put(&format!("{}/{SOURCE}/{number}.m4s", marker.folder()), vec![bytes.into()]).await.unwrap();
        };
        for (number, bytes) in [(5, 10), (7, 30), (9, 50)] {
            put(number, segment(bytes)).await;
        }
        put(6, segment(20)[..30].to_vec()).await; // listed, and cut short by the loss of power
        put(8, segment(40)[..50].to_vec()).await;
        fs::write(dir.path().join(marker.folder()).join(SOURCE).join(".unfinished-3"), "torn").unwrap();

        let summary = mended(&store, &marker).await.unwrap();
        assert_eq!((summary.state, summary.duration_ms, summary.gaps), (State::Recovered, 10_000, 2));
        assert_eq!(summary.bytes, 26 + 46 + 66);
        let text = fs::read_to_string(dir.path().join(marker.folder()).join("source/index.m3u8")).unwrap();
        let listed = read(SOURCE, &text);
        let there: Vec<bool> = listed.iter().map(|line| matches!(line.entry, Entry::Own { .. })).collect();
        assert_eq!(there, [true, false, true, false, true]);
        assert!(
            listed[3].moment.discontinuity && text.contains(":VOD\n") && text.ends_with("#EXT-X-ENDLIST\n"),
            "{text}"
        );
        let master = fs::read_to_string(dir.path().join(marker.folder()).join("master.m3u8")).unwrap();
        assert!(master.contains("RESOLUTION=640x360") && master.contains("source/index.m3u8"), "{master}");
        assert!(store.get(&marker.key()).await.unwrap_err().is_missing());
    }

    #[tokio::test]
    async fn what_has_no_segment_or_was_being_deleted_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::Folder(Arc::new(dir.path().to_owned()));
        let sheet = sheet(vec![Entry::Own { init: 0, ticks: 0, bytes: 26 }]);
        let empty = left(&store, &sheet, 0).await;
        assert_eq!(mended(&store, &empty).await, None);
        let deleted = left(&store, &sheet, 1).await;
        let key = format!("{}/{SOURCE}/5.m4s", deleted.folder());
        store.put(&key, vec![segment(10).into()]).await.unwrap();
        store.put(&deleted.key(), vec![deleted.deleted()]).await.unwrap();
        assert_eq!(mended(&store, &deleted).await, None);
        assert_eq!(store.list("").await.unwrap(), []);
    }
}
