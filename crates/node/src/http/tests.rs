use alloy::primitives::{Address, B256};
use axum::{body::Bytes, routing::post};
use futures::future::{BoxFuture, ready};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use tokio_util::sync::CancellationToken;

use super::access::{Authority, Door, Power};
use super::*;
use crate::metrics::Metrics;

const PATIENCE: Duration = Duration::from_secs(20);

struct Node {
    addr: SocketAddr,
    ready: Readiness,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

/// Of a node that has made no tokens and is on no chain.
struct Nobody;

impl Authority for Nobody {
    fn token(&self, _: B256) -> BoxFuture<'_, Result<Option<(String, Power)>, String>> {
        Box::pin(ready(Ok(None)))
    }

    fn signed_by_contract(&self, _: Address, _: B256, _: Vec<u8>) -> BoxFuture<'_, Result<bool, String>> {
        Box::pin(ready(Ok(false)))
    }
}

async fn node() -> Node {
    node_with(Limits::default()).await
}

async fn node_with(limits: Limits) -> Node {
    let api = Router::new()
        .route("/v1/node", get(|| async { "{}" }))
        .route("/v1/recordings/x", axum::routing::delete(|body: Bytes| async move { body.len().to_string() }))
        .route("/v1/ingest", get(|| async { "secret" }));
    let rest = Router::new().route("/live/{name}", post(|| async { "published" }));
    let (ready, shutdown) = (Readiness::default(), CancellationToken::new());
    let door = Door {
        name: "node".into(),
        node: Address::ZERO,
        owners: Vec::new(),
        hosts: Vec::new(),
        chain_id: 1,
        spare_loopback: true,
    };
    let router = router("transcoder", api.into(), &Access::new(door, Nobody), rest, Metrics::new(), ready.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tokio::spawn(Server::new(listener, limits).run(router, shutdown.clone()));
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
    assert!(metrics.contains("millrace_build_info") && metrics.contains("application/openmetrics-text"), "{metrics}");
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
    assert!(rebound.starts_with("http/1.1 401") && !rebound.contains("secret"), "{rebound}");
    for header in ["x-forwarded-for: 192.0.2.1", "forwarded: for=192.0.2.1", "via: 1.1 proxy"] {
        let proxied = node.ask("GET /api/v1/ingest", &format!("{header}\r\n"), "").await;
        assert!(proxied.starts_with("http/1.1 401") && !proxied.contains("secret"), "{header}: {proxied}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let node = node().await;
    let fits = node.ask("DELETE /api/v1/recordings/x", "", &"x".repeat(BODY_LIMIT)).await;
    assert!(fits.starts_with("http/1.1 200") && fits.ends_with("65536"), "{fits}");
    let over = node.ask("DELETE /api/v1/recordings/x", "", &"x".repeat(BODY_LIMIT + 1)).await;
    assert!(over.starts_with("http/1.1 413"), "{over}");
    // What refuses below the handlers speaks as they do.
    assert!(over.contains("content-type: application/problem+json") && over.contains("\"status\":413"), "{over}");
}

#[tokio::test]
async fn the_end_closes_idle_connections_and_returns() {
    let node = node().await;
    let mut idle = TcpStream::connect(node.addr).await.unwrap();
    assert_eq!(node.status("GET /healthz").await, "200");
    node.shutdown.cancel();
    timeout(PATIENCE, node.server).await.unwrap().unwrap();
    let closed = timeout(PATIENCE, idle.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)));
}
