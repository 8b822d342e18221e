//! Recorders beside a real origin.

use super::batch::Running;
use super::marker::Marker;
use super::sheet::{Entry, Track};
use super::*;
use crate::origin::http_tests::Live;
use crate::origin::reader::Moment;
use crate::origin::{Access, Origin, SOURCE};
use std::path::Path;

/// What takes a moment, on the slowest of machines.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn recordings(policy: Policy, folder: &Path) -> Recordings {
    let store = Store::Folder(Arc::new(folder.to_owned()));
    Recordings::new(Options { store, policy, keep: Keep::default(), access: Access::default() }, "node")
}

/// Waits until `there` has something.
pub(super) async fn until<T>(what: &str, there: impl AsyncFn() -> Option<T>) -> T {
    let looked = async {
        loop {
            match there().await {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, looked).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

#[tokio::test]
async fn the_webhooks_word_goes_before_the_policy() {
    let dir = tempfile::tempdir().unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    for (policy, asked, recorded) in [
        (Policy::All, None, true),
        (Policy::All, Some(false), false),
        (Policy::Asked, None, false),
        (Policy::Asked, Some(true), true),
    ] {
        let stream = Origin::new().stream("show").unwrap();
        let follows = recordings(policy, dir.path()).follow("show", &stream, asked, &tasks, &stop);
        assert_eq!(follows.is_some(), recorded, "{policy:?}, {asked:?}");
    }
}

#[tokio::test]
async fn a_publisher_who_comes_back_goes_on_in_the_recording_unless_the_webhook_has_changed_its_mind() {
    let dir = tempfile::tempdir().unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let (origin, recordings) = (Origin::new(), recordings(Policy::All, dir.path()));
    let follow = |asked| {
        let stream = origin.stream("show").unwrap();
        (recordings.follow("show", &stream, asked, &tasks, &stop), stream)
    };
    let (first, _) = follow(None);
    let (second, _) = follow(Some(true));
    assert!(Arc::ptr_eq(&first.unwrap(), second.as_ref().unwrap()));
    assert!(follow(Some(false)).0.is_none());
    let (third, stream) = follow(None);
    assert!(!Arc::ptr_eq(&second.unwrap(), &third.unwrap()), "what was not to be recorded lies between them");
    stream.end(true);
    let (fourth, _) = follow(None);
    assert!(fourth.is_some());
}

#[tokio::test]
async fn what_the_origin_has_forgotten_is_a_gap_and_what_the_store_refused_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::Folder(Arc::new(dir.path().join("place")));
    std::fs::write(dir.path().join("place"), "taken").unwrap();
    let reader = Origin::new().stream("show").unwrap().reader();
    let mut running = Running::new(Marker::new("node", "show"));
    let moment = Moment { number: 3, duration: 180_000, date: 0, independent: true, discontinuity: false };
    (running.sheet.target, running.sheet.timeline) = (2, vec![moment]);
    let entries = vec![Entry::Pending { init: 0, ticks: 0 }];
    running.sheet.tracks.insert(SOURCE.into(), Track { entries, ..Track::default() });
    let batch = running.batch(&store, &reader).unwrap();
    assert_eq!((running.lost, running.is_complete()), (1, true));
    let error = running.apply(batch.write(store.clone()).await).unwrap_err();
    assert!(error.contains("place"), "{error}");

    std::fs::remove_file(dir.path().join("place")).unwrap();
    let batch = running.batch(&store, &reader).unwrap();
    running.apply(batch.write(store.clone()).await).unwrap();
    assert!(running.batch(&store, &reader).is_none());
    let text = store.get(&format!("{}/{SOURCE}/index.m3u8", running.marker.folder())).await.unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.ends_with("#EXT-X-GAP\n#EXTINF:2.00000,\n3.m4s\n"), "{text}");
}

#[tokio::test]
async fn recordings_are_for_those_who_may_watch() {
    let dir = tempfile::tempdir().unwrap();
    let access = Access::new("a secret of some length");
    let [good, old] = [u64::MAX / 2, 1].map(|expiry| access.path("show", expiry));
    let mut recordings = recordings(Policy::All, dir.path());
    recordings.options.access = access;
    let (players, _) = router(Arc::new(recordings));
    // There is no recording: who may watch is told so.
    for (path, status) in [("/live/show/master.m3u8", 403), (&*old, 403), (&*good, 404)] {
        for file in ["ID/master.m3u8", "ID/source/index.m3u8", "ID/source/0.m4s", "ID/clip.mp4?from=0&to=1"] {
            let path = path.replace("/live/", "/recordings/").replace("master.m3u8", file);
            let request = axum::http::Request::get(&path).body(axum::body::Body::empty()).unwrap();
            let answer = tower::ServiceExt::oneshot(players.clone(), request).await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{path}");
        }
    }
}

/// Real files, of real recorders, and the clock of retention in the test's hand.
#[tokio::test]
async fn retention_takes_what_is_old_and_neither_what_is_written_nor_what_is_played() {
    const HOUR_MS: u64 = 3_600_000;
    let dir = tempfile::tempdir().unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let recordings = Arc::new(recordings(Policy::All, dir.path()));
    let (players, _) = router(recordings.clone());
    let stores = |name: &str| std::fs::read_dir(dir.path().join(name)).is_ok_and(|mut ids| ids.next().is_some());
    let mut lives = Vec::new();
    for name in ["old", "played", "live"] {
        let live = Live::named(name);
        live.handle.set_ladder(&[], 0).unwrap();
        recordings.follow(name, &live.handle, None, &tasks, &stop).unwrap();
        let of_name = |summary: &catalog::Summary| summary.name == name && summary.bytes > 0;
        until("a segment is written", async || recordings.catalog.all().into_iter().find(of_name)).await;
        if name != "live" {
            live.handle.end(true);
            until("the recording ends", async || stores(&format!(".ended/{name}")).then_some(())).await;
        }
        lives.push(live);
    }
    let find = |name: &str| recordings.catalog.all().into_iter().find(|summary| summary.name == name);
    let tidied = async |keep: Keep, now: u64| {
        recordings.catalog.tidy(&recordings.options.store, "node", keep, now).await;
        ["old", "played", "live"].map(|name| find(name).is_some())
    };
    let now = unix_now_ms();
    let keep = Keep { hours: 1, bytes: 0 };
    assert_eq!(tidied(keep, now + HOUR_MS - 60_000).await, [true; 3], "nothing is so old");

    // Somebody plays one, an hour later; the live one has begun as long ago as the others.
    let played = find("played").unwrap();
    let ask = async |file: &str| {
        let path = format!("/recordings/played/{}/{file}", played.id);
        let request = axum::http::Request::get(&path).body(axum::body::Body::empty()).unwrap();
        tower::ServiceExt::oneshot(players.clone(), request).await.unwrap().status().as_u16()
    };
    assert_eq!(ask("source/0.m4s").await, 200);
    let asked = now + HOUR_MS + 60_000;
    recordings.catalog.play("played", &played.id, asked);
    assert_eq!(tidied(keep, asked + 30_000).await, [false, true, true]);
    assert!(!stores("old") && !stores(".ended/old") && stores("played") && stores("live"));
    assert_eq!(
        tidied(Keep { hours: 0, bytes: 1 }, asked + 59_000).await,
        [false, true, true],
        "nor where there is too much"
    );
    assert_eq!(ask("source/0.m4s").await, 200, "whoever plays it goes on");

    // The live one goes on too, and nothing of it has gone.
    lives[2].segment(1);
    let live = find("live").unwrap();
    let list = || std::fs::read_to_string(dir.path().join(format!("live/{}/source/index.m3u8", live.id)));
    until("the live one grows", async || list().ok().filter(|text| text.contains("1.m4s"))).await;
    assert!(
        list().unwrap().contains("\n0.m4s\n") && dir.path().join(format!("live/{}/source/0.m4s", live.id)).exists()
    );

    // Nobody asks any more. One that is asked for without an end stays half a day.
    recordings.catalog.play("played", &played.id, asked + 13 * HOUR_MS);
    assert_eq!(tidied(keep, asked + 13 * HOUR_MS).await, [false, false, true]);
    assert_eq!((ask("source/0.m4s").await, stores("played"), stores(".ended/played")), (404, false, false));
    stop.cancel();
}
