//! The broadcaster's connections to its orchestrators: found through the registry, proved by their key, funded before the
//! first word, and held open. A connection that breaks is made again, with patience that grows.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy::primitives::{Address, B256, U256};
use millrace_hop::dial::reach;
use millrace_hop::{Account, arrears};
use millrace_tickets::Terms;
use millrace_wire::messages::{Control, Greeting, Role, VERSION};
use millrace_wire::{Endpoint, Peer};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// An orchestrator answers each step of the greeting within this.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// Waits between attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How often the lock at the broker is looked at and topped up.
const FUNDING_INTERVAL: Duration = Duration::from_secs(10);

/// A live connection.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) peer: Peer,
    pub(crate) terms: Terms,
    /// Streams that were prepaid over this connection.
    prepaid: Arc<Mutex<HashSet<B256>>>,
}

impl Live {
    fn prepaid(&self) -> MutexGuard<'_, HashSet<B256>> {
        self.prepaid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `stream` has yet to be prepaid here.
    pub(crate) fn must_prepay(&self, stream: B256) -> bool {
        !self.prepaid().contains(&stream)
    }

    /// Notes that the prepayment of `stream` was acknowledged.
    pub(crate) fn is_prepaid(&self, stream: B256) {
        self.prepaid().insert(stream);
    }

    /// Forgets a stream that has ended.
    pub(crate) fn forget(&self, stream: B256) {
        self.prepaid().remove(&stream);
    }
}

/// One configured orchestrator.
pub(crate) struct Orchestrator {
    pub(crate) address: Address,
    live: watch::Sender<Option<Live>>,
}

/// All configured orchestrators, best first.
pub(crate) struct Orchestrators {
    all: Vec<Arc<Orchestrator>>,
}

/// What a connection needs.
pub(crate) struct Dialler {
    pub(crate) endpoint: Endpoint,
    pub(crate) account: Arc<Account>,
    pub(crate) lock: U256,
    pub(crate) max_price: u128,
}

impl Orchestrators {
    pub(crate) fn new(addresses: &[Address]) -> Self {
        let all = addresses.iter().map(|&address| Orchestrator { address, live: watch::Sender::new(None) });
        Self { all: all.map(Arc::new).collect() }
    }

    /// The live connections, best first, without those of `excluded`.
    pub(crate) fn live(&self, excluded: &[Address]) -> Option<Live> {
        self.all
            .iter()
            .filter(|o| !excluded.contains(&o.address))
            .filter_map(|o| o.live.borrow().clone())
            .find(|live| live.peer.is_alive())
    }

    /// Forgets a stream that has ended.
    pub(crate) fn forget(&self, stream: B256) {
        for live in self.all.iter().filter_map(|o| o.live.borrow().clone()) {
            live.forget(stream);
        }
    }

