//! Sessions with the peers that connect: who may speak at all, broadcasters and their credit, transcoders and their place
//! in the pool.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy::primitives::{Address, B256, U256};
use millrace_contracts::TRANSCODER;
use millrace_hop::{Assigner, CLOSE_REFUSED, CLOSE_SUSPENDED, arrears};
use millrace_tickets::Terms;
use millrace_wire::messages::{Control, Greeting, Role, VERSION, WorkerStatus};
use millrace_wire::{Peer, Receiver};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{Orchestrator, relay};

/// A peer says who it is within this.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// A transcoder reports at least this often; more silence than this and it is gone.
const STATUS_TIMEOUT: Duration = Duration::from_secs(10);
/// Commits that are handed out ahead (protocol.md, section 3).
const COMMITS: usize = 16;
/// Streams that one broadcaster may run over one connection.
const MAX_STREAMS: usize = 256;

/// A broadcaster's session.
pub struct Session {
    /// What it was quoted.
    pub terms: Terms,
    /// The broadcaster, and whose money it spends.
    pub assigner: Assigner,
    prepaid: Mutex<HashSet<B256>>,
}

impl Session {
    /// A new session of `assigner` under `terms`.
    pub fn new(assigner: Assigner, terms: Terms) -> Self {
        Self { terms, assigner, prepaid: Mutex::default() }
    }

    fn paid_ahead(&self) -> MutexGuard<'_, HashSet<B256>> {
        self.prepaid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `stream` has yet to be prepaid.
    pub fn must_prepay(&self, stream: B256) -> bool {
        !self.paid_ahead().contains(&stream)
    }

    /// Notes that `stream` was prepaid.
    pub fn prepaid(&self, stream: B256) {
        let mut prepaid = self.paid_ahead();
        if prepaid.len() >= MAX_STREAMS {
            prepaid.clear(); // a stream that outlives this prepays again: two segments' price
        }
        prepaid.insert(stream);
    }
}

/// Meets a peer that has connected: refuses strangers before any work, then serves it for as long as it stays.
pub(crate) async fn meet(node: Arc<Orchestrator>, peer: Peer, stop: CancellationToken) {
    let address = peer.address();
    let known = match admit(&node, &peer).await {
        Ok(known) => known,
        Err(reason) => {
            warn!(peer = %address, remote = %peer.remote_addr(), %reason, "peer refused");
            return peer.close(CLOSE_REFUSED, &reason);
        }
    };
    let ended = tokio::select! {
        ended = converse(&node, &peer, known, &stop) => ended,
        () = stop.cancelled() => Ok(()),
    };
    match ended {
        Ok(()) => peer.close(0, "bye"),
        Err(reason) => {
            warn!(peer = %address, %reason, "peer dismissed");
            peer.close(CLOSE_REFUSED, &reason);
        }
    }
}

/// Whether a peer is known: it is bonded in the registry under the TLS key it shows, or has locked money for us. Of others only the
/// greeting is heard, for they may spend the money of somebody who has.
async fn admit(node: &Orchestrator, peer: &Peer) -> Result<bool, String> {
    let address = peer.address();
    if let Some(reason) = node.suspension(address).await? {
        peer.close(CLOSE_SUSPENDED, &reason);
        return Err(reason);
    }
    if let Some(record) = node.account.chain.node(address).await.map_err(|e| e.to_string())? {
        return if record.fingerprint == peer.fingerprint() {
            Ok(true)
        } else {
            Err(format!("{address} is registered with another TLS key: register this one"))
        };
    }
    Ok(!node.account.till.locked(address).await.map_err(|e| e.to_string())?.is_zero())
}

/// Whose money a peer spends: its own, or that of the payer it names, if the chain says that it may.
async fn spends(node: &Orchestrator, address: Address, hello: &Greeting, known: bool) -> Result<Assigner, String> {
    let payer = hello.payer.filter(|_| hello.role == Role::Broadcaster).unwrap_or(address);
    let assigner = Assigner { address, payer };
    if payer != address {
        node.account.till.vouch(assigner).await?;
    } else if !known {
        return Err(format!(
            "{address} is neither bonded in the registry nor has it locked money for {}: do one of the two, or name the payer \
             whose session key it is (broadcaster.payer)",
            node.account.pen.address()
        ));
    }
    Ok(assigner)
}

