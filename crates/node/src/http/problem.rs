//! What goes back over HTTP when something is wrong: RFC 9457's `problem+json`.

use std::borrow::Cow;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Of the words that say what is wrong: a sentence, with a part of what was sent.
const WORDS_LIMIT: usize = 4 << 10;

/// A refusal: what is wrong, the limit, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: Cow<'static, str>,
    /// The status of the answer.
    status: u16,
    /// What is wrong, and the way out.
    detail: String,
    #[serde(skip)]
    retry_after: Option<Duration>,
}

impl Problem {
    /// One without a page of its own, as most are.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Not done");
        Self {
            kind: "about:blank",
            title: title.into(),
            status: status.as_u16(),
            detail: detail.into(),
            retry_after: None,
        }
    }

    /// And when it is worth trying again.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// A fault of the node's own, such as its database's.
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

/// Gives refusals of the API that were made below its handlers, such as of a body that is no JSON or of a method that a call has not, the form
/// of all the others; their words stay.
pub(super) async fn in_one_form(request: Request, next: Next) -> Response {
    let is_call = request.uri().path().starts_with("/api/");
    let response = next.run(request).await;
    let told = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_formed = told.is_some_and(|kind| kind.starts_with(b"application/"));
    let status = response.status();
    if !is_call || is_formed || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let words = axum::body::to_bytes(body, WORDS_LIMIT).await.unwrap_or_default();
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    let detail = if words.is_empty() { status.canonical_reason().unwrap_or("not done").to_lowercase() } else { words };
    let mut formed = Problem::new(status, detail).into_response();
    for (name, value) in &parts.headers {
        if !matches!(*name, header::CONTENT_TYPE | header::CONTENT_LENGTH) {
            formed.headers_mut().append(name, value.clone());
        }
    }
    formed
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default(); // strings and a number
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"millrace\""));
        }
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        response
    }
}
