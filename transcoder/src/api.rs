//! The transcoder's calls: its devices.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use millrace_wire::messages::Device;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Transcoder;
use crate::load::Load;

fn routes() -> OpenApiRouter<Arc<Transcoder>> {
    OpenApiRouter::new().routes(routes!(devices))
}

/// What these calls are.
pub fn calls() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

/// `/v1/devices`.
pub(crate) fn router(node: Arc<Transcoder>) -> OpenApiRouter {
    routes().with_state(node)
}

/// The devices, and the processes behind them.
#[derive(Debug, Serialize, ToSchema)]
struct DevicesView {
    devices: Vec<OwnDevice>,
    /// No new segments are taken.
    draining: bool,
    processes: Vec<ProcessView>,
}

/// A device of this machine's.
#[derive(Debug, Serialize, ToSchema)]
struct OwnDevice {
    name: String,
    /// `nvenc` or `x264`.
    kind: String,
    detail: String,
    /// That it can encode; 0 while its process is not ready.
    megapixels_per_second: u32,
    /// Of them in use.
    in_use: u32,
    /// Streams that it serves now.
    sessions: u32,
    /// How busy it is; none before its process has said.
    load: Option<Load>,
}

impl OwnDevice {
    fn new(device: Device, load: Option<Load>) -> Self {
        Self {
            name: device.name,
            kind: device.kind.to_string(),
            detail: device.detail,
            megapixels_per_second: device.megapixels_per_second,
            in_use: device.in_use,
            sessions: device.sessions,
            load,
        }
    }
}

/// The process of a device.
#[derive(Debug, Serialize, ToSchema)]
struct ProcessView {
    device: String,
    /// None between two lives.
    pid: Option<u32>,
    /// How often it was started again.
    restarts: u32,
    /// Why it last ended.
    last_end: Option<String>,
}

/// The devices of this machine.
#[utoipa::path(get, path = "/v1/devices", tag = "devices", responses((status = 200, description = "The devices", body = DevicesView)))]
async fn devices(State(node): State<Arc<Transcoder>>) -> Json<DevicesView> {
    let status = node.status();
    let processes = node.devices.iter().map(|gpu| {
        let process = gpu.worker.status();
        ProcessView {
            device: gpu.name.clone(),
            pid: process.pid,
            restarts: process.restarts,
            last_end: process.last_end,
        }
    });
    let load = node.devices.iter().map(|gpu| gpu.worker.status().load);
    Json(DevicesView {
        devices: status.devices.into_iter().zip(load).map(|(device, load)| OwnDevice::new(device, load)).collect(),
        draining: status.draining,
        processes: processes.collect(),
    })
}
