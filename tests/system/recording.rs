//! Recordings: what was live is there afterwards, whole, whatever happens to the publisher, the store or the process.
//!
//! `MILLRACE_RECORDING_KILLS=50` makes it as many kills; `MILLRACE_SEED=7` draws other instants.

use crate::http::{block_on, get, get_json};
use crate::media::{Publisher, cuts, decoded, frames};
use crate::network::Network;
use crate::playlist::{self, Master};
use crate::process::{output, wait_for};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// From a stream's end to the end of its recording: the wait for its publisher, and for the last renditions.
pub(crate) const END: Duration = Duration::from_secs(60);
/// From a node's start to the end of what it found: a few files.
const MENDED: Duration = Duration::from_secs(30);
/// Kills, unless `MILLRACE_RECORDING_KILLS` says otherwise.
const KILLS: u32 = 8;
/// Of the instants: `MILLRACE_SEED` names others.
const SEED: u64 = 20_261_122;
/// From a recording's beginning to the kill, milliseconds: from the first segment to the fifth.
const BETWEEN_MS: std::ops::Range<u64> = 0..8_000;
/// Kills that one network is put to: each may leave segments of the ladder unpaid, for which an orchestrator works on credit only so long.
const SAME_NETWORK: u64 = 3;
/// Pictures of the clip.
pub(crate) const PICTURES: u64 = 250;

pub(crate) fn network(recording: &str, more: &[(&str, &str)]) -> Network {
    let variables = [&[("MILLRACE_BROADCASTER_RECORDING", recording)], more].concat();
    Network::start_with(&["--source", "none", "--transcoders", "1"], &variables)
}

pub(crate) fn recordings(network: &Network) -> Result<Vec<Value>, String> {
    let all = get_json(&format!("{}/api/v1/recordings", network.ready.broadcaster_api))?;
    all.as_array().cloned().ok_or_else(|| all.to_string())
}

/// Waits until `count` recordings are in `state`; all that there are.
pub(crate) fn until(network: &Network, count: usize, state: &str) -> Vec<Value> {
    wait_for(&format!("{count} recordings are {state}"), END, || {
        let all = recordings(network)?;
        let done = all.iter().filter(|r| r["state"] == state).count();
        if done >= count { Ok(all) } else { Err(format!("{all:?}")) }
    })
}

pub(crate) fn url(network: &Network, recording: &Value, file: &str) -> String {
    let [name, id] = ["name", "id"].map(|key| recording[key].as_str().unwrap());
    format!("{}/recordings/{name}/{id}/{file}", network.ready.broadcaster_api)
}

/// What a strict parser says of a recording that has ended; fails where something in it is not as it should be.
pub(crate) fn checked(network: &Network, recording: &Value) -> Master {
    let master = playlist::read(&url(network, recording, "master.m3u8")).unwrap();
    for variant in master.variants.iter().chain(&master.audio) {
        let media = &variant.media;
        assert!(media.ended, "{}: no end", variant.name);
        let too_long = |s: &playlist::Segment| s.duration.round() > media.target_duration;
        assert!(!media.segments.iter().any(too_long), "{}: {media:?}", variant.name);
        let first = media.segments[0].seq;
        assert!(media.segments.iter().zip(first..).all(|(s, seq)| s.seq == seq && s.at.is_some()), "{media:?}");
        let text = String::from_utf8(get(&variant.url).unwrap()).unwrap();
        assert!(text.contains("#EXT-X-PLAYLIST-TYPE:VOD\n") && text.ends_with("#EXT-X-ENDLIST\n"), "{text}");
    }
    let text = String::from_utf8(get(&url(network, recording, "master.m3u8")).unwrap()).unwrap();
    for variant in &master.variants {
        // Peak within what the segments are, sound included: every one is measured.
        let sizes = |of: &playlist::Variant| -> Vec<f64> {
            let segments = of.media.segments.iter().filter(|s| !s.gap && s.duration * 2.0 >= of.media.target_duration);
            segments.map(|s| s.payload().unwrap() as f64 * 8.0 / s.duration).collect()
        };
        let peak = |of: &playlist::Variant| sizes(of).into_iter().fold(0.0, f64::max);
        let peak = peak(variant) + master.audio.iter().map(peak).fold(0.0, f64::max);
        let line = format!("{}/index.m3u8", variant.name);
        let before = text.lines().zip(text.lines().skip(1)).find(|(_, next)| *next == line).unwrap().0;
        let said: f64 = before.split("BANDWIDTH=").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
        assert!((said / peak - 1.0).abs() < 0.01, "{}: {said} bit/s, measured {peak}", variant.name);
    }
    master
}

