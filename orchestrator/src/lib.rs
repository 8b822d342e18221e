//! The orchestrator: it takes segments from broadcasters, gives them to bonded transcoders, verifies what comes back and
//! pays for it.
//!
//! [`sessions`]: who may speak, broadcasters' credit, transcoders' place in the pool. [`pool`]: which transcoder gets a
//! segment. [`relay`]: the way of one segment. [`streams`]: what it is called on its way. [`verification`]: the returned bytes against the source.
//! [`evidence`]: what is kept of those that failed. [`api`]: what the console shows.

pub mod api;
pub mod config;
mod evidence;
pub mod pool;
mod relay;
pub mod sessions;
pub mod streams;
pub mod verification;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, U256};
use millrace_contracts::ORCHESTRATOR;
use millrace_contracts::words::Mill;
use millrace_hop::account::{AccountError, Place, REGISTRY_INTERVAL, parse};
use millrace_hop::{Account, unix_now_ms};
use millrace_node::http::Readiness;
use millrace_node::role::Serving;
use millrace_store::{StoreError, Suspension};
use millrace_tickets::Terms;
use millrace_wire::{BindError, Endpoint, Identity, Timing};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub use config::OrchestratorConfig;
use evidence::Evidence;
use pool::Pool;
use streams::Streams;

/// A killed transcoder shows within this, so that its segments go elsewhere inside a player's buffer.
const TIMING: Timing = Timing {
    idle: Duration::from_millis(2_500),
    keep_alive: Duration::from_millis(500),
    handshake: Duration::from_secs(5),
};
/// How often the locks for transcoders are looked at and topped up.
const FUNDING_INTERVAL: Duration = Duration::from_secs(10);
/// Segments on their way may take this long to be settled when draining.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Why the orchestrator does not run.
#[derive(Debug, thiserror::Error)]
pub enum OrchestratorError {
    /// The account or a value of the configuration.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The QUIC endpoint.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A socket.
    #[error("the quic endpoint has no address: {0}")]
    Socket(#[from] std::io::Error),
}

/// A running orchestrator.
pub(crate) struct Orchestrator {
    pub(crate) config: OrchestratorConfig,
    pub(crate) account: Arc<Account>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) streams: Streams,
    pub(crate) evidence: Arc<Evidence>,
    pub(crate) tasks: TaskTracker,
    pub(crate) transcoder_lock: U256,
    terms: Terms,
}

impl Orchestrator {
    /// What broadcasters are quoted.
    pub(crate) fn terms(&self) -> Terms {
        self.terms
    }

    /// Why `address` is suspended, if it is.
    pub(crate) async fn suspension(&self, address: Address) -> Result<Option<String>, String> {
        let now = unix_now_ms();
        let suspensions = self.account.store.suspensions(now).await.map_err(|e| e.to_string())?;
        Ok(suspensions.into_iter().find(|s| s.worker == address).map(|s| {
            let left = s.until_ms.saturating_sub(now) / 60_000;
            format!("{address} is suspended for another {left} min: {}", s.reason)
        }))
    }

    /// Suspends a transcoder: in the database first, then its connection is closed.
    pub(crate) async fn suspend(&self, worker: Address, reason: &str, duration: Duration) {
        let at_ms = unix_now_ms();
        let until_ms = at_ms + duration.as_millis() as u64;
        let suspension = Suspension { worker, reason: reason.to_owned(), at_ms, until_ms };
        let written: Result<(), StoreError> = self.account.store.suspend(&suspension).await;
        if let Err(error) = written {
            warn!(%worker, %error, "a suspension could not be written down; it holds until a restart only");
        }
        warn!(%worker, reason, seconds = duration.as_secs(), "transcoder suspended");
        self.pool.suspend(worker, suspension);
    }
}

