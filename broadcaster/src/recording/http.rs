//! The routes of recordings, beside those of the origin and with the same manners; and the node's calls about them.

use super::catalog::{State as Stands, Summary};
use super::clip::{ClipError, Recorded, Source};
use super::store::{Store, content_type};
use super::{Recordings, clip};
use crate::origin::{Denied, console_expiry, for_players};
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use futures::StreamExt;
use http_range_header::{EndPosition, StartPosition};
use millrace_hop::{unix_now, unix_now_ms};
use millrace_node::http::{Caller, Problem};
use object_store::GetRange;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tower_http::compression::CompressionLayer;
use tower_http::services::ServeDir;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// As of the origin's playlists.
const CACHE_GROWING: &str = "max-age=1";
const CACHE_ENDED: &str = "max-age=60";
/// Segments never change.
const CACHE_MEDIA: &str = "public, max-age=86400, immutable";
/// A clip takes seconds.
const CLIP_RETRY: &str = "10";

fn routes() -> OpenApiRouter<Arc<Recordings>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(remove))
}

/// What the calls about recordings are.
pub(crate) fn calls() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

/// `/recordings/…` for players, and the calls about recordings for the node's API.
pub(crate) fn router(recordings: Arc<Recordings>) -> (Router, OpenApiRouter) {
    let playlists = Router::new()
        .route("/recordings/{name}/{id}/master.m3u8", get(master))
        .route("/recordings/{name}/{id}/{rendition}/index.m3u8", get(media))
        .layer(CompressionLayer::new());
    let players = Router::new()
        .route("/recordings/{name}/{id}/{rendition}/{file}", get(file))
        .route("/recordings/{name}/{id}/clip.mp4", get(export))
        .merge(playlists)
        .layer(for_players())
        .with_state(recordings.clone());
    let api = routes().with_state(recordings);
    (players, api)
}

/// A recording, and where it plays.
#[derive(Debug, Serialize, ToSchema)]
struct RecordingView {
    #[serde(flatten)]
    summary: Summary,
    /// Path of its master playlist. Where playback addresses are signed, this machine and owners get a good one; others have to be
    /// given theirs.
    hls_url: String,
}

/// The recordings.
#[utoipa::path(get, path = "/v1/recordings", tag = "recordings", responses((status = 200, description = "All that are in the store", body = Vec<RecordingView>)))]
async fn list(
    State(recordings): State<Arc<Recordings>>,
    Extension(caller): Extension<Caller>,
) -> Json<Vec<RecordingView>> {
    let expiry = console_expiry(unix_now());
    let view = |summary: Summary| {
        let access = &recordings.options.access;
        let name = if caller.is_trusted() { access.part(&summary.name, expiry) } else { summary.name.clone() };
        RecordingView { hls_url: format!("/recordings/{name}/{}/master.m3u8", summary.id), summary }
    };
    Json(recordings.catalog.all().into_iter().map(view).collect())
}

/// Deletes a recording that has ended.
#[utoipa::path(delete, path = "/v1/recordings/{name}/{id}", tag = "recordings", params(("name" = String, Path, description = "Of the stream"), ("id" = String, Path, description = "Of the recording")), responses((status = 204, description = "It is gone")))]
async fn remove(
    State(recordings): State<Arc<Recordings>>,
    Path((name, id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let missing =
        || Problem::new(StatusCode::NOT_FOUND, "there is no such recording: GET /api/v1/recordings lists them");
    let summary = recordings.catalog.find(&name, &id).ok_or_else(missing)?;
    if recordings.catalog.is_running(&name, &id) {
        return Err(Problem::new(StatusCode::CONFLICT, "the recording goes on: end its stream first"));
    }
    let deleted = recordings.catalog.delete(&recordings.options.store, &recordings.node, &summary).await;
    deleted.map_err(|error| {
        tracing::warn!(%error, stream = name, id, "a recording could not be deleted");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the store does not do it now: the node's log says why")
    })?;
    Ok(StatusCode::NO_CONTENT)
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
        self.catalog.play(name, id, unix_now_ms());
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
    let asked = http_range_header::parse_range_header(headers.get(header::RANGE)?.to_str().ok()?).ok()?;
    let [one] = asked.ranges.as_slice() else { return None };
    Some(match (one.start, one.end) {
        (StartPosition::FromLast(length), _) => GetRange::Suffix(length),
        (StartPosition::Index(from), EndPosition::LastByte) => GetRange::Offset(from),
        (StartPosition::Index(from), EndPosition::Index(to)) => GetRange::Bounded(from..to.checked_add(1)?),
    })
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
            // Its place is free when the last byte is sent, or nobody takes it; until then the recording is played.
            let bytes = made.into_stream().map(move |bytes| {
                let _held = &place;
                of.catalog.play(&name, &id, unix_now_ms());
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