#[test]
fn a_stream_is_recorded_with_all_that_players_were_offered_and_plays_from_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let network = network(dir.path().to_str().unwrap(), &[]);
    let publisher = Publisher::file(cuts(), 0, &network.rtmp(&network.live.key));
    wait_for("the stream's status tells of its recording", END, || {
        let recording = network.stream(&network.live.name)?["recording"].clone();
        let written = recording["bytes"].as_u64() > Some(0) && recording["state"] == "recording";
        if written { Ok(()) } else { Err(recording.to_string()) }
    });
    let growing = &recordings(&network).unwrap()[0];
    let text = String::from_utf8(get(&url(&network, growing, "source/index.m3u8")).unwrap()).unwrap();
    assert!(text.contains("#EXT-X-PLAYLIST-TYPE:EVENT\n") && !text.contains("ENDLIST"), "{text}");
    let (status, said) = publisher.ended(END);
    assert!(status.success(), "{said}");

    let recording = &until(&network, 1, "ended")[0];
    assert_eq!((recording["duration_ms"].as_u64(), recording["gaps"].as_u64()), (Some(10_000), Some(0)));
    let master = checked(&network, recording);
    let names: Vec<_> = master.variants.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["source", "360p"]);
    let folder = dir.path().join(recording["name"].as_str().unwrap()).join(recording["id"].as_str().unwrap());
    for variant in ["source", "360p"] {
        for played in [url(&network, recording, variant), folder.join(variant).display().to_string()] {
            assert_eq!(decoded(&format!("{played}/index.m3u8")), (PICTURES, String::new()), "{played}");
        }
    }
    let (pictures, said) = decoded(&url(&network, recording, "master.m3u8"));
    assert!(pictures >= PICTURES && said.is_empty(), "{pictures} pictures: {said}");

    // As a player asks: a range, with the manners of the live origin.
    let answer = block_on(async {
        let client = reqwest::Client::new();
        let asked = client.get(url(&network, recording, "source/0.m4s")).header("range", "bytes=4-7");
        asked.header("origin", "https://player.example").send().await.unwrap()
    });
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!((answer.status().as_u16(), header("content-type").as_str()), (206, "video/mp4"));
    assert!(header("content-range").starts_with("bytes 4-7/") && header("cache-control").contains("immutable"));
    assert_eq!(header("access-control-allow-origin"), "*");
    assert_eq!(block_on(answer.text()).unwrap(), "moof");
    for wrong in ["source/.unfinished-0", "source/index.m3u8.bak", "source/..%2f..%2f0.m4s", "..%2f..%2fx/0.m4s"] {
        let refused = get(&format!("{}{wrong}", url(&network, recording, ""))).unwrap_err();
        assert!(refused.contains("404"), "{refused}");
    }
    assert!(get(&format!("{}/recordings/.open/x/source/0.m4s", network.ready.broadcaster_api)).is_err());

    // A stretch of it, from the key picture before it on: by the node, and by hand from the folder.
    let cut = dir.path().join("cut.mp4");
    let by_hand = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .arg("clip")
        .arg(&folder)
        .args(["-o".as_ref(), cut.as_os_str()])
        .args(["--from", "00:00:03", "--to", "6", "--rendition", "360p"])
        .output()
        .unwrap();
    assert!(by_hand.status.success(), "{by_hand:?}");
    let served = url(&network, recording, "clip.mp4?from=3&to=6");
    let whole = get(&served).unwrap();
    let place = |kind: &[u8]| whole.windows(4).position(|window| window == kind).unwrap();
    assert!(place(b"moov") < place(b"mdat"));
    for made in [cut.to_str().unwrap(), &served] {
        assert_eq!(decoded(made), (100, String::new()), "{made}");
        let (video, audio) = lengths(made);
        assert!((video - 4.0).abs() < 0.001 && (audio - 4.0).abs() < 0.05, "{made}: {video} s, {audio} s");
    }
    for (asked, words) in
        [("from=20", "10.0 s"), ("rendition=x", "it has source, 360p"), ("from=6&to=3", "later"), ("from=x", "no time")]
    {
        let refused = get(&url(&network, recording, &format!("clip.mp4?{asked}"))).unwrap_err();
        assert!(refused.contains("400") && refused.contains(words), "{refused}");
    }

    let call = |host: &str| {
        let (name, id) = (recording["name"].as_str().unwrap(), recording["id"].as_str().unwrap());
        let call = format!("{}/api/v1/recordings/{name}/{id}", network.ready.broadcaster_api);
        let client = reqwest::Client::new();
        block_on(async { client.delete(&call).header("host", host).send().await.unwrap().status().as_u16() })
    };
    assert_eq!(call("stranger.example"), 401, "nobody who is known");
    assert_eq!(call("localhost"), 204);
    assert_eq!((call("localhost"), recordings(&network).unwrap().len()), (404, 0));
    assert!(!folder.exists() && !folder.parent().unwrap().exists());
}

