//! The transcoder's calls: its devices.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::Transcoder;

/// `/v1/devices`.
pub(crate) fn router(node: Arc<Transcoder>) -> Router {
    Router::new().route("/v1/devices", get(devices)).with_state(node)
}

async fn devices(State(node): State<Arc<Transcoder>>) -> Json<Value> {
    let status = node.status();
    let processes: Vec<Value> = node
        .devices
        .iter()
        .map(|gpu| {
            let process = gpu.worker.status();
            json!({ "device": gpu.name, "pid": process.pid, "restarts": process.restarts, "last_end": process.last_end })
        })
        .collect();
    Json(json!({ "devices": status.devices, "draining": status.draining, "processes": processes }))
}
