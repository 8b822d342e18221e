//! The broadcaster: it takes live streams in, has their ladders made and serves the result.
//!
//! In the order in which a segment meets them: [`ingest`], [`segmenter`], [`ladder`](ladder.rs) with
//! [`orchestrators`](orchestrators.rs), and [`origin`]; [`recording`] writes down what the origin has. [`publication`](publication.rs) ties them together for one stream.
//! [`publisher`] is the other end of ingest, for measurements and tests.

pub mod api;
pub mod config;
pub mod events;
mod health;
pub mod ingest;
pub mod keys;
mod ladder;
mod orchestrators;
pub mod origin;
mod publication;
pub mod publisher;
pub mod recording;
pub mod segmenter;
mod status;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, U256};
use millrace_hop::Account;
use millrace_hop::account::{AccountError, parse};
use millrace_node::http::Readiness;
use millrace_node::role::Serving;
use millrace_node::tls::{Certificate, Keys, TlsError};
use millrace_wire::{BindError, Endpoint, Identity};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub use config::BroadcasterConfig;
use ingest::keyring::{Keyring, end_revoked};
use ingest::srt::{SrtOptions, SrtOptionsError};
use ingest::whip::PortRange;
use ingest::{Gate, ListenError, RtmpServer, SrtServer, Timeouts, WhipServer};
use orchestrators::{Dialler, Orchestrators};
use origin::Origin;
use recording::Recordings;
use status::Streams;

/// Publications that wait to be taken on.
const PUBLICATIONS: usize = 16;
/// How often ended streams are put away.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// Segments on their way may take this long when draining.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// A certificate of RTMPS alone.
const TLS_KEYS: Keys = Keys {
    certificate: "broadcaster.tls_certificate",
    key: "broadcaster.tls_key",
    listener: "broadcaster.rtmps_listen",
};

