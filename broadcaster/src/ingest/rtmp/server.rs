//! The async shell around [`Session`]: sockets, clocks, limits, and the table of names that are live.
//!
//! One task per connection. A publication leaves through a bounded channel; when its consumer is slow, its task stops reading
//! and TCP stops the encoder. Nothing waits without a limit.

use super::session::{Event, Session, SessionError, Status, Timeouts};
use crate::events::IngestEvent;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::{timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The application part of the URL: `rtmp://host/live/KEY`.
pub const APP: &str = "live";
/// Connections at once. Each costs a socket, a task and some 40 kB while it has not published.
pub const MAX_CONNECTIONS: usize = 512;
/// Events between a connection and its consumer: about a second of audio and video.
const EVENT_QUEUE: usize = 64;
/// Bytes taken from a socket at once.
const READ_SIZE: usize = 32 << 10;
/// For a peer that does not read its answers.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// For a consumer that does not take events: past it the stream is behind live for good.
const CONSUMER_TIMEOUT: Duration = Duration::from_secs(10);
/// A killed encoder may be back before its old connection's end was read. So long a taken name is waited for.
const NAME_GRACE: Duration = Duration::from_secs(1);
/// After a refusal the peer gets so long to read why, before the socket closes under it.
const CLOSE_GRACE: Duration = Duration::from_secs(2);
/// When draining, encoders that were asked to reconnect get so long.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

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

/// The RTMP listener.
pub struct RtmpServer {
    listener: TcpListener,
    shared: Arc<Shared>,
}

struct Shared {
    keys: Arc<dyn Keys>,
    timeouts: Timeouts,
    connections: Arc<Semaphore>,
    live: Mutex<HashSet<String>>,
    released: Notify,
}

impl RtmpServer {
    /// Binds to `address`; port 0 takes a free one. Fails as the system's bind does.
    pub async fn bind(address: SocketAddr, keys: Arc<dyn Keys>, timeouts: Timeouts) -> std::io::Result<Self> {
        let shared = Shared {
            keys,
            timeouts,
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            live: Mutex::default(),
            released: Notify::new(),
        };
        Ok(Self { listener: TcpListener::bind(address).await?, shared: Arc::new(shared) })
    }

    /// The address that encoders connect to.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`, and hands every publication to `publications`. Returns when all connections are closed.
    pub async fn run(self, publications: mpsc::Sender<Publication>, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = shutdown.cancelled() => break,
            };
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, mostly: others must close before this can go on.
                    tracing::warn!(%error, "rtmp accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&self.shared.connections).try_acquire_owned() else {
                tracing::warn!(%peer, reason = "too many connections", limit = MAX_CONNECTIONS, "rtmp refused");
                continue;
            };
            let connection = Connection {
                socket,
                peer,
                session: Session::new(self.shared.timeouts, rand::random(), Instant::now()),
                shared: Arc::clone(&self.shared),
                publications: publications.clone(),
                live: None,
            };
            let shutdown = shutdown.clone();
            tasks.spawn(async move {
                connection.serve(shutdown).await;
                drop(permit);
            });
        }
        tasks.close();
        tasks.wait().await;
    }
}

/// Why a connection ends before its publisher said so.
#[derive(Debug, thiserror::Error)]
enum CloseReason {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("connection lost: {0}")]
    Lost(#[from] std::io::Error),
    #[error("connection closed by the peer")]
    Closed,
    #[error("the peer does not read what it is sent")]
    WriteTimeout,
    #[error("unknown key: publish to rtmp://host/{APP}/KEY with a key of this server")]
    Unauthorized,
    #[error("stream {0} already has a publisher: end that first")]
    BadName(String),
    #[error("the server cannot keep up with this stream")]
    Overloaded,
    #[error("{0}")]
    Stopped(String),
    #[error("the server is shutting down")]
    Draining,
}

/// A name in the table of live streams, for as long as this value lives.
struct NameGuard {
    shared: Arc<Shared>,
    name: String,
}

impl Drop for NameGuard {
    fn drop(&mut self) {
        self.shared.names().remove(&self.name);
        self.shared.released.notify_waiters();
    }
}

impl Shared {
    fn names(&self) -> MutexGuard<'_, HashSet<String>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn claim(self: &Arc<Self>, name: &str) -> Option<NameGuard> {
        let claim = async {
            loop {
                let released = self.released.notified();
                tokio::pin!(released);
                released.as_mut().enable(); // before the look, so that no release is missed
                if self.names().insert(name.to_owned()) {
                    return NameGuard { shared: Arc::clone(self), name: name.to_owned() };
                }
                released.await;
            }
        };
        timeout(NAME_GRACE, claim).await.ok()
    }
}

/// A publication as its connection sees it.
struct Live {
    guard: NameGuard,
    /// Present from `Started` on.
    consumer: Option<(mpsc::Sender<IngestEvent>, oneshot::Receiver<String>)>,
    ended: bool,
}

struct Connection {
    socket: TcpStream,
    peer: SocketAddr,
    session: Session,
    shared: Arc<Shared>,
    publications: mpsc::Sender<Publication>,
    live: Option<Live>,
}

