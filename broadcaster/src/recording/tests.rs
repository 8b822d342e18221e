//! Recorders beside a real origin.

use super::batch::Running;
use super::marker::Marker;
use super::sheet::{Entry, Track};
use super::*;
use crate::origin::reader::Moment;
use crate::origin::{Access, Origin, SOURCE};

fn recordings(policy: Policy, dir: &tempfile::TempDir) -> Recordings {
    let store = Store::Folder(Arc::new(dir.path().to_owned()));
    Recordings::new(Options { store, policy, keep: Keep::default(), access: Access::default() }, "node")
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
        let follows = recordings(policy, &dir).follow("show", &stream, asked, &tasks, &stop);
        assert_eq!(follows.is_some(), recorded, "{policy:?}, {asked:?}");
    }
}

#[tokio::test]
async fn a_publisher_who_comes_back_goes_on_in_the_recording_unless_the_webhook_has_changed_its_mind() {
    let dir = tempfile::tempdir().unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let (origin, recordings) = (Origin::new(), recordings(Policy::All, &dir));
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
    let mut recordings = recordings(Policy::All, &dir);
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
