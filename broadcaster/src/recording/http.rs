//! The routes of recordings, beside those of the origin and with the same manners; and the node's calls about them.

use super::catalog::{State as Stands, Summary};
use super::clip::{ClipError, Recorded, Source};
use super::store::{Store, content_type};
use super::{Recordings, clip};
use crate::origin::Denied;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use futures::StreamExt;
use millrace_hop::unix_now;
use millrace_node::http::loopback_only;
use object_store::GetRange;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{Any, CorsLayer};
use tower_http::services::ServeDir;

/// As of the origin's playlists.
const CACHE_GROWING: &str = "max-age=1";
const CACHE_ENDED: &str = "max-age=60";
/// Segments never change.
const CACHE_MEDIA: &str = "public, max-age=86400, immutable";
/// A clip takes seconds.
const CLIP_RETRY: &str = "10";
/// Browsers repeat a preflight after an hour.
const PREFLIGHT_AGE: Duration = Duration::from_secs(3600);

/// `/recordings/…` for players, and the calls about recordings for the node's API.
pub(crate) fn router(recordings: Arc<Recordings>) -> (Router, Router) {
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD, Method::OPTIONS])
        .allow_headers(Any)
        .expose_headers([
            header::CONTENT_LENGTH,
            header::CONTENT_RANGE,
            header::ACCEPT_RANGES,
            header::DATE,
            header::AGE,
        ])
        .max_age(PREFLIGHT_AGE);
    let playlists = Router::new()
        .route("/recordings/{name}/{id}/master.m3u8", get(master))
        .route("/recordings/{name}/{id}/{rendition}/index.m3u8", get(media))
        .layer(CompressionLayer::new());
    let players = Router::new()
        .route("/recordings/{name}/{id}/{rendition}/{file}", get(file))
        .route("/recordings/{name}/{id}/clip.mp4", get(export))
        .merge(playlists)
        .layer(cors)
        .with_state(recordings.clone());
    let api = Router::new()
        .route("/v1/recordings", get(list))
        .route("/v1/recordings/{name}/{id}", delete(remove).layer(from_fn(loopback_only)))
        .with_state(recordings);
    (players, api)
}

async fn list(State(recordings): State<Arc<Recordings>>) -> Json<Vec<Summary>> {
    Json(recordings.catalog.all())
}

async fn remove(State(recordings): State<Arc<Recordings>>, Path((name, id)): Path<(String, String)>) -> Response {
    let Some(summary) = recordings.catalog.find(&name, &id) else { return not_found() };
    if recordings.catalog.is_running(&name, &id) {
        return (StatusCode::CONFLICT, "the recording goes on: end its stream first\n").into_response();
    }
    match recordings.catalog.delete(&recordings.options.store, &recordings.node, &summary).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => unavailable(&error),
    }
}

type Name = Path<(String, String)>;
type InRendition = Path<(String, String, String)>;

async fn master(State(of): State<Arc<Recordings>>, Path((name, id)): Name, asked: Parts) -> Response {
    of.serve(&name, &id, "master.m3u8", None, asked).await
}

async fn media(State(of): State<Arc<Recordings>>, Path((name, id, rendition)): InRendition, asked: Parts) -> Response {
    of.serve(&name, &id, &format!("{rendition}/index.m3u8"), None, asked).await
}

async fn file(
    State(of): State<Arc<Recordings>>,
    Path((name, id, rendition, file)): Path<(String, String, String, String)>,
    asked: Parts,
) -> Response {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let init = file.strip_prefix("init-").and_then(|rest| rest.strip_suffix(".mp4")).is_some_and(number);
    if !init && !file.strip_suffix(".m4s").is_some_and(number) {
        return not_found();
    }
    of.serve(&name, &id, &format!("{rendition}/{file}"), Some(CACHE_MEDIA), asked).await
}

/// Why nobody gets at a recording.
enum Refused {
    Missing,
    Denied(Denied),
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Missing => not_found(),
            Self::Denied(why) => {
                (StatusCode::FORBIDDEN, [(header::CACHE_CONTROL, "no-store")], format!("{why}\n")).into_response()
            }
        }
    }
}

impl Recordings {
    /// The recording's folder, if there is such a recording and whoever asks may watch it: what is in the store besides is nobody's business.
    fn folder(&self, name: &str, id: &str) -> Result<(String, Summary), Refused> {
        let name = self.options.access.admit(name, unix_now()).map_err(Refused::Denied)?;
        let summary = self.catalog.find(name, id).ok_or(Refused::Missing)?;
        Ok((format!("{name}/{id}"), summary))
    }

    async fn serve(&self, name: &str, id: &str, file: &str, cache: Option<&'static str>, asked: Parts) -> Response {
        let (folder, summary) = match self.folder(name, id) {
            Ok(found) => found,
            Err(refused) => return refused.into_response(),
        };
        let ended = !matches!(summary.state, Stands::Recording | Stands::Unfinished);
        let cache = cache.unwrap_or(if ended { CACHE_ENDED } else { CACHE_GROWING });
        let rendition = file.rsplit_once('/').map_or("master", |(rendition, _)| rendition);
        if crate::origin::check_name(rendition).is_err() {
            return not_found();
        }
        let key = format!("{folder}/{file}");
        let mut response = match self.options.store.path("") {
            Some(root) => from_folder(&root, &key, asked).await,
            None => from_bucket(&self.options.store, &key, &asked).await,
        };
        let headers = response.headers_mut();
        if headers.contains_key(header::CONTENT_TYPE) {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(&key)));
        }
        let cache = if response.status().is_success() { cache } else { "no-store" };
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        response
    }
}

