//! The sockets of HTTP: who is let in, TLS, HTTP/1.1 and HTTP/2, and the end. One task for each connection, and over HTTP/2 one
//! for each request.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::limits::{Full, Limits, Places};
use super::pace::{Activity, Answer, Socket, Streams};
use crate::tls::{Certificate, TlsError};

/// Requests at once of one connection of HTTP/2. The least that RFC 9113 recommends is 100; a player has some ten.
const MOST_STREAMS: u32 = 128;
/// Bytes of a request's head, over HTTP/2 as it is when unpacked; of HTTP/1.1, a connection's whole read buffer.
const MOST_HEAD: u32 = 16 << 10;
const MOST_BUFFER: usize = 64 << 10;
/// What a stream of HTTP/2 is handed beyond its window.
const SEND_BUFFER: usize = 64 << 10;
/// Streams that a client opens and resets before they were looked at, and errors of its own making: then it is sent away. h2's
/// own defaults, which are its answer to the rapid reset of 2023, with the errors cut from 1,024 to what a browser never makes.
const MOST_RESETS: usize = 20;
const MOST_ERRORS: usize = 128;
/// A connection of HTTP/2 that says nothing for so long is asked, and has as long again for the answer.
const PING: Duration = Duration::from_secs(20);
/// A connection that was asked to end has so long for it.
const GOODBYE: Duration = Duration::from_secs(5);
/// Out of descriptors, mostly: others must close before another is accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Refusals are told no more often, since whoever is refused tries again.
const TELL_INTERVAL: Duration = Duration::from_secs(10);
/// Connections that the kernel has finished and that were not accepted yet: the viewers of a stream that comes back. Linux takes
/// less if net.core.somaxconn says so. The 128 of std are over in a burst, and a client whose last packet was dropped then waits.
const BACKLOG: u32 = 4_096;
/// To who is one too many.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\n\
    content-type: text/plain\r\ncontent-length: 52\r\n\r\nthis server has as many connections as it may have.\n";

/// Binds to `address`; port 0 takes a free one.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?; // a node that starts again finds its old connections closing
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Among a request's extensions: whether it came by TLS.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tls(pub(super) bool);

/// The listeners of a node, bound.
pub struct Server {
    http: TcpListener,
    https: Option<(TcpListener, Arc<Certificate>, TlsAcceptor)>,
    limits: Limits,
}

struct Shared {
    router: Router,
    limits: Limits,
    places: Arc<Places>,
    builder: auto::Builder<Streams>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// The end, whatever still runs.
    cut: CancellationToken,
}

impl Server {
    /// Serves plain HTTP, 1.1 and 2 by prior knowledge.
    pub fn new(http: TcpListener, limits: Limits) -> Self {
        Self { http, https: None, limits }
    }

    /// And over TLS, 1.1 and 2 as the client prefers.
    pub fn with_https(mut self, listener: TcpListener, certificate: Arc<Certificate>) -> Result<Self, TlsError> {
        let tls = certificate.acceptor(&[b"h2", b"http/1.1"])?;
        self.https = Some((listener, certificate, tls));
        Ok(self)
    }

    /// Serves until `shutdown`, then lets running answers end for a few seconds.
    pub async fn run(self, router: Router, shutdown: CancellationToken) {
        let (tasks, cut, limits) = (TaskTracker::new(), CancellationToken::new(), self.limits);
        let _cut = cut.clone().drop_guard(); // also when this is given up
        let shared = Arc::new(Shared {
            router,
            limits,
            places: Arc::default(),
            builder: builder(&limits),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
            cut,
        });
        let https = async {
            if let Some((listener, certificate, tls)) = self.https {
                tasks.spawn(certificate.follow(shutdown.clone()));
                accept(&shared, listener, Some(tls)).await;
            }
        };
        tokio::join!(accept(&shared, self.http, None), https);
        tasks.close();
        if timeout(limits.drain, tasks.wait()).await.is_err() {
            tracing::debug!(connections = tasks.len(), "http connections were cut off at the end");
        }
    }
}

