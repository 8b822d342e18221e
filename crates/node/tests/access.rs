//! Who gets in at the door of a node's API, over real HTTP, with a wallet's real signatures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a helper that fails fails its test

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::{Address, B256, address};
use alloy::signers::{SignerSync, local::PrivateKeySigner};
use axum::extract::Extension;
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use futures::future::{BoxFuture, ready};
use millrace_node::http::access::{Authority, Door, Power, token_hash};
use millrace_node::http::{Access, Caller, Limits, Readiness, Server, listen, router};
use millrace_node::metrics::Metrics;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Nothing here takes longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// An owner that is a contract, which holds exactly this for its signature.
const CONTRACT: Address = address!("00000000000000000000000000000000000c0de1");
const CONTRACTS_WORD: &[u8] = b"the contract says so";
const BEGAN: u64 = 1_800_000_000;

type Tokens = Arc<Mutex<HashMap<B256, (String, Power)>>>;

/// Tokens as a database has them, and one contract.
struct Records(Tokens);

impl Authority for Records {
    fn token(&self, hash: B256) -> BoxFuture<'_, Result<Option<(String, Power)>, String>> {
        Box::pin(ready(Ok(self.0.lock().unwrap().get(&hash).cloned())))
    }

    fn signed_by_contract(&self, account: Address, _: B256, signature: Vec<u8>) -> BoxFuture<'_, Result<bool, String>> {
        Box::pin(ready(Ok(account == CONTRACT && signature == CONTRACTS_WORD)))
    }
}

struct Node {
    at: SocketAddr,
    owner: PrivateKeySigner,
    tokens: Tokens,
    clock: Arc<AtomicU64>,
    _end: tokio_util::sync::DropGuard,
}

/// What came back.
struct Told {
    status: u16,
    cookie: Option<String>,
    head: String,
    body: Value,
}

/// One that counts the attempts of this machine too.
async fn node() -> Node {
    let who = |Extension(caller): Extension<Caller>| async move { format!("{:?}", format!("{caller:?}")) };
    let api = Router::new()
        .route("/v1/node", get(who))
        .route("/v1/streams", get(who))
        .route("/v1/ingest", get(who))
        .route("/v1/drain", post(|| async { Json(json!({})) }))
        .route("/v1/recordings/{name}/{id}", delete(|| async { Json(json!({})) }));
    let owner = PrivateKeySigner::random();
    let (tokens, clock) = (Tokens::default(), Arc::new(AtomicU64::new(BEGAN)));
    let door = Door {
        name: "mill".into(),
        node: address!("00000000000000000000000000000000000000aa"),
        owners: vec![owner.address(), CONTRACT],
        hosts: vec!["node.example".into()],
        chain_id: 31_337,
        spare_loopback: false,
    };
    let access = Access::with_clock(door, Records(tokens.clone()), {
        let clock = clock.clone();
        move || clock.load(Ordering::Relaxed)
    });
    let router = router("transcoder", api.into(), &access, Router::new(), Metrics::new(), Readiness::default());
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let (at, end) = (listener.local_addr().unwrap(), CancellationToken::new());
    tokio::spawn(Server::new(listener, Limits::default()).run(router, end.clone()));
    Node { at, owner, tokens, clock, _end: end.drop_guard() }
}

/// As somebody from elsewhere, by one of the node's names.
const ELSEWHERE: &str = "host: node.example\r\n";