/// Why the broadcaster does not run.
#[derive(Debug, thiserror::Error)]
pub enum BroadcasterError {
    /// The account or a value of the configuration.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The QUIC endpoint.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificate of RTMPS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The socket of RTMP or RTMPS.
    #[error("cannot listen for {protocol} on {address}: {error}")]
    Rtmp {
        /// Which of the two.
        protocol: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system says.
        error: ListenError,
    },
    /// The settings of SRT.
    #[error(transparent)]
    SrtOptions(#[from] SrtOptionsError),
    /// The SRT socket.
    #[error("cannot listen for srt on {address}: {error}; broadcaster.srt_listen sets another address")]
    Srt {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// The UDP sockets of WHIP.
    #[error("cannot bind broadcaster.whip_udp_ports = {ports:?}: {error}")]
    Whip {
        /// Which.
        ports: String,
        /// What the system says.
        error: std::io::Error,
    },
}

impl BroadcasterError {
    /// Whether the configuration is wrong, and not the world.
    pub fn is_config(&self) -> bool {
        match self {
            Self::Account(error) => error.is_config(),
            Self::Tls(_) | Self::SrtOptions(_) => true,
            _ => false,
        }
    }
}

/// A running broadcaster.
pub(crate) struct Broadcaster {
    config: BroadcasterConfig,
    account: Arc<Account>,
    origin: Origin,
    orchestrators: Orchestrators,
    streams: Streams,
    recordings: Option<Arc<Recordings>>,
    rtmp: SocketAddr,
    rtmps: Option<SocketAddr>,
    srt: Option<SocketAddr>,
    tasks: TaskTracker,
}

/// Starts the broadcaster, with the node's certificate, where it has one, for RTMPS too. It ends after `stop`: no new publications, those that are live end cleanly, and their last
/// segments are paid.
pub async fn start(
    config: BroadcasterConfig,
    certificate: Option<Arc<Certificate>>,
    account: Arc<Account>,
    identity: &Identity,
    stop: CancellationToken,
) -> Result<Serving, BroadcasterError> {
    let listen: SocketAddr = parse("broadcaster.rtmp_listen", &config.rtmp_listen)?;
    let secure: Option<(SocketAddr, Arc<Certificate>)> = match config.rtmps_listen.as_str() {
        "" => None,
        address => {
            let own = !(config.tls_certificate.is_empty() && config.tls_key.is_empty());
            let certificate = match certificate {
                Some(nodes) if !own => nodes,
                _ => Certificate::load(TLS_KEYS, config.tls_certificate.as_ref(), config.tls_key.as_ref())?,
            };
            Some((parse("broadcaster.rtmps_listen", address)?, certificate))
        }
    };
    let ports: PortRange = parse("broadcaster.whip_udp_ports", &config.whip_udp_ports)?;
    let public: Option<IpAddr> = match config.whip_public_address.as_str() {
        "" => None,
        address => Some(parse("broadcaster.whip_public_address", address)?),
    };
    let srt_options = SrtOptions::new(&config.srt_passphrase, config.srt_latency_ms)?;
    let srt_listen: Option<SocketAddr> = match config.srt_listen.as_str() {
        "" => None,
        address => Some(parse("broadcaster.srt_listen", address)?),
    };
    let lock: U256 = parse("broadcaster.orchestrator_lock_wei", &config.orchestrator_lock_wei)?;
    let mut addresses: Vec<Address> = Vec::new();
    for address in &config.orchestrators {
        addresses.push(parse("broadcaster.orchestrators", address)?);
    }
    let (limits, keep, access) = (config.limits()?, config.keep()?, config.access()?);
    let recordings = config.recording()?.map(|options| {
        let node = format!("{:x}", identity.address());
        Arc::new(Recordings::new(options, &node))
    });
    let keys =
        Keyring::new(config.keys_by_hash()?, account.store.clone(), config.webhook()?, config.auth_webhook_fail_open);
    let gate = Gate::with_limits(Arc::new(keys), limits);
    let (rtmp, server) = listen_for("rtmp", listen, &gate, None).await?;
    let (rtmps, secure_server) = match secure {
        Some((listen, certificate)) => {
            let (address, server) = listen_for("rtmps", listen, &gate, Some(certificate)).await?;
            (Some(address), Some(server))
        }
        None => (None, None),
    };
    let (sender, publications) = mpsc::channel(PUBLICATIONS);
    let srt = match srt_listen {
        Some(address) => {
            let failed = |error| BroadcasterError::Srt { address, error };
            let server = SrtServer::bind(address, srt_options, gate.clone()).map_err(failed)?;
            Some((server.local_addr().map_err(failed)?, server))
        }
        None => None,
    };
    let (srt, srt_server) = srt.unzip();
    let whip = WhipServer::bind(ports, public, gate.clone(), sender.clone(), stop.clone());
    let whip = whip.map_err(|error| BroadcasterError::Whip { ports: config.whip_udp_ports.clone(), error })?;
    let endpoint = Endpoint::bind(identity, SocketAddr::from(([0, 0, 0, 0], 0)))?;
    let dialler = Arc::new(Dialler {
        endpoint,
        account: account.clone(),
        lock,
        max_price: config.max_price_per_megapixel.into(),
    });
    let node = Arc::new(Broadcaster {
        config,
        account,
        origin: Origin::keeping(keep).with_access(access),
        orchestrators: Orchestrators::new(&addresses),
        streams: Streams::default(),
        recordings,
        rtmp,
        rtmps,
        srt,
        tasks: TaskTracker::new(),
    });
    let ready = Readiness::default();
    ready.set(true); // a stream plays from its source, with or without orchestrators
    info!(%rtmp, ?rtmps, ?srt, orchestrators = addresses.len(), "taking streams");
    let topics = vec![api::topic(node.clone())];
    let (mut api, mut rest) = (api::router(node.clone()), node.origin.router().merge(whip.routes()));
    if let Some(recordings) = &node.recordings {
        let (for_players, calls) = recording::router(recordings.clone());
        (api, rest) = (api.merge(calls), rest.merge(for_players));
        node.tasks.spawn(recordings.clone().keep(stop.clone()));
    }
    let work = tokio::spawn(async move {
        let servers = std::iter::once(server).chain(secure_server);
        let rtmp = servers.map(|server| tokio::spawn(server.run(sender.clone(), stop.clone())));
        let srt = srt_server.map(|server| tokio::spawn(server.run(sender.clone(), stop.clone())));
        let serving: Vec<_> = rtmp.chain(srt).collect();
        drop(sender); // its receiver ends with the servers
        let revoking = tokio::spawn(end_revoked(gate, node.account.store.clone(), stop.clone()));
        // A broadcaster wins nothing; what it locks for others has to reach the chain all the same.
        let settling = tokio::spawn(node.account.redeemer(1, 0).run(stop.clone()));
        // The connections outlast the streams, so that the last segments are delivered and paid.
        let hang_up = CancellationToken::new();
        let connections = tokio::spawn({
            let (node, hang_up) = (node.clone(), hang_up.clone());
            async move { node.orchestrators.run(dialler, hang_up).await }
        });
        take_on(&node, publications, &stop).await;
        node.tasks.close();
        whip.closed().await; // soon: its sessions end by the same token
        if tokio::time::timeout(DRAIN_TIMEOUT, node.tasks.wait()).await.is_err() {
            warn!("segments on their way were given up");
        }
        hang_up.cancel();
        for task in serving.into_iter().chain([revoking, connections, settling]) {
            let _ = task.await; // all end by their tokens
        }
        node.account.store.close().await;
    });
    Ok(Serving { api, topics, rest, ready, rtmp: Some(rtmp), rtmps, srt, quic: None, work })
}

/// A server that listens, and where.
async fn listen_for(
    protocol: &'static str,
    address: SocketAddr,
    gate: &Arc<Gate>,
    certificate: Option<Arc<Certificate>>,
) -> Result<(SocketAddr, RtmpServer), BroadcasterError> {
    let failed = |error| BroadcasterError::Rtmp { protocol, address, error };
    let server = RtmpServer::bind(address, gate.clone(), Timeouts::default(), certificate).await.map_err(failed)?;
    Ok((server.local_addr().map_err(|error| failed(error.into()))?, server))
}

/// Takes publications on until `stop`.
async fn take_on(
    node: &Arc<Broadcaster>,
    mut publications: mpsc::Receiver<ingest::Publication>,
    stop: &CancellationToken,
) {
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        tokio::select! {
            publication = publications.recv() => match publication {
                Some(publication) => {
                    node.tasks.spawn(publication::run(node.clone(), publication, stop.clone()));
                }
                None => return,
            },
            _ = sweep.tick() => node.origin.sweep(),
            () = stop.cancelled() => return,
        }
    }
}
