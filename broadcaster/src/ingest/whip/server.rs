//! The HTTP side of WHIP: endpoint and sessions as axum routes, and the table of sessions.

use super::intake::Intake;
use super::offer::Offer;
use super::peer::{Answer, Peer};
use super::ports::{PortRange, Ports};
use super::problem::Problem;
use super::resource::{
    ENDPOINT_METHODS, EndpointCall, FRAGMENT_TYPE, Head, MOST_BODY, OFFER_TYPE, Patch, Resource, SESSION_METHODS,
    SessionCall, endpoint,
};
use super::session::{Command, Session};
use crate::ingest::gate::{Gate, Grant, Protocol};
use crate::ingest::keyring;
use crate::ingest::live::{Live, Publication};
use crate::ingest::refusal::Refusal;
use alloy::primitives::B256;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// For a client that sends its body slowly.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// For a session's task to answer: it is awake many times a second, unless its consumer does not take what it has.
const TASK_TIMEOUT: Duration = Duration::from_secs(12);
/// Commands that wait for a session's task.
const COMMANDS: usize = 8;
/// What a client is told to wait when all ports are taken, seconds.
const RETRY_AFTER: &str = "15";

/// WHIP ingest: its ports are bound, and [`routes`](Self::routes) serves it.
pub struct WhipServer {
    shared: Arc<Shared>,
}

struct Shared {
    gate: Arc<Gate>,
    ports: Arc<Ports>,
    public: Option<IpAddr>,
    publications: mpsc::Sender<Publication>,
    sessions: Mutex<HashMap<String, Handle>>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

/// A session as the table has it.
#[derive(Clone)]
struct Handle {
    resource: Resource,
    commands: mpsc::Sender<Command>,
}

impl WhipServer {
    /// Binds all ports. `public` is the address that clients reach this machine by, where that is not its own. Publications go to
    /// `publications`, until `shutdown`.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub fn bind(
        ports: PortRange,
        public: Option<IpAddr>,
        gate: Arc<Gate>,
        publications: mpsc::Sender<Publication>,
        shutdown: CancellationToken,
    ) -> std::io::Result<Self> {
        let (sessions, tasks) = (Mutex::default(), TaskTracker::new());
        let ports = Ports::bind(ports)?;
        Ok(Self { shared: Arc::new(Shared { gate, ports, public, publications, sessions, shutdown, tasks }) })
    }

