//! The chain, as the console's page reads it through its node: `POST /v1/rpc` is Ethereum JSON-RPC, of which reading our contracts
//! is passed on, and `GET /v1/chain` says which chain it is. So the endpoint's address, which may hold a key, reaches no browser,
//! and a page asks its own origin only.
//!
//! What is not here: a way to send. A wallet signs, and sends by an endpoint of its own.
//! - `allowed`: what is passed on. `rate`: how much of it for each address.

mod allowed;
mod rate;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::Address;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millrace_contracts::{Addresses, Chain, RelayError};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use rate::{Rate, Rates};

/// Bytes of a request: a batch of calls, each of a few hundred.
const MAX_BODY: usize = 64 << 10;
/// Requests in a batch. They are passed on one by one, all at once.
const MAX_BATCH: usize = 20;
/// Bytes of an answer, a batch's together: some six thousand events.
const MAX_ANSWER: usize = 4 << 20;
/// Requests that are passed on at once, of all browsers: a full batch for each of three pages that open together.
const MAX_UNDER_WAY: usize = 64;
/// From the request to its answer, the wait for a place included: two endpoints that hang, and one that answers.
const LIMIT: Duration = Duration::from_secs(15);
const RATE: Rate = Rate { burst: 600, per_second: 40 };
/// Characters of an endpoint's own words that are passed on.
const MAX_WORDS: usize = 300;

/// Which chain a node is on, for a page that reads it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ChainFacts {
    /// EIP-155 id.
    pub id: u64,
    /// The network's name for people.
    pub name: String,
    /// Where the contracts are.
    #[schema(value_type = Object)]
    pub contracts: Addresses,
    /// The block before which nothing of them happened.
    pub first_block: u64,
    /// Blocks that follow a transaction before it is final.
    pub confirmations: u64,
    /// An endpoint that wallets may be told of.
    pub rpc_url: Option<String>,
}

/// Why a request is not passed on, or has no result: a JSON-RPC error.
#[derive(Debug, PartialEq, Serialize)]
struct Refusal {
    code: i64,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

impl Refusal {
    fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }
    fn syntax(message: impl Into<String>) -> Self {
        Self::new(-32700, message)
    }
    fn request(message: impl Into<String>) -> Self {
        Self::new(-32600, message)
    }
    fn method(message: impl Into<String>) -> Self {
        Self::new(-32601, message)
    }
    fn params(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }
    fn internal(message: impl Into<String>) -> Self {
        Self::new(-32603, message)
    }
    /// A limit is exceeded (EIP-1474).
    fn limit(message: impl Into<String>) -> Self {
        Self::new(-32005, message)
    }

    fn answer(self, id: &Value) -> Value {
        json!({ "jsonrpc": "2.0", "id": id, "error": self })
    }

    fn respond(self, status: StatusCode) -> Response {
        (status, Json(self.answer(&Value::Null))).into_response()
    }
}

impl From<RelayError> for Refusal {
    fn from(error: RelayError) -> Self {
        match error {
            RelayError::Refused { code, message, data } => {
                Self { code, message: message.chars().take(MAX_WORDS).collect(), data }
            }
            error @ RelayError::Unreachable => Self::internal(error.to_string()),
        }
    }
}

/// Who is counted as one: the address of a connection, or the part of it that belongs to one customer.
pub type Visitor = fn(IpAddr) -> IpAddr;

struct Proxy {
    chain: Chain,
    facts: ChainFacts,
    ours: [Address; 6],
    visitor: Visitor,
    rates: Rates,
    places: Arc<Semaphore>,
}

fn routes() -> OpenApiRouter<Arc<Proxy>> {
    OpenApiRouter::new().routes(routes!(rpc)).routes(routes!(facts))
}

/// What these calls are.
pub fn calls() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

/// `/v1/rpc` and `/v1/chain`.
pub fn router(chain: Chain, facts: ChainFacts, visitor: Visitor) -> OpenApiRouter {
    at_rate(chain, facts, visitor, RATE)
}

fn at_rate(chain: Chain, facts: ChainFacts, visitor: Visitor, rate: Rate) -> OpenApiRouter {
    let Addresses { token, parameters, registry, broker, sampling, disputes } = chain.contracts();
    let ours = [token, parameters, registry, broker, sampling, disputes];
    let (rates, places) = (Rates::new(rate), Arc::new(Semaphore::new(MAX_UNDER_WAY)));
    let proxy = Proxy { chain, facts, ours, visitor, rates, places };
    routes().layer(DefaultBodyLimit::max(MAX_BODY)).with_state(Arc::new(proxy))
}

