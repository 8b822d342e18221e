//! The routes of the origin.
//!
//! A playlist that is asked for before its first segment waits a bounded time for it, so that a player which is early starts with
//! the stream and not with an error. So does one that is asked for with `_HLS_msn`, and the part that a playlist hinted at.

use super::access::Denied;
use super::directives::Directives;
use super::playlist;
use super::shared::Shared;
use super::stream::{Edge, Stream};
use super::thumbnail::thumbnail;
use super::{AUDIO, Origin};
use crate::events::TICKS_PER_SECOND;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use bytes::Bytes;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::time::{sleep_until, timeout, timeout_at};
use tower_http::compression::CompressionLayer;
use tower_http::cors::{Any, CorsLayer};

/// Three of the usual segments: a stream that has begun has its first by then.
const FIRST_SEGMENT_WAIT: Duration = Duration::from_secs(6);
/// A request is held for three target durations, and no longer than this: proxies wait for half a minute.
const MOST_WAIT: Duration = Duration::from_secs(20);
/// The clock alone may end a stream: who waits looks at it so often.
const LOOK: Duration = Duration::from_secs(1);
/// Requests held at once. Each costs a few kilobytes.
pub(super) const MAX_HELD: usize = 20_000;
/// When to try again after that: one segment later.
const RETRY_AFTER: &str = "2";
/// A live playlist is good for half a segment; an ended one does not change.
const CACHE_LIVE: &str = "max-age=1";
const CACHE_ENDED: &str = "max-age=60";
/// What was waited for can be kept for six target durations: nobody asks twice for the same, but a cache is asked by many.
const CACHE_HELD: u64 = 6;
/// Segments and parts never change under their URL, and are of no use once they are delisted.
const CACHE_MEDIA: &str = "public, max-age=60, immutable";
const NO_STORE: &str = "no-store";
/// Browsers repeat a preflight after an hour.
const PREFLIGHT_AGE: Duration = Duration::from_secs(3600);
const PLAYLIST: &str = "application/vnd.apple.mpegurl";

/// Any page may play.
pub(crate) fn for_players() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::HEAD, Method::OPTIONS])
        .allow_headers(Any)
        .expose_headers([
            header::CONTENT_LENGTH,
            header::CONTENT_RANGE,
            header::ACCEPT_RANGES,
            header::DATE,
            header::AGE,
            header::RETRY_AFTER,
        ])
        .max_age(PREFLIGHT_AGE)
}

pub(super) fn router(origin: Origin) -> Router {
    Router::new()
        .route("/live/{name}/master.m3u8", get(master).layer(CompressionLayer::new()))
        .route("/live/{name}/thumbnail.jpg", get(thumbnail))
        .route("/live/{name}/{rendition}/index.m3u8", get(media))
        .route("/live/{name}/{rendition}/iframes.m3u8", get(key_pictures).layer(CompressionLayer::new()))
        .route("/live/{name}/{rendition}/{file}", get(file))
        .layer(for_players())
        .with_state(origin)
}

async fn master(State(origin): State<Origin>, Path(name): Path<String>) -> Response {
    let shared = match admit(&origin, &name) {
        Ok(shared) => shared,
        Err(refused) => return refused.into_response(),
    };
    match first(&origin, &shared, || shared.look(playlist::master)).await {
        Ok(text) => listed(CACHE_LIVE.to_owned(), text.into(), None),
        Err(refused) => refused.into_response(),
    }
}