impl Node {
    /// Sends one request as it is; it is from this machine unless a header says otherwise.
    async fn ask(&self, method_and_path: &str, headers: &str, body: &Value) -> Told {
        let host = if headers.contains("host:") { String::new() } else { format!("host: {}\r\n", self.at) };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{} HTTP/1.1\r\n{host}{headers}content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            method_and_path.replace(' ', " /api/v1/"),
            body.len()
        );
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).map(str::to_owned);
        let status = head["HTTP/1.1 ".len()..][..3].parse().unwrap();
        if status >= 400 {
            assert!(head.contains("content-type: application/problem+json"), "{head}");
        }
        Told { status, cookie, head: head.to_owned(), body: serde_json::from_str(body).unwrap_or(Value::Null) }
    }

    async fn get(&self, path: &str, headers: &str) -> Told {
        self.ask(&format!("GET {path}"), headers, &Value::Null).await
    }

    async fn challenge(&self, headers: &str, address: Address) -> Told {
        self.ask("POST session/challenge", headers, &json!({ "address": address })).await
    }

    async fn answer(&self, headers: &str, challenge: &Told, signature: &[u8]) -> Told {
        let signature = alloy::hex::encode_prefixed(signature);
        self.ask("POST session", headers, &json!({ "nonce": challenge.body["nonce"], "signature": signature })).await
    }

    /// Signs in with `key`, as from a page of the node's own.
    async fn sign_in(&self, headers: &str, key: &PrivateKeySigner) -> Told {
        let challenge = self.challenge(headers, key.address()).await;
        assert_eq!(challenge.status, 200, "{}", challenge.body);
        let signature = key.sign_message_sync(challenge.body["message"].as_str().unwrap().as_bytes()).unwrap();
        self.answer(headers, &challenge, &signature.as_bytes()).await
    }

    fn make_token(&self, power: Power) -> String {
        let token = format!("millrace_{}", power.name());
        self.tokens.lock().unwrap().insert(token_hash(&token), ("grafana".into(), power));
        format!("{ELSEWHERE}authorization: Bearer {token}\r\n")
    }
}

/// The headers by which a browser is signed in.
fn signed_in(told: &Told) -> (String, String) {
    assert_eq!(told.status, 201, "{}", told.body);
    let cookie = told.cookie.as_deref().unwrap().split(';').next().unwrap();
    let csrf = told.body["csrf"].as_str().unwrap();
    (format!("{ELSEWHERE}cookie: other=1; {cookie}\r\n"), format!("x-csrf-token: {csrf}\r\n"))
}

#[tokio::test]
async fn an_owner_signs_in_operates_the_node_and_signs_out() {
    let node = node().await;
    for path in ["streams", "ingest"] {
        let refused = node.get(path, ELSEWHERE).await;
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.body["detail"].as_str().unwrap().contains("sign in"), "{}", refused.body);
        assert!(refused.head.contains("www-authenticate: Bearer"), "{}", refused.head);
    }
    assert_eq!(node.get("node", ELSEWHERE).await.status, 200, "what a node is is for everybody");

    let told = node.sign_in(&format!("{ELSEWHERE}origin: https://node.example\r\n"), &node.owner).await;
    let cookie = told.cookie.clone().unwrap();
    assert!(cookie.starts_with("__Host-millrace-00000000="), "{cookie}");
    for attribute in ["Path=/", "HttpOnly", "SameSite=Strict", "Max-Age=43200", "Secure"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let (cookie, csrf) = signed_in(&told);
    let session = node.get("session", &cookie).await.body;
    assert_eq!((&session["who"], &session["csrf"]), (&json!("owner"), &told.body["csrf"]), "{session}");
    assert_eq!(session["address"], json!(node.owner.address()));
    assert_eq!(session["expires_at"], json!((BEGAN + 12 * 3600) * 1000));
    assert_eq!(node.get("ingest", &cookie).await.status, 200);
    assert_eq!(node.ask("POST drain", &format!("{cookie}{csrf}"), &Value::Null).await.status, 200);

    assert_eq!(node.ask("DELETE session", &cookie, &Value::Null).await.status, 403, "not without its csrf token");
    assert_eq!(node.ask("DELETE session", &format!("{cookie}{csrf}"), &Value::Null).await.status, 204);
    assert_eq!(node.get("streams", &cookie).await.status, 401, "the session is over");
    assert_eq!(node.get("session", &cookie).await.body["who"], "anyone");
}

