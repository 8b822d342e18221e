//! The async shell around [`Session`]: sockets, TLS, clocks and limits.
//!
//! One task per connection, which is the same over TCP and over TLS. A publication leaves through a bounded channel; when its consumer is slow, its task stops reading
//! and TCP stops the encoder. Nothing waits without a limit.

use super::session::{Event, Session, SessionError, Status, Timeouts};
use crate::ingest::live::{Live, LiveError, Publication};
use crate::ingest::{Gate, Protocol, Refusal};
use millrace_node::tls::{Certificate, TlsError};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The application part of the URL: `rtmp://host/live/KEY`.
pub const APP: &str = "live";
/// Bytes taken from a socket at once.
const READ_SIZE: usize = 32 << 10;
/// For a peer that does not read its answers.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// After a refusal the peer gets so long to read why, before the socket closes under it.
const CLOSE_GRACE: Duration = Duration::from_secs(2);
/// When draining, encoders that were asked to reconnect get so long.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// The listener of RTMP or of RTMPS.
pub struct RtmpServer {
    listener: TcpListener,
    tls: Option<(Arc<Certificate>, TlsAcceptor)>,
    shared: Arc<Shared>,
}

struct Shared {
    gate: Arc<Gate>,
    timeouts: Timeouts,
    /// Places for connections. Each costs a socket, a task and some 40 kB while it has not published; over TLS twice that.
    places: Arc<Semaphore>,
}

/// Why a server does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The system's reason.
    #[error(transparent)]
    Bind(#[from] std::io::Error),
    /// TLS is not to be had.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl RtmpServer {
    /// Binds to `address`; port 0 takes a free one. With a certificate, clients speak RTMPS there, and nothing else.
    pub async fn bind(
        address: SocketAddr,
        gate: Arc<Gate>,
        timeouts: Timeouts,
        certificate: Option<Arc<Certificate>>,
    ) -> Result<Self, ListenError> {
        let tls = match certificate {
            Some(certificate) => Some((certificate.clone(), certificate.acceptor(&[])?)),
            None => None,
        };
        let places = Arc::new(Semaphore::new(gate.connections()));
        let shared = Shared { gate, timeouts, places };
        Ok(Self { listener: TcpListener::bind(address).await?, tls, shared: Arc::new(shared) })
    }

    /// The address that encoders connect to.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`, and hands every publication to `publications`. Returns when all connections are closed.
    pub async fn run(self, publications: mpsc::Sender<Publication>, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        if let Some((certificate, _)) = &self.tls {
            tasks.spawn(certificate.clone().follow(shutdown.clone()));
        }
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
            let Ok(permit) = Arc::clone(&self.shared.places).try_acquire_owned() else {
                tracing::warn!(%peer, reason = "too many connections", limit = self.shared.gate.connections(), "rtmp refused");
                continue;
            };
            let counted = match self.shared.gate.connect(peer.ip()) {
                Ok(counted) => counted,
                Err(reason) => {
                    tracing::warn!(%peer, %reason, "rtmp refused");
                    continue;
                }
            };
            let arrival = Arrival { peer, opened: Instant::now(), shared: Arc::clone(&self.shared) };
            let (tls, publications) = (self.tls.as_ref().map(|(_, tls)| tls.clone()), publications.clone());
            let shutdown = shutdown.clone();
            tasks.spawn(async move {
                arrival.serve(socket, tls, publications, shutdown).await;
                drop((permit, counted));
            });
        }
        tasks.close();
        tasks.wait().await;
    }
}

/// A connection that has just been opened.
struct Arrival {
    peer: SocketAddr,
    opened: Instant,
    shared: Arc<Shared>,
}