#[test]
fn a_publisher_who_comes_back_goes_on_in_the_recording_behind_a_discontinuity() {
    let dir = tempfile::tempdir().unwrap();
    let network = network(dir.path().to_str().unwrap(), &[]);
    let key = network.rtmp(&network.live.key);
    let first = Publisher::file(cuts(), -1, &key);
    let written = |network: &Network, more: u64| {
        wait_for("the recording grows", END, || {
            let recording = network.stream(&network.live.name)?["recording"].clone();
            if recording["bytes"].as_u64() > Some(more) {
                Ok(recording["bytes"].as_u64().unwrap())
            } else {
                Err(recording.to_string())
            }
        })
    };
    let before = written(&network, 0);
    first.vanish();
    let second = Publisher::file(cuts(), -1, &key);
    written(&network, before + 1_000_000);
    second.stop();
    let all = until(&network, 1, "ended");
    assert_eq!(all.len(), 1, "{all:?}");
    let master = checked(&network, &all[0]);
    for variant in master.variants.iter().chain(&master.audio) {
        let breaks = variant.media.segments.iter().filter(|s| s.discontinuity).count();
        assert_eq!(breaks, 1, "{}: {:?}", variant.name, variant.media.segments);
    }
    let source = master.variants.iter().find(|v| v.name == "source").unwrap();
    assert_eq!(decoded(&source.url).1, "");
    let seconds: f64 = source.media.segments.iter().map(|s| s.duration).sum();
    assert_eq!(packets(&source.url), (seconds * 25.0).round() as u64);
}

/// Pictures of a playlist as they are fetched: at a break, FFmpeg's decoder forgets the last of those before it.
fn packets(url: &str) -> u64 {
    let arguments =
        ["-v", "error", "-select_streams", "v", "-count_packets", "-show_entries", "stream=nb_read_packets"];
    let told = output(Command::new("ffprobe").args(arguments).args(["-of", "csv=p=0", url])).unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    told.lines().find_map(|line| line.trim_end_matches(',').parse().ok()).unwrap()
}

