//! The session with the orchestrator: found through the registry, proved by its key, told what devices are here and what
//! they cost, and served for as long as the connection holds. One that breaks is made again.

use std::sync::Arc;
use std::time::Duration;

use millrace_hop::dial::reach;
use millrace_wire::messages::{Control, Greeting, Role, VERSION};
use millrace_wire::{Endpoint, Peer, Sender};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{Transcoder, segment};

/// The orchestrator answers each step within this; before it answers it locks money for us on the chain.
const GREETING_TIMEOUT: Duration = Duration::from_secs(20);
/// Waits between attempts to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How often the devices' state is told.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// Commits that are handed out ahead (protocol.md, section 3).
const COMMITS: usize = 16;
/// Segments in work when draining may take this long to be delivered and paid.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

/// Keeps a session with the orchestrator until `stop`, then lets the segments in work end.
pub(crate) async fn run(node: Arc<Transcoder>, endpoint: Endpoint, stop: CancellationToken) {
    let mut pause = BACKOFF.0;
    while !stop.is_cancelled() {
        match connect(&node, &endpoint).await {
            Ok((peer, control)) => {
                pause = BACKOFF.0;
                info!(orchestrator = %peer.address(), remote = %peer.remote_addr(), "working for the orchestrator");
                node.ready.set(true);
                let ended = serve(&node, &peer, control, &stop).await;
                node.ready.set(false);
                if !stop.is_cancelled() {
                    warn!(orchestrator = %peer.address(), %ended, "session with the orchestrator lost");
                }
                peer.close(0, "bye");
            }
            Err(reason) => warn!(orchestrator = %node.orchestrator, %reason, "no session with the orchestrator"),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
        pause = (pause * 2).min(BACKOFF.1);
    }
    endpoint.close().await;
}

async fn connect(node: &Arc<Transcoder>, endpoint: &Endpoint) -> Result<(Peer, Sender), String> {
    let peer = reach(&node.account.chain, endpoint, node.orchestrator).await.map_err(|e| e.to_string())?;
    match greet(node, &peer).await {
        Ok(control) => Ok((peer, control)),
        Err(reason) => {
            // The orchestrator's own words, where it closed with some.
            let said = if peer.is_alive() { None } else { Some(peer.closed().await) };
            peer.close(0, "bye");
            Err(said.map_or(reason, |closed| closed.to_string()))
        }
    }
}

async fn greet(node: &Arc<Transcoder>, peer: &Peer) -> Result<Sender, String> {
    let words = |e: &dyn std::fmt::Display| e.to_string();
    let channel = tokio::time::timeout(GREETING_TIMEOUT, peer.open())
        .await
        .map_err(|_| "no stream could be opened in time".to_owned())?
        .map_err(|e| words(&e))?;
    let (mut sender, mut receiver) = channel.split();
    let node_name = node.account.name.clone();
    let hello = Greeting { version: VERSION, role: Role::Transcoder, node: node_name, max_streams: 0, payer: None };
    sender.send(&Control::Hello(hello)).await.map_err(|e| words(&e))?;
    match receiver.recv_within(GREETING_TIMEOUT).await.map_err(|e| words(&e))? {
        Some(Control::Welcome(welcome)) if welcome.version == VERSION => {}
        _ => return Err(format!("it does not speak protocol version {VERSION}")),
    }
    let commits = node.account.till.commits(peer.address(), COMMITS).await.map_err(|e| words(&e))?;
    sender.send(&Control::Terms(node.terms)).await.map_err(|e| words(&e))?;
    sender.send(&Control::Worker(node.status())).await.map_err(|e| words(&e))?;
    sender.send(&Control::Commits(commits)).await.map_err(|e| words(&e))?;
    Ok(sender)
}

async fn serve(node: &Arc<Transcoder>, peer: &Peer, mut control: Sender, stop: &CancellationToken) -> String {
    let mut status = tokio::time::interval(STATUS_INTERVAL);
    loop {
        tokio::select! {
            channel = peer.accept() => match channel {
                Ok(channel) => {
                    node.tasks.spawn(segment::serve(node.clone(), peer.clone(), channel));
                }
                Err(closed) => return closed.to_string(),
            },
            _ = status.tick() => {
                if let Err(error) = control.send_within(&Control::Worker(node.status()), GREETING_TIMEOUT).await {
                    return error.to_string();
                }
            }
            () = stop.cancelled() => break,
        }
    }
    // No new segments from here on; what is in work is delivered and paid.
    node.draining.store(true, std::sync::atomic::Ordering::Relaxed);
    let _ = control.send_within(&Control::Worker(node.status()), Duration::from_secs(1)).await; // it will notice anyway
    node.tasks.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, node.tasks.wait()).await.is_err() {
        debug!("segments in work were given up");
    }
    "drained".into()
}
