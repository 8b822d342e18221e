//! What goes back over HTTP when something is wrong: RFC 9457's `problem+json`.

use super::resource::unauthorized;
use crate::ingest::Refusal;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A refusal: what is wrong, the limit, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: u16,
    title: &'static str,
    pub(super) detail: String,
    header: Option<(HeaderName, String)>,
}

impl Problem {
    pub(super) fn new(status: u16, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, title, detail: detail.into(), header: None }
    }

    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.header = Some((name, value.into()));
        self
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (status, title) = match &refusal {
            Refusal::UnknownKey => return unauthorized(),
            Refusal::Revoked | Refusal::Denied { .. } => (403, "Not allowed"),
            Refusal::NameTaken(_) => (409, "Name is live"),
            Refusal::Full(_) => (503, "No room"),
            Refusal::AddressFull(_) | Refusal::Connections(_) | Refusal::WrongKeys(_) => (429, "Too many from here"),
            Refusal::Unavailable => (503, "Not now"),
        };
        let problem = Self::new(status, title, refusal.to_string());
        match refusal.retry_after() {
            Some(wait) => problem.with(header::RETRY_AFTER, wait.as_secs().max(1).to_string()),
            None => problem,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::json!({
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        });
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some((name, value)) = self.header
            && let Ok(value) = HeaderValue::try_from(value)
        {
            headers.insert(name, value);
        }
        response
    }
}
