//! What stands behind every protocol: which key may publish, the names that are live, and the way of a publication's events to
//! its consumer. The names are shared by all protocols, so that a second publisher is refused wherever it comes from.

use crate::events::IngestEvent;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

/// Events between a publisher and its consumer: about a second of audio and video.
const EVENT_QUEUE: usize = 64;
/// For a consumer that does not take events: past it the stream is behind live for good.
const CONSUMER_TIMEOUT: Duration = Duration::from_secs(10);
/// A killed encoder may be back before its old connection's end was read. So long a taken name is waited for.
const NAME_GRACE: Duration = Duration::from_secs(1);

/// Which key may publish, and as what.
pub trait Keys: Send + Sync + 'static {
    /// The public name of the stream that `key` stands for, or `None` for an unknown key.
    fn stream_name(&self, key: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String> + Send + Sync + 'static> Keys for F {
    fn stream_name(&self, key: &str) -> Option<String> {
        self(key)
    }
}

/// A stream that has begun. Its first event is `Started`, its last `Ended`; a channel that closes without one ended uncleanly.
#[derive(Debug)]
pub struct Publication {
    /// Public name of the stream.
    pub name: String,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// What it says. Dropping this ends the publication.
    pub events: mpsc::Receiver<IngestEvent>,
    /// Ends the publication with a reason, which the publisher is told. Keep it: dropping it ends the publication too.
    pub stop: oneshot::Sender<String>,
}

/// Where every publisher comes in: the keys, and the names that are taken.
pub struct Gate {
    keys: Arc<dyn Keys>,
    live: Mutex<HashSet<String>>,
    released: Notify,
}

/// A name that is taken, for as long as this value lives.
pub struct NameGuard {
    gate: Arc<Gate>,
    name: String,
}

impl Drop for NameGuard {
    fn drop(&mut self) {
        self.gate.names().remove(&self.name);
        self.gate.released.notify_waiters();
    }
}

impl Gate {
    /// A gate for these keys, with no name taken.
    pub fn new(keys: Arc<dyn Keys>) -> Arc<Self> {
        Arc::new(Self { keys, live: Mutex::default(), released: Notify::new() })
    }

    /// As [`Keys::stream_name`].
    pub fn stream_name(&self, key: &str) -> Option<String> {
        self.keys.stream_name(key)
    }

    fn names(&self) -> MutexGuard<'_, HashSet<String>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a name. `None` when another publisher has it and does not go within a second.
    pub async fn claim(self: &Arc<Self>, name: &str) -> Option<NameGuard> {
        let claim = async {
            loop {
                let released = self.released.notified();
                tokio::pin!(released);
                released.as_mut().enable(); // before the look, so that no release is missed
                if self.names().insert(name.to_owned()) {
                    return NameGuard { gate: Arc::clone(self), name: name.to_owned() };
                }
                released.await;
            }
        };
        timeout(NAME_GRACE, claim).await.ok()
    }
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
        &self.guard.name
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
                let publication = Publication { name: self.guard.name.clone(), peer: self.peer, events, stop };
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

    /// Until the consumer ends the publication, with its reason. For ever when nothing was delivered yet.
    pub async fn stopped(&mut self) -> LiveError {
        match &mut self.consumer {
            Some((_, stop)) => LiveError::Stopped(stop.await.unwrap_or_else(|_| STOPPED.into())),
            None => std::future::pending().await,
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

    #[tokio::test]
    async fn a_name_is_taken_once_and_free_again_when_its_publisher_goes() {
        let gate = Gate::new(Arc::new(|key: &str| (key == "k").then(|| "demo".to_owned())));
        assert_eq!(gate.stream_name("k").as_deref(), Some("demo"));
        assert_eq!(gate.stream_name("x"), None);
        let first = gate.claim("demo").await.unwrap();
        assert!(gate.claim("demo").await.is_none());
        assert!(gate.claim("other").await.is_some());
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.claim("demo").await.is_some() }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(waiting.await.unwrap(), "a name that is given up within the grace is handed on");
    }

    #[tokio::test]
    async fn a_consumer_hears_the_end_before_the_name_is_free() {
        let gate = Gate::new(Arc::new(|_: &str| None));
        let (sender, mut publications) = mpsc::channel(1);
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        let mut live = Live::new(gate.claim("demo").await.unwrap(), peer, sender);
        assert!(!live.started());
        live.deliver(IngestEvent::Started { key_name: "demo".into(), video: None, audio: None }).await.unwrap();
        let mut publication = publications.recv().await.unwrap();
        live.end(false).await;
        assert!(gate.claim("demo").await.is_some());
        assert!(matches!(publication.events.recv().await, Some(IngestEvent::Started { .. })));
        assert!(matches!(publication.events.recv().await, Some(IngestEvent::Ended { clean: false })));
        assert!(publication.events.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_consumer_stops_a_publication_with_a_reason() {
        let gate = Gate::new(Arc::new(|_: &str| None));
        let (sender, mut publications) = mpsc::channel(1);
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        let mut live = Live::new(gate.claim("demo").await.unwrap(), peer, sender);
        let event = || IngestEvent::Started { key_name: "demo".into(), video: None, audio: None };
        live.deliver(event()).await.unwrap();
        publications.recv().await.unwrap().stop.send("too many".into()).unwrap();
        assert_eq!(live.stopped().await.to_string(), "too many");
    }
}
