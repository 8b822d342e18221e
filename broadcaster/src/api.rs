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

/// `/v1/streams` and, on the node's own machine only, `/v1/ingest`: it tells the keys.
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
    let keys: Vec<Value> = node.config.keys.iter().map(|key| json!({ "name": key.name, "key": key.key })).collect();
    Json(json!({
        "rtmp_url": format!("rtmp://{}/live", node.rtmp),
        "srt_url": node.srt.map(|address| format!("srt://{address}")),
        "whip_path": "/whip",
        "keys": keys,
    }))
}
