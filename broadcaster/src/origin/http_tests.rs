//! The routes of the origin, with real parts, over the router that viewers meet.

use super::{Access, Keep, LadderRendition, Origin, SOURCE, StreamHandle};
use crate::events::SegmentEvent;
use crate::segmenter::PART_TARGET;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::Bytes;
use flate2::read::GzDecoder;
use millrace_media::cmaf::{Sample, Track, VideoTrack, write_init, write_part};
use std::io::Read as _;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tower::ServiceExt as _;

const PATIENCE: Duration = Duration::from_secs(30);
const FRAME: u32 = 3_000;

/// A stream whose first segment is there, of ten parts of six pictures.
pub(crate) struct Live {
    origin: Origin,
    pub(crate) handle: StreamHandle,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn bytes_of(seq: u64, index: u32) -> Bytes {
    let first = (seq as i64 * 60 + i64::from(index) * 6) * i64::from(FRAME);
    let sample = |at: i64| {
        let dts = first + at * i64::from(FRAME);
        let data = Bytes::from(vec![index as u8; 100 + at as usize]);
        Sample { dts, pts: dts, duration: FRAME, key: index == 0 && at == 0, data }
    };
    write_part(index + 1, &(0..6).map(sample).collect::<Vec<_>>()).unwrap()
}

impl Live {
    fn new() -> Self {
        Self::named("show")
    }

    pub(crate) fn named(name: &str) -> Self {
        let origin = Origin::keeping(Keep { linger: Duration::from_millis(1500), ..Keep::default() });
        let handle = origin.stream(name).unwrap();
        let key = b"\x82\x49\x83\x42\0\x13\xf0\x0b\x36\x06\x38\x24";
        let track = VideoTrack::of_key_frame(millrace_media::cmaf::Codec::Vp9, key).unwrap().unwrap();
        let init = write_init(&Track::Video(track.clone())).unwrap();
        handle.apply(&[SegmentEvent::VideoInit(init, track)]).unwrap();
        let rung = LadderRendition { name: "180p".into(), width: 320, height: 180, bitrate: 100_000 };
        handle.set_ladder(&[rung], 0).unwrap();
        let live = Self { origin, handle };
        live.segment(0);
        live
    }

    fn part(&self, seq: u64, index: u32) {
        let duration = 6 * i64::from(FRAME);
        let independent = index == 0;
        let bytes = bytes_of(seq, index);
        assert!(duration <= PART_TARGET);
        self.handle
            .apply(&[SegmentEvent::VideoPart { seq, index, independent, start_pts: 0, duration, bytes }])
            .unwrap();
    }

    fn end(&self, seq: u64) {
        let (duration, frames) = (60 * i64::from(FRAME), 60);
        let program_date_time = 1000 * seq as i64;
        let end =
            SegmentEvent::VideoSegmentEnd { seq, duration, parts: 10, frames, independent: true, program_date_time };
        self.handle.apply(&[end]).unwrap();
    }

    pub(crate) fn segment(&self, seq: u64) {
        (0..10).for_each(|index| self.part(seq, index));
        self.end(seq);
    }

