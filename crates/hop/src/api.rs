//! The part of the API that every role has: the node, its tickets and its segments. Read-only.

use std::sync::Arc;

use alloy::primitives::{Address, B256};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use millrace_store::{SegmentRow, StoreError, TicketRow, WinnerState};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Account;

/// Rows that a list gives unless it is asked for fewer or more, and the most that it gives.
const LIMIT: (u32, u32) = (50, 500);

/// What the API says of this node beside its account.
#[derive(Debug, Clone)]
pub struct About {
    /// `broadcaster`, `orchestrator` or `transcoder`.
    pub role: &'static str,
    /// The program's version.
    pub version: &'static str,
    /// Other nodes for the console: a JSON list.
    pub peers: Value,
}

struct Api {
    account: Arc<Account>,
    about: About,
}

/// `/v1/node`, `/v1/tickets` and `/v1/segments`.
pub fn router(account: Arc<Account>, about: About) -> Router {
    Router::new()
        .route("/v1/node", get(node))
        .route("/v1/tickets", get(tickets))
        .route("/v1/segments", get(segments))
        .with_state(Arc::new(Api { account, about }))
}

/// An answer that could not be given.
pub fn failed(error: &StoreError) -> (StatusCode, Json<Value>) {
    (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": error.to_string() })))
}

async fn node(State(api): State<Arc<Api>>) -> Json<Value> {
    let account = &api.account;
    let chain = &account.chain;
    // A chain that does not answer is shown as absent, and the node goes on.
    let (balance, block) = tokio::join!(chain.balance(account.address()), chain.block_number());
    Json(json!({
        "role": api.about.role,
        "name": account.name,
        "address": account.address(),
        "version": api.about.version,
        "started_at": account.started_ms,
        "balance_wei": balance.ok().map(|b| b.to_string()),
        "chain": {
            "id": chain.chain_id(),
            "rpc_url": account.rpc_url,
            "registry": chain.contracts().registry,
            "broker": chain.contracts().broker,
            "block": block.ok(),
        },
        "peers": api.about.peers,
    }))
}

/// `?limit=`.
#[derive(Debug, Deserialize)]
struct Limit {
    limit: Option<u32>,
}

impl Limit {
    fn rows(&self) -> u32 {
        self.limit.unwrap_or(LIMIT.0).clamp(1, LIMIT.1)
    }
}

#[derive(Serialize)]
struct TicketView {
    at: u64,
    direction: millrace_store::Direction,
    peer: Address,
    face_value_wei: String,
    win_prob: f64,
    expected_wei: String,
    winner: Option<bool>,
    state: Option<WinnerState>,
    tx: Option<B256>,
}

impl From<TicketRow> for TicketView {
    fn from(row: TicketRow) -> Self {
        Self {
            at: row.at_ms,
            direction: row.direction,
            peer: row.peer,
            face_value_wei: row.face_value.to_string(),
            win_prob: row.win_prob as f64 / 2f64.powi(64),
            expected_wei: row.expected.to_string(),
            winner: row.winner,
            state: row.state,
            tx: row.tx,
        }
    }
}

async fn tickets(
    State(api): State<Arc<Api>>,
    Query(limit): Query<Limit>,
) -> Result<Json<Value>, (StatusCode, Json<Value>)> {
    let store = &api.account.store;
    let totals = store.totals().await.map_err(|e| failed(&e))?;
    let recent = store.recent_tickets(limit.rows()).await.map_err(|e| failed(&e))?;
    let recent: Vec<TicketView> = recent.into_iter().map(TicketView::from).collect();
    Ok(Json(json!({
        "received": {
            "count": totals.received,
            "expected_wei": totals.received_expected.to_string(),
            "winners": totals.winners,
            "queued": totals.queued,
            "redeemed_wei": totals.redeemed.to_string(),
            "dropped": totals.dropped,
        },
        "sent": { "count": totals.sent, "expected_wei": totals.sent_expected.to_string() },
        "recent": recent,
    })))
}

#[derive(Serialize)]
struct SegmentView {
    at: u64,
    stream: B256,
    seq: u64,
    attempt: u32,
    worker: Address,
    worker_name: String,
    result: String,
    fault: Option<String>,
    latency_ms: u64,
    paid_wei: String,
    payer: Address,
    payee: Address,
}

impl From<SegmentRow> for SegmentView {
    fn from(row: SegmentRow) -> Self {
        Self {
            at: row.at_ms,
            stream: row.stream,
            seq: row.seq,
            attempt: row.attempt,
            worker: row.worker,
            worker_name: row.worker_name,
            result: row.result,
            fault: row.fault,
            latency_ms: row.latency_ms,
            paid_wei: row.paid.to_string(),
            payer: row.payer,
            payee: row.payee,
        }
    }
}

async fn segments(
    State(api): State<Arc<Api>>,
    Query(limit): Query<Limit>,
) -> Result<Json<Vec<SegmentView>>, (StatusCode, Json<Value>)> {
    let rows = api.account.store.recent_segments(limit.rows()).await.map_err(|e| failed(&e))?;
    Ok(Json(rows.into_iter().map(SegmentView::from).collect()))
}
