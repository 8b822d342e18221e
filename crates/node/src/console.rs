//! The web console, built by `make web` into `web/dist` and embedded in the binary (a debug build reads the folder). Any
//! path that is no file is a page of the console's own, which the browser draws.

use std::borrow::Cow;

use axum::{
    Router,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use rust_embed::RustEmbed;

/// Vite puts a hash of the content into the names in this folder: they never change.
const HASHED: &str = "assets/";
const FOREVER: &str = "public, max-age=31536000, immutable";
/// Everything else is asked for again each time, and answered by 304 while it is the same.
const REVALIDATE: &str = "no-cache";
/// Paths that belong to programs: what is not there is an error and not a page.
const NOT_PAGES: [&str; 2] = ["api/", "live/"];

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><title>Millrace</title><h1>Millrace runs</h1>\
    <p>This binary was built without its console. <code>make web</code> builds it; then build the binary again.</p>\
    <p><a href=\"/healthz\">health</a> · <a href=\"/metrics\">metrics</a></p></html>";

#[derive(RustEmbed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Dist;

/// A file of the console.
struct File {
    content: Cow<'static, [u8]>,
    media_type: String,
    etag: String,
}

/// Where files come from, by path without the leading slash.
type Files = fn(&str) -> Option<File>;

fn embedded(path: &str) -> Option<File> {
    let file = Dist::get(path)?;
    let etag = file.metadata.sha256_hash()[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Some(File { media_type: file.metadata.mimetype().to_owned(), etag: format!("\"{etag}\""), content: file.data })
}

/// Answers GET for every path that no other route takes.
pub fn router() -> Router {
    serving(embedded)
}

fn serving(files: Files) -> Router {
    Router::new().fallback(get(move |uri: Uri, headers: HeaderMap| async move { answer(files, uri.path(), &headers) }))
}

fn answer(files: Files, path: &str, asked: &HeaderMap) -> Response {
    let path = path.trim_start_matches('/');
    if let Some(file) = files(path).filter(|_| !path.is_empty()) {
        return respond(file, path, asked);
    }
    let is_page =
        !NOT_PAGES.iter().any(|p| path.starts_with(p)) && !path.rsplit('/').next().unwrap_or("").contains('.');
    match files("index.html") {
        Some(index) if is_page => respond(index, "index.html", asked),
        None if path.is_empty() => (StatusCode::SERVICE_UNAVAILABLE, Html(NOT_BUILT)).into_response(),
        _ => (StatusCode::NOT_FOUND, format!("there is no /{path} here\n")).into_response(),
    }
}

fn respond(file: File, path: &str, asked: &HeaderMap) -> Response {
    let cache = if path.starts_with(HASHED) { FOREVER } else { REVALIDATE };
    let unchanged = asked.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == file.etag.as_bytes());
    let headers = [(header::CACHE_CONTROL, cache.to_owned()), (header::ETAG, file.etag)];
    if unchanged {
        (StatusCode::NOT_MODIFIED, headers).into_response()
    } else {
        (headers, [(header::CONTENT_TYPE, file.media_type)], file.content).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(path: &str) -> Option<File> {
        let (content, media_type): (&[u8], _) = match path {
            "index.html" => (b"the console", "text/html"),
            "assets/index-D3adB33f.js" => (b"1", "text/javascript"),
            _ => return None,
        };
        Some(File { content: content.into(), media_type: media_type.into(), etag: "\"1\"".into() })
    }

    fn get(files: Files, path: &str) -> (u16, String) {
        let response = answer(files, path, &HeaderMap::new());
        let cache = response.headers().get(header::CACHE_CONTROL).map(|v| v.to_str().unwrap().to_owned());
        (response.status().as_u16(), cache.unwrap_or_default())
    }

    #[test]
    fn hashed_files_are_kept_forever_and_pages_are_asked_for_again() {
        assert_eq!(get(built, "/assets/index-D3adB33f.js"), (200, FOREVER.into()));
        for page in ["/", "/index.html", "/streams/demo"] {
            assert_eq!(get(built, page), (200, REVALIDATE.into()), "{page}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_found_and_not_a_page() {
        for path in ["/assets/index-old.js", "/favicon.ico", "/api/v2/none", "/live/x/none", "/../Cargo.toml"] {
            assert_eq!(get(built, path).0, 404, "{path}");
        }
    }

    #[test]
    fn an_unchanged_page_is_not_sent_again() {
        let mut asked = HeaderMap::new();
        asked.insert(header::IF_NONE_MATCH, "\"1\"".parse().unwrap());
        assert_eq!(answer(built, "/", &asked).status(), StatusCode::NOT_MODIFIED);
    }

    #[test]
    fn a_binary_without_the_console_says_how_to_build_it() {
        assert_eq!(get(|_| None, "/").0, 503);
        assert_eq!(get(|_| None, "/streams/demo").0, 404);
        assert!(NOT_BUILT.contains("make web"));
    }

    #[test]
    fn nothing_outside_the_folder_is_served() {
        assert!(embedded("../package.json").is_none());
        assert!(embedded("../../Cargo.toml").is_none());
    }
}