fn builder(limits: &Limits) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams { stall: limits.stall });
    let mut one = builder.http1();
    one.timer(TokioTimer::new()).header_read_timeout(limits.idle).max_buf_size(MOST_BUFFER).half_close(false);
    let mut two = builder.http2();
    two.timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(MOST_HEAD)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MOST_RESETS)
        .max_local_error_reset_streams(MOST_ERRORS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}

/// Lets connections in until the end is asked for.
async fn accept(shared: &Arc<Shared>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    let mut refusals = Refusals::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.shutdown.cancelled() => return,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                refusals.note("http accept failed", &error);
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let place = match shared.places.take(peer.ip(), &shared.limits) {
            Ok(place) => place,
            Err(full) => {
                refusals.full(peer, full);
                refuse(socket, tls.is_none());
                continue;
            }
        };
        let (shared, tls) = (Arc::clone(shared), tls.clone());
        shared.tasks.clone().spawn(async move {
            let cut = shared.cut.clone();
            tokio::select! {
                () = greet(shared, socket, peer, tls) => {}
                () = cut.cancelled() => {}
            }
            drop(place);
        });
    }
}

#[derive(Default)]
struct Refusals {
    untold: u64,
    told: Option<Instant>,
}

impl Refusals {
    fn note(&mut self, what: &str, reason: &dyn std::fmt::Display) {
        self.untold += 1;
        if self.told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL) {
            tracing::warn!(times = self.untold, %reason, "{what}");
            (self.untold, self.told) = (0, Some(Instant::now()));
        }
    }

    fn full(&mut self, peer: SocketAddr, full: Full) {
        self.note("http refused", &format_args!("{}: {full}", peer.ip()));
    }
}

/// Says why, without waiting: what the socket does not take at once is not said.
fn refuse(socket: TcpStream, plain: bool) {
    if let (true, Ok(mut socket)) = (plain, socket.into_std()) {
        let _ = socket.read(&mut [0; 4096]); // a request that was left unread would undo the answer
        let _ = socket.write(BUSY);
    }
}

/// One connection, from its first byte.
async fn greet(shared: Arc<Shared>, socket: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>) {
    // A part is sent when it is written, not when the last packet was acknowledged.
    if let Err(error) = socket.set_nodelay(true) {
        return tracing::debug!(%peer, %error, "http connection lost");
    }
    let socket = Socket::new(socket, shared.limits.stall);
    let Some(tls) = tls else { return serve(shared, socket, peer, Tls(false)).await };
    let greeted = tokio::select! {
        greeted = timeout(shared.limits.handshake, tls.accept(socket)) => greeted,
        () = shared.shutdown.cancelled() => return,
    };
    match greeted {
        Ok(Ok(stream)) => serve(shared, stream, peer, Tls(true)).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "tls handshake of https failed"),
        Err(_) => tracing::debug!(%peer, limit = ?shared.limits.handshake, "tls handshake of https took too long"),
    }
}

/// Answers requests until the client or we have enough.
async fn serve<S>(shared: Arc<Shared>, stream: S, peer: SocketAddr, tls: Tls)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::default());
    let service = service_fn(|request: Request<Incoming>| {
        let (mut router, open) = (shared.router.clone(), activity.begin());
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(tls);
            let answer = router.call(request).await?;
            Ok::<_, Infallible>(answer.map(|body| Answer::new(body, open)))
        }
    });
    let mut connection = pin!(shared.builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = activity.idle(shared.limits.idle) => None,
        () = shared.shutdown.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            // An answer that runs is bounded by itself; after the end was asked for, by `cut`.
            let over = async {
                activity.idle(Duration::ZERO).await;
                sleep(GOODBYE).await;
            };
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = over => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error, "http connection ended");
    }
}
