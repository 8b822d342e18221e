//! The HTTP side of a node: `/healthz`, `/readyz`, `/metrics`, the role's API under `/api`, what else the role serves, and
//! the console for the rest, with one set of limits and headers.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, Request},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::get,
    serve::ListenerExt,
};
use tokio::{net::TcpListener, time::sleep};
use tokio_util::sync::CancellationToken;
use tower_http::{
    compression::CompressionLayer,
    cors::{AllowOrigin, CorsLayer},
    set_header::SetResponseHeaderLayer,
    timeout::TimeoutLayer,
};

use crate::{
    console,
    metrics::{self, Metrics},
};

/// Until an answer begins. The longest that is meant to wait is a blocking playlist reload: three 2 s segments.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// What a request may carry, unless a route says otherwise: nothing here takes more than a small JSON object or an SDP.
const BODY_LIMIT: usize = 64 << 10;
/// For answers that run when the end is asked for. Less than a role's own deadline.
const DRAIN: Duration = Duration::from_secs(5);

/// hls.js plays through blob URLs and a blob worker. The console of one node shows the streams and APIs of others, which in
/// the demo are other ports of this machine. Charts and components set styles on their elements.
const CONTENT_POLICY: &str = "default-src 'self'; script-src 'self'; worker-src 'self' blob:; \
    media-src 'self' blob: http://127.0.0.1:* http://localhost:*; \
    connect-src 'self' http://127.0.0.1:* http://localhost:*; img-src 'self' data: blob:; \
    style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

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

/// All routes of a node: `api` appears under `/api`, `rest` (such as `/live`) as it is, with CORS of its own.
pub fn router(api: Router, rest: Router, metrics: Metrics, ready: Readiness) -> Router {
    let readyz = move || async move {
        if ready.get() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
    };
    let render = move || async move { ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics.render()) };
    let header =
        |name: HeaderName, value| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
    let from_this_machine = CorsLayer::new()
        .allow_methods([Method::GET])
        .allow_origin(AllowOrigin::predicate(|origin, _| origin.to_str().is_ok_and(is_loopback_origin)));
    let not_found = || async { (StatusCode::NOT_FOUND, "there is no such call in this node's api\n") };

    Router::new()
        .nest("/api", api.fallback(not_found).layer(from_this_machine))
        .merge(console::router().layer(CompressionLayer::new()))
        .merge(rest)
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_LIMIT))
        .layer(header(header::CONTENT_SECURITY_POLICY, CONTENT_POLICY))
        .layer(header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(header(header::REFERRER_POLICY, "no-referrer"))
}

/// Serves until `shutdown`, then lets running answers end for a few seconds.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> io::Result<()> {
    // A part is sent when it is written, not when the last packet was acknowledged.
    let listener = listener.tap_io(|stream| {
        if let Err(e) = stream.set_nodelay(true) {
            tracing::debug!("tcp_nodelay: {e}");
        }
    });
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let deadline = async {
        shutdown.cancelled().await;
        sleep(DRAIN).await;
    };
    tokio::select! {
        ended = server.into_future() => ended,
        () = deadline => Ok(()),
    }
}

/// Middleware for what only this machine may ask, such as stream keys. The `Host` is checked too: a page of a stranger
/// whose name was made to resolve to 127.0.0.1 still sends the stranger's name.
pub async fn loopback_only(ConnectInfo(from): ConnectInfo<SocketAddr>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|h| h.to_str().ok());
    if from.ip().to_canonical().is_loopback() && host.is_some_and(is_loopback_host) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "this call answers on the node's own machine only, by its loopback address\n")
            .into_response()
    }
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

#[cfg(test)]
mod tests {
    use axum::{body::Bytes, middleware::from_fn, routing::post};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        task::JoinHandle,
        time::timeout,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    struct Node {
        addr: SocketAddr,
        ready: Readiness,
        shutdown: CancellationToken,
        server: JoinHandle<io::Result<()>>,
    }

