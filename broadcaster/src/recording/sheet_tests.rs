use super::*;

fn moment(number: u64, discontinuity: bool) -> Moment {
    let date = 1_798_761_599_000 + number as i64 * 2_000;
    Moment { number, duration: 180_000, date, independent: true, discontinuity }
}

fn own(init: u32, bytes: u64) -> Entry {
    Entry::Own { init, ticks: 0, bytes }
}

fn track(codec: &str, entries: Vec<Entry>) -> Track {
    Track {
        about: Description { codec: codec.into(), width: 640, height: 360, channels: 2, ..Description::default() },
        entries,
    }
}

/// A source whose second segment is lost, a rung that joins at the third, and sound; a break before the fourth.
fn sheet() -> Sheet {
    let sound = |bytes| Entry::Own { init: 0, ticks: 179_200, bytes };
    let source = vec![own(0, 500_000), Entry::Gap, own(0, 250_000), own(1, 250_000)];
    let rung = vec![Entry::Of(SOURCE.into()), Entry::Of(SOURCE.into()), own(0, 100_000), own(0, 100_000)];
    let tracks = [
        (SOURCE, track("avc1.64001f", source)),
        ("360p", track("avc1.64001e", rung)),
        (AUDIO, track("mp4a.40.2", vec![Entry::Gap, sound(30_000), sound(32_000), sound(31_000)])),
    ];
    Sheet {
        target: 2,
        frame_rate: Some(25.0),
        ladder: vec![SOURCE.into(), "360p".into()],
        timeline: (7..11).map(|number| moment(number, number == 7 || number == 10)).collect(),
        tracks: tracks.map(|(name, track)| (name.to_owned(), track)).into(),
    }
}

#[test]
fn playlists_say_what_is_there_and_read_back_as_it() {
    let sheet = sheet();
    let text = sheet.ended(SOURCE);
    let head = "#EXTM3U\n#EXT-X-VERSION:8\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n\
                #EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-MAP:URI=\"init-0.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:";
    assert!(text.starts_with(head), "{text}");
    assert!(text.contains("#EXT-X-GAP\n#EXTINF:2.00000,\n8.m4s\n"), "{text}");
    let broken = "9.m4s\n#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init-1.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:";
    assert!(text.contains(broken) && text.ends_with("10.m4s\n#EXT-X-ENDLIST\n"), "{text}");
    let rung = sheet.ended("360p");
    assert!(
        rung.contains("#EXT-X-MAP:URI=\"../source/init-0.mp4\"\n") && rung.contains("\n../source/7.m4s\n"),
        "{rung}"
    );

    for (name, track) in &sheet.tracks {
        let read = read(name, &sheet.ended(name));
        let entries: Vec<_> = read.iter().map(|line| line.entry.clone()).collect();
        let bare = |entry: &Entry| match entry {
            Entry::Own { init, ticks, .. } => Entry::Own { init: *init, ticks: *ticks, bytes: 0 },
            // What stands in for it was lost.
            Entry::Of(_) if name == "360p" => entry.clone(),
            other => other.clone(),
        };
        let mut expected: Vec<_> = track.entries.iter().map(bare).collect();
        if name == "360p" {
            expected[1] = Entry::Gap;
        }
        assert_eq!(entries, expected, "{name}");
        if name == SOURCE {
            let mut timeline = sheet.timeline.clone();
            timeline[0].discontinuity = false; // a recording's first segment follows nothing
            assert_eq!(read.iter().map(|line| line.moment).collect::<Vec<_>>(), timeline);
        }
    }
}

#[test]
fn a_playlist_grows_by_its_end_only_and_a_torn_end_is_left_out() {
    let sheet = sheet();
    for name in [SOURCE, "360p", AUDIO] {
        let mut text = sheet.growing(name, 2);
        text += &sheet.lines(name, 2..4);
        let whole = read(name, &text);
        assert_eq!(whole.len(), 4);
        for cut in 0..text.len() {
            let torn = read(name, &text[..cut]);
            assert!(torn.len() <= 4 && whole.starts_with(&torn), "{name}, {cut} bytes: {torn:?}");
        }
    }
}

#[test]
fn the_master_measures_over_the_whole_recording_and_leaves_out_what_was_never_made() {
    let mut sheet = sheet();
    sheet.tracks.insert("720p".into(), track("avc1.640020", vec![Entry::Gap; 4]));
    sheet.ladder.push("720p".into());
    let master = sheet.master().unwrap();
    // 500 kB in two seconds; 1 MB in six. Sound: 32 kB in 1.991 s; 93 kB in 5.973 s. A peak is rounded up.
    let source = "#EXT-X-STREAM-INF:BANDWIDTH=2128572,AVERAGE-BANDWIDTH=1457888,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=640x360,\
                  FRAME-RATE=25.000,AUDIO=\"audio\"\nsource/index.m3u8\n";
    assert!(master.contains(source), "{master}");
    assert!(master.contains("360p/index.m3u8") && !master.contains("720p"), "{master}");
    assert!(master.contains("#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MEDIA:TYPE=AUDIO"), "{master}");

    sheet.timeline[2].independent = false;
    assert!(!sheet.ended(SOURCE).contains("INDEPENDENT") && sheet.ended("360p").contains("INDEPENDENT"));
    sheet.ladder.clear();
    assert!(sheet.master().unwrap().contains("CODECS=\"mp4a.40.2\"\naudio/index.m3u8"));
    assert_eq!(sheet.totals(), Totals { duration_ms: 8_000, bytes: 1_293_000, gaps: 6 });
}

#[test]
fn a_rendition_that_joins_late_is_led_up_to() {
    let about = Description::default();
    let news = |listed: Vec<(u64, Listed)>| News { about: about.clone(), variant: true, listed };
    let own = Listed::Own { init: 0, duration: None };
    let mut sheet = Sheet { target: 2, ..Sheet::default() };
    (3..5).for_each(|number| sheet.extend(moment(number, false)));
    sheet.take(SOURCE, news(vec![(3, own.clone()), (4, own.clone())]));
    sheet.extend(moment(7, false));
    assert_eq!(sheet.timeline.iter().map(|moment| moment.number).collect::<Vec<_>>(), [3, 4, 5, 6, 7]);
    sheet.take(SOURCE, news(vec![(7, own.clone())]));
    sheet.take("360p", news(vec![(7, own.clone())]));
    sheet.take(AUDIO, News { variant: false, ..news(vec![(7, own)]) });
    let entries = |name: &str| &sheet.tracks[name].entries;
    let pending = Entry::Pending { init: 0, ticks: 0 };
    let of = Entry::Of(SOURCE.into());
    assert_eq!(entries(SOURCE), &[pending.clone(), pending.clone(), Entry::Gap, Entry::Gap, pending.clone()]);
    assert_eq!(entries("360p"), &[of.clone(), of.clone(), of.clone(), of, pending.clone()]);
    assert_eq!(entries(AUDIO), &[Entry::Gap, Entry::Gap, Entry::Gap, Entry::Gap, pending]);
    assert_eq!([SOURCE, "360p", AUDIO].map(|name| sheet.listable_from(name, 0)), [0, 0, 4]);
    assert_eq!(sheet.ladder, [SOURCE, "360p"]);
}