/// How long the picture and the sound of a file are, seconds.
fn lengths(file: &str) -> (f64, f64) {
    let of = |stream: &str| {
        let arguments =
            ["-v", "error", "-select_streams", stream, "-show_entries", "stream=duration", "-of", "csv=p=0", file];
        let told = output(Command::new("ffprobe").args(arguments)).unwrap();
        String::from_utf8_lossy(&told.stdout).trim().parse().unwrap()
    };
    (of("v"), of("a"))
}

/// Segments that a live playlist lists, by rendition, but for gaps.
pub(crate) fn live(network: &Network) -> Result<BTreeMap<String, BTreeSet<u64>>, String> {
    let mut listed = BTreeMap::new();
    for rendition in ["source", "360p", "audio"] {
        let playlist = network.master(&network.live.name).replace("master.m3u8", &format!("{rendition}/index.m3u8"));
        let text = String::from_utf8_lossy(&get(&playlist)?).into_owned();
        let lines: Vec<_> = text.lines().collect();
        let gaps = |at: usize| lines[..at].iter().rev().take_while(|l| l.starts_with('#')).any(|l| *l == "#EXT-X-GAP");
        let numbers =
            lines.iter().enumerate().filter(|(at, line)| line.contains(".m4s") && !line.starts_with('#') && !gaps(*at));
        let number = |line: &str| line.split(".m4s").next()?.rsplit('/').next()?.parse().ok();
        listed.insert(rendition.to_owned(), numbers.filter_map(|(_, line)| number(line)).collect());
    }
    Ok(listed)
}

#[test]
fn a_killed_broadcaster_loses_no_segment_that_it_recorded_and_its_next_start_makes_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let setting = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let kills = setting("MILLRACE_RECORDING_KILLS").unwrap_or(u64::from(KILLS));
    let seed = setting("MILLRACE_SEED").unwrap_or(SEED);
    // Straight to stderr: the test runner keeps what a passing test prints.
    let say = |text: String| drop(writeln!(std::io::stderr(), "{text}"));
    say(format!("\n{kills} kills, MILLRACE_SEED={seed}"));
    let mut rng = StdRng::seed_from_u64(seed);
    let start = || network(dir.path().to_str().unwrap(), &[]);
    let mut running = Some(start());
    let (mut known, mut segments, mut newest) = (BTreeSet::new(), 0, 0);
    for kill in 0..kills {
        if kill > 0 && kill % SAME_NETWORK == 0 {
            drop(running.take()); // two at once wait for each other
            running = Some(start());
        }
        let Some(network) = &running else { unreachable!("there is one from the start") };
        let publisher = Publisher::file(cuts(), -1, &network.rtmp(&network.live.key));
        let id = wait_for("the recording begins", END, || {
            let recording = network.stream(&network.live.name)?["recording"].clone();
            let began = recording["bytes"].as_u64() > Some(0);
            if began { Ok(recording["id"].as_str().unwrap().to_owned()) } else { Err(recording.to_string()) }
        });
        assert!(known.insert(id.clone()), "{id} twice");
        let at = Instant::now() + Duration::from_millis(rng.random_range(BETWEEN_MS));
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        let listed = wait_for("every playlist is listed", END, || live(network));
        // Somewhere in the writing of what comes next, too.
        std::thread::sleep(Duration::from_micros(rng.random_range(0..50_000)));
        network.kill_broadcaster();
        publisher.vanish();

        let all = wait_for(&format!("{id} has its end"), MENDED, || {
            let all = recordings(network)?;
            let mended = all.iter().find(|r| r["id"] == *id && r["state"] == "recovered");
            mended.cloned().ok_or_else(|| format!("{all:?}"))
        });
        let master = checked(network, &all);
        let named: BTreeSet<_> = master.variants.iter().chain(&master.audio).map(|v| v.name.clone()).collect();
        let missing: Vec<_> = listed.iter().filter(|(name, of)| of.len() > 1 && !named.contains(*name)).collect();
        assert!(missing.is_empty(), "{id} has only {named:?}: {missing:?}");
        for variant in master.variants.iter().chain(&master.audio) {
            let kept: BTreeSet<u64> = variant.media.segments.iter().filter(|s| !s.gap).map(|s| s.seq).collect();
            let lost: Vec<u64> = listed[&variant.name].difference(&kept).copied().collect();
            // What was listed in the very instant may not be written yet: the newest, and no other.
            let last = listed[&variant.name].last().copied();
            assert!(lost.iter().all(|seq| Some(*seq) == last), "{id}, {}: lost {lost:?} of {listed:?}", variant.name);
            (segments, newest) = (segments + listed[&variant.name].len(), newest + lost.len());
            let media = &variant.media.segments;
            let there: Vec<_> = media.iter().filter(|s| !s.gap).collect();
            let pictures = |seconds: f64| if variant.name == "audio" { 0 } else { (seconds * 25.0).round() as u64 };
            if there.len() == media.len() {
                let expected = (pictures(there.iter().map(|s| s.duration).sum()), String::new());
                assert_eq!(decoded(&variant.url), expected, "{id}, {}", variant.name);
            } else {
                // This FFmpeg asks for gaps too.
                for segment in there {
                    let found = frames(&segment.bytes().unwrap()).unwrap().len() as u64;
                    assert_eq!(found, pictures(segment.duration), "{id}, {}, {}", variant.name, segment.seq);
                }
            }
        }
        if (kill + 1) % 10 == 0 {
            say(format!("{} kills: {segments} listed segments, {newest} of them not written in the instant", kill + 1));
        }
    }
    let left = walk(&dir.path().join(".open"));
    assert!(left.is_empty(), "{left:?}");
    say(format!(
        "{kills} kills, seed {seed}: {segments} listed segments kept but {newest}, each the newest of its rendition"
    ));
}