/// Ranges, conditions and HEAD are the library's.
async fn from_folder(root: &std::path::Path, key: &str, mut asked: Parts) -> Response {
    let Ok(uri) = format!("/{key}").parse() else { return not_found() };
    asked.uri = uri;
    match ServeDir::new(root).try_call(Request::from_parts(asked, Body::empty())).await {
        Ok(response) if response.status() == StatusCode::NOT_FOUND => not_found(),
        Ok(response) => response.map(Body::new),
        Err(error) => unavailable(&error),
    }
}

async fn from_bucket(store: &Store, key: &str, asked: &Parts) -> Response {
    let range = range(&asked.headers);
    let head = asked.method == Method::HEAD;
    // Of what is not sent, a byte is enough to know the rest by.
    let wanted = if head { Some(GetRange::Bounded(0..1)) } else { range.clone() };
    let mut found = store.stream(key, wanted.clone()).await;
    if found.is_err() && wanted.is_some() && matches!(store.stream(key, None).await, Ok(Some(_))) {
        if !head {
            return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
        }
        found = store.stream(key, None).await; // it has no byte
    }
    let found = match found {
        Ok(Some(found)) => found,
        Ok(None) => return not_found(),
        Err(error) if error.is_missing() => return not_found(),
        Err(error) => return unavailable(&error),
    };
    let (size, part) = (found.meta.size, found.range.clone());
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(key)));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(tag) = found.meta.e_tag.as_deref().and_then(|tag| tag.parse().ok()) {
        headers.insert(header::ETAG, tag);
    }
    if head {
        headers.insert(header::CONTENT_LENGTH, size.into());
        return (headers, Body::empty()).into_response();
    }
    headers.insert(header::CONTENT_LENGTH, (part.end - part.start).into());
    let body = Body::from_stream(found.into_stream());
    if range.is_none() {
        return (headers, body).into_response();
    }
    let said = format!("bytes {}-{}/{size}", part.start, part.end.saturating_sub(1));
    if let Ok(said) = said.parse() {
        headers.insert(header::CONTENT_RANGE, said);
    }
    (StatusCode::PARTIAL_CONTENT, headers, body).into_response()
}

/// The one range that is asked for; several, or what does not read, ask for everything.
fn range(headers: &HeaderMap) -> Option<GetRange> {
    let (from, to) = headers.get(header::RANGE)?.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
    match (from, to) {
        ("", last) => last.parse().ok().filter(|last| *last > 0).map(GetRange::Suffix),
        (from, "") => from.parse().ok().map(GetRange::Offset),
        (from, to) => {
            let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
            (from <= to).then(|| GetRange::Bounded(from..to.saturating_add(1)))
        }
    }
}

/// What of a recording.
#[derive(Debug, Deserialize)]
struct Stretch {
    from: Option<String>,
    to: Option<String>,
    rendition: Option<String>,
}

async fn export(State(of): State<Arc<Recordings>>, Path((name, id)): Name, Query(stretch): Query<Stretch>) -> Response {
    let (folder, file) = match of.folder(&name, &id) {
        Ok((folder, _)) => (folder.clone(), folder.replace('/', "-")),
        Err(refused) => return refused.into_response(),
    };
    let Ok(place) = of.clips.clone().try_acquire_owned() else {
        let headers = [(header::RETRY_AFTER, CLIP_RETRY), (header::CACHE_CONTROL, "no-store")];
        return (StatusCode::SERVICE_UNAVAILABLE, headers, "several clips are being made already: try again soon\n")
            .into_response();
    };
    let source: Arc<dyn Source> = Arc::new(InStore { store: of.options.store.clone(), folder });
    let Stretch { from, to, rendition } = stretch;
    let made = async {
        let (from, to) = clip::stretch(from.as_deref(), to.as_deref())?;
        Recorded::open(source, rendition.as_deref()).await?.clip(from, to).await
    };
    match made.await {
        Ok(made) => {
            let headers = [
                (header::CONTENT_TYPE, "video/mp4".to_owned()),
                (header::CONTENT_LENGTH, made.length().to_string()),
                (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{file}.mp4\"")),
                (header::CACHE_CONTROL, "no-store".to_owned()),
            ];
            // Its place is free when the last byte is sent, or nobody takes it.
            let bytes = made.into_stream().map(move |bytes| {
                let _held = &place;
                bytes
            });
            (headers, Body::from_stream(bytes.boxed())).into_response()
        }
        Err(ClipError::Source(error)) => unavailable(&error),
        Err(error) => {
            (StatusCode::BAD_REQUEST, [(header::CACHE_CONTROL, "no-store")], format!("{error}\n")).into_response()
        }
    }
}

/// A recording's files in the store.
struct InStore {
    store: Store,
    folder: String,
}

impl Source for InStore {
    fn get(&self, file: String) -> futures::future::BoxFuture<'_, Result<bytes::Bytes, String>> {
        Box::pin(
            async move { self.store.get(&format!("{}/{file}", self.folder)).await.map_err(|error| error.to_string()) },
        )
    }
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, [(header::CACHE_CONTROL, "no-store")], "no such recording, rendition or segment\n")
        .into_response()
}

/// The reason is the operator's, and in the log.
fn unavailable(error: &dyn std::fmt::Display) -> Response {
    tracing::warn!(%error, "recordings' store");
    let said = "the store of the recordings does not answer as it should: try again later\n";
    (StatusCode::SERVICE_UNAVAILABLE, [(header::CACHE_CONTROL, "no-store")], said).into_response()
}