impl Arrival {
    async fn serve(
        self,
        socket: TcpStream,
        tls: Option<TlsAcceptor>,
        publications: mpsc::Sender<Publication>,
        shutdown: CancellationToken,
    ) {
        let Self { peer, opened, shared } = self;
        if let Err(error) = socket.set_nodelay(true) {
            return tracing::debug!(%peer, %error, "rtmp connection lost");
        }
        let Some(tls) = tls else {
            return Connection::new(socket, peer, opened, shared, publications).serve(shutdown).await;
        };
        // One limit for both handshakes: a session counts from `opened` too.
        let limit = opened + shared.timeouts.handshake;
        let greeted = tokio::select! {
            greeted = timeout_at(limit.into(), tls.accept(socket)) => greeted,
            () = shutdown.cancelled() => return,
        };
        match greeted {
            Ok(Ok(stream)) => Connection::new(stream, peer, opened, shared, publications).serve(shutdown).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "tls handshake of rtmps failed"),
            Err(_) => {
                tracing::debug!(%peer, limit = ?shared.timeouts.handshake, "tls handshake of rtmps took too long")
            }
        }
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
    #[error("unknown application: publish to rtmp://host/{APP}/KEY with a stream key of this server")]
    Application,
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Live(#[from] LiveError),
    #[error("the server is shutting down")]
    Draining,
}

struct Connection<S> {
    socket: S,
    peer: SocketAddr,
    session: Session,
    shared: Arc<Shared>,
    publications: mpsc::Sender<Publication>,
    live: Option<Live>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(
        socket: S,
        peer: SocketAddr,
        opened: Instant,
        shared: Arc<Shared>,
        publications: mpsc::Sender<Publication>,
    ) -> Self {
        let session = Session::new(shared.timeouts, rand::random(), opened);
        Self { socket, peer, session, shared, publications, live: None }
    }

    /// Writes all of it out, also what TLS holds back.
    async fn write(&mut self, output: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(output).await?;
        self.socket.flush().await
    }

    async fn serve(mut self, shutdown: CancellationToken) {
        let peer = self.peer;
        let result = self.drive(&shutdown).await;
        let name = self.live.as_ref().map_or("-", |live| live.name()).to_owned();
        match &result {
            Ok(()) => tracing::info!(%peer, stream = %name, "rtmp publisher finished"),
            Err(reason @ (CloseReason::Closed | CloseReason::Lost(_))) if self.live.is_none() => {
                tracing::debug!(%peer, %reason, "rtmp connection without a stream ended");
            }
            Err(reason) if self.live.as_ref().is_some_and(|live| live.started()) => {
                tracing::warn!(%peer, stream = %name, %reason, "rtmp publisher cut off");
            }
            Err(reason) => tracing::warn!(%peer, stream = %name, %reason, "rtmp refused"),
        }
        if let Err(reason) = &result {
            let status = match reason {
                CloseReason::Application => Status::Unauthorized,
                CloseReason::Refused(refusal) if refusal.is_about_the_key() => Status::Unauthorized,
                CloseReason::Refused(Refusal::NameTaken(_)) => Status::BadName,
                _ => Status::Rejected,
            };
            // A session that failed by itself has already said why.
            if !matches!(reason, CloseReason::Session(_)) {
                self.session.refuse(status, &reason.to_string());
            }
        }
        // The end of the stream first: its name is free only after its consumer knows.
        if let Some(live) = self.live.take() {
            live.end(false).await;
        }
        let _ = timeout(CLOSE_GRACE, self.close()).await;
    }

    /// Sends what is left, says that this end is done, and reads on until the peer is too: an answer that is followed by a
    /// reset would be lost.
    async fn close(&mut self) -> std::io::Result<()> {
        let output = self.session.take_output();
        self.write(&output).await?;
        self.socket.shutdown().await?;
        let mut sink = vec![0; READ_SIZE];
        while self.socket.read(&mut sink).await? > 0 {}
        Ok(())
    }

    async fn drive(&mut self, shutdown: &CancellationToken) -> Result<(), CloseReason> {
        let mut buffer = vec![0; READ_SIZE];
        let mut drain_until = None;
        loop {
            while let Some(event) = self.session.poll()? {
                match event {
                    Event::Publish { app, key } => self.publish(&app, &key).await?,
                    Event::Ingest(event) => {
                        if let Some(live) = &mut self.live {
                            live.deliver(event).await?;
                        }
                    }
                }
            }
            let output = self.session.take_output();
            if !output.is_empty() {
                let written = timeout(WRITE_TIMEOUT, self.write(&output)).await;
                written.map_err(|_| CloseReason::WriteTimeout)??;
            }
            if self.session.finished() {
                return Ok(());
            }
            let stopped = async {
                match &mut self.live {
                    Some(live) => live.stopped().await,
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
                reason = stopped => return Err(reason.into()),
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
        if app != APP {
            return Err(CloseReason::Application);
        }
        let grant = self.shared.gate.authorise(Protocol::Rtmp, key, self.peer).await?;
        let guard = self.shared.gate.claim(grant, self.peer).await?;
        let name = guard.name().to_owned();
        tracing::info!(peer = %self.peer, stream = %name, "rtmp publisher accepted");
        self.session.accept(&name);
        self.live = Some(Live::new(guard, self.peer, self.publications.clone()));
        Ok(())
    }
}
