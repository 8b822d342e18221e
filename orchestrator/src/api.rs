//! The orchestrator's calls: its transcoders, and the secrets by which it samples their work.

use std::sync::Arc;

use alloy::primitives::{Address, B256};
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use millrace_hop::sampling::SamplingStatus;
use millrace_wire::messages::Device;
use serde::Serialize;
use serde_json::{Value, json};

use crate::Orchestrator;

/// `/v1/transcoders` and `/v1/sampling`.
pub(crate) fn router(node: Arc<Orchestrator>) -> Router {
    Router::new().route("/v1/transcoders", get(transcoders)).route("/v1/sampling", get(sampling)).with_state(node)
}

#[derive(Serialize)]
struct DeviceView {
    name: String,
    kind: String,
    detail: String,
    capacity: u32,
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

#[derive(Serialize)]
struct TranscoderView {
    address: Address,
    name: String,
    state: &'static str,
    devices: Vec<DeviceView>,
    streams: Vec<B256>,
    segments_ok: u64,
    segments_failed: u64,
    earned_wei: String,
    bond_mill: String,
    rtt_ms: f64,
    since: u64,
    suspended: Option<Value>,
}

async fn transcoders(State(node): State<Arc<Orchestrator>>) -> Json<Vec<TranscoderView>> {
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
            suspended: suspended.map(|s| json!({ "reason": s.reason, "until": s.until_ms })),
        }
    });
    views.sort_by(|a, b| a.name.cmp(&b.name));
    Json(views)
}

async fn sampling(State(node): State<Arc<Orchestrator>>) -> Json<SamplingStatus> {
    Json(node.account.sampling.status())
}