    /// Waits up to `limit` for a live connection.
    pub(crate) async fn wait(&self, excluded: &[Address], limit: Duration) -> Option<Live> {
        let any = async {
            loop {
                let mut changes: Vec<_> = self.all.iter().map(|o| o.live.subscribe()).collect();
                if let Some(live) = self.live(excluded) {
                    return live;
                }
                let waits = changes.iter_mut().map(|c| Box::pin(c.changed()));
                if futures::future::select_all(waits).await.0.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        if self.all.is_empty() {
            return None;
        }
        tokio::time::timeout(limit, any).await.ok()
    }

    /// Keeps every connection up until `stop`.
    pub(crate) async fn run(&self, dialler: Arc<Dialler>, stop: CancellationToken) {
        let tasks = self.all.iter().map(|o| keep_connected(o.clone(), dialler.clone()));
        tokio::select! {
            _ = futures::future::join_all(tasks) => {}
            () = stop.cancelled() => {}
        }
        for live in self.all.iter().filter_map(|o| o.live.send_replace(None)) {
            live.peer.close(0, "bye");
        }
        dialler.endpoint.close().await;
    }
}

async fn keep_connected(orchestrator: Arc<Orchestrator>, dialler: Arc<Dialler>) {
    let mut pause = BACKOFF.0;
    loop {
        match connect(&orchestrator, &dialler).await {
            Ok(live) => {
                pause = BACKOFF.0;
                let peer = live.peer.clone();
                info!(orchestrator = %orchestrator.address, remote = %peer.remote_addr(),
                    price_per_megapixel = live.terms.price_per_megapixel, "connected to an orchestrator");
                orchestrator.live.send_replace(Some(live));
                let closed = tokio::select! {
                    closed = stay(&orchestrator, &dialler, &peer) => closed,
                    () = arrears::keep_sending(&peer, &dialler.account.purse) => String::new(), // it never ends by itself
                };
                orchestrator.live.send_replace(None);
                warn!(orchestrator = %orchestrator.address, %closed, "connection to an orchestrator lost");
            }
            Err(reason) => warn!(orchestrator = %orchestrator.address, %reason, "cannot use an orchestrator"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}

/// Waits for the connection's end, and keeps the lock filled meanwhile.
async fn stay(orchestrator: &Orchestrator, dialler: &Dialler, peer: &Peer) -> String {
    loop {
        tokio::select! {
            closed = peer.closed() => return closed.to_string(),
            () = tokio::time::sleep(FUNDING_INTERVAL) => {
                if let Err(error) = dialler.account.purse.keep_funded(&dialler.account.chain, orchestrator.address, dialler.lock).await {
                    warn!(orchestrator = %orchestrator.address, %error, "the lock for an orchestrator could not be filled");
                }
            }
        }
    }
}

async fn connect(orchestrator: &Orchestrator, dialler: &Dialler) -> Result<Live, String> {
    let address = orchestrator.address;
    let Dialler { account, endpoint, lock, .. } = dialler;
    // The lock first: an orchestrator hears nobody who has locked nothing for it.
    account.purse.keep_funded(&account.chain, address, *lock).await.map_err(|e| e.to_string())?;
    let peer = reach(&account.chain, endpoint, address).await.map_err(|e| e.to_string())?;
    match greet(&peer, dialler).await {
        Ok(terms) => {
            arrears::before_work(&peer, &account.purse).await;
            Ok(Live { peer, terms, prepaid: Arc::default() })
        }
        Err(reason) => {
            peer.close(millrace_hop::CLOSE_REFUSED, &reason);
            Err(reason)
        }
    }
}

/// Greets an orchestrator and takes its terms and commits.
async fn greet(peer: &Peer, dialler: &Dialler) -> Result<Terms, String> {
    let channel = tokio::time::timeout(GREETING_TIMEOUT, peer.open())
        .await
        .map_err(|_| "no stream could be opened in time".to_owned())?
        .map_err(|e| e.to_string())?;
    let (mut sender, mut receiver) = channel.split();
    let account = &dialler.account;
    let payer = Some(account.purse.payer()).filter(|payer| *payer != account.address());
    let hello =
        Greeting { version: VERSION, role: Role::Broadcaster, node: account.name.clone(), max_streams: 0, payer };
    sender.send(&Control::Hello(hello)).await.map_err(|e| e.to_string())?;
    let mut terms = None;
    loop {
        match receiver.recv_within(GREETING_TIMEOUT).await.map_err(|e| e.to_string())? {
            Some(Control::Welcome(welcome)) if welcome.version == VERSION => {}
            Some(Control::Welcome(welcome)) => {
                return Err(format!("it speaks protocol version {}, and this node {VERSION}", welcome.version));
            }
            Some(Control::Terms(quoted)) if quoted.price_per_megapixel > dialler.max_price => {
                return Err(format!(
                    "it asks {} wei per megapixel, and broadcaster.max_price_per_megapixel is {}",
                    quoted.price_per_megapixel, dialler.max_price
                ));
            }
            Some(Control::Terms(quoted)) => terms = Some(quoted),
            Some(Control::Commits(commits)) => {
                let terms = terms.ok_or("it sent commits before its terms")?;
                dialler.account.purse.open(peer.address(), terms, commits).await.map_err(|e| e.to_string())?;
                return Ok(terms);
            }
            _ => return Err("it broke off the greeting".into()),
        }
    }
}