async fn media(
    State(origin): State<Origin>,
    Path((name, rendition)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    from: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
) -> Response {
    let directives = match Directives::parse(query.as_deref().unwrap_or_default()) {
        Ok(directives) => directives,
        Err(error) => return bad_request(&error.to_string()),
    };
    let shared = match admit(&origin, &name) {
        Ok(shared) => shared,
        Err(refused) => return refused.into_response(),
    };
    if !shared.look(|stream| stream.renditions.contains_key(&rendition)) {
        return not_found();
    }
    note_viewer(&shared, from.map(|Extension(ConnectInfo(from))| from), &headers);
    if let Err(refused) = first(&origin, &shared, || shared.text(&rendition, false)).await {
        return refused.into_response();
    }
    let (edge, part_target, target) = shared.look(|stream| {
        let edge = stream.edge(&rendition, Instant::now());
        (edge, stream.part_target(&rendition).unwrap_or(TICKS_PER_SECOND), stream.target.unwrap_or(1))
    });
    if !edge.over
        && let Err(error) = directives.check(edge, part_target, TICKS_PER_SECOND)
    {
        return bad_request(&error.to_string());
    }
    let met = |stream: &Stream, edge: Edge| {
        edge.over || directives.is_met(edge, |number| stream.parts(&rendition, number).len() as u32)
    };
    let held = match wait(&origin, &shared, &rendition, patience(target), met).await {
        Ok(held) => held,
        Err(refused) => return refused.into_response(),
    };
    let Some(text) = shared.text(&rendition, directives.skip) else { return not_found() };
    let cache = match (text.ended, directives.segment.is_some(), held) {
        (true, ..) => CACHE_ENDED.to_owned(),
        (false, false, _) => CACHE_LIVE.to_owned(),
        (false, true, true) => format!("max-age={}", CACHE_HELD * target.unsigned_abs()),
        // It did not come in time: here is what there is.
        (false, true, false) => NO_STORE.to_owned(),
    };
    let gzip = takes_gzip(&headers);
    listed(cache, if gzip { text.gzip() } else { text.plain.clone() }, gzip.then_some("gzip"))
}

async fn key_pictures(State(origin): State<Origin>, Path((name, rendition)): Path<(String, String)>) -> Response {
    let shared = match admit(&origin, &name) {
        Ok(shared) => shared,
        Err(refused) => return refused.into_response(),
    };
    if rendition == AUDIO || !shared.look(|stream| stream.renditions.contains_key(&rendition)) {
        return not_found();
    }
    let make = || shared.look(|stream| playlist::key_pictures(stream, &rendition, Instant::now()));
    match first(&origin, &shared, make).await {
        Ok(playlist::Media { text, ended }) => {
            listed(if ended { CACHE_ENDED } else { CACHE_LIVE }.to_owned(), text.into(), None)
        }
        Err(refused) => refused.into_response(),
    }
}

async fn file(
    State(origin): State<Origin>,
    Path((name, rendition, file)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let shared = match admit(&origin, &name) {
        Ok(shared) => shared,
        Err(refused) => return refused.into_response(),
    };
    let Some(file) = File::parse(&file) else { return not_found() };
    let mut parts = shared.look(|stream| file.read(stream, &rendition));
    if parts.is_none()
        && let File::Part(number, index) = file
    {
        let Some(target) = shared.look(|stream| next_part(stream, &rendition, number, index)) else {
            return not_found();
        };
        // Until it is there, or its segment has ended without it.
        let met = |stream: &Stream, edge: Edge| {
            edge.over || edge.next > number || stream.part(&rendition, number, index).is_some()
        };
        if let Err(refused) = wait(&origin, &shared, &rendition, patience(target), met).await {
            return refused.into_response();
        }
        parts = shared.look(|stream| file.read(stream, &rendition));
    }
    let kind = if rendition == AUDIO { "audio/mp4" } else { "video/mp4" };
    match parts {
        Some(parts) => bytes(kind, parts, headers.get(header::RANGE).and_then(|range| range.to_str().ok())),
        None => not_found(),
    }
}

/// The stream that a path's part names, for who may watch it.
pub(super) fn admit(origin: &Origin, part: &str) -> Result<Arc<Shared>, Refused> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let name = origin.access.admit(part, now).map_err(Refused::Denied)?;
    origin.find(name).ok_or(Refused::Over)
}

/// Counts who asks. A proxy on this machine says for whom it does.
fn note_viewer(shared: &Shared, from: Option<SocketAddr>, headers: &HeaderMap) {
    let Some(from) = from else { return };
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let forwarded = text(HeaderName::from_static("x-forwarded-for")).rsplit(',').next().unwrap_or_default().trim();
    let address = from.ip().to_canonical();
    let address = match forwarded {
        forwarded if address.is_loopback() && !forwarded.is_empty() => forwarded.to_owned(),
        _ => address.to_string(),
    };
    shared.viewers().note(&address, text(header::USER_AGENT), Instant::now());
}

/// A file of a rendition, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum File {
    Segment(u64),
    Part(u64, u32),
    Init(u32),
}

