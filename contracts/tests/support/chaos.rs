//! An RPC endpoint that misbehaves: a proxy before a real chain. Its owner sets the weather; each request gets that of the
//! moment. Used by the tests of several packages.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::{Bytes, U64, keccak256};
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// How an endpoint behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weather {
    /// As the chain behind it.
    Fair,
    /// Late.
    Slow(Duration),
    /// It takes the request and never answers.
    Hang,
    /// It passes the request on and never answers.
    Mute,
    /// It hangs up in the middle of the answer.
    Close,
    /// A page for browsers.
    Garbage,
    /// Too many requests.
    Busy,
    /// It says that it is on this chain.
    Chain(u64),
    /// Its newest block is so many ahead of the real one, or behind.
    Head(i64),
    /// It says that it took a transaction, and drops it.
    Swallow,
    /// It passes a transaction on, and says that it had it already.
    Known,
    /// It passes a transaction on, and says that its nonce was used, as when another endpoint was faster.
    TooLow,
    /// Any of those that one endpoint of the right chain may show, drawn anew for each request; the seed.
    Storm(u64),
}

/// The proxy. It ends with its test's runtime.
#[derive(Clone)]
pub struct Chaos {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    behind: String,
    http: reqwest::Client,
    weather: Mutex<Weather>,
    calls: Mutex<HashMap<String, usize>>,
}

impl Chaos {
    /// An endpoint before the one at `behind`.
    pub async fn before(behind: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let shared = Arc::new(Shared {
            behind: behind.to_owned(),
            http: reqwest::Client::new(),
            weather: Mutex::new(Weather::Fair),
            calls: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = axum::Router::new().route("/", axum::routing::post(answer)).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, shared }
    }

    pub fn set(&self, weather: Weather) {
        *self.shared.weather.lock().unwrap() = weather;
    }

    /// How often a method was asked for.
    pub fn calls(&self, method: &str) -> usize {
        self.shared.calls.lock().unwrap().get(method).copied().unwrap_or_default()
    }
}

impl Shared {
    fn weather(&self) -> Weather {
        use Weather::*;
        let mut weather = self.weather.lock().unwrap();
        let Storm(seed) = *weather else { return *weather };
        let next = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *weather = Storm(next);
        match next >> 59 {
            0 => Slow(Duration::from_millis(20)),
            1 => Hang,
            2 => Mute,
            3 => Close,
            4 => Garbage,
            5 => Busy,
            6 | 7 => Swallow,
            8 => Known,
            9 => TooLow,
            _ => Fair,
        }
    }

    async fn pass(&self, request: &Value) -> Value {
        self.http.post(&self.behind).json(request).send().await.unwrap().json().await.unwrap()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, axum::Json(request): axum::Json<Value>) -> Response {
    use Weather::*;
    let method = request["method"].as_str().unwrap_or_default().to_owned();
    *shared.calls.lock().unwrap().entry(method.clone()).or_default() += 1;
    let id = request["id"].clone();
    let result = |result: Value| axum::Json(json!({ "jsonrpc": "2.0", "id": id, "result": result })).into_response();
    let refusal = |message: &str| {
        let error = json!({ "code": -32000, "message": message });
        axum::Json(json!({ "jsonrpc": "2.0", "id": id, "error": error })).into_response()
    };
    let sends = method == "eth_sendRawTransaction";
    match shared.weather() {
        Hang => std::future::pending().await,
        Mute => {
            shared.pass(&request).await;
            std::future::pending().await
        }
        Slow(late) => tokio::time::sleep(late).await,
        Close => {
            let half = futures::stream::iter([Ok("{\"jsonrpc\""), Err(std::io::Error::other("cut off"))]);
            return Body::from_stream(half).into_response();
        }
        Garbage => return "<html>Welcome to nginx!</html>".into_response(),
        Busy => return axum::http::StatusCode::TOO_MANY_REQUESTS.into_response(),
        Chain(id) if method == "eth_chainId" => return result(json!(U64::from(id))),
        Head(offset) if method == "eth_blockNumber" => {
            let real: U64 = serde_json::from_value(shared.pass(&request).await["result"].take()).unwrap();
            return result(json!(U64::from(real.to::<u64>().saturating_add_signed(offset))));
        }
        Swallow if sends => {
            let raw: Bytes = serde_json::from_value(request["params"][0].clone()).unwrap();
            return result(json!(keccak256(raw)));
        }
        weather @ (Known | TooLow) if sends => {
            shared.pass(&request).await;
            return refusal(if weather == Known { "already known" } else { "nonce too low" });
        }
        _ => {}
    }
    axum::Json(shared.pass(&request).await).into_response()
}