pub(crate) fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn a_store_that_refuses_hurts_no_stream_and_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    // A file where the folder should be: what no user, root included, can write into.
    let place = dir.path().join("place");
    std::fs::write(&place, "taken").unwrap();
    let network = network(place.to_str().unwrap(), &[]);
    let _publisher = Publisher::file(cuts(), -1, &network.rtmp(&network.live.key));
    let status = |network: &Network| network.stream(&network.live.name).map(|stream| stream["recording"].clone());
    wait_for("the status tells of the failure", END, || {
        let recording = status(&network)?;
        let told = recording["error"].as_str().is_some_and(|error| error.contains(place.to_str().unwrap()));
        if told && recording["state"] == "failing" { Ok(()) } else { Err(recording.to_string()) }
    });
    let before = live(&network).unwrap()["source"].last().copied();
    wait_for("the stream goes on", END, || {
        let now = live(&network)?["source"].last().copied();
        if now > before.map(|seq| seq + 1) { Ok(()) } else { Err(format!("{now:?}")) }
    });
    std::fs::remove_file(&place).unwrap();
    wait_for("the recording goes on", END, || {
        let recording = status(&network)?;
        let well = recording["state"] == "recording" && recording["error"].is_null();
        if well && recording["bytes"].as_u64() > Some(0) { Ok(()) } else { Err(recording.to_string()) }
    });
    assert!(network.logs().contains("the recording cannot be written"));
}

#[test]
fn the_oldest_recordings_go_when_there_is_too_much() {
    let dir = tempfile::tempdir().unwrap();
    let network = network(dir.path().to_str().unwrap(), &[("MILLRACE_BROADCASTER_RECORDING_MAX_BYTES", "1")]);
    for key in [&network.live, &network.side] {
        let publisher = Publisher::file(cuts(), 0, &network.rtmp(&key.key));
        assert!(publisher.ended(END).0.success());
    }
    wait_for("both are gone", END * 2, || {
        let all = recordings(&network)?;
        let left = walk(dir.path());
        let told = network.logs().matches("recording deleted").count();
        if all.is_empty() && left.is_empty() && told == 2 {
            Ok(())
        } else {
            Err(format!("{all:?}, {left:?}, {told} told"))
        }
    });
}