/// Starts the orchestrator. It ends after `stop`: no new segments, those on their way are settled.
pub async fn start(
    config: OrchestratorConfig,
    account: Arc<Account>,
    identity: &Identity,
    stop: CancellationToken,
) -> Result<Serving, OrchestratorError> {
    let listen: SocketAddr = parse("orchestrator.listen", &config.listen)?;
    let Mill(bond) = parse("orchestrator.bond_mill", &config.bond_mill)?;
    let face_value: u128 = parse("orchestrator.face_value_wei", &config.face_value_wei)?;
    let transcoder_lock: U256 = parse("orchestrator.transcoder_lock_wei", &config.transcoder_lock_wei)?;
    let terms = Terms { price_per_megapixel: config.price_per_megapixel.into(), face_value, win_prob: u64::MAX };
    let endpoint = Endpoint::bind_with(identity, listen, None, TIMING)?;
    let quic = endpoint.local_addr()?;
    if config.advertise.is_empty() && quic.ip().is_unspecified() {
        let reason = format!("nobody can connect to {quic}; say under which address others reach this node");
        return Err(AccountError::Config { key: "orchestrator.advertise", value: String::new(), reason }.into());
    }
    let advertise = if config.advertise.is_empty() { quic.to_string() } else { config.advertise.clone() };
    let redeemer = account.redeemer(config.redeem_batch, config.redeem_after_s);
    let pool = Arc::new(Pool::default());
    for suspension in account.store.suspensions(unix_now_ms()).await.map_err(AccountError::from)? {
        pool.suspend(suspension.worker, suspension);
    }
    let evidence = Arc::new(Evidence::open(&account.data_dir));
    let node = Arc::new(Orchestrator {
        config,
        account,
        pool,
        streams: Streams::default(),
        evidence,
        tasks: TaskTracker::new(),
        transcoder_lock,
        terms,
    });
    let (api, topics) = (api::router(node.clone()), vec![api::topic(node.clone())]);
    let ready = Readiness::default();
    let fingerprint = identity.fingerprint();
    let work = tokio::spawn({
        let ready = ready.clone();
        async move {
            let uri = format!("{}{advertise}", millrace_hop::dial::SCHEME);
            let place = Place { roles: ORCHESTRATOR, uri, fingerprint, bond };
            if node.account.register(&place, &stop).await {
                info!(uri = %place.uri, "registered as an orchestrator");
                ready.set(true);
                node.account.weigh_face_value(face_value).await;
            }
            let redeeming = tokio::spawn(redeemer.run(stop.clone()));
            // Once it is registered: nobody else may commit to secrets.
            let sampling = tokio::spawn({
                let (node, stop) = (node.clone(), stop.clone());
                async move { node.account.sampling.run(stop).await }
            });
            let funding = tokio::spawn(keep_locks(node.clone(), stop.clone()));
            let registry = tokio::spawn({
                let (node, stop) = (node.clone(), stop.clone());
                async move { node.account.keep_registered(&place, REGISTRY_INTERVAL, &stop).await }
            });
            accept(node.clone(), &endpoint, &stop).await;
            node.tasks.close();
            if tokio::time::timeout(DRAIN_TIMEOUT, node.tasks.wait()).await.is_err() {
                warn!("segments on their way were given up");
            }
            endpoint.close().await;
            for task in [redeeming, sampling, funding, registry] {
                let _ = task.await; // all end with `stop`
            }
            node.account.store.close().await;
        }
    });
    Ok(Serving {
        api,
        topics,
        rest: axum::Router::new(),
        ready,
        rtmp: None,
        rtmps: None,
        srt: None,
        quic: Some(quic),
        work,
    })
}

/// Meets every peer that connects, until `stop`.
async fn accept(node: Arc<Orchestrator>, endpoint: &Endpoint, stop: &CancellationToken) {
    loop {
        tokio::select! {
            peer = endpoint.accept() => match peer {
                Some(peer) => drop(node.tasks.spawn(sessions::meet(node.clone(), peer, stop.clone()))),
                None => return,
            },
            () = stop.cancelled() => return,
        }
    }
}

/// Keeps the locks filled from which transcoders are paid.
async fn keep_locks(node: Arc<Orchestrator>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(FUNDING_INTERVAL) => {}
            () = stop.cancelled() => return,
        }
        for transcoder in node.pool.map(|(address, _)| *address) {
            let account = &node.account;
            if let Err(error) = account.purse.keep_funded(&account.chain, transcoder, node.transcoder_lock).await {
                warn!(%transcoder, %error, "the lock for a transcoder could not be filled");
            }
        }
    }
}
