//! A recording on a disk that is full for a while, and then not writable: a small one of the test's own, in a mount namespace.

use crate::http::get;
use crate::media::{Publisher, cuts, frames};
use crate::network::{Network, alone};
use crate::playlist;
use crate::process::wait_for;
use crate::recording::{END, checked, live, network, recordings, until, url};
use serde_json::Value;
use std::fs::File;
use std::io::{Write, stderr};
use std::path::Path;
use std::process::Command;

const PLACE: &str = "MILLRACE_SMALL_DISK";
const TEST: &str = "recording_disk::a_full_disk_and_one_that_refuses_writes_hurt_no_stream_and_no_recording";
/// More than the recording gets to have.
const SMALL_DISK: &str = r#"mount -t tmpfs -o size=64m tmpfs "$MILLRACE_SMALL_DISK" && exec "$@""#;

/// Runs a command that sees a small disk at `place`.
fn with_small_disk(place: &Path, command: &[&str]) -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(["--map-root-user", "--mount", "sh", "-c", SMALL_DISK, "sh"]).args(command).env(PLACE, place);
    unshare.status().is_ok_and(|status| status.success())
}

#[test]
fn a_full_disk_and_one_that_refuses_writes_hurt_no_stream_and_no_recording() {
    if let Some(place) = std::env::var_os(PLACE) {
        return on(Path::new(&place));
    }
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    if !with_small_disk(dir.path(), &["true"]) {
        let _ = writeln!(stderr(), "\nskipped: no disk may be mounted here (unshare --map-root-user --mount)");
        return;
    }
    let tests = std::env::current_exe().unwrap();
    assert!(with_small_disk(dir.path(), &[tests.to_str().unwrap(), "--exact", TEST, "--nocapture"]));
}

fn on(place: &Path) {
    let network = network(place.to_str().unwrap(), &[]);
    let publisher = Publisher::file(cuts(), -1, &network.rtmp(&network.live.key));
    let status = || network.stream(&network.live.name).map(|stream| stream["recording"].clone());
    let more_than = |bytes: u64| {
        wait_for("the recording grows", END, || {
            let recording = status()?;
            let well = recording["state"] == "recording" && recording["error"].is_null();
            recording["bytes"].as_u64().filter(|now| well && *now > bytes).ok_or_else(|| recording.to_string())
        })
    };
    more_than(2_000_000);
    let id = status().unwrap()["id"].clone();

    // Something else takes all that is left.
    let ballast = place.join("ballast");
    let mut file = File::create(&ballast).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    fails(&network, "No space left on device", "recording_max_bytes");
    goes_on(&network);
    let listed = plays(&network, &recordings(&network).unwrap()[0]);
    std::fs::remove_file(&ballast).unwrap();
    drop(file);
    let written = more_than(status().unwrap()["bytes"].as_u64().unwrap());

    let remount = |how: &str| {
        wait_for(&format!("the disk is remounted {how}"), END, || {
            let told = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(place).output().unwrap();
            // Not in the moment in which something is being written.
            if told.status.success() { Ok(()) } else { Err(format!("{told:?}")) }
        });
    };
    remount("ro");
    fails(&network, "Read-only file system", "mount it for writing");
    goes_on(&network);
    remount("rw");
    more_than(written);
    publisher.stop();

    let all = until(&network, 1, "ended");
    assert_eq!((all.len(), &all[0]["id"]), (1, &id), "the recording goes on, and no other begins");
    checked(&network, &all[0]);
    assert!(plays(&network, &all[0]) > listed);
    assert!(network.logs().contains("the recording goes on"));
}

/// The operator is told what it is and what to do, and of which file.
fn fails(network: &Network, why: &str, way_out: &str) {
    wait_for(&format!("the status tells of: {why}"), END, || {
        let recording = network.stream(&network.live.name)?["recording"].clone();
        let error = recording["error"].as_str().unwrap_or("");
        let told = error.contains(why) && error.contains(way_out) && error.contains(&network.live.name);
        if told && recording["state"] == "failing" { Ok(()) } else { Err(recording.to_string()) }
    });
    let logs = network.logs();
    assert!(logs.contains("the recording cannot be written") && logs.contains(why), "{logs}");
}

/// The live stream does, by two segments.
fn goes_on(network: &Network) {
    let before = live(network).unwrap()["source"].last().copied().unwrap();
    wait_for("the stream goes on", END, || {
        let now = live(network)?["source"].last().copied();
        if now > Some(before + 1) { Ok(()) } else { Err(format!("{now:?}")) }
    });
}

/// Segments that the recording lists, each of which has all its pictures.
fn plays(network: &Network, recording: &Value) -> usize {
    let master = playlist::read(&url(network, recording, "master.m3u8")).unwrap();
    let mut listed = 0;
    for variant in &master.variants {
        let text = String::from_utf8(get(&variant.url).unwrap()).unwrap();
        assert!(text.ends_with(".m4s\n") || text.ends_with("#EXT-X-ENDLIST\n"), "{text}");
        for segment in variant.media.segments.iter().filter(|segment| !segment.gap) {
            let pictures = (segment.duration * 25.0).round() as usize;
            assert_eq!(frames(&segment.bytes().unwrap()).unwrap().len(), pictures, "{} {}", variant.name, segment.seq);
            listed += 1;
        }
    }
    listed
}