    async fn ask(&self, path: &str, name: header::HeaderName, value: &str) -> Answer {
        let request = Request::get(path).header(name, value).body(Body::empty()).unwrap();
        let answer = timeout(PATIENCE, self.origin.router().oneshot(request)).await.expect("no answer").unwrap();
        let (parts, body) = answer.into_parts();
        Answer { status: parts.status, headers: parts.headers, body: to_bytes(body, 1 << 20).await.unwrap() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(path, header::ACCEPT, "*/*").await
    }

    /// Asks, and comes back once the request is held.
    async fn held(&self, path: &str) -> JoinHandle<Answer> {
        let before = self.origin.held.available_permits();
        let (live, path) = (Self { origin: self.origin.clone(), handle: self.handle.clone() }, path.to_owned());
        let asked = tokio::spawn(async move { live.get(&path).await });
        timeout(PATIENCE, async {
            while self.origin.held.available_permits() == before {
                assert!(!asked.is_finished(), "it was answered at once");
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("it was not held");
        asked
    }
}

async fn answer(asked: JoinHandle<Answer>) -> Answer {
    timeout(PATIENCE, asked).await.expect("no answer").unwrap()
}

#[tokio::test]
async fn a_reload_is_held_until_its_part_is_there() {
    let live = Live::new();
    let index = "/live/show/source/index.m3u8";
    assert_eq!(live.get(index).await.header(header::CACHE_CONTROL), "max-age=1");
    assert_eq!(live.get(&format!("{index}?_HLS_msn=0&_HLS_part=9")).await.status, StatusCode::OK);
    let second = live.held(&format!("{index}?_HLS_msn=1&_HLS_part=1")).await;
    let whole = live.held(&format!("{index}?_HLS_msn=1")).await;
    live.part(1, 0);
    sleep(Duration::from_millis(50)).await;
    assert!(!second.is_finished());
    live.part(1, 1);
    let told = answer(second).await;
    assert!(told.text().contains("\"1.1.m4s"), "{}", told.text());
    assert_eq!(told.header(header::CACHE_CONTROL), "max-age=12");
    assert!(!whole.is_finished());
    (2..10).for_each(|index| live.part(1, index));
    live.end(1);
    assert!(answer(whole).await.text().contains("\n1.m4s"));
    // The eleventh part of a segment of ten is the first of the next one.
    let eleventh = live.held(&format!("{index}?_HLS_msn=1&_HLS_part=10")).await;
    live.part(2, 0);
    assert!(answer(eleventh).await.text().contains("\"2.0.m4s"));
}

#[tokio::test]
async fn the_part_that_is_hinted_at_is_held_and_no_other() {
    let live = Live::new();
    let hinted = live.held("/live/show/source/1.0.m4s").await;
    live.part(1, 0);
    let part = answer(hinted).await;
    assert_eq!((part.status, part.body), (StatusCode::OK, bytes_of(1, 0)));
    assert!(part.headers[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"));
    for other in ["1.2", "2.1", "3.0", "1.4294967296", "18446744073709551615.0", "0.10", "-1.0", "1.", ".1", "1.0.0"] {
        assert_eq!(live.get(&format!("/live/show/source/{other}.m4s")).await.status, StatusCode::NOT_FOUND, "{other}");
    }
    // A part that the segment ended without.
    (1..10).for_each(|index| live.part(1, index));
    let never = live.held("/live/show/source/1.10.m4s").await;
    live.end(1);
    assert_eq!(answer(never).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused_by_name() {
    let live = Live::new();
    for (query, why) in [
        ("_HLS_msn=3", "at segment 1"),
        ("_HLS_msn=18446744073709551615&_HLS_part=4294967295", "at segment 1"),
        ("_HLS_msn=1&_HLS_part=15", "_HLS_part a few parts on"),
        ("_HLS_msn=x", "_HLS_msn must be a decimal number"),
        ("_HLS_part=1", "needs _HLS_msn"),
        ("_HLS_skip=maybe", "_HLS_skip must be YES or v2"),
        ("_HLS_msn=0&_HLS_msn=0", "once"),
    ] {
        let refused = live.get(&format!("/live/show/source/index.m3u8?{query}")).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(refused.text().contains(why), "{query}: {}", refused.text());
        assert_eq!(refused.header(header::CACHE_CONTROL), "no-store");
    }
    for path in
        ["/live/none/source/index.m3u8", "/live/show/none/index.m3u8?_HLS_msn=1", "/live/..%2fshow/source/0.m4s"]
    {
        assert_eq!(live.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_publisher_that_vanishes_ends_what_is_held() {
    let live = Live::new();
    let next = live.held("/live/show/source/index.m3u8?_HLS_msn=1&_HLS_part=0").await;
    let hinted = live.held("/live/show/source/1.0.m4s").await;
    live.handle.end(false);
    assert!(answer(next).await.text().contains("#EXT-X-ENDLIST"));
    assert_eq!(answer(hinted).await.status, StatusCode::NOT_FOUND);
    let after = live.get("/live/show/source/index.m3u8?_HLS_msn=99").await;
    assert!(after.status == StatusCode::OK && after.text().contains("ENDLIST"), "{}", after.text());
}

#[tokio::test]
async fn what_does_not_come_is_answered_with_what_there_is() {
    let live = Live::new();
    let (stale, hinted) =
        tokio::join!(live.get("/live/show/source/index.m3u8?_HLS_msn=1"), live.get("/live/show/source/1.0.m4s"));
    assert_eq!((stale.status, stale.header(header::CACHE_CONTROL)), (StatusCode::OK, "no-store"));
    assert!(stale.text().contains("\n0.m4s"));
    assert_eq!(hinted.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn too_many_waiting_requests_are_refused_and_the_others_stay() {
    let live = Live::new();
    let places = live.origin.held.available_permits() as u32;
    let waiting = live.held("/live/show/source/index.m3u8?_HLS_msn=1&_HLS_part=0").await;
    let others = live.origin.held.try_acquire_many(places - 1).unwrap();
    let refused = live.get("/live/show/source/index.m3u8?_HLS_msn=1").await;
    assert_eq!((refused.status, refused.header(header::RETRY_AFTER)), (StatusCode::SERVICE_UNAVAILABLE, "2"));
    assert_eq!(live.get("/live/show/source/1.0.m4s").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(live.get("/live/show/source/0.m4s").await.status, StatusCode::OK);
    drop(others);
    live.part(1, 0);
    assert_eq!(answer(waiting).await.status, StatusCode::OK);
    assert_eq!(live.origin.held.available_permits() as u32, places);
}

#[tokio::test]
async fn signed_addresses_let_their_viewers_in_everywhere_below() {
    let mut live = Live::new();
    let access = Access::new("a secret of some length");
    live.origin = live.origin.clone().with_access(access.clone());
    let [good, old] = [u64::MAX / 2, 1].map(|expiry| access.path("show", expiry));
    assert_eq!(live.get(&good).await.status, StatusCode::OK);
    for below in ["source/index.m3u8?_HLS_msn=0", "source/0.m4s", "source/0.1.m4s", "source/init-0.mp4"] {
        assert_eq!(live.get(&good.replace("master.m3u8", below)).await.status, StatusCode::OK, "{below}");
        for (address, why) in [("/live/show/master.m3u8", "signed address"), (&old, "expired")] {
            let refused = live.get(&address.replace("master.m3u8", below)).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{below}");
            assert!(refused.text().contains(why) && refused.header(header::CACHE_CONTROL) == "no-store");
        }
    }
    let other = access.path("none", u64::MAX / 2);
    assert_eq!(live.get(&other).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn viewers_are_told_apart_by_address_and_player() {
    let live = Live::new();
    let watch = async |from: &str, forwarded: &str, player: &str| {
        let from: std::net::SocketAddr = from.parse().unwrap();
        let request = Request::get("/live/show/source/index.m3u8")
            .extension(ConnectInfo(from))
            .header("x-forwarded-for", forwarded)
            .header(header::USER_AGENT, player);
        live.origin.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    };
    for port in 1..5 {
        watch(&format!("192.0.2.1:{port}"), "203.0.113.9", "vlc").await;
        watch(&format!("[::ffff:192.0.2.1]:{port}"), "", "vlc").await;
    }
    assert_eq!(live.origin.viewers("show"), 1, "and what a stranger says of others is not believed");
    watch("192.0.2.1:1", "", "mpv").await;
    watch("127.0.0.1:1", "10.0.0.1, 203.0.113.7", "vlc").await;
    watch("127.0.0.1:2", "10.0.0.2, 203.0.113.7", "vlc").await;
    watch("127.0.0.1:2", "203.0.113.8", "vlc").await;
    assert_eq!(live.origin.viewers("show"), 4);
    assert_eq!(live.origin.viewers("none"), 0);
}

#[tokio::test]
async fn ranges_are_cut_across_parts() {
    let live = Live::new();
    let path = "/live/show/source/0.m4s";
    let whole = live.get(path).await.body;
    assert_eq!(whole, (0..10).flat_map(|index| bytes_of(0, index)).collect::<Vec<_>>());
    let length = whole.len();
    let seam = bytes_of(0, 0).len();
    for (range, from, to) in [
        ("bytes=0-0".to_owned(), 0, 1),
        (format!("bytes={}-{}", seam - 1, seam + 1), seam - 1, seam + 2),
        (format!("bytes={}-", length - 5), length - 5, length),
        ("bytes=-7".to_owned(), length - 7, length),
        (format!("bytes=0-{}", u64::MAX), 0, length),
    ] {
        let part = live.ask(path, header::RANGE, &range).await;
        assert_eq!((part.status, &part.body[..]), (StatusCode::PARTIAL_CONTENT, &whole[from..to]), "{range}");
        assert_eq!(part.header(header::CONTENT_RANGE), format!("bytes {from}-{}/{length}", to - 1));
    }
    for range in [format!("bytes={length}-"), "bytes=5-4".to_owned(), format!("bytes={}-", u64::MAX)] {
        let refused = live.ask(path, header::RANGE, &range).await;
        assert_eq!(refused.status, StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
        assert_eq!(refused.header(header::CONTENT_RANGE), format!("bytes */{length}"));
    }
    for range in ["bytes=0-1,3-4", "lines=1-2", "bytes=x-y", "bytes=99999999999999999999-"] {
        let all = live.ask(path, header::RANGE, range).await;
        assert_eq!((all.status, all.body.len()), (StatusCode::OK, length), "{range}");
    }
}

#[tokio::test]
async fn a_key_picture_is_the_range_that_its_playlist_names() {
    let live = Live::new();
    let listed = live.get("/live/show/source/iframes.m3u8").await;
    let range = listed.text().lines().find_map(|line| line.strip_prefix("#EXT-X-BYTERANGE:")).unwrap().to_owned();
    let length: usize = range.strip_suffix("@0").unwrap().parse().unwrap();
    let picture = live.ask("/live/show/source/0.m4s", header::RANGE, &format!("bytes=0-{}", length - 1)).await;
    // The first sample has a hundred bytes of its part's index.
    assert_eq!(picture.body.len(), length);
    assert!(picture.body.ends_with(&[0; 100]) && bytes_of(0, 0).starts_with(&picture.body));
    assert_eq!(live.get("/live/show/audio/iframes.m3u8").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn playlists_are_compressed_for_who_takes_it() {
    let live = Live::new();
    let path = "/live/show/source/index.m3u8";
    let plain = live.get(path).await;
    assert_eq!((plain.header(header::CONTENT_ENCODING), plain.header(header::VARY)), ("", "accept-encoding"));
    for (offer, taken) in [("gzip", true), ("br;q=1.0, GZIP;q=0.5", true), ("gzip;q=0", false), ("identity", false)] {
        let answer = live.ask(path, header::ACCEPT_ENCODING, offer).await;
        assert_eq!(answer.header(header::CONTENT_ENCODING) == "gzip", taken, "{offer}");
        if taken {
            let mut text = String::new();
            GzDecoder::new(&answer.body[..]).read_to_string(&mut text).unwrap();
            assert_eq!(text, plain.text());
        }
    }
}

#[tokio::test]
async fn what_no_player_could_read_is_not_taken() {
    let live = Live::new();
    let refused = live.handle.add_part("180p", 1, 0, Bytes::from_static(b"no part")).unwrap_err();
    assert!(refused.to_string().contains("\"180p\" cannot be read"), "{refused}");
    assert!(live.handle.set_init("180p", Bytes::from_static(b"no init")).is_err());
    assert_eq!(live.get("/live/show/source/0.m4s").await.status, StatusCode::OK);
    assert!(live.handle.add_part(SOURCE, 5, 0, bytes_of(5, 0)).is_err(), "far ahead");
}

#[tokio::test]
async fn a_thumbnail_is_of_the_lowest_rung_that_has_a_picture() {
    let live = Live::new();
    let path = "/live/show/thumbnail.jpg";
    assert_eq!(live.get(path).await.status, StatusCode::NOT_FOUND, "what the source has here is no picture");
    assert_eq!(live.get("/live/other/thumbnail.jpg").await.status, StatusCode::NOT_FOUND);

    let (track, samples) = millrace_media::synthetic::source(320, 180, 30, 6, 6).unwrap();
    live.handle.set_init("180p", write_init(&Track::Video(track)).unwrap()).unwrap();
    live.handle.add_part("180p", 0, 0, write_part(1, &samples).unwrap()).unwrap();
    assert_eq!(live.get(path).await.status, StatusCode::NOT_FOUND, "not before its segment is there");
    live.handle.finish_segment("180p", 0).unwrap();
    let drawn = live.get(path).await;
    assert_eq!((drawn.status, drawn.header(header::CONTENT_TYPE)), (StatusCode::OK, "image/jpeg"));
    assert_eq!(drawn.header(header::CACHE_CONTROL), "max-age=5");
    assert!(drawn.body.starts_with(b"\xff\xd8\xff") && drawn.body.ends_with(b"\xff\xd9"));
    // What follows of the source alone changes nothing.
    live.segment(1);
    assert_eq!(live.get(path).await.body, drawn.body);
}