#[tokio::test]
async fn a_session_ends_by_itself_after_twelve_hours() {
    let node = node().await;
    let (cookie, _) = signed_in(&node.sign_in(ELSEWHERE, &node.owner).await);
    node.clock.store(BEGAN + 12 * 3600 - 1, Ordering::Relaxed);
    assert_eq!(node.get("streams", &cookie).await.status, 200);
    node.clock.store(BEGAN + 12 * 3600, Ordering::Relaxed);
    assert_eq!(node.get("streams", &cookie).await.status, 401);
}

#[tokio::test]
async fn only_the_right_signature_by_an_owner_in_time_and_in_place_signs_in() {
    let node = node().await;
    let sign = |text: &Value| node.owner.sign_message_sync(text.as_str().unwrap().as_bytes()).unwrap().as_bytes();
    let says = |told: &Told, words: &str| told.body["detail"].as_str().unwrap_or_default().contains(words);

    let stranger = node.sign_in(ELSEWHERE, &PrivateKeySigner::random()).await;
    assert!(stranger.status == 403 && says(&stranger, "node.owners"), "{}", stranger.body);

    let challenge = node.challenge(ELSEWHERE, node.owner.address()).await;
    let other = PrivateKeySigner::random().sign_message_sync(challenge.body["message"].as_str().unwrap().as_bytes());
    let wrong = node.answer(ELSEWHERE, &challenge, &other.unwrap().as_bytes()).await;
    assert!(wrong.status == 401 && says(&wrong, "signature"), "{}", wrong.body);
    let late = node.answer(ELSEWHERE, &challenge, &sign(&challenge.body["message"])).await;
    assert!(late.status == 401 && says(&late, "good once"), "a wrong answer uses it up: {}", late.body);

    let challenge = node.challenge(ELSEWHERE, node.owner.address()).await;
    let signature = sign(&challenge.body["message"]);
    assert_eq!(node.answer(ELSEWHERE, &challenge, &signature).await.status, 201);
    let replayed = node.answer(ELSEWHERE, &challenge, &signature).await;
    assert!(replayed.status == 401 && says(&replayed, "good once"), "{}", replayed.body);

    let challenge = node.challenge(ELSEWHERE, node.owner.address()).await;
    assert_eq!(challenge.body["expires_at"], json!((BEGAN + 300) * 1000));
    node.clock.store(BEGAN + 300, Ordering::Relaxed);
    let expired = node.answer(ELSEWHERE, &challenge, &sign(&challenge.body["message"])).await;
    assert!(expired.status == 401 && says(&expired, "five minutes"), "{}", expired.body);

    let challenge = node.challenge(ELSEWHERE, node.owner.address()).await;
    let moved = node.answer("host: 192.0.2.1\r\n", &challenge, &sign(&challenge.body["message"])).await;
    assert!(moved.status == 401 && says(&moved, "node.example"), "{}", moved.body);

    let tampered = sign(&json!(challenge.body["message"].as_str().unwrap().replace("node.example", "evil.example")));
    let challenge = node.challenge(ELSEWHERE, node.owner.address()).await;
    assert_eq!(node.answer(ELSEWHERE, &challenge, &tampered).await.status, 401, "another text");
}

#[tokio::test]
async fn a_contract_signs_in_by_its_own_word_and_a_page_elsewhere_asks_in_vain() {
    let node = node().await;
    let challenge = node.challenge(ELSEWHERE, CONTRACT).await;
    assert_eq!(node.answer(ELSEWHERE, &challenge, &[7; 65]).await.status, 401);
    let challenge = node.challenge(ELSEWHERE, CONTRACT).await;
    assert_eq!(node.answer(ELSEWHERE, &challenge, CONTRACTS_WORD).await.status, 201);

    let owner = node.owner.address();
    let rebound = node.challenge("host: evil.example\r\n", owner).await;
    assert!(
        rebound.status == 403 && rebound.body["detail"].as_str().unwrap().contains("node.hosts"),
        "{}",
        rebound.body
    );
    for foreign in ["origin: https://evil.example\r\n", "origin: null\r\n", "sec-fetch-site: cross-site\r\n"] {
        assert_eq!(node.challenge(&format!("{ELSEWHERE}{foreign}"), owner).await.status, 403, "{foreign}");
    }
    let garbage = node.ask("POST session/challenge", ELSEWHERE, &json!({ "address": "me" })).await;
    assert_eq!(garbage.status, 422, "{}", garbage.body);
}

