//! The routes of the origin.
//!
//! A playlist that is asked for before its first segment waits a bounded time for it, so that a player which is early starts with
//! the stream and not with an error.

use super::playlist;
use super::stream::{Segment, Stream};
use super::{Origin, Shared};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout_at;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{Any, CorsLayer};

/// Three of the usual segments: a stream that has begun has its first by then.
const FIRST_SEGMENT_WAIT: Duration = Duration::from_secs(6);
/// When to try again after that: one segment later.
const RETRY_AFTER: &str = "2";
/// A live playlist is good for half a segment; an ended one does not change.
const CACHE_LIVE: &str = "max-age=1";
const CACHE_ENDED: &str = "max-age=60";
/// Segments never change under their URL, and are of no use once they are delisted.
const CACHE_MEDIA: &str = "public, max-age=60, immutable";
/// Browsers repeat a preflight after an hour.
const PREFLIGHT_AGE: Duration = Duration::from_secs(3600);
const PLAYLIST: &str = "application/vnd.apple.mpegurl";

pub(super) fn router(origin: Origin) -> Router {
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD, Method::OPTIONS])
        .allow_headers(Any)
        .expose_headers([header::CONTENT_LENGTH, header::DATE, header::AGE, header::RETRY_AFTER])
        .max_age(PREFLIGHT_AGE);
    let playlists = Router::new()
        .route("/live/{name}/master.m3u8", get(master))
        .route("/live/{name}/{rendition}/index.m3u8", get(media))
        .layer(CompressionLayer::new());
    Router::new().route("/live/{name}/{rendition}/{file}", get(file)).merge(playlists).layer(cors).with_state(origin)
}

async fn master(State(origin): State<Origin>, Path(name): Path<String>) -> Response {
    let Some(shared) = origin.find(&name) else { return not_found() };
    wait_for(&shared, |stream| playlist::master(stream).map(|text| (text, false))).await
}

async fn media(State(origin): State<Origin>, Path((name, rendition)): Path<(String, String)>) -> Response {
    let Some(shared) = origin.find(&name) else { return not_found() };
    if !shared.lock().renditions.contains_key(&rendition) {
        return not_found();
    }
    wait_for(&shared, |stream| playlist::media(stream, &rendition, Instant::now())).await
}

async fn file(State(origin): State<Origin>, Path((name, rendition, file)): Path<(String, String, String)>) -> Response {
    let kind = if rendition == super::AUDIO { "audio/mp4" } else { "video/mp4" };
    let Some(shared) = origin.find(&name) else { return not_found() };
    let stream = shared.lock();
    let parts = if let Some(number) = file.strip_suffix(".m4s").and_then(|number| number.parse().ok()) {
        stream.segment(&rendition, number).map(|Segment { parts, .. }| parts.clone())
    } else {
        let id = file.strip_prefix("init-").and_then(|rest| rest.strip_suffix(".mp4")?.parse().ok());
        id.and_then(|id: u32| Some(vec![stream.renditions.get(&rendition)?.inits.get(&id)?.clone()]))
    };
    drop(stream);
    match parts {
        Some(parts) => bytes(kind, parts),
        None => not_found(),
    }
}

/// The playlist as soon as there is one; after [`FIRST_SEGMENT_WAIT`], 503.
async fn wait_for(shared: &Arc<Shared>, make: impl Fn(&Stream) -> Option<(String, bool)>) -> Response {
    let deadline = tokio::time::Instant::now() + FIRST_SEGMENT_WAIT;
    let mut changed = shared.changed.subscribe();
    loop {
        let (made, over) = {
            let stream = shared.lock();
            (make(&stream), stream.is_over(Instant::now()))
        };
        if let Some((text, ended)) = made {
            let cache = if ended { CACHE_ENDED } else { CACHE_LIVE };
            return ([(header::CONTENT_TYPE, PLAYLIST), (header::CACHE_CONTROL, cache)], text).into_response();
        }
        if over {
            return not_found(); // nothing will come
        }
        if !matches!(timeout_at(deadline, changed.changed()).await, Ok(Ok(()))) {
            let headers: [(HeaderName, &str); 2] =
                [(header::RETRY_AFTER, RETRY_AFTER), (header::CACHE_CONTROL, "no-store")];
            return (StatusCode::SERVICE_UNAVAILABLE, headers, "the stream has no segment yet\n").into_response();
        }
    }
}

/// Parts one after the other, without copying them together.
fn bytes(kind: &'static str, parts: Vec<Bytes>) -> Response {
    let length: usize = parts.iter().map(Bytes::len).sum();
    let body = Body::from_stream(futures::stream::iter(parts.into_iter().map(Ok::<_, Infallible>)));
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CACHE_CONTROL, CACHE_MEDIA.to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    (headers, body).into_response()
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, [(header::CACHE_CONTROL, "no-store")], "no such stream, rendition or segment\n")
        .into_response()
}