    async fn node() -> Node {
        let api = Router::new()
            .route("/v1/node", get(|| async { "{}" }).post(|body: Bytes| async move { body.len().to_string() }))
            .route("/v1/ingest", get(|| async { "secret" }).layer(from_fn(loopback_only)));
        let rest = Router::new().route("/live/{name}", post(|| async { "published" }));
        let (ready, shutdown) = (Readiness::default(), CancellationToken::new());
        let router = router(api, rest, Metrics::new(), ready.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, router, shutdown.clone()));
        Node { addr, ready, shutdown, server }
    }

    impl Node {
        /// Sends one request as it is and returns the whole answer in lower case.
        async fn ask(&self, method_and_path: &str, headers: &str, body: &str) -> String {
            let mut stream = TcpStream::connect(self.addr).await.unwrap();
            let host = if headers.contains("host:") { "" } else { "host: localhost\r\n" };
            let length = body.len();
            let request = format!(
                "{method_and_path} HTTP/1.1\r\n{host}{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
            String::from_utf8_lossy(&answer).to_lowercase()
        }

        async fn status(&self, method_and_path: &str) -> String {
            self.ask(method_and_path, "", "").await["http/1.1 ".len()..][..3].to_owned()
        }
    }

    #[tokio::test]
    async fn health_readiness_and_metrics_are_told_apart() {
        let node = node().await;
        assert_eq!(node.status("GET /healthz").await, "200");
        assert_eq!(node.status("GET /readyz").await, "503");
        node.ready.set(true);
        assert_eq!(node.status("GET /readyz").await, "200");
        let metrics = node.ask("GET /metrics", "", "").await;
        assert!(
            metrics.contains("millrace_build_info") && metrics.contains("application/openmetrics-text"),
            "{metrics}"
        );
    }

    #[tokio::test]
    async fn every_answer_carries_the_security_headers() {
        let node = node().await;
        for path in ["/", "/healthz", "/api/v1/node", "/api/none"] {
            let answer = node.ask(&format!("GET {path}"), "", "").await;
            assert!(answer.contains("content-security-policy: default-src 'self'"), "{path}: {answer}");
            assert!(answer.contains("x-content-type-options: nosniff"), "{path}: {answer}");
        }
        assert_eq!(node.status("GET /api/none").await, "404");
        assert_eq!(node.status("POST /live/x").await, "200");
        assert_eq!(node.status("DELETE /streams").await, "405");
    }

    #[tokio::test]
    async fn the_api_is_open_to_pages_of_this_machine_and_to_no_other() {
        let node = node().await;
        for (origin, open) in [
            ("http://127.0.0.1:8080", true),
            ("http://localhost:5173", true),
            ("http://[::1]:8080", true),
            ("https://evil.example", false),
            ("http://localhost.evil.example", false),
            ("http://127.0.0.1.evil.example:80", false),
            ("null", false),
        ] {
            let answer = node.ask("GET /api/v1/node", &format!("origin: {origin}\r\n"), "").await;
            let allowed = answer.contains(&format!("access-control-allow-origin: {origin}"));
            assert_eq!(allowed, open, "{origin}: {answer}");
        }
    }

    #[tokio::test]
    async fn secrets_answer_loopback_names_only() {
        let node = node().await;
        assert!(node.ask("GET /api/v1/ingest", "", "").await.contains("secret"));
        assert!(node.ask("GET /api/v1/ingest", "host: 127.0.0.1:80\r\n", "").await.contains("secret"));
        assert!(node.ask("GET /api/v1/ingest", "host: [::1]:80\r\n", "").await.contains("secret"));
        let rebound = node.ask("GET /api/v1/ingest", "host: evil.example\r\n", "").await;
        assert!(rebound.starts_with("http/1.1 403") && !rebound.contains("secret"), "{rebound}");
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        let node = node().await;
        let fits = node.ask("POST /api/v1/node", "", &"x".repeat(BODY_LIMIT)).await;
        assert!(fits.starts_with("http/1.1 200") && fits.ends_with("65536"), "{fits}");
        let over = node.ask("POST /api/v1/node", "", &"x".repeat(BODY_LIMIT + 1)).await;
        assert!(over.starts_with("http/1.1 413"), "{over}");
    }

    #[tokio::test]
    async fn the_end_closes_idle_connections_and_returns() {
        let node = node().await;
        let mut idle = TcpStream::connect(node.addr).await.unwrap();
        assert_eq!(node.status("GET /healthz").await, "200");
        node.shutdown.cancel();
        timeout(PATIENCE, node.server).await.unwrap().unwrap().unwrap();
        let closed = timeout(PATIENCE, idle.read(&mut [0; 1])).await.unwrap();
        assert!(matches!(closed, Ok(0) | Err(_)));
    }
}