#[tokio::test]
async fn no_page_of_another_origin_and_no_session_without_its_csrf_token_changes_the_node() {
    let node = node().await;
    let (cookie, csrf) = signed_in(&node.sign_in(ELSEWHERE, &node.owner).await);
    for (headers, status) in [
        (format!("{cookie}{csrf}"), 200),
        (format!("{cookie}{csrf}origin: http://node.example\r\n"), 200),
        (format!("{cookie}{csrf}origin: https://evil.example\r\n"), 403),
        (format!("{cookie}{csrf}origin: http://node.example:3000\r\n"), 403),
        (format!("{cookie}{csrf}sec-fetch-site: same-site\r\n"), 403),
        (cookie.clone(), 403),
        (format!("{cookie}x-csrf-token: 00\r\n"), 403),
    ] {
        assert_eq!(node.ask("POST drain", &headers, &Value::Null).await.status, status, "{headers}");
    }
    // This machine is no exception, but for what it could do before: and that not for a page of elsewhere.
    assert_eq!(node.ask("POST drain", "", &Value::Null).await.status, 401);
    assert_eq!(node.ask("DELETE recordings/a/b", "", &Value::Null).await.status, 200);
    let page = "origin: http://127.0.0.1:1\r\n";
    assert_eq!(node.ask("DELETE recordings/a/b", page, &Value::Null).await.status, 403);
    assert_eq!(node.ask("DELETE recordings/a/b", ELSEWHERE, &Value::Null).await.status, 401);
}

#[tokio::test]
async fn a_token_reads_or_operates_until_it_is_revoked() {
    let node = node().await;
    let (reads, operates) = (node.make_token(Power::Read), node.make_token(Power::Operate));
    for (headers, ingest, drain) in [(&reads, 403, 403), (&operates, 200, 200)] {
        assert_eq!(node.get("streams", headers).await.status, 200);
        assert_eq!(node.get("ingest", headers).await.status, ingest);
        assert_eq!(node.ask("POST drain", headers, &Value::Null).await.status, drain);
    }
    let known = node.get("session", &reads).await.body;
    assert_eq!([&known["who"], &known["name"], &known["role"]], ["machine", "grafana", "read"]);
    node.tokens.lock().unwrap().clear();
    for path in ["streams", "node"] {
        let revoked = node.get(path, &operates).await;
        assert!(revoked.status == 401 && revoked.body["detail"].as_str().unwrap().contains("revoked"), "{path}");
    }
}

#[tokio::test]
async fn an_address_with_too_many_wrong_attempts_is_refused_also_with_what_is_right() {
    let node = node().await;
    let (cookie, _) = signed_in(&node.sign_in(ELSEWHERE, &node.owner).await);
    let reads = node.make_token(Power::Read);
    let wrong = format!("{ELSEWHERE}authorization: Bearer millrace_guess\r\n");
    let mut last = 0;
    for _ in 0..10 {
        last = node.get("streams", &wrong).await.status;
    }
    assert_eq!(last, 401);
    let refused = node.get("streams", &reads).await;
    assert!(refused.status == 429 && refused.head.contains("retry-after: "), "{}", refused.head);
    assert_eq!(node.challenge(ELSEWHERE, node.owner.address()).await.status, 429);
    assert_eq!(node.get("streams", &cookie).await.status, 200, "who is in stays in");
    assert_eq!(node.get("node", ELSEWHERE).await.status, 200, "and what is public stays public");
}
