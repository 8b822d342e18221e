//! Who may call the API. [`rules`] decides; here is who asks: this machine by its loopback address, an owner by the session that
//! followed a signed challenge ([`message`], [`sessions`], [`calls`]), a program by its token, or anyone.
//!
//! What is absent: no password, no secret in the clear, and no account of a session on disk. What keeps tokens and speaks to the
//! chain is behind [`Authority`], which the program gives.

mod attempts;
mod calls;
mod message;
mod rules;
mod sessions;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use alloy::primitives::{Address, B256, keccak256};
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header, request::Parts, uri::Authority as Host};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;

use super::problem::Problem;
use super::server::Tls;
use super::{is_local, visitor};
use attempts::Attempts;
pub(super) use calls::routes;
pub(crate) use rules::needs;
use rules::{Asked, decide, is_foreign, need};
pub use rules::{Caller, Power};
use sessions::{Session, Sessions};

/// The database, or a contract, answers within this.
const AUTHORITY_TIMEOUT: Duration = Duration::from_secs(5);
/// What a cross-site page cannot send along.
const CSRF_HEADER: &str = "x-csrf-token";

/// What is asked of the rest of the node.
pub trait Authority: Send + Sync {
    /// The name and the power of the token with this hash ([`token_hash`]); `None` for one that is unknown or revoked.
    fn token(&self, hash: B256) -> BoxFuture<'_, Result<Option<(String, Power)>, String>>;

    /// Whether the contract at `account` says that `signature` over `hash` is its own (ERC-1271). False where there is no contract.
    fn signed_by_contract(
        &self,
        account: Address,
        hash: B256,
        signature: Vec<u8>,
    ) -> BoxFuture<'_, Result<bool, String>>;
}

/// The hash by which a token is kept and found. Of 128 random bits none is found by trying, so that it needs neither salt nor slowness.
pub fn token_hash(token: &str) -> B256 {
    keccak256(token)
}

/// A new token: 128 random bits, with a prefix by which people and scanners know it.
pub fn new_token() -> String {
    format!("millrace_{}", secret())
}

fn secret() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// What the door is told of its node.
#[derive(Debug, Clone)]
pub struct Door {
    /// A name for people.
    pub name: String,
    /// The node's own address.
    pub node: Address,
    /// Who may sign in.
    pub owners: Vec<Address>,
    /// Names of the node, beside its IP addresses, by which it may be signed in to.
    pub hosts: Vec<String>,
    /// The chain that its account is on.
    pub chain_id: u64,
    /// This machine's attempts are not counted: it may be a proxy that speaks for everybody.
    pub spare_loopback: bool,
}

/// The door of a node's API.
pub struct Access {
    door: Door,
    authority: Box<dyn Authority>,
    /// Unix seconds.
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
    sessions: Mutex<Sessions>,
    attempts: Mutex<Attempts>,
}

impl Access {
    /// A door with nobody inside.
    pub fn new(door: Door, authority: impl Authority + 'static) -> Arc<Self> {
        Self::with_clock(door, authority, unix_now)
    }

    /// The same by another clock than the system's: unix seconds.
    pub fn with_clock(
        door: Door,
        authority: impl Authority + 'static,
        clock: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (authority, clock) = (Box::new(authority), Box::new(clock));
        Arc::new(Self { door, authority, clock, sessions: Mutex::default(), attempts: Mutex::default() })
    }

    /// `api` behind the door, with the calls by which one signs in and out.
    pub(super) fn guard(self: &Arc<Self>, api: Router) -> Router {
        api.layer(from_fn_with_state(self.clone(), admit))
    }

