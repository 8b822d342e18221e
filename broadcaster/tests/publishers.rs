//! Who may publish: the node's own keys, the operator's webhook and the limits, as real encoders and WHIP clients meet them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in helpers too")]

mod common;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use common::whip::{Client, Media, SDP, assert_problem};
use common::{Line, lavfi};
use hmac::{Hmac, Mac};
use millrace_broadcaster::BroadcasterConfig;
use millrace_broadcaster::config::{Rung, StreamKey};
use millrace_broadcaster::ingest::keyring::{Keyring, end_revoked, hash, new_key};
use millrace_broadcaster::ingest::{Gate, Limits};
use millrace_store::Store;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const SECRET: &str = "a secret of both";
/// What the webhook may take here.
const LIMIT_MS: u64 = 700;

/// The operator's program: what it does is in the key, or in the name where the node knows the key.
struct Program {
    url: String,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Program {
    async fn start() -> Self {
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let router = Router::new().route("/auth", post(answer)).with_state(asked.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/auth", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<Value> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

async fn answer(State(asked): State<Arc<Mutex<Vec<Value>>>>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{}.", header("millrace-timestamp")).as_bytes());
    mac.update(&body);
    let signed = format!("sha256={:x}", mac.finalize().into_bytes());
    assert_eq!(header("millrace-signature"), signed);
    let question: Value = serde_json::from_slice(&body).unwrap();
    asked.lock().unwrap().push(question.clone());
    let what = question["key"].as_str().or(question["name"].as_str()).unwrap();
    match what {
        "named" => {
            let ladder = json!([{ "height": 144, "bitrate": 200_000 }, { "height": 240, "bitrate": 400_000 }]);
            json!({ "allow": true, "name": "given", "ladder": ladder }).to_string().into_response()
        }
        "nameless" => json!({ "allow": true }).to_string().into_response(),
        "unpaid" => json!({ "allow": false, "reason": "the bill is not paid" }).to_string().into_response(),
        "forbidden" => StatusCode::FORBIDDEN.into_response(),
        "slow" => {
            tokio::time::sleep(Duration::from_secs(5)).await;
            json!({ "allow": true, "name": "slow" }).to_string().into_response()
        }
        "broken" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        "huge" => format!("{{\"allow\": true, \"name\": \"{}\"}}", "x".repeat(1 << 20)).into_response(),
        "garbage" => "<html>come in</html>".into_response(),
        "redirect" => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/elsewhere")]).into_response(),
        other => panic!("{other}"),
    }
}

/// A node's keys with a database of their own.
struct Node {
    store: Store,
    gate: Arc<Gate>,
    _dir: TempDir,
}

async fn node(config: BroadcasterConfig, limits: Limits) -> Node {
    let _ = rustls::crypto::ring::default_provider().install_default(); // another test may have been first
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("node.sqlite").to_str().unwrap()).await.unwrap();
    let (keys, webhook) = (config.keys_by_hash().unwrap(), config.webhook().unwrap());
    let keys = Keyring::new(keys, store.clone(), webhook, config.auth_webhook_fail_open);
    Node { store, gate: Gate::with_limits(Arc::new(keys), limits), _dir: dir }
}

fn asking(program: &Program) -> BroadcasterConfig {
    BroadcasterConfig {
        auth_webhook: program.url.clone(),
        auth_webhook_secret: SECRET.into(),
        auth_webhook_ms: LIMIT_MS,
        ..BroadcasterConfig::default()
    }
}

fn key(name: &str, key: &str) -> StreamKey {
    StreamKey { name: name.into(), key: key.into(), ..StreamKey::default() }
}

/// Publishes until it is let in or refused: what the encoder was told.
async fn refused_by_rtmp(line: &Line, key: &str) -> String {
    let outcome = lavfi(&["-c:v", "libx264", "-c:a", "aac"], &line.url(key)).finish().await;
    assert!(!outcome.success, "{key} was let in");
    outcome.stderr
}

#[tokio::test]
async fn a_webhook_alone_names_streams_and_sets_their_ladders() {
    let program = Program::start().await;
    let node = node(asking(&program), Limits::default()).await;
    let line = Line::with_gate(node.gate.clone()).await;
    let mut publisher = lavfi(&["-c:v", "libx264", "-g", "30", "-c:a", "aac"], &line.url("named")).realtime();
    line.wait_until("given", |playlist| playlist.contains(".m4s")).await;
    publisher.kill().await;
    line.wait_for_ends(1).await;

    let mut client = Client::publish_at(&line, "/whip/named").await;
    client.send(&Media::new(320, 240, 1)).await;
    assert_eq!(line.send("DELETE", &client.session, &[], "").await.status, 200);
    let rung = |height, bitrate| Rung { height, bitrate };
    let ladder = Some(vec![rung(240, 400_000), rung(144, 200_000)]);
    assert_eq!(line.ladders(), [ladder.clone(), ladder]);

    let asked = program.asked();
    let protocols: Vec<_> = asked.iter().map(|question| question["protocol"].as_str().unwrap()).collect();
    assert_eq!(protocols, ["rtmp", "whip"]);
    for question in asked {
        assert_eq!((&question["event"], &question["key"]), (&json!("publish"), &json!("named")));
        assert_eq!(question["key_sha256"], json!(alloy::hex::encode(hash("named"))));
        assert!(question["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    }
    line.stop().await;
}

#[tokio::test]
async fn each_refusal_and_each_failure_of_a_webhook_is_told_by_both_protocols() {
    let program = Program::start().await;
    let node = node(asking(&program), Limits::default()).await;
    let line = Line::with_gate(node.gate.clone()).await;
    let (_, offer) = Client::new().await;
    let cannot = "cannot check stream keys just now";
    for (key, status, words) in [
        ("unpaid", 403, "the bill is not paid"),
        ("forbidden", 403, "does not allow this stream"),
        ("nameless", 503, cannot),
        ("slow", 503, cannot),
        ("broken", 503, cannot),
        ("huge", 503, cannot),
        ("garbage", 503, cannot),
        ("redirect", 503, cannot),
    ] {
        let began = Instant::now();
        let answer = line.send("POST", &format!("/whip/{key}"), &[SDP], &offer).await;
        assert!(began.elapsed() < Duration::from_millis(4 * LIMIT_MS), "{key}: {:?}", began.elapsed());
        assert_problem(&answer, status, words);
        assert_eq!(answer.header("retry-after").is_empty(), status != 503, "{key}");
        let said = refused_by_rtmp(&line, key).await;
        assert!(said.contains(words), "{key}: {said}");
    }
    assert_eq!((line.started().await, program.asked().len()), (0, 16));
    line.stop().await;
}

#[tokio::test]
async fn a_webhook_beside_keys_hears_of_known_ones_only_and_never_the_key() {
    let program = Program::start().await;
    let keys = vec![key("nameless", "one"), key("unpaid", "two"), key("named", "three"), key("broken", "four")];
    let (_, offer) = Client::new().await;
    for fail_open in [false, true] {
        let config = BroadcasterConfig { keys: keys.clone(), auth_webhook_fail_open: fail_open, ..asking(&program) };
        let node = node(config, Limits::default()).await;
        let line = Line::with_gate(node.gate.clone()).await;
        let failing = if fail_open { 201 } else { 503 };
        for (key, status) in [("one", 201), ("two", 403), ("three", 201), ("four", failing), ("nameless", 401)] {
            let answer = line.send("POST", &format!("/whip/{key}"), &[SDP], &offer).await;
            assert_eq!(answer.status, status, "{key}: {}", answer.text);
        }
        let asked = program.asked();
        let names: Vec<_> = asked.iter().map(|question| question["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["nameless", "unpaid", "named", "broken"]);
        assert!(asked.iter().all(|question| question.get("key").is_none()), "{asked:?}");
        line.stop().await;
    }
}

#[tokio::test]
async fn a_key_of_the_database_is_good_until_it_is_revoked_and_then_ends_what_is_live() {
    let node = node(BroadcasterConfig::default(), Limits::default()).await;
    let (stop, [first, second]) = (CancellationToken::new(), [new_key(), new_key()]);
    let watching = tokio::spawn(end_revoked(node.gate.clone(), node.store.clone(), stop.clone()));
    let line = Line::with_gate(node.gate.clone()).await;
    let (_, offer) = Client::new().await;
    assert_eq!(line.send("POST", &format!("/whip/{first}"), &[SDP], &offer).await.status, 401);
    for key in [&first, &second] {
        node.store.add_stream_key(hash(key), "show", 1).await.unwrap();
    }
    assert_eq!(node.store.stream_key(hash(&first)).await.unwrap().unwrap().used_ms, None);

    let publisher = lavfi(&["-c:v", "libx264", "-c:a", "aac"], &line.url(&first));
    let publishing = tokio::spawn(publisher.finish());
    line.wait_for_start().await;
    assert!(node.store.stream_key(hash(&first)).await.unwrap().unwrap().used_ms.is_some());
    assert!(node.store.revoke_stream_key(hash(&first), 2).await.unwrap());
    assert!(!node.store.revoke_stream_key(hash(&first), 3).await.unwrap(), "it is revoked once");
    let began = Instant::now();
    let outcome = publishing.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(!outcome.success && outcome.stderr.contains("revoked"), "{}", outcome.stderr);
    assert!(refused_by_rtmp(&line, &first).await.contains("revoked"));
    assert_problem(&line.send("POST", &format!("/whip/{first}"), &[SDP], &offer).await, 403, "revoked");

    let client = Client::publish_at(&line, &format!("/whip/{second}")).await;
    node.store.revoke_stream_key(hash(&second), 3).await.unwrap();
    let began = Instant::now();
    while line.send("GET", &client.session, &[], "").await.status != 404 {
        assert!(began.elapsed() < Duration::from_secs(5), "a whip session outlives its key");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    line.stop().await;
    stop.cancel();
    watching.await.unwrap();
}

#[tokio::test]
async fn the_limits_of_node_and_address_are_told_by_both_protocols() {
    let keys = vec![key("a", "one"), key("b", "two"), key("c", "three")];
    let config = BroadcasterConfig { keys, ..BroadcasterConfig::default() };
    let (_, offer) = Client::new().await;
    for (limits, status, words) in [
        (Limits { streams: 1, ..Limits::default() }, 503, "1 live streams, its limit"),
        (Limits { streams_per_address: 1, ..Limits::default() }, 429, "1 live streams here, the limit for one address"),
    ] {
        let node = node(config.clone(), limits).await;
        let line = Line::with_gate(node.gate.clone()).await;
        assert_eq!(line.send("POST", "/whip/one", &[SDP], &offer).await.status, 201);
        let answer = line.send("POST", "/whip/two", &[SDP], &offer).await;
        assert_problem(&answer, status, words);
        assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0);
        let said = refused_by_rtmp(&line, "three").await;
        assert!(said.contains(words), "{said}");
        line.stop().await;
    }
}

#[tokio::test]
async fn an_address_that_guesses_is_shut_out_of_both_protocols() {
    let config = BroadcasterConfig { keys: vec![key("a", "one")], ..BroadcasterConfig::default() };
    let limits = Limits { wrong_keys_per_minute: 3, spare_loopback: false, ..Limits::default() };
    let node = node(config, limits).await;
    let line = Line::with_gate(node.gate.clone()).await;
    let (_, offer) = Client::new().await;
    for _ in 0..2 {
        assert_problem(&line.send("POST", "/whip/guess", &[SDP], &offer).await, 401, "key");
    }
    assert!(refused_by_rtmp(&line, "guess").await.contains("unknown key"));
    let answer = line.send("POST", "/whip/one", &[SDP], &offer).await;
    assert_problem(&answer, 429, "too many wrong keys");
    assert!((290..=300).contains(&answer.header("retry-after").parse::<u32>().unwrap()));
    assert!(refused_by_rtmp(&line, "one").await.contains("too many wrong keys"));
    line.stop().await;
}

#[tokio::test]
async fn an_address_has_its_share_of_connections() {
    let limits = Limits { connections_per_address: 2, ..Limits::default() };
    let node = node(BroadcasterConfig::default(), limits).await;
    let line = Line::with_gate(node.gate.clone()).await;
    let connect = || async { TcpStream::connect(line.rtmp).await.unwrap() };
    let ended = |mut socket: TcpStream| async move {
        tokio::time::timeout(Duration::from_secs(2), socket.read(&mut [0; 1])).await.is_ok()
    };
    let (first, second) = (connect().await, connect().await);
    assert!(ended(connect().await).await, "a third one is closed");
    drop(first);
    let began = Instant::now();
    while ended(connect().await).await {
        assert!(began.elapsed() < Duration::from_secs(10), "the place of the first is not free");
    }
    drop(second);
    line.stop().await;
}
