//! The HTTP side of a node: `/healthz`, `/readyz`, `/metrics`, the role's API under `/api`, what else the role serves, and
//! the console for the rest, with one set of headers. What is here is the routes; [`Server`] has the connections.

pub mod access;
mod limits;
pub mod openapi;
mod pace;
mod problem;
mod server;
#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, uri::Authority},
    routing::get,
};
use tower_http::{
    compression::CompressionLayer,
    cors::{AllowOrigin, CorsLayer},
    set_header::SetResponseHeaderLayer,
    timeout::TimeoutLayer,
};

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    console,
    metrics::{self, Metrics},
};

pub use access::{Access, Caller, NodeUrl};
pub use limits::{Limits, visitor};
pub use problem::Problem;
pub use server::{Server, listen};

/// Until an answer begins. The longest that is meant to wait is a blocking playlist reload: three 2 s segments.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// What a request may carry, unless a route says otherwise: nothing here takes more than a small JSON object or an SDP.
const BODY_LIMIT: usize = 64 << 10;

/// hls.js plays through blob URLs and a blob worker. The console of one node shows the streams and APIs of others, which in
/// the demo are other ports of this machine. Charts and components set styles on their elements.
const CONTENT_POLICY: &str = "default-src 'self'; script-src 'self'; worker-src 'self' blob:; \
    media-src 'self' blob: http://127.0.0.1:* http://localhost:*; \
    connect-src 'self' http://127.0.0.1:* http://localhost:*; img-src 'self' data: blob:; \
    style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// By these a proxy says that it asks for somebody else.
const FORWARDED: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/// Whether the node can do its work. Starts as no; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says yes after the start, and no when draining begins.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    /// The last that was said.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The calls that each node has, whatever its role is: those of the door, and the description of all.
pub fn calls() -> utoipa::openapi::OpenApi {
    let mut calls = access::routes().into_openapi();
    calls.merge(OpenApiRouter::new().routes(routes!(described)).into_openapi());
    calls
}

/// This description.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "node", responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
async fn described(State(document): State<Arc<serde_json::Value>>) -> Json<Arc<serde_json::Value>> {
    Json(document)
}

/// All routes of a node that is a `role`: `api` appears under `/api`, behind the door of `access`, with its description; `rest` (such as
/// `/live`) as it is, with CORS of its own.
pub fn router(
    role: &str,
    api: OpenApiRouter,
    access: &Arc<Access>,
    rest: Router,
    metrics: Metrics,
    ready: Readiness,
) -> Router {
    let (api, mut described_calls) = api.merge(access.calls()).split_for_parts();
    let own = OpenApiRouter::new().routes(routes!(described));
    let (own, description) = own.split_for_parts();
    described_calls.merge(description);
    let document = Arc::new(openapi::document(described_calls, role));
    let api = api.merge(own.with_state(document));

    let readyz = move || async move {
        if ready.get() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
    };
    let render = move || async move { ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics.render()) };
    let header =
        |name: HeaderName, value| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
    let from_this_machine = CorsLayer::new()
        .allow_methods([Method::GET])
        .allow_origin(AllowOrigin::predicate(|origin, _| origin.to_str().is_ok_and(is_loopback_origin)));
    let not_found = || async { Problem::new(StatusCode::NOT_FOUND, "there is no such call in this node's api") };

    Router::new()
        .nest("/api", access.guard(api.fallback(not_found)).layer(from_this_machine))
        .merge(console::router().layer(CompressionLayer::new()))
        .merge(rest)
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_LIMIT))
        .layer(axum::middleware::from_fn(problem::in_one_form))
        .layer(header(header::CONTENT_SECURITY_POLICY, CONTENT_POLICY))
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(header::REFERRER_POLICY, "no-referrer"))
}

/// Whether a request is this machine's own: it comes from here, and asks for a name of here. By its `Host`, by the authority of its URL,
/// which HTTP/2 has instead, or by both where there are both. A page of a stranger whose name was made to resolve to 127.0.0.1 still sends
/// the stranger's name, and so does a proxy, or it says for whom it asks.
pub fn is_local(from: SocketAddr, headers: &HeaderMap, uri: &Uri) -> bool {
    let host = headers.get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    let mut names = host.into_iter().chain(uri.authority().map(Authority::as_str)).peekable();
    let forwarded = FORWARDED.iter().any(|name| headers.contains_key(*name));
    from.ip().to_canonical().is_loopback() && !forwarded && names.peek().is_some() && names.all(is_loopback_host)
}

fn is_loopback_origin(origin: &str) -> bool {
    origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")).is_some_and(is_loopback_host)
}

/// `host` or `host:port`.
fn is_loopback_host(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    };
    let address = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
