//! The transcoder: it lends its devices to an orchestrator, and is paid segment by segment.
//!
//! [`session`]: the connection. [`segment`]: the way of one segment. [`supervisor`] and [`worker`]: the process that each
//! device is. [`devices`]: what is here and how fast it is. [`load`]: how busy it is.

pub mod api;
pub mod config;
pub mod devices;
mod lie;
pub mod load;
mod segment;
mod session;
pub mod supervisor;
pub mod worker;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use alloy::primitives::{Address, B256};
use millrace_contracts::TRANSCODER;
use millrace_contracts::words::Mill;
use millrace_hop::Account;
use millrace_hop::account::{AccountError, Place, REGISTRY_INTERVAL, parse};
use millrace_node::http::Readiness;
use millrace_node::role::Serving;
use millrace_tickets::Terms;
use millrace_wire::messages::{Device, DeviceKind, WorkerStatus};
use millrace_wire::{BindError, Endpoint, Identity, Timing};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub use config::TranscoderConfig;
use lie::Liar;
use supervisor::{Launch, SupervisorError, Worker};

/// As the orchestrator's: either side notices a lost peer within this.
const TIMING: Timing = Timing {
    idle: Duration::from_millis(2_500),
    keep_alive: Duration::from_millis(500),
    handshake: Duration::from_secs(5),
};

/// Why the transcoder does not run.
#[derive(Debug, thiserror::Error)]
pub enum TranscoderError {
    /// The account or a value of the configuration.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The QUIC endpoint.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No device works.
    #[error("device {name} cannot be used: {error}")]
    Device {
        /// Which.
        name: String,
        /// Why.
        error: SupervisorError,
    },
    /// There is no NVENC where it was demanded.
    #[error("transcoder.encoder is nvenc, and there is none here: {0}; say auto to use software then")]
    NoNvenc(String),
    /// This program cannot be started again as a worker.
    #[error("this program's own path is not known: {0}")]
    Program(std::io::Error),
}

/// A device and its process.
#[derive(Clone)]
struct Gpu {
    name: String,
    detail: String,
    kind: DeviceKind,
    capacity: u32,
    worker: Worker,
}

/// A running transcoder.
pub(crate) struct Transcoder {
    account: Arc<Account>,
    orchestrator: Address,
    terms: Terms,
    devices: Vec<Gpu>,
    reserved: Mutex<HashMap<(B256, usize), Held>>,
    liar: Option<Arc<Liar>>,
    ready: Readiness,
    draining: AtomicBool,
    tasks: TaskTracker,
}

#[derive(Default)]
struct Held {
    rate: u32,
    segments: u32,
}

/// Room on a device for one segment; given back on drop.
pub(crate) struct Lane {
    name: String,
    worker: Worker,
    key: (B256, usize),
    node: Arc<Transcoder>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut reserved = self.node.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = reserved.get_mut(&self.key) {
            held.segments = held.segments.saturating_sub(1);
            if held.segments == 0 {
                reserved.remove(&self.key);
            }
        }
    }
}

impl Transcoder {
    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Reserves `rate` megapixels a second for a segment of `stream`: on the device that has the stream already, else on the
    /// one with the most room. A stream counts once, however many of its segments are in work.
    fn reserve(self: &Arc<Self>, stream: B256, rate: u32) -> Option<Lane> {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        let used = |device: usize, reserved: &HashMap<(B256, usize), Held>| -> u32 {
            reserved.iter().filter(|((_, d), _)| *d == device).map(|(_, held)| held.rate).sum()
        };
        let has = (0..self.devices.len()).find(|&d| reserved.contains_key(&(stream, d)));
        let device = has.or_else(|| {
            let room = |d: usize| self.devices[d].capacity.saturating_sub(used(d, &reserved));
            (0..self.devices.len()).max_by_key(|&d| room(d)).filter(|&d| room(d) >= rate)
        })?;
        let held = reserved.entry((stream, device)).or_default();
        (held.rate, held.segments) = (rate, held.segments + 1);
        let Gpu { name, worker, .. } = self.devices[device].clone();
        Some(Lane { name, worker, key: (stream, device), node: self.clone() })
    }

    /// What the orchestrator is told of the devices.
    fn status(&self) -> WorkerStatus {
        let reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        let devices = self.devices.iter().enumerate().map(|(number, gpu)| {
            let held = || reserved.iter().filter(move |((_, d), _)| *d == number).map(|(_, held)| held);
            Device {
                name: gpu.name.clone(),
                kind: gpu.kind,
                detail: gpu.detail.clone(),
                megapixels_per_second: if gpu.worker.status().ready { gpu.capacity } else { 0 },
                in_use: held().map(|h| h.rate).sum(),
                sessions: held().count() as u32,
            }
        });
        WorkerStatus { devices: devices.collect(), draining: self.is_draining() }
    }
}