impl File {
    pub(super) fn parse(name: &str) -> Option<Self> {
        if let Some(id) = name.strip_prefix("init-") {
            return id.strip_suffix(".mp4")?.parse().ok().map(Self::Init);
        }
        let stem = name.strip_suffix(".m4s")?;
        match stem.split_once('.') {
            Some((number, index)) => Some(Self::Part(number.parse().ok()?, index.parse().ok()?)),
            None => stem.parse().ok().map(Self::Segment),
        }
    }

    fn read(self, stream: &Stream, rendition: &str) -> Option<Vec<Bytes>> {
        match self {
            Self::Segment(number) => {
                let segment = stream.segment(rendition, number)?;
                Some(segment.parts.iter().map(|part| part.bytes.clone()).collect())
            }
            Self::Part(number, index) => Some(vec![stream.part(rendition, number, index)?.bytes.clone()]),
            Self::Init(id) => Some(vec![stream.renditions.get(rendition)?.inits.get(&id)?.bytes.clone()]),
        }
    }
}

/// The target duration of the playlist, if this part is one that it may have hinted at.
fn next_part(stream: &Stream, rendition: &str, number: u64, index: u32) -> Option<i64> {
    stream.renditions.get(rendition)?;
    let edge = stream.edge(rendition, Instant::now());
    let next = number == edge.next && index == edge.parts || number == edge.next + 1 && index == 0;
    stream.target.filter(|_| next && !edge.over)
}

fn patience(target: i64) -> Duration {
    Duration::from_secs(3 * target.unsigned_abs()).min(MOST_WAIT)
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Too many wait already.
    Full,
    /// The stream is too young.
    Early,
    /// Nothing will come.
    Over,
    /// Not for everybody.
    Denied(Denied),
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let why = match self {
            Self::Full => format!("{MAX_HELD} requests wait for streams already\n"),
            Self::Early => "the stream has no segment yet\n".to_owned(),
            Self::Over => return not_found(),
            Self::Denied(why) => {
                let headers = [(header::CACHE_CONTROL, NO_STORE)];
                return (StatusCode::FORBIDDEN, headers, format!("{why}\n")).into_response();
            }
        };
        let headers: [(HeaderName, &str); 2] = [(header::RETRY_AFTER, RETRY_AFTER), (header::CACHE_CONTROL, NO_STORE)];
        (StatusCode::SERVICE_UNAVAILABLE, headers, why).into_response()
    }
}

/// Waits until `met` says so of a rendition; false when it does not in time.
async fn wait(
    origin: &Origin,
    shared: &Shared,
    rendition: &str,
    patience: Duration,
    met: impl Fn(&Stream, Edge) -> bool,
) -> Result<bool, Refused> {
    let is_met = || shared.look(|stream| met(stream, stream.edge(rendition, Instant::now())));
    if is_met() {
        return Ok(true);
    }
    let _place = origin.held.try_acquire().map_err(|_| Refused::Full)?;
    let deadline = tokio::time::Instant::now() + patience;
    let mut edge = shared.edge(rendition);
    loop {
        if is_met() {
            return Ok(true);
        }
        tokio::select! {
            // Whether it rang or not: the clock alone may end a stream.
            _ = timeout(LOOK, edge.changed()) => {}
            () = sleep_until(deadline) => return Ok(is_met()),
        }
    }
}

