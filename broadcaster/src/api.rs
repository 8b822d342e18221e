//! The broadcaster's calls: its streams, and where to publish.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Uri};
use axum::middleware::from_fn;
use axum::routing::get;
use axum::{Json, Router};
use millrace_hop::unix_now;
use millrace_node::http::{is_local, loopback_only};
use serde_json::{Value, json};

use crate::Broadcaster;
use crate::status::{StreamStatus, StreamView};

/// `/v1/streams` and, on the node's own machine only, `/v1/ingest`: it tells the keys that the configuration has in the clear.
pub(crate) fn router(node: Arc<Broadcaster>) -> Router {
    Router::new()
        .route("/v1/streams", get(streams))
        .route("/v1/ingest", get(ingest).layer(from_fn(loopback_only)))
        .with_state(node)
}

/// How long the console of this machine may watch with one address, where addresses are signed.
const CONSOLE_WATCHES: u64 = 24 * 3600;

/// The streams. Where playback addresses are signed, this machine gets good ones; others have to be given theirs.
async fn streams(
    State(node): State<Arc<Broadcaster>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
) -> Json<Vec<StreamView>> {
    let ours = is_local(from, &headers, &uri);
    // The same address for a day: a player that is told another one begins anew.
    let expiry = if ours { (unix_now() / CONSOLE_WATCHES + 2) * CONSOLE_WATCHES } else { 0 };
    let view = |stream: &Arc<StreamStatus>| {
        let (origin, name) = (&node.origin, &stream.name);
        let hls_url = if ours { origin.path(name, expiry) } else { format!("/live/{name}/master.m3u8") };
        stream.view(hls_url, origin.viewers(name))
    };
    Json(node.streams.all().iter().map(view).collect())
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
