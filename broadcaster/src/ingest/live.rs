//! What stands behind every protocol once a publisher is let in: the way of a publication's events to its consumer.

use super::gate::NameGuard;
use super::refusal::Refusal;
use crate::config::Rung;
use crate::events::IngestEvent;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Events between a publisher and its consumer: about a second of audio and video.
const EVENT_QUEUE: usize = 64;
/// For a consumer that does not take events: past it the stream is behind live for good.
const CONSUMER_TIMEOUT: Duration = Duration::from_secs(10);

/// A stream that has begun. Its first event is `Started`, its last `Ended`; a channel that closes without one ended uncleanly.
#[derive(Debug)]
pub struct Publication {
    /// Public name of the stream.
    pub name: String,
    /// Its own ladder, highest first; without one it is the node's.
    pub ladder: Option<Vec<Rung>>,
    /// Whether it is to be recorded, where somebody has said so.
    pub record: Option<bool>,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// What it says. Dropping this ends the publication.
    pub events: mpsc::Receiver<IngestEvent>,
    /// Ends the publication with a reason, which the publisher is told. Keep it: dropping it ends the publication too.
    pub stop: oneshot::Sender<String>,
}

/// Why a publication cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The consumer does not keep up.
    #[error("the server cannot keep up with this stream")]
    Overloaded,
    /// The consumer ended it.
    #[error("{0}")]
    Stopped(String),
    /// What let it in no longer does.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A publication as its publisher's connection sees it.
pub struct Live {
    guard: NameGuard,
    peer: SocketAddr,
    publications: mpsc::Sender<Publication>,
    /// Present from the first event on.
    consumer: Option<(mpsc::Sender<IngestEvent>, oneshot::Receiver<String>)>,
    ended: bool,
}

impl Live {
    /// A publication under the name of `guard`, which goes to `publications` with its first event.
    pub fn new(guard: NameGuard, peer: SocketAddr, publications: mpsc::Sender<Publication>) -> Self {
        Self { guard, peer, publications, consumer: None, ended: false }
    }

    /// Public name of the stream.
    pub fn name(&self) -> &str {
        self.guard.name()
    }

    /// Whether an event was delivered.
    pub fn started(&self) -> bool {
        self.consumer.is_some()
    }

    /// Hands one event to the consumer. Waits for it, which is what slows a publisher down that is too fast.
    pub async fn deliver(&mut self, event: IngestEvent) -> Result<(), LiveError> {
        let (events, stop) = match &mut self.consumer {
            Some(consumer) => consumer,
            None => {
                let (sender, events) = mpsc::channel(EVENT_QUEUE);
                let (stop, stopped) = oneshot::channel();
                let (name, ladder) = (self.guard.name().to_owned(), self.guard.ladder().map(<[Rung]>::to_vec));
                let (record, peer) = (self.guard.record(), self.peer);
                let publication = Publication { name, ladder, record, peer, events, stop };
                let handed = self.publications.send_timeout(publication, CONSUMER_TIMEOUT).await;
                handed.map_err(|_| LiveError::Overloaded)?;
                self.consumer.insert((sender, stopped))
            }
        };
        self.ended |= matches!(event, IngestEvent::Ended { .. });
        match events.send_timeout(event, CONSUMER_TIMEOUT).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(LiveError::Overloaded),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => {
                Err(LiveError::Stopped(stop.try_recv().unwrap_or_else(|_| STOPPED.into())))
            }
        }
    }

    /// Until the consumer ends the publication, with its reason, or its key is revoked. For ever otherwise.
    pub async fn stopped(&mut self) -> LiveError {
        let consumer = async {
            match &mut self.consumer {
                Some((_, stop)) => LiveError::Stopped(stop.await.unwrap_or_else(|_| STOPPED.into())),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            reason = consumer => reason,
            () = self.guard.revoked() => Refusal::Revoked.into(),
        }
    }

    /// Tells the consumer that nothing follows, unless it knows. The name is free only afterwards.
    pub async fn end(self, clean: bool) {
        if let Some((events, _)) = self.consumer
            && !self.ended
        {
            let _ = timeout(CONSUMER_TIMEOUT, events.send(IngestEvent::Ended { clean })).await;
        }
        drop(self.guard);
    }
}

const STOPPED: &str = "the stream was stopped";

#[cfg(test)]
mod tests {
    use super::*;

    use crate::ingest::gate::{Gate, Grant};
    use std::sync::Arc;

    const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

    fn gate() -> Arc<Gate> {
        Gate::new(Arc::new(|_: &str| None))
    }

    async fn claim(gate: &Arc<Gate>, key: Option<alloy::primitives::B256>) -> NameGuard {
        gate.claim(Grant { name: "demo".into(), key, ..Grant::default() }, PEER).await.ok().unwrap()
    }

    fn started() -> IngestEvent {
        IngestEvent::Started { key_name: "demo".into(), video: None, audio: None }
    }

    #[tokio::test]
    async fn a_consumer_hears_the_end_before_the_name_is_free() {
        let gate = gate();
        let (sender, mut publications) = mpsc::channel(1);
        let mut live = Live::new(claim(&gate, None).await, PEER, sender);
        assert!(!live.started());
        live.deliver(started()).await.unwrap();
        let mut publication = publications.recv().await.unwrap();
        live.end(false).await;
        claim(&gate, None).await;
        assert!(matches!(publication.events.recv().await, Some(IngestEvent::Started { .. })));
        assert!(matches!(publication.events.recv().await, Some(IngestEvent::Ended { clean: false })));
        assert!(publication.events.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_consumer_stops_a_publication_with_a_reason() {
        let (sender, mut publications) = mpsc::channel(1);
        let mut live = Live::new(claim(&gate(), None).await, PEER, sender);
        live.deliver(started()).await.unwrap();
        publications.recv().await.unwrap().stop.send("too many".into()).unwrap();
        assert_eq!(live.stopped().await.to_string(), "too many");
    }

    #[tokio::test]
    async fn a_revoked_key_stops_its_publication_also_before_it_began() {
        let (gate, key) = (gate(), alloy::primitives::B256::repeat_byte(1));
        let (sender, mut publications) = mpsc::channel(1);
        let mut live = Live::new(claim(&gate, Some(key)).await, PEER, sender);
        gate.end_revoked(key);
        assert!(live.stopped().await.to_string().contains("revoked"));
        live.deliver(started()).await.unwrap();
        let _publication = publications.recv().await.unwrap();
        assert!(live.stopped().await.to_string().contains("revoked"));
    }
}
