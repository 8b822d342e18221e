//! The part of the API that every role has: the node and its end, its tickets and its segments.
//! Who may ask is decided before, by the node's door.

use std::sync::Arc;

use alloy::primitives::{Address, B256};
use axum::Json;
use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use millrace_node::events::Topic;
use millrace_node::http::{Caller, Problem};
use millrace_node::sections::PeerLink;
use millrace_store::{SegmentRow, StoreError, TicketRow, WinnerState};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::info;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

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
    /// Other nodes for the console.
    pub peers: Vec<PeerLink>,
    /// Ends the node, as a signal does.
    pub stop: CancellationToken,
}

struct Api {
    account: Arc<Account>,
    about: About,
}

fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(node)).routes(routes!(tickets)).routes(routes!(segments)).routes(routes!(drain))
}

/// What these calls are.
pub fn calls() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

/// `/v1/node`, `/v1/tickets`, `/v1/segments` and `/v1/drain`.
pub fn router(account: Arc<Account>, about: About) -> OpenApiRouter {
    routes().with_state(Arc::new(Api { account, about }))
}

/// The tickets and segments, told as they change: what their calls answer without a limit.
pub fn topics(account: &Arc<Account>) -> Vec<Topic> {
    let (paid, made) = (account.clone(), account.clone());
    vec![
        Topic::new("tickets", move |_| {
            let account = paid.clone();
            Box::pin(async move { serde_json::to_string(&tickets_view(&account, LIMIT.0).await.ok()?).ok() })
        }),
        Topic::new("segments", move |_| {
            let account = made.clone();
            Box::pin(async move { serde_json::to_string(&segments_view(&account, LIMIT.0).await.ok()?).ok() })
        }),
    ]
}

/// An answer that could not be given.
fn failed(error: StoreError) -> Problem {
    Problem::internal(&error)
}

/// A node.
#[derive(Debug, Serialize, ToSchema)]
struct NodeView {
    /// `broadcaster`, `orchestrator` or `transcoder`.
    role: &'static str,
    /// For people.
    name: String,
    /// Of its account.
    #[schema(value_type = String)]
    address: Address,
    version: &'static str,
    /// Unix milliseconds.
    started_at: u64,
    /// It ends, and takes nothing new.
    draining: bool,
    /// None while the chain does not answer.
    balance_wei: Option<String>,
    chain: ChainView,
    /// Other nodes that its console shows.
    peers: Vec<PeerLink>,
}

/// The chain that a node's account is on.
#[derive(Debug, Serialize, ToSchema)]
struct ChainView {
    id: u64,
    /// The endpoint; its host alone for those whom the node does not trust with secrets.
    rpc_url: String,
    #[schema(value_type = String)]
    registry: Address,
    #[schema(value_type = String)]
    broker: Address,
    /// The newest; none while the chain does not answer.
    block: Option<u64>,
}

/// An endpoint's address without what may be a key in it: its scheme and host.
fn endpoint_host(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    format!("{scheme}://{}", authority.rsplit('@').next().unwrap_or_default())
}