/// Starts the transcoder: finds, starts and measures its devices, then works for its orchestrator. `worker` are the arguments
/// by which this program becomes a worker process, in front of the device's name. It ends after `stop`: no new segments,
/// those in work are delivered and paid.
pub async fn start(
    config: TranscoderConfig,
    account: Arc<Account>,
    identity: &Identity,
    worker: &[&str],
    stop: CancellationToken,
) -> Result<Serving, TranscoderError> {
    let orchestrator: Address = parse("transcoder.orchestrator", &config.orchestrator)?;
    let Mill(bond) = parse("transcoder.bond_mill", &config.bond_mill)?;
    let face_value: u128 = parse("transcoder.face_value_wei", &config.face_value_wei)?;
    let liar = match config.lie.as_str() {
        "" => None,
        kind => Some(Arc::new(Liar::new(parse("transcoder.lie", kind)?))),
    };
    let terms = Terms { price_per_megapixel: config.price_per_megapixel.into(), face_value, win_prob: u64::MAX };
    let devices = open_devices(&config, worker).await?;
    let endpoint = Endpoint::bind_with(identity, SocketAddr::from(([0, 0, 0, 0], 0)), None, TIMING)?;
    let ready = Readiness::default();
    let redeemer = account.redeemer(config.redeem_batch, config.redeem_after_s);
    let node = Arc::new(Transcoder {
        account,
        orchestrator,
        terms,
        devices,
        reserved: Mutex::default(),
        liar,
        ready: ready.clone(),
        draining: AtomicBool::new(false),
        tasks: TaskTracker::new(),
    });
    let api = api::router(node.clone());
    let fingerprint = identity.fingerprint();
    let work = tokio::spawn(async move {
        // A transcoder dials and is not dialled, so the registry lists no place for it.
        let place = Place { roles: TRANSCODER, uri: String::new(), fingerprint, bond };
        if node.account.register(&place, &stop).await {
            info!("registered as a transcoder");
            node.account.weigh_face_value(face_value).await;
        }
        let redeeming = tokio::spawn(redeemer.run(stop.clone()));
        let registry = tokio::spawn({
            let (node, stop) = (node.clone(), stop.clone());
            async move { node.account.keep_registered(&place, REGISTRY_INTERVAL, &stop).await }
        });
        session::run(node.clone(), endpoint, stop).await;
        for task in [redeeming, registry] {
            let _ = task.await; // both end with `stop`
        }
        node.account.store.close().await;
    });
    Ok(Serving {
        api,
        topics: Vec::new(),
        rest: axum::Router::new(),
        ready,
        rtmp: None,
        rtmps: None,
        srt: None,
        quic: None,
        work,
    })
}

async fn open_devices(config: &TranscoderConfig, worker: &[&str]) -> Result<Vec<Gpu>, TranscoderError> {
    let found =
        tokio::task::spawn_blocking(devices::discover).await.map_err(|e| TranscoderError::NoNvenc(e.to_string()))?;
    info!(why = %found.why, "devices found");
    let chosen = match config.encoder.as_str() {
        "x264" => vec![devices::software()],
        "nvenc" if found.devices.iter().all(|d| d.spec.kind() != "nvenc") => {
            return Err(TranscoderError::NoNvenc(found.why));
        }
        _ => found.devices,
    };
    let program = std::env::current_exe().map_err(TranscoderError::Program)?;
    let mut open = Vec::new();
    for device in chosen {
        let failed = |error| TranscoderError::Device { name: device.name.clone(), error };
        let mut args: Vec<std::ffi::OsString> = worker.iter().map(Into::into).collect();
        args.push(device.spec.to_string().into());
        let launch = Launch { program: program.clone(), args, envs: Vec::new() };
        let process = Worker::start(launch).await.map_err(failed)?;
        let capacity = match config.capacity {
            0 => process.calibrate().await.map_err(failed)?,
            megapixels => megapixels,
        };
        let kind = if device.spec.kind() == "nvenc" { DeviceKind::Nvenc } else { DeviceKind::X264 };
        info!(device = %device.name, detail = %device.detail, capacity, "device ready, megapixels a second");
        if capacity == 0 {
            warn!(device = %device.name, "the device is too slow to promise anything");
        }
        open.push(Gpu { name: device.name, detail: device.detail, kind, capacity, worker: process });
    }
    Ok(open)
}
