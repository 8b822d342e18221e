//! The broadcaster's calls: its streams, where to publish, and with which keys.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::future::ready;
use millrace_hop::unix_now;
use millrace_node::events::Topic;
use millrace_node::http::{Caller, NodeUrl, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Broadcaster;
use crate::keys::{self, Addresses, KeyError, KeyView, NewKey};
use crate::origin::console_expiry;
use crate::status::{StreamStatus, StreamView};

fn routes() -> OpenApiRouter<Arc<Broadcaster>> {
    OpenApiRouter::new()
        .routes(routes!(streams))
        .routes(routes!(ingest))
        .routes(routes!(list_keys, new_key))
        .routes(routes!(revoke_key))
}

/// What these calls are, those about recordings among them.
pub fn calls() -> utoipa::openapi::OpenApi {
    let mut calls = routes().into_openapi();
    calls.merge(crate::recording::calls());
    calls
}

/// `/v1/streams`, `/v1/ingest` and `/v1/keys`.
pub(crate) fn router(node: Arc<Broadcaster>) -> OpenApiRouter {
    routes().with_state(node)
}

/// The streams, told as they change.
pub(crate) fn topic(node: Arc<Broadcaster>) -> Topic {
    Topic::new("streams", move |ours| Box::pin(ready(serde_json::to_string(&views(&node, ours)).ok())))
}

/// The streams. Where playback addresses are signed, this machine and owners get good ones; others have to be given theirs.
#[utoipa::path(get, path = "/v1/streams", tag = "streams", responses((status = 200, description = "Live, and the last that ended", body = Vec<StreamView>)))]
async fn streams(State(node): State<Arc<Broadcaster>>, Extension(caller): Extension<Caller>) -> Json<Vec<StreamView>> {
    Json(views(&node, caller.is_trusted()))
}

/// The streams for whom the node trusts, or not.
fn views(node: &Broadcaster, ours: bool) -> Vec<StreamView> {
    let expiry = console_expiry(unix_now());
    let view = |stream: &Arc<StreamStatus>| {
        let (origin, name) = (&node.origin, &stream.name);
        let hls_url = if ours { origin.path(name, expiry) } else { format!("/live/{name}/master.m3u8") };
        stream.view(hls_url, origin.viewers(name), origin.lags(name))
    };
    node.streams.all().iter().map(view).collect()
}

/// Where to publish.
#[derive(Debug, Serialize, ToSchema)]
struct IngestView {
    rtmp_url: String,
    /// None where the node takes no streams by it.
    rtmps_url: Option<String>,
    /// The same.
    srt_url: Option<String>,
    /// On the node's own HTTP address.
    whip_path: &'static str,
    /// Those that the configuration has in the clear.
    keys: Vec<ClearKey>,
}

/// A key of the configuration.
#[derive(Debug, Serialize, ToSchema)]
struct ClearKey {
    /// Public name of the stream.
    name: String,
    key: String,
}

/// Where to publish, and with which keys of the configuration.
#[utoipa::path(get, path = "/v1/ingest", tag = "streams", responses((status = 200, description = "Where to publish", body = IngestView)))]
async fn ingest(State(node): State<Arc<Broadcaster>>) -> Json<IngestView> {
    let told = node.config.keys.iter().filter(|key| !key.key.is_empty());
    Json(IngestView {
        rtmp_url: format!("rtmp://{}/live", node.rtmp),
        rtmps_url: node.rtmps.map(|address| format!("rtmps://{address}/live")),
        srt_url: node.srt.map(|address| format!("srt://{address}")),
        whip_path: "/whip",
        keys: told.map(|key| ClearKey { name: key.name.clone(), key: key.key.clone() }).collect(),
    })
}

/// The stream keys that were made, never the keys themselves.
#[utoipa::path(get, path = "/v1/keys", tag = "keys", responses((status = 200, description = "Oldest first", body = Vec<KeyView>)))]
async fn list_keys(State(node): State<Arc<Broadcaster>>) -> Result<Json<Vec<KeyView>>, Problem> {
    Ok(Json(keys::list(&node.account.store).await.map_err(refused)?))
}

/// What a key is for.
#[derive(Debug, Deserialize, ToSchema)]
struct KeyFor {
    /// Public name of the stream, part of its address; several keys may have one name.
    name: String,
}

/// Makes a stream key and tells it, this once.
#[utoipa::path(post, path = "/v1/keys", tag = "keys", request_body = KeyFor, responses((status = 201, description = "The key", body = NewKey)))]
async fn new_key(
    State(node): State<Arc<Broadcaster>>,
    Extension(url): Extension<NodeUrl>,
    body: Result<Json<KeyFor>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(KeyFor { name }) = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let made = keys::make(&node.account.store, &name, &addresses(&node, &url)).await.map_err(refused)?;
    tracing::info!(stream = made.name, id = made.id, "a stream key was made");
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(made)).into_response())
}

/// Revokes a stream key for good: what is published with it ends within seconds.
#[utoipa::path(delete, path = "/v1/keys/{id}", tag = "keys", params(("id" = String, Path, description = "As the list has it, or its first four digits or more")), responses((status = 200, description = "The key", body = KeyView)))]
async fn revoke_key(State(node): State<Arc<Broadcaster>>, Path(id): Path<String>) -> Result<Json<KeyView>, Problem> {
    let revoked = keys::revoke(&node.account.store, &id).await.map_err(refused)?;
    tracing::info!(stream = revoked.name, id = revoked.id, "a stream key was revoked");
    Ok(Json(revoked))
}

fn refused(error: KeyError) -> Problem {
    let status = match &error {
        KeyError::Name(_) => StatusCode::UNPROCESSABLE_ENTITY,
        KeyError::Id(_) => StatusCode::NOT_FOUND,
        KeyError::Revoked { .. } => StatusCode::CONFLICT,
        KeyError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Problem::new(status, error.to_string())
}

/// Where the node is for a caller who has it at `url`: an address of all interfaces is shown as the host that the caller knows.
fn addresses(node: &Broadcaster, url: &NodeUrl) -> Addresses {
    let host = url.host.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map_or(&*url.host, |(host, _)| host);
    let show = |at: SocketAddr| match at.ip().is_unspecified() {
        true => format!("{host}:{}", at.port()),
        false => at.to_string(),
    };
    Addresses {
        rtmp: show(node.rtmp),
        rtmps: node.rtmps.map(show),
        srt: node.srt.map(show),
        web: format!("{}://{}", url.scheme, url.host),
        signed: !node.config.playback_secret.is_empty(),
    }
}