impl Connection {
    async fn serve(mut self, shutdown: CancellationToken) {
        let peer = self.peer;
        let result = self.drive(&shutdown).await;
        let name = self.live.as_ref().map_or("-", |live| live.guard.name.as_str()).to_owned();
        match &result {
            Ok(()) => tracing::info!(%peer, stream = %name, "rtmp publisher finished"),
            Err(reason @ (CloseReason::Closed | CloseReason::Lost(_))) if self.live.is_none() => {
                tracing::debug!(%peer, %reason, "rtmp connection without a stream ended");
            }
            Err(reason) if self.live.as_ref().is_some_and(|live| live.consumer.is_some()) => {
                tracing::warn!(%peer, stream = %name, %reason, "rtmp publisher cut off");
            }
            Err(reason) => tracing::warn!(%peer, stream = %name, %reason, "rtmp refused"),
        }
        if let Err(reason) = &result {
            let status = match reason {
                CloseReason::Unauthorized => Status::Unauthorized,
                CloseReason::BadName(_) => Status::BadName,
                _ => Status::Rejected,
            };
            // A session that failed by itself has already said why.
            if !matches!(reason, CloseReason::Session(_)) {
                self.session.refuse(status, &reason.to_string());
            }
        }
        // The end of the stream first: its name is free only after its consumer knows.
        if let Some(Live { guard, consumer: Some((events, _)), ended }) = self.live.take() {
            if !ended {
                let _ = timeout(CONSUMER_TIMEOUT, events.send(IngestEvent::Ended { clean: false })).await;
            }
            drop(guard);
        }
        let _ = timeout(CLOSE_GRACE, self.close()).await;
    }

    /// Sends what is left, says that this end is done, and reads on until the peer is too: an answer that is followed by a
    /// reset would be lost.
    async fn close(&mut self) -> std::io::Result<()> {
        let output = self.session.take_output();
        self.socket.write_all(&output).await?;
        self.socket.shutdown().await?;
        let mut sink = vec![0; READ_SIZE];
        while self.socket.read(&mut sink).await? > 0 {}
        Ok(())
    }

    async fn drive(&mut self, shutdown: &CancellationToken) -> Result<(), CloseReason> {
        self.socket.set_nodelay(true)?;
        let mut buffer = vec![0; READ_SIZE];
        let mut drain_until = None;
        loop {
            while let Some(event) = self.session.poll()? {
                match event {
                    Event::Publish { app, key } => self.publish(&app, &key).await?,
                    Event::Ingest(event) => self.deliver(event).await?,
                }
            }
            let output = self.session.take_output();
            if !output.is_empty() {
                let written = timeout(WRITE_TIMEOUT, self.socket.write_all(&output)).await;
                written.map_err(|_| CloseReason::WriteTimeout)??;
            }
            if self.session.finished() {
                return Ok(());
            }
            let stopped = async {
                match self.live.as_mut().and_then(|live| live.consumer.as_mut()) {
                    Some((_, stop)) => stop.await.ok(),
                    None => std::future::pending().await,
                }
            };
            let deadline = self.session.next_timeout().min(drain_until.unwrap_or(self.session.next_timeout()));
            tokio::select! {
                read = timeout_at(deadline.into(), self.socket.read(&mut buffer)) => match read {
                    Ok(Ok(0)) => return Err(CloseReason::Closed),
                    Ok(Ok(count)) => self.session.receive(&buffer[..count], Instant::now()),
                    Ok(Err(error)) => return Err(error.into()),
                    Err(_) => {}
                },
                reason = stopped => {
                    return Err(CloseReason::Stopped(reason.unwrap_or_else(|| "the stream was stopped".into())));
                }
                () = shutdown.cancelled(), if drain_until.is_none() => {
                    if !self.session.ask_to_reconnect() {
                        return Err(CloseReason::Draining);
                    }
                    drain_until = Some(Instant::now() + DRAIN_GRACE);
                }
            }
            let now = Instant::now();
            if drain_until.is_some_and(|until| now >= until) {
                return Err(CloseReason::Draining);
            }
            self.session.check(now)?;
        }
    }

    async fn publish(&mut self, app: &str, key: &str) -> Result<(), CloseReason> {
        let name = if app == APP { self.shared.keys.stream_name(key) } else { None };
        let name = name.ok_or(CloseReason::Unauthorized)?;
        let guard = self.shared.claim(&name).await.ok_or_else(|| CloseReason::BadName(name.clone()))?;
        tracing::info!(peer = %self.peer, stream = %name, "rtmp publisher accepted");
        self.session.accept(&name);
        self.live = Some(Live { guard, consumer: None, ended: false });
        Ok(())
    }

    async fn deliver(&mut self, event: IngestEvent) -> Result<(), CloseReason> {
        let Some(live) = &mut self.live else { return Ok(()) };
        let (events, stop) = match &mut live.consumer {
            Some(consumer) => consumer,
            None => {
                let (sender, events) = mpsc::channel(EVENT_QUEUE);
                let (stop, stopped) = oneshot::channel();
                let publication = Publication { name: live.guard.name.clone(), peer: self.peer, events, stop };
                let handed = self.publications.send_timeout(publication, CONSUMER_TIMEOUT).await;
                handed.map_err(|_| CloseReason::Overloaded)?;
                live.consumer.insert((sender, stopped))
            }
        };
        live.ended |= matches!(event, IngestEvent::Ended { .. });
        match events.send_timeout(event, CONSUMER_TIMEOUT).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(CloseReason::Overloaded),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => {
                Err(CloseReason::Stopped(stop.try_recv().unwrap_or_else(|_| "the stream was stopped".into())))
            }
        }
    }
}