/// What `make` makes as soon as it does.
async fn first<T>(origin: &Origin, shared: &Shared, make: impl Fn() -> Option<T>) -> Result<T, Refused> {
    if let Some(made) = make() {
        return Ok(made);
    }
    let _place = origin.held.try_acquire().map_err(|_| Refused::Full)?;
    let deadline = tokio::time::Instant::now() + FIRST_SEGMENT_WAIT;
    let mut changed = shared.changed();
    loop {
        if let Some(made) = make() {
            return Ok(made);
        }
        if shared.look(|stream| stream.is_over(Instant::now())) {
            return Err(Refused::Over);
        }
        if !matches!(timeout_at(deadline, changed.changed()).await, Ok(Ok(()))) {
            return Err(Refused::Early);
        }
    }
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    offers.flat_map(|value| value.split(',')).any(|offer| {
        let (coding, weight) = offer.split_once(';').unwrap_or((offer, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        coding.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

fn listed(cache: String, text: Bytes, encoding: Option<&'static str>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, PLAYLIST.to_owned()),
        (header::CACHE_CONTROL, cache),
        (header::VARY, "accept-encoding".to_owned()),
    ];
    let encoding = encoding.map(|encoding| [(header::CONTENT_ENCODING, encoding)]);
    match encoding {
        Some(encoding) => (headers, encoding, text).into_response(),
        None => (headers, text).into_response(),
    }
}

/// Parts one after the other, without copying them together: all, or one range of their bytes.
fn bytes(kind: &'static str, parts: Vec<Bytes>, range: Option<&str>) -> Response {
    let length: u64 = parts.iter().map(|part| part.len() as u64).sum();
    // A header that cannot be read, or asks for several ranges, is answered with the whole (RFC 9110, 14.2).
    let asked = range.and_then(|range| http_range_header::parse_range_header(range).ok());
    let one = match asked.map(|ranges| ranges.validate(length)) {
        Some(Ok(ranges)) if ranges.len() == 1 => ranges.first().cloned(),
        Some(Err(_)) => {
            let headers =
                [(header::CONTENT_RANGE, format!("bytes */{length}")), (header::CACHE_CONTROL, NO_STORE.into())];
            return (StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response();
        }
        _ => None,
    };
    let (status, parts, sent) = match &one {
        Some(range) => {
            (StatusCode::PARTIAL_CONTENT, cut(parts, *range.start(), *range.end()), range.end() - range.start() + 1)
        }
        None => (StatusCode::OK, parts, length),
    };
    let body = Body::from_stream(futures::stream::iter(parts.into_iter().map(Ok::<_, Infallible>)));
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CACHE_CONTROL, CACHE_MEDIA.to_owned()),
        (header::CONTENT_LENGTH, sent.to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
    ];
    let place = one.map(|range| [(header::CONTENT_RANGE, format!("bytes {}-{}/{length}", range.start(), range.end()))]);
    match place {
        Some(place) => (status, headers, place, body).into_response(),
        None => (status, headers, body).into_response(),
    }
}

/// The bytes from `first` to `last`, both included.
pub(super) fn cut(parts: Vec<Bytes>, first: u64, last: u64) -> Vec<Bytes> {
    let mut at = 0;
    let mut kept = Vec::with_capacity(parts.len());
    for part in parts {
        let (start, end) = (at, at + part.len() as u64);
        at = end;
        let (from, to) = (first.max(start), (last + 1).min(end));
        if from < to {
            kept.push(part.slice((from - start) as usize..(to - start) as usize));
        }
    }
    kept
}

fn bad_request(why: &str) -> Response {
    (StatusCode::BAD_REQUEST, [(header::CACHE_CONTROL, NO_STORE)], format!("{why}\n")).into_response()
}

pub(super) fn not_found() -> Response {
    (StatusCode::NOT_FOUND, [(header::CACHE_CONTROL, NO_STORE)], "no such stream, rendition or segment\n")
        .into_response()
}
