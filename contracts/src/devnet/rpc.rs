//! JSON-RPC 2.0 over HTTP: one request or a batch in a POST body.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Value, json};
use tower_http::cors::CorsLayer;
use tower_http::timeout::TimeoutLayer;

use super::{Shared, methods};

/// Bytes of a request: several times the largest transaction, which creates a contract of 48 KiB in hex.
const MAX_BODY: usize = 1 << 20;

/// Requests in a batch. Clients split at some dozens.
const MAX_BATCH: usize = 100;

/// Bound on a request, its body's arrival included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What a method fails with, as JSON-RPC shows it.
#[derive(Debug, Serialize)]
pub(super) struct RpcError {
    pub(super) code: i64,
    pub(super) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<Value>,
}

impl RpcError {
    pub(super) const INVALID_REQUEST: i64 = -32600;
    pub(super) const NO_METHOD: i64 = -32601;
    pub(super) const INVALID_PARAMS: i64 = -32602;
    /// The node refuses a transaction (EIP-1474).
    pub(super) const REJECTED: i64 = -32003;
    /// What is asked for is not kept (EIP-1474).
    pub(super) const UNAVAILABLE: i64 = -32001;
    pub(super) const LIMIT: i64 = -32005;
    pub(super) const INTERNAL: i64 = -32603;
    /// A contract reverted; `data` has its reason. Every client knows this number.
    pub(super) const REVERTED: i64 = 3;

    pub(super) fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", post(handle))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT))
        // A browser wallet asks from its own origin. The chain holds play money and no keys.
        .layer(CorsLayer::permissive())
        .with_state(shared)
}

async fn handle(State(shared): State<Arc<Shared>>, body: axum::body::Bytes) -> Response {
    let answer = match serde_json::from_slice(&body) {
        Ok(Value::Array(batch)) if batch.is_empty() || batch.len() > MAX_BATCH => {
            let message = format!("a batch has 1 to {MAX_BATCH} requests, this one {}", batch.len());
            Some(failure(Value::Null, RpcError::new(RpcError::INVALID_REQUEST, message)))
        }
        Ok(Value::Array(batch)) => {
            let mut answers = Vec::new();
            for request in batch {
                answers.extend(one(&shared, request));
                tokio::task::yield_now().await; // others get their turn, and the time limit its say
            }
            (!answers.is_empty()).then_some(Value::Array(answers))
        }
        Ok(request) => one(&shared, request),
        Err(error) => Some(failure(Value::Null, RpcError::new(-32700, format!("not JSON: {error}")))),
    };
    match answer {
        Some(answer) => Json(answer).into_response(),
        None => StatusCode::NO_CONTENT.into_response(), // notifications alone
    }
}

/// Answers one request; `None` for a notification, which has no id.
fn one(shared: &Shared, mut request: Value) -> Option<Value> {
    let Some(fields) = request.as_object_mut() else {
        return Some(failure(Value::Null, RpcError::new(RpcError::INVALID_REQUEST, "a request is an object")));
    };
    let id = fields.remove("id");
    let params = match fields.remove("params") {
        Some(Value::Array(params)) => Ok(params),
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(_) => Err(RpcError::new(RpcError::INVALID_PARAMS, "params are an array")),
    };
    let result = match fields.get("method").and_then(Value::as_str) {
        Some(method) => params.and_then(|params| methods::call(shared, method, params)),
        None => Err(RpcError::new(RpcError::INVALID_REQUEST, "a request has a method")),
    };
    let id = id?;
    Some(match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => failure(id, error),
    })
}

fn failure(id: Value, error: RpcError) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
}
