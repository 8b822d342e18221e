//! A small picture of what a stream shows now, for pages that list streams. It is made when somebody asks, once a segment, for everybody.

use super::http::{admit, not_found};
use super::stream::Stream;
use super::{Origin, Shared};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use millrace_media::jpeg;
use tokio::sync::{Mutex, Semaphore};

/// Samples of its longer side.
const SIDE: u16 = 320;
/// Made at once: each may take a core for some milliseconds, and more of a large source without a ladder.
pub(super) const AT_ONCE: usize = 2;
/// A few segments.
const CACHE: &str = "max-age=5";

/// The last that was made, and of which rendition's segment; nothing where that did not decode.
pub(super) type Drawn = Mutex<Option<((String, u64), Option<Bytes>)>>;

/// Who asks while one is made waits for that one.
pub(super) async fn thumbnail(State(origin): State<Origin>, Path(name): Path<String>) -> Response {
    let shared = match admit(&origin, &name) {
        Ok(shared) => shared,
        Err(refused) => return refused.into_response(),
    };
    match draw(&shared, &origin.drawing).await {
        Some(jpeg) => ([(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, CACHE)], jpeg).into_response(),
        None => not_found(),
    }
}

async fn draw(shared: &Shared, places: &Semaphore) -> Option<Bytes> {
    let mut drawn = shared.thumbnail.lock().await;
    let (segment, init, part) = shared.look(Stream::newest_key)?;
    if let Some((_, known)) = drawn.as_ref().filter(|(of, _)| *of == segment) {
        return known.clone();
    }
    let _place = places.acquire().await.ok()?;
    let made = tokio::task::spawn_blocking(move || jpeg::of_part(&init, &part, SIDE)).await.ok()?;
    let jpeg = made.inspect_err(|error| tracing::debug!(?segment, %error, "no thumbnail")).ok().map(Bytes::from);
    *drawn = Some((segment, jpeg.clone()));
    jpeg
}
