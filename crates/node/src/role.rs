//! What a role hands to the program that runs it.

use std::net::SocketAddr;

use axum::Router;
use tokio::task::JoinHandle;
use utoipa_axum::router::OpenApiRouter;

use crate::events::Topic;
use crate::http::Readiness;

/// A role that is running.
pub struct Serving {
    /// Its own calls, under `/api`, with their description.
    pub api: OpenApiRouter,
    /// What of its state is told as it changes.
    pub topics: Vec<Topic>,
    /// What it serves beside the API and the console.
    pub rest: Router,
    /// Whether it can do its work.
    pub ready: Readiness,
    /// Where encoders publish by RTMP.
    pub rtmp: Option<SocketAddr>,
    /// And by RTMP within TLS.
    pub rtmps: Option<SocketAddr>,
    /// Where encoders publish by SRT.
    pub srt: Option<SocketAddr>,
    /// Where peers connect by QUIC.
    pub quic: Option<SocketAddr>,
    /// Ends when the role has drained, after its stop token was cancelled.
    pub work: JoinHandle<()>,
}
