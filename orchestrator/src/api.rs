//! The orchestrator's calls: its transcoders, the secrets by which it samples their work, and the evidence of what failed.

use std::sync::Arc;

use alloy::primitives::{Address, B256};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::future::ready;
use millrace_hop::sampling::SamplingStatus;
use millrace_node::events::Topic;
use millrace_node::http::Problem;
use millrace_wire::messages::Device;
use serde::Serialize;
use tower_http::services::ServeFile;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Orchestrator;
use crate::evidence::Record;

/// A file of evidence never changes under its name, and is for those who may read here.
const CACHE: &str = "private, max-age=86400, immutable";

fn routes() -> OpenApiRouter<Arc<Orchestrator>> {
    OpenApiRouter::new()
        .routes(routes!(transcoders))
        .routes(routes!(sampling))
        .routes(routes!(evidence))
        .routes(routes!(evidence_file))
}

/// What these calls are.
pub fn calls() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

/// `/v1/transcoders`, `/v1/sampling` and `/v1/evidence`.
pub(crate) fn router(node: Arc<Orchestrator>) -> OpenApiRouter {
    routes().with_state(node)
}

/// The transcoders, told as they change.
pub(crate) fn topic(node: Arc<Orchestrator>) -> Topic {
    Topic::new("transcoders", move |_| Box::pin(ready(serde_json::to_string(&views(&node)).ok())))
}

/// A device of a transcoder.
#[derive(Debug, Serialize, ToSchema)]
struct DeviceView {
    name: String,
    kind: String,
    detail: String,
    /// Megapixels a second that it can encode.
    capacity: u32,
    /// Of them in use.
    in_use: u32,
    sessions: u32,
}

impl From<&Device> for DeviceView {
    fn from(device: &Device) -> Self {
        Self {
            name: device.name.clone(),
            kind: device.kind.to_string(),
            detail: device.detail.clone(),
            capacity: device.megapixels_per_second,
            in_use: device.in_use,
            sessions: device.sessions,
        }
    }
}

/// A transcoder of this orchestrator's.
#[derive(Debug, Serialize, ToSchema)]
struct TranscoderView {
    #[schema(value_type = String)]
    address: Address,
    name: String,
    /// `ready`, `working`, `suspended` or `gone`.
    state: &'static str,
    devices: Vec<DeviceView>,
    #[schema(value_type = Vec<String>)]
    streams: Vec<B256>,
    segments_ok: u64,
    segments_failed: u64,
    earned_wei: String,
    bond_mill: String,
    rtt_ms: f64,
    since: u64,
    suspended: Option<SuspendedView>,
}

/// Why and until when a transcoder gets no work.
#[derive(Debug, Serialize, ToSchema)]
struct SuspendedView {
    reason: String,
    /// Unix milliseconds.
    until: u64,
}

/// The transcoders that have worked for this orchestrator since it started.
#[utoipa::path(get, path = "/v1/transcoders", tag = "transcoders", responses((status = 200, description = "By name", body = Vec<TranscoderView>)))]
async fn transcoders(State(node): State<Arc<Orchestrator>>) -> Json<Vec<TranscoderView>> {
    Json(views(&node))
}

fn views(node: &Orchestrator) -> Vec<TranscoderView> {
    let suspensions = node.pool.suspensions(millrace_hop::unix_now_ms());
    let originals = node.streams.originals();
    let mut views = node.pool.map(|(address, t)| {
        let suspended = suspensions.get(address);
        let alive = t.peer.is_alive();
        // As broadcasters call them: so does whoever looks at the whole network.
        let named = |name: B256| originals.get(&name).copied().unwrap_or(name);
        let streams: Vec<B256> = t.streams().into_iter().map(named).collect();
        TranscoderView {
            address: *address,
            name: t.name.clone(),
            state: match (suspended, alive, streams.is_empty()) {
                (Some(_), _, _) => "suspended",
                (_, false, _) => "gone",
                (_, _, true) => "ready",
                (_, _, false) => "working",
            },
            devices: t.status.devices.iter().map(DeviceView::from).collect(),
            streams,
            segments_ok: t.segments_ok,
            segments_failed: t.segments_failed,
            earned_wei: t.earned.to_string(),
            bond_mill: millrace_contracts::words::decimal(t.bond),
            rtt_ms: t.peer.rtt().as_secs_f64() * 1_000.0,
            since: t.since_ms,
            suspended: suspended.map(|s| SuspendedView { reason: s.reason.clone(), until: s.until_ms }),
        }
    });
    views.sort_by(|a, b| a.name.cmp(&b.name));
    views
}

/// How its secrets of sampling stand on the chain; times are unix seconds.
#[utoipa::path(get, path = "/v1/sampling", tag = "transcoders", responses((status = 200, description = "The secrets", body = SamplingStatus)))]
async fn sampling(State(node): State<Arc<Orchestrator>>) -> Json<SamplingStatus> {
    Json(node.account.sampling.status())
}

/// Renditions that failed verification, the newest first: what was wrong, what both sides have signed, and which files show it.
#[utoipa::path(get, path = "/v1/evidence", tag = "transcoders", responses((status = 200, description = "The last 64", body = Vec<Record>)))]
async fn evidence(State(node): State<Arc<Orchestrator>>) -> Json<Vec<Record>> {
    Json(node.evidence.list())
}

/// A file of it: the key frame of source or rendition as JPEG, or its bytes as MP4.
#[utoipa::path(get, path = "/v1/evidence/{id}/{file}", tag = "transcoders", params(("id" = String, Path, description = "Of the evidence"), ("file" = String, Path, description = "One of its `files`")), responses((status = 200, description = "The file", content_type = "application/octet-stream")))]
async fn evidence_file(
    State(node): State<Arc<Orchestrator>>,
    Path((id, file)): Path<(String, String)>,
    asked: Request,
) -> Result<Response, Problem> {
    let gone = || {
        let words = "there is no such file: GET /api/v1/evidence lists what is kept, and the oldest go";
        Problem::new(StatusCode::NOT_FOUND, words)
    };
    let path = node.evidence.file(&id, &file).ok_or_else(gone)?;
    let served = ServeFile::new(path).try_call(asked).await.map_err(|error| Problem::internal(&error))?;
    if served.status() == StatusCode::NOT_FOUND {
        return Err(gone());
    }
    Ok(([(header::CACHE_CONTROL, CACHE)], served.map(Body::new)).into_response())
}