/// Which chain it is.
#[utoipa::path(get, path = "/v1/chain", tag = "chain", responses((status = 200, description = "The chain", body = ChainFacts)))]
async fn facts(State(proxy): State<Arc<Proxy>>) -> Json<ChainFacts> {
    Json(proxy.facts.clone())
}

/// Reads the chain: JSON-RPC, one request or a batch of twenty at most, of methods that read our contracts.
#[utoipa::path(post, path = "/v1/rpc", tag = "chain", request_body = Value, responses((status = 200, description = "A JSON-RPC answer, or as many as there were requests", body = Value), (status = 415, description = "The body says that it is something else than JSON", body = Value), (status = 429, description = "Too many requests of this address", body = Value), (status = 504, description = "The chain did not answer in time", body = Value)))]
async fn rpc(
    State(proxy): State<Arc<Proxy>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    // What any page can send without being asked for leave would spend this node's requests.
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media_type.starts_with("application/json") {
        return Refusal::request("the body is application/json").respond(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let (requests, is_batch) = match serde_json::from_slice(&body) {
        Ok(Value::Array(batch)) if batch.is_empty() || batch.len() > MAX_BATCH => {
            let message = format!("a batch has 1 to {MAX_BATCH} requests, this one {}", batch.len());
            return Refusal::request(message).respond(StatusCode::OK);
        }
        Ok(Value::Array(batch)) => (batch, true),
        Ok(request) => (vec![request], false),
        Err(error) => return Refusal::syntax(format!("not JSON: {error}")).respond(StatusCode::OK),
    };
    let who = (proxy.visitor)(from.ip());
    if let Err(wait) = proxy.rates.take(who, requests.len() as u32, Instant::now()) {
        let seconds = wait.as_secs() + 1;
        let message = format!("too many requests from this address: again in {seconds} s");
        let mut response = Refusal::limit(message).respond(StatusCode::TOO_MANY_REQUESTS);
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        return response;
    }
    let Ok(mut answers) = tokio::time::timeout(LIMIT, all(&proxy, requests)).await else {
        let message = format!("no answer of the chain within {} s", LIMIT.as_secs());
        return Refusal::internal(message).respond(StatusCode::GATEWAY_TIMEOUT);
    };
    bound(&mut answers);
    match answers.pop() {
        Some(only) if !is_batch => Json(only).into_response(),
        last => {
            answers.extend(last);
            Json(answers).into_response()
        }
    }
}

/// The answers in the order of their requests. Whoever stops waiting ends what runs.
async fn all(proxy: &Arc<Proxy>, requests: Vec<Value>) -> Vec<Value> {
    let mut answers = vec![Value::Null; requests.len()];
    let mut running = JoinSet::new();
    for (at, request) in requests.into_iter().enumerate() {
        let proxy = Arc::clone(proxy);
        running.spawn(async move { (at, one(&proxy, request).await) });
    }
    while let Some(done) = running.join_next().await {
        if let Ok((at, answer)) = done {
            answers[at] = answer;
        }
    }
    answers
}

async fn one(proxy: &Proxy, mut request: Value) -> Value {
    let id = request.get_mut("id").map(Value::take).unwrap_or_default();
    match passed_on(proxy, request).await {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(refusal) => refusal.answer(&id),
    }
}

async fn passed_on(proxy: &Proxy, mut request: Value) -> Result<Value, Refusal> {
    let params = match request.get_mut("params").map(Value::take) {
        Some(Value::Array(params)) => params,
        None | Some(Value::Null) => Vec::new(),
        Some(_) => return Err(Refusal::params("params are an array")),
    };
    let method = request.get("method").and_then(Value::as_str);
    let method = method.ok_or_else(|| Refusal::request("a request is an object with a method"))?;
    let method = allowed::allowed(method, &params, &proxy.ours)?;
    let _place = proxy.places.acquire().await.map_err(|_| Refusal::internal("the node is stopping"))?;
    Ok(proxy.chain.relay(method, params).await?)
}

/// Answers that together are too long give way to a refusal.
fn bound(answers: &mut [Value]) {
    let mut left = MAX_ANSWER;
    for answer in answers {
        let length = answer.to_string().len();
        if length <= left {
            left -= length;
            continue;
        }
        let id = answer.get_mut("id").map(Value::take).unwrap_or_default();
        *answer = Refusal::limit(format!("more than {MAX_ANSWER} bytes: ask for less at once")).answer(&id);
    }
}

#[cfg(test)]
mod tests;