    /// The calls by which one signs in and out.
    pub(super) fn calls(self: &Arc<Self>) -> OpenApiRouter {
        calls::routes().with_state(self.clone())
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an address's attempts count.
    fn counts(&self, ip: IpAddr) -> bool {
        !(self.door.spare_loopback && ip.to_canonical().is_loopback())
    }

    fn failed(&self, ip: IpAddr) {
        if self.counts(ip) {
            self.attempts().failure(ip, Instant::now());
        }
    }

    /// Refuses an address that had too many attempts, whatever it brings: else it would still learn what is right.
    fn check_attempts(&self, ip: IpAddr) -> Result<(), Problem> {
        let Some(left) = self.attempts().refused_for(ip, Instant::now()) else { return Ok(()) };
        let words = format!(
            "too many attempts from {}: after ten that fail in a minute an address is refused for {} minutes",
            visitor(ip),
            attempts::REFUSED_FOR.as_secs() / 60
        );
        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, words).retry_after(left))
    }

    /// The cookie's name has the node's address in it, as browsers tell no ports of a host apart. Over TLS it has the prefix by which
    /// browsers keep it from being set by anybody else.
    fn cookie(&self, secure: bool) -> String {
        let id = self.door.node.to_string()[2..10].to_lowercase();
        format!("{}millrace-{id}", if secure { "__Host-" } else { "" })
    }

    /// The session of a request, and its secret.
    fn session(&self, headers: &HeaderMap) -> Option<(String, Session)> {
        let names = [self.cookie(true), self.cookie(false)];
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let secrets = pairs.filter(|(name, _)| names.iter().any(|own| own == name)).map(|(_, secret)| secret);
        let sessions = self.sessions();
        let now = (self.clock)();
        secrets.take(4).find_map(|secret| Some((secret.to_owned(), sessions.find(secret, now)?)))
    }

    /// Who asks. A token that is wrong is refused, also where none is needed: its owner should learn of it.
    async fn caller(&self, from: SocketAddr, parts: &Parts) -> Result<Caller, Problem> {
        let bearer = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer =
            bearer.and_then(|value| value.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
        if let Some((_, token)) = bearer {
            self.check_attempts(from.ip())?;
            let found = within(self.authority.token(token_hash(token.trim()))).await?;
            let Some((name, power)) = found else {
                self.failed(from.ip());
                let words = "the token is unknown or revoked: millrace token list shows which there are";
                return Err(Problem::new(StatusCode::UNAUTHORIZED, words));
            };
            return Ok(Caller::Machine { name, power });
        }
        if let Some((_, session)) = self.session(&parts.headers) {
            return Ok(Caller::Owner(session.address));
        }
        if is_local(from, &parts.headers, &parts.uri) {
            return Ok(Caller::ThisMachine);
        }
        Ok(Caller::Anyone)
    }
}

/// The middleware: finds out who asks, and lets them in or not.
async fn admit(
    State(access): State<Arc<Access>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let caller = match access.caller(from, &parts).await {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    let given = parts.headers.get(CSRF_HEADER).and_then(|token| token.to_str().ok());
    let session = access.session(&parts.headers);
    let csrf = session.is_some_and(|(secret, _)| given.is_some_and(|given| is_csrf(given, &secret)));
    let asked = Asked { foreign: is_foreign(&parts.headers, &host(&parts), is_tls(&parts)), csrf };
    if let Err(problem) = decide(need(&parts.method, parts.uri.path()), &caller, asked) {
        return problem.into_response();
    }
    let scheme = if is_secure(&parts) { "https" } else { "http" };
    parts.extensions.insert(NodeUrl { scheme, host: host(&parts) });
    parts.extensions.insert(caller);
    next.run(Request::from_parts(parts, body)).await
}

/// The CSRF token of a session: whoever has the session's secret can tell it, and a page of another origin cannot read it.
fn csrf(secret: &str) -> String {
    alloy::hex::encode(&keccak256(format!("csrf {secret}"))[..16])
}

/// Compared by their hashes, so that the time that it takes tells nothing.
fn is_csrf(given: &str, secret: &str) -> bool {
    keccak256(given) == keccak256(csrf(secret))
}

/// Where the node is, as its caller has it. Handlers find it among a request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeUrl {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// `host` or `host:port`, as the caller says.
    pub host: String,
}

/// Whether the browser reaches the node by TLS, its own or that of a proxy before it.
fn is_secure(parts: &Parts) -> bool {
    let origin = parts.headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    is_tls(parts) || origin.is_some_and(|origin| origin.starts_with("https://"))
}

/// What the node was asked by: `host` or `host:port`.
fn host(parts: &Parts) -> String {
    let of_url = |uri: &Uri| uri.authority().map(Host::as_str).map(str::to_owned);
    let of_header = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    of_header.or_else(|| of_url(&parts.uri)).unwrap_or_default().to_ascii_lowercase()
}

fn is_tls(parts: &Parts) -> bool {
    parts.extensions.get::<Tls>().is_some_and(|tls| tls.0)
}

/// An answer of the authority, or why there is none now.
async fn within<T>(answer: BoxFuture<'_, Result<T, String>>) -> Result<T, Problem> {
    let late = format!("it took more than {} s", AUTHORITY_TIMEOUT.as_secs());
    timeout(AUTHORITY_TIMEOUT, answer).await.unwrap_or(Err(late)).map_err(|reason| {
        tracing::warn!(reason, "who calls the api could not be found out");
        let words = "who you are could not be found out now: the node's log says why";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, words).retry_after(AUTHORITY_TIMEOUT)
    })
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}
