//! The broadcaster's calls: its streams, and where to publish.

use std::sync::Arc;

use axum::extract::State;
use axum::middleware::from_fn;
use axum::routing::get;
use axum::{Json, Router};
use millrace_node::http::loopback_only;
use serde_json::{Value, json};

use crate::Broadcaster;
use crate::status::StreamView;

/// `/v1/streams` and, on the node's own machine only, `/v1/ingest`: it tells the keys that the configuration has in the clear.
pub(crate) fn router(node: Arc<Broadcaster>) -> Router {
    Router::new()
        .route("/v1/streams", get(streams))
        .route("/v1/ingest", get(ingest).layer(from_fn(loopback_only)))
        .with_state(node)
}

async fn streams(State(node): State<Arc<Broadcaster>>) -> Json<Vec<StreamView>> {
    Json(node.streams.all().iter().map(|stream| stream.view()).collect())
}

async fn ingest(State(node): State<Arc<Broadcaster>>) -> Json<Value> {
    let told = node.config.keys.iter().filter(|key| !key.key.is_empty());
    let keys: Vec<Value> = told.map(|key| json!({ "name": key.name, "key": key.key })).collect();
    Json(json!({
        "rtmp_url": format!("rtmp://{}/live", node.rtmp),
        "rtmps_url": node.rtmps.map(|address| format!("rtmps://{address}/live")),
        "srt_url": node.srt.map(|address| format!("srt://{address}")),
        "whip_path": "/whip",
        "keys": keys,
    }))
}