/// What the node is. Of the chain's endpoint most learn the host: the rest of its address is often a key that is paid for.
#[utoipa::path(get, path = "/v1/node", tag = "node", responses((status = 200, description = "The node", body = NodeView)))]
async fn node(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Json<NodeView> {
    let account = &api.account;
    let chain = &account.chain;
    // A chain that does not answer is shown as absent, and the node goes on.
    let (balance, block) = tokio::join!(chain.balance(account.address()), chain.block_number());
    Json(NodeView {
        role: api.about.role,
        name: account.name.clone(),
        address: account.address(),
        version: api.about.version,
        started_at: account.started_ms,
        draining: api.about.stop.is_cancelled(),
        balance_wei: balance.ok().map(|b| b.to_string()),
        chain: ChainView {
            id: chain.chain_id(),
            rpc_url: if caller.is_trusted() { account.rpc_url.clone() } else { endpoint_host(&account.rpc_url) },
            registry: chain.contracts().registry,
            broker: chain.contracts().broker,
            block: block.ok(),
        },
        peers: api.about.peers.clone(),
    })
}

/// What draining has come to.
#[derive(Debug, Serialize, ToSchema)]
struct Draining {
    /// Always true: the node's process ends when what runs is done.
    draining: bool,
}

/// Drains the node, as SIGTERM does: it takes nothing new, what runs is finished and paid, and its process ends.
#[utoipa::path(post, path = "/v1/drain", tag = "node", responses((status = 202, description = "It drains", body = Draining)))]
async fn drain(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> (StatusCode, Json<Draining>) {
    info!(?caller, "asked to drain");
    api.about.stop.cancel();
    (StatusCode::ACCEPTED, Json(Draining { draining: true }))
}

/// `?limit=`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Limit {
    /// Rows, 50 unless said otherwise; 500 are given at most.
    limit: Option<usize>,
}

impl Limit {
    fn rows(&self) -> u32 {
        self.limit.map_or(LIMIT.0, |rows| u32::try_from(rows).unwrap_or(LIMIT.1)).clamp(1, LIMIT.1)
    }
}

/// A ticket.
#[derive(Debug, Serialize, ToSchema)]
struct TicketView {
    at: u64,
    /// `in` or `out`.
    #[schema(value_type = String)]
    direction: millrace_store::Direction,
    #[schema(value_type = String)]
    peer: Address,
    face_value_wei: String,
    /// 0 to 1.
    win_prob: f64,
    expected_wei: String,
    /// None while it is not known: a payer learns it when the ticket is redeemed.
    winner: Option<bool>,
    /// Of a winner: `queued`, `sent`, `mined`, `final` or `dropped`.
    #[schema(value_type = Option<String>)]
    state: Option<WinnerState>,
    #[schema(value_type = Option<String>)]
    tx: Option<B256>,
}

/// All tickets in figures, and the last ones.
#[derive(Debug, Serialize, ToSchema)]
struct TicketsView {
    received: ReceivedView,
    sent: SentView,
    /// Newest first.
    recent: Vec<TicketView>,
}

/// Tickets that this node was paid with.
#[derive(Debug, Serialize, ToSchema)]
struct ReceivedView {
    count: u64,
    expected_wei: String,
    winners: u64,
    /// Winners that wait for the chain.
    queued: u64,
    redeemed_wei: String,
    dropped: u64,
}

/// Tickets that this node paid with.
#[derive(Debug, Serialize, ToSchema)]
struct SentView {
    count: u64,
    expected_wei: String,
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

/// What was paid, and to whom.
#[utoipa::path(get, path = "/v1/tickets", tag = "money", params(Limit), responses((status = 200, description = "The tickets", body = TicketsView)))]
async fn tickets(State(api): State<Arc<Api>>, Query(limit): Query<Limit>) -> Result<Json<TicketsView>, Problem> {
    tickets_view(&api.account, limit.rows()).await.map(Json).map_err(failed)
}

async fn tickets_view(account: &Account, rows: u32) -> Result<TicketsView, StoreError> {
    let totals = account.store.totals().await?;
    let recent = account.store.recent_tickets(rows).await?;
    Ok(TicketsView {
        received: ReceivedView {
            count: totals.received,
            expected_wei: totals.received_expected.to_string(),
            winners: totals.winners,
            queued: totals.queued,
            redeemed_wei: totals.redeemed.to_string(),
            dropped: totals.dropped,
        },
        sent: SentView { count: totals.sent, expected_wei: totals.sent_expected.to_string() },
        recent: recent.into_iter().map(TicketView::from).collect(),
    })
}

/// An attempt at a segment.
#[derive(Debug, Serialize, ToSchema)]
struct SegmentView {
    at: u64,
    #[schema(value_type = String)]
    stream: B256,
    seq: u64,
    attempt: u32,
    #[schema(value_type = String)]
    worker: Address,
    worker_name: String,
    /// `pass`, `fail`, `lost` or `refused`.
    result: String,
    fault: Option<String>,
    latency_ms: u64,
    paid_wei: String,
    #[schema(value_type = String)]
    payer: Address,
    #[schema(value_type = String)]
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

/// The last attempts at segments, newest first.
#[utoipa::path(get, path = "/v1/segments", tag = "segments", params(Limit), responses((status = 200, description = "The attempts", body = Vec<SegmentView>)))]
async fn segments(State(api): State<Arc<Api>>, Query(limit): Query<Limit>) -> Result<Json<Vec<SegmentView>>, Problem> {
    segments_view(&api.account, limit.rows()).await.map(Json).map_err(failed)
}

async fn segments_view(account: &Account, rows: u32) -> Result<Vec<SegmentView>, StoreError> {
    let rows = account.store.recent_segments(rows).await?;
    Ok(rows.into_iter().map(SegmentView::from).collect())
}

#[cfg(test)]
mod tests {
    use super::endpoint_host;

    #[test]
    fn the_public_learns_no_key_of_an_endpoint() {
        for (url, shown) in [
            ("http://127.0.0.1:8545", "http://127.0.0.1:8545"),
            ("https://mainnet.example/v3/0123key", "https://mainnet.example"),
            ("https://user:key@node.example:8545/?token=key#key", "https://node.example:8545"),
            ("https://node.example?token=a@b", "https://node.example"),
        ] {
            assert_eq!(endpoint_host(url), shown);
        }
    }
}