    /// `/whip`, `/whip/KEY` and the sessions below, with CORS for browsers of any origin: the key is what lets publish.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/whip", any(publish))
            .route("/whip/{key}", any(publish_by_path))
            .route("/whip/session/{id}", any(session))
            .layer(map_response(readable_by_any_page))
            .with_state(self.shared.clone())
    }

    /// Until every session has ended, after `shutdown`.
    pub async fn closed(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

type Shares = State<Arc<Shared>>;
type From = ConnectInfo<SocketAddr>;

async fn publish(State(shared): Shares, from: From, request: Request) -> Response {
    shared.endpoint(from.0, None, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn publish_by_path(State(shared): Shares, from: From, Path(key): Path<String>, request: Request) -> Response {
    shared.endpoint(from.0, Some(&key), request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn session(State(shared): Shares, Path(id): Path<String>, request: Request) -> Response {
    shared.session(&id, request).await.unwrap_or_else(IntoResponse::into_response)
}

impl Shared {
    fn sessions(&self) -> MutexGuard<'_, HashMap<String, Handle>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn endpoint(
        self: &Arc<Self>,
        peer: SocketAddr,
        key_in_path: Option<&str>,
        request: Request,
    ) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        match endpoint(head(&parts.method, &parts.headers), key_in_path)? {
            EndpointCall::Options => Ok(options(ENDPOINT_METHODS, ("accept-post", OFFER_TYPE))),
            EndpointCall::Nothing => Ok(StatusCode::NO_CONTENT.into_response()),
            EndpointCall::Publish { key, in_header } => {
                let grant =
                    self.gate.authorise(Protocol::Whip, key, peer).await.map_err(|refusal| refused(peer, refusal))?;
                self.publish(peer, grant, in_header.then(|| keyring::hash(key)), &text(body).await?).await
            }
        }
    }

    async fn publish(
        self: &Arc<Self>,
        from: SocketAddr,
        grant: Grant,
        key: Option<B256>,
        sdp: &str,
    ) -> Result<Response, Problem> {
        if self.shutdown.is_cancelled() {
            return Err(unavailable("the server is shutting down: publish to another one".into()));
        }
        let offer = Offer::read(sdp)?;
        let port = self.ports.take().ok_or_else(|| {
            unavailable(format!(
                "all {} UDP ports of this server have a publisher: try again later",
                self.ports.count()
            ))
        })?;
        let guard = self.gate.claim(grant, from).await.map_err(|refusal| refused(from, refusal))?;
        let local: Vec<_> =
            self.addresses(from.ip()).into_iter().map(|ip| SocketAddr::new(ip, port.number())).collect();
        let (resource, commands) =
            (Resource { etag: random_tag(), ufrag: offer.ufrag.clone(), key }, mpsc::channel(COMMANDS));
        let (live, shutdown) = (Live::new(guard, from, self.publications.clone()), self.shutdown.clone());
        let (answered, answer) = oneshot::channel();
        let id = random_id();
        let entry = Entry { shared: self.clone(), id: id.clone() };
        self.sessions().insert(id.clone(), Handle { resource: resource.clone(), commands: commands.0 });
        self.tasks.spawn(async move {
            let _entry = entry; // leaves the table however this ends
            let now = Instant::now();
            let (video, sound) = (offer.video, offer.sound);
            let made = Peer::answer(offer, local, now).and_then(|(peer, answer)| {
                let intake = Intake::new(live.name(), video, sound, now);
                let failed = |error| Problem::new(500, "No codec", format!("the server cannot take sound: {error}"));
                Ok((peer, answer, intake.map_err(failed)?))
            });
            match made {
                Ok((peer, answer, intake)) => {
                    tracing::info!(peer = %from, stream = live.name(), "whip publisher accepted");
                    if answered.send(Ok(answer)).is_ok() {
                        Session { port, peer, intake, live, commands: commands.1, shutdown }.run().await;
                    }
                }
                Err(problem) => {
                    tracing::warn!(peer = %from, stream = live.name(), reason = problem.detail, "whip refused");
                    live.end(false).await;
                    drop(port);
                    let _ = answered.send(Err(problem)); // it may have gone
                }
            }
        });
        let lost = |_| {
            Problem::new(400, "Malformed SDP", "the offer could not be read: send the offer as the browser made it")
        };
        let Answer { sdp } = answer.await.map_err(lost)??;
        let mut response = (StatusCode::CREATED, sdp).into_response();
        set(&mut response, header::CONTENT_TYPE, OFFER_TYPE);
        set(&mut response, header::LOCATION, &format!("/whip/session/{id}"));
        set(&mut response, header::ETAG, &resource.etag);
        set(&mut response, HeaderName::from_static("accept-patch"), FRAGMENT_TYPE);
        Ok(response)
    }

    async fn session(self: &Arc<Self>, id: &str, request: Request) -> Result<Response, Problem> {
        let gone = || Problem::new(404, "No such session", "this session has ended, or never was: publish again");
        let handle = self.sessions().get(id).cloned();
        let (parts, body) = request.into_parts();
        let asked = head(&parts.method, &parts.headers);
        if *asked.method == Method::OPTIONS {
            return Ok(options(SESSION_METHODS, ("accept-patch", FRAGMENT_TYPE)));
        }
        let handle = handle.ok_or_else(gone)?;
        match handle.resource.call(asked)? {
            SessionCall::Options | SessionCall::Nothing => Ok(StatusCode::NO_CONTENT.into_response()),
            SessionCall::End => {
                let (done, ended) = oneshot::channel();
                handle.send(Command::End(done)).await?;
                // An end that takes longer goes on without its witness.
                let _ = timeout(TASK_TIMEOUT, ended).await;
                Ok(StatusCode::OK.into_response())
            }
            SessionCall::Patch => match handle.resource.patch(asked.if_match, &text(body).await?)? {
                Patch::Trickle(candidates) => {
                    handle.send(Command::Trickle(candidates)).await?;
                    Ok(StatusCode::NO_CONTENT.into_response())
                }
                Patch::Restart(ufrag, password, candidates) => {
                    let (answer, answered) = oneshot::channel();
                    handle.send(Command::Restart { ufrag: ufrag.clone(), password, candidates, answer }).await?;
                    let answered = timeout(TASK_TIMEOUT, answered).await.map_err(|_| busy())?;
                    let Answer { sdp } = answered.map_err(|_| gone())??;
                    let etag = random_tag();
                    if let Some(handle) = self.sessions().get_mut(id) {
                        handle.resource = Resource { etag: etag.clone(), ufrag, ..handle.resource.clone() };
                    }
                    let mut response = sdp.into_response();
                    set(&mut response, header::CONTENT_TYPE, FRAGMENT_TYPE);
                    set(&mut response, header::ETAG, &etag);
                    Ok(response)
                }
            },
        }
    }

    /// Where a client can reach this machine: what the operator says, and the address that faces the client. A client on this machine may
    /// be a proxy that speaks for one elsewhere, so it is told the address that faces the world too.
    fn addresses(&self, client: IpAddr) -> Vec<IpAddr> {
        let client = client.to_canonical();
        let mut found: Vec<IpAddr> = self.public.into_iter().collect();
        found.extend(facing(client));
        if client.is_loopback() {
            // Addresses for documentation: nothing is sent, the system only says which way it would go.
            found.extend(facing(Ipv4Addr::new(192, 0, 2, 1).into()));
            found.extend(facing(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()));
        }
        let mut seen = Vec::new();
        found.retain(|ip| {
            !seen.contains(ip) && {
                seen.push(*ip);
                true
            }
        });
        found
    }
}

/// A session's place in the table.
struct Entry {
    shared: Arc<Shared>,
    id: String,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.sessions().remove(&self.id);
    }
}

impl Handle {
    async fn send(&self, command: Command) -> Result<(), Problem> {
        match timeout(TASK_TIMEOUT, self.commands.send(command)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Problem::new(404, "No such session", "this session has ended: publish again")),
            Err(_) => Err(busy()),
        }
    }
}

/// The address of this machine from which it would send to `peer`.
fn facing(peer: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((peer, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}

fn head<'a>(method: &'a Method, headers: &'a HeaderMap) -> Head<'a> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    Head {
        method,
        content_type: text(header::CONTENT_TYPE),
        authorization: text(header::AUTHORIZATION),
        if_match: text(header::IF_MATCH),
    }
}

async fn text(body: Body) -> Result<String, Problem> {
    let read = timeout(BODY_TIMEOUT, to_bytes(body, MOST_BODY)).await;
    let read = read.map_err(|_| {
        Problem::new(408, "Body too slow", format!("the body did not come within {} s", BODY_TIMEOUT.as_secs()))
    })?;
    let bytes = read.map_err(|_| {
        Problem::new(
            413,
            "Body too large",
            format!("the body did not come whole, or has over {MOST_BODY} bytes, the limit"),
        )
    })?;
    String::from_utf8(bytes.into()).map_err(|_| Problem::new(400, "Malformed body", "the body is not UTF-8"))
}

/// CORS for pages of any origin: the key is what lets publish, and a page must be able to read a refusal.
async fn readable_by_any_page(mut response: Response) -> Response {
    set(&mut response, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(&mut response, header::ACCESS_CONTROL_EXPOSE_HEADERS, "location, etag, retry-after, accept-post, accept-patch");
    response
}

/// The answer to a preflight, and to whoever asks what is taken.
fn options(methods: &'static str, (name, value): (&'static str, &'static str)) -> Response {
    let mut response = StatusCode::OK.into_response();
    set(&mut response, header::ALLOW, methods);
    set(&mut response, header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    set(&mut response, header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, if-match");
    set(&mut response, header::ACCESS_CONTROL_MAX_AGE, "86400");
    set(&mut response, HeaderName::from_static(name), value);
    response
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn refused(peer: SocketAddr, refusal: Refusal) -> Problem {
    tracing::warn!(%peer, reason = %refusal, "whip refused");
    refusal.into()
}

fn unavailable(detail: String) -> Problem {
    Problem::new(503, "No room", detail).with(header::RETRY_AFTER, RETRY_AFTER)
}

fn busy() -> Problem {
    unavailable("the session does not answer just now: try again".into())
}

/// 128 random bits: nobody finds a session's URL by trying.
fn random_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

fn random_tag() -> String {
    format!("\"{:016x}\"", rand::random::<u64>())
}