async fn converse(node: &Arc<Orchestrator>, peer: &Peer, known: bool, stop: &CancellationToken) -> Result<(), String> {
    let words = |e: &dyn std::fmt::Display| e.to_string();
    let channel = tokio::time::timeout(HELLO_TIMEOUT, peer.accept())
        .await
        .map_err(|_| "no hello came".to_owned())?
        .map_err(|e| words(&e))?;
    let (mut sender, mut receiver) = channel.split();
    let Some(Control::Hello(hello)) = receiver.recv_within(HELLO_TIMEOUT).await.map_err(|e| words(&e))? else {
        return Err("the first message must be a hello".into());
    };
    if hello.version != VERSION {
        return Err(format!("protocol version {} is spoken here, not {}: update", VERSION, hello.version));
    }
    let assigner = spends(node, peer.address(), &hello, known).await?;
    let name = node.account.name.clone();
    let welcome = Greeting { version: VERSION, role: Role::Orchestrator, node: name, max_streams: 0, payer: None };
    sender.send(&Control::Welcome(welcome)).await.map_err(|e| words(&e))?;
    match hello.role {
        Role::Broadcaster => {
            let terms = node.terms();
            let commits = node.account.till.commits(assigner.payer, COMMITS).await.map_err(|e| e.to_string())?;
            sender.send(&Control::Terms(terms)).await.map_err(|e| words(&e))?;
            sender.send(&Control::Commits(commits)).await.map_err(|e| words(&e))?;
            info!(broadcaster = %peer.address(), payer = %assigner.payer, name = %hello.node, "broadcaster connected");
            let session = Arc::new(Session::new(assigner, terms));
            loop {
                match peer.accept().await {
                    Ok(channel) => {
                        let (node, session, peer) = (node.clone(), session.clone(), peer.clone());
                        node.clone().tasks.spawn(relay::serve(node, session, peer, channel));
                    }
                    Err(closed) => {
                        info!(broadcaster = %peer.address(), %closed, "broadcaster left");
                        return Ok(());
                    }
                }
            }
        }
        Role::Transcoder => {
            let mut terms = None;
            let mut status: Option<WorkerStatus> = None;
            let mut commits = Vec::new();
            while terms.is_none() || status.is_none() || commits.is_empty() {
                match receiver.recv_within(HELLO_TIMEOUT).await.map_err(|e| words(&e))? {
                    Some(Control::Terms(t)) => terms = Some(t),
                    Some(Control::Worker(s)) => status = Some(s),
                    Some(Control::Commits(c)) => commits = c,
                    _ => return Err("a transcoder sends its terms, its devices and its commits first".into()),
                }
            }
            let (Some(terms), Some(status)) = (terms, status) else { return Ok(()) };
            enlist(node, peer, &hello, terms, status, commits).await?;
            let staying = stay(node, peer, &hello.node, receiver, stop);
            tokio::select! {
                ended = staying => ended,
                () = arrears::keep_sending(peer, &node.account.purse) => Ok(()), // it never ends by itself
            }
        }
        Role::Orchestrator => Err("an orchestrator does not connect to another one".into()),
    }
}

/// Takes a transcoder's reports until it leaves.
async fn stay(
    node: &Orchestrator,
    peer: &Peer,
    name: &str,
    mut receiver: Receiver,
    stop: &CancellationToken,
) -> Result<(), String> {
    loop {
        match receiver.recv_within(STATUS_TIMEOUT).await {
            Ok(Some(Control::Worker(status))) => node.pool.update(peer.address(), status),
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(error) => {
                info!(transcoder = %peer.address(), name, %error, "transcoder left");
                node.pool.update(peer.address(), WorkerStatus { draining: true, ..WorkerStatus::default() });
                return Ok(());
            }
        }
        if stop.is_cancelled() {
            return Ok(());
        }
    }
}

/// Takes a transcoder into the pool: it must be bonded as one, and its pay must be locked before it works.
async fn enlist(
    node: &Arc<Orchestrator>,
    peer: &Peer,
    hello: &Greeting,
    terms: Terms,
    status: WorkerStatus,
    commits: Vec<B256>,
) -> Result<(), String> {
    let address = peer.address();
    let record = node.account.chain.node(address).await.map_err(|e| e.to_string())?;
    let Some(record) = record.filter(|r| r.roles & TRANSCODER != 0 && r.bond > U256::ZERO) else {
        return Err(format!("{address} is not bonded as a transcoder in the registry: bond it first"));
    };
    let most = node.config.max_transcoder_price;
    if terms.price_per_megapixel > u128::from(most) {
        return Err(format!(
            "{address} asks {} wei per megapixel, and this orchestrator pays at most {most}: lower the price",
            terms.price_per_megapixel
        ));
    }
    node.account.purse.open(address, terms, commits).await.map_err(|e| e.to_string())?;
    let lock = node.transcoder_lock;
    node.account.purse.keep_funded(&node.account.chain, address, lock).await.map_err(|e| e.to_string())?;
    arrears::before_work(peer, &node.account.purse).await;
    info!(transcoder = %address, name = %hello.node, devices = status.devices.len(), "transcoder joined");
    node.pool.join(peer.clone(), hello.node.clone(), terms, status, record.bond, millrace_hop::unix_now_ms());
    Ok(())
}
