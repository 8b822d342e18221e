//! The calls by which an owner signs in and out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use alloy::primitives::{Address, Bytes, Signature, eip191_hash_message};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::message::Message;
use super::rules::{is_foreign, is_own_host};
use super::sessions::{CHALLENGE_SECONDS, Challenge, SESSION_SECONDS};
use super::{Access, Caller, csrf, host, is_csrf, is_secure, is_tls, secret, within};
use crate::http::Problem;

/// A contract wallet's signature may be many owners' in a row; a key's has 65 bytes.
const MOST_SIGNATURE: usize = 4_096;

pub(in crate::http) fn routes() -> OpenApiRouter<Arc<Access>> {
    OpenApiRouter::new().routes(routes!(challenge)).routes(routes!(session, sign_in, sign_out))
}

/// Who wants to sign in.
#[derive(Debug, Deserialize, ToSchema)]
struct Asking {
    /// The address that will sign.
    #[schema(value_type = String)]
    address: Address,
}

/// What to sign.
#[derive(Debug, Serialize, ToSchema)]
struct ChallengeView {
    /// The whole text, for `personal_sign`.
    message: String,
    /// By which the answer names it.
    nonce: String,
    /// Unix milliseconds.
    expires_at: u64,
}

/// The answer to a challenge.
#[derive(Debug, Deserialize, ToSchema)]
struct Answer {
    /// That of the challenge.
    nonce: String,
    /// By EIP-191 or, of a contract wallet, by ERC-1271: 0x and hex digits.
    #[schema(value_type = String)]
    signature: Bytes,
}

/// Who one is to the node.
#[derive(Debug, Serialize, ToSchema)]
struct SessionView {
    /// `anyone`, `this_machine`, `owner` or `machine`.
    who: &'static str,
    /// Of an owner.
    #[schema(value_type = Option<String>)]
    address: Option<Address>,
    /// Of a token.
    name: Option<String>,
    /// Of a token: `read` or `operate`.
    role: Option<&'static str>,
    /// Whether what is not public can be read.
    can_read: bool,
    /// Whether the node can be changed.
    can_operate: bool,
    /// What a session sends as X-CSRF-Token with whatever changes the node.
    csrf: Option<String>,
    /// When the session ends, unix milliseconds.
    expires_at: Option<u64>,
}

/// Composes the text that signs `address` in, good once and for five minutes.
#[utoipa::path(post, path = "/v1/session/challenge", tag = "session", request_body = Asking, responses((status = 200, description = "What to sign", body = ChallengeView)))]
async fn challenge(
    State(access): State<Arc<Access>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    parts: Parts,
    body: Result<Json<Asking>, JsonRejection>,
) -> Result<Json<ChallengeView>, Problem> {
    access.check_attempts(from.ip())?;
    let Json(Asking { address }) = body.map_err(unreadable)?;
    let domain = own_host(&access, &parts)?;
    if access.counts(from.ip()) {
        access.attempts().challenge(from.ip(), Instant::now());
    }
    let (now, nonce) = ((access.clock)(), secret());
    let expires_at = now + CHALLENGE_SECONDS;
    let scheme = if is_secure(&parts) { "https" } else { "http" };
    let door = &access.door;
    let message = Message {
        domain: &domain,
        scheme,
        address,
        name: &door.name,
        node: door.node,
        chain_id: door.chain_id,
        nonce: &nonce,
        issued_at: now,
        expires_at,
    };
    let message = message.text();
    let kept = Challenge { address, domain, text: message.clone(), expires_at };
    access.sessions().challenge(nonce.clone(), kept, now);
    Ok(Json(ChallengeView { message, nonce, expires_at: expires_at * 1_000 }))
}

/// Checks the signature over the text that was kept, and begins a session.
#[utoipa::path(post, path = "/v1/session", tag = "session", request_body = Answer, responses((status = 201, description = "The session, whose cookie is set", body = SessionView)))]
async fn sign_in(
    State(access): State<Arc<Access>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    parts: Parts,
    body: Result<Json<Answer>, JsonRejection>,
) -> Result<Response, Problem> {
    access.check_attempts(from.ip())?;
    let Json(Answer { nonce, signature }) = body.map_err(unreadable)?;
    let domain = own_host(&access, &parts)?;
    let refused = |status, words: String| {
        access.failed(from.ip());
        Problem::new(status, words)
    };
    let challenge = access.sessions().answer(&nonce, (access.clock)());
    let challenge = challenge.ok_or_else(|| {
        let words = "there is no such challenge: each is good once, and for five minutes; ask for another";
        refused(StatusCode::UNAUTHORIZED, words.into())
    })?;
    if challenge.domain != domain {
        let words =
            format!("the challenge was for {}, and this is {domain}: sign in where you asked", challenge.domain);
        return Err(refused(StatusCode::UNAUTHORIZED, words));
    }
    let address = challenge.address;
    let is_owner = access.door.owners.contains(&address);
    if !has_signed(&access, &challenge, &signature, is_owner).await? {
        return Err(refused(StatusCode::UNAUTHORIZED, format!("the signature is not {address}'s over this challenge")));
    }
    if !is_owner {
        let words = format!("{address} does not own this node: its configuration names owners by node.owners");
        return Err(refused(StatusCode::FORBIDDEN, words));
    }
    let secret = secret();
    let session = access.sessions().open(&secret, address, (access.clock)());
    tracing::info!(owner = %address, peer = %from, "an owner signed in");
    let view = SessionView {
        csrf: Some(csrf(&secret)),
        expires_at: Some(session.expires_at * 1_000),
        ..view(&Caller::Owner(address))
    };
    let secure = is_secure(&parts);
    let cookie = set_cookie(&access.cookie(secure), &secret, SESSION_SECONDS, secure);
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, cookie), NO_STORE], Json(view)).into_response())
}

/// Who one is, and what a session needs to go on with.
#[utoipa::path(get, path = "/v1/session", tag = "session", responses((status = 200, description = "Who one is", body = SessionView)))]
async fn session(
    State(access): State<Arc<Access>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Response {
    let mut view = view(&caller);
    if let (Caller::Owner(_), Some((secret, session))) = (&caller, access.session(&headers)) {
        (view.csrf, view.expires_at) = (Some(csrf(&secret)), Some(session.expires_at * 1_000));
    }
    ([NO_STORE], Json(view)).into_response()
}

/// Ends the session.
#[utoipa::path(delete, path = "/v1/session", tag = "session", responses((status = 204, description = "There is no session any more")))]
async fn sign_out(State(access): State<Arc<Access>>, parts: Parts) -> Result<Response, Problem> {
    let Some((secret, _)) = access.session(&parts.headers) else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let given = parts.headers.get(super::CSRF_HEADER).and_then(|token| token.to_str().ok()).unwrap_or_default();
    if is_foreign(&parts.headers, &host(&parts), is_tls(&parts)) || !is_csrf(given, &secret) {
        let words = "the header X-CSRF-Token is not that of the session, or the page is of another origin";
        return Err(Problem::new(StatusCode::FORBIDDEN, words));
    }
    access.sessions().close(&secret);
    let secure = is_secure(&parts);
    let cookie = set_cookie(&access.cookie(secure), "", 0, secure);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie), NO_STORE]).into_response())
}

const NO_STORE: (header::HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));

fn view(caller: &Caller) -> SessionView {
    let (who, address, name, role) = match caller {
        Caller::Anyone => ("anyone", None, None, None),
        Caller::ThisMachine => ("this_machine", None, None, None),
        Caller::Owner(address) => ("owner", Some(*address), None, None),
        Caller::Machine { name, power } => ("machine", None, Some(name.clone()), Some(power.name())),
    };
    let can_operate = caller.is_trusted() && *caller != Caller::ThisMachine;
    SessionView { who, address, name, role, can_read: caller.may_read(), can_operate, csrf: None, expires_at: None }
}

fn unreadable(error: JsonRejection) -> Problem {
    Problem::new(error.status(), error.body_text())
}

/// The host that the node was asked by, where it may be signed in to by it, and the page is its own.
fn own_host(access: &Access, parts: &Parts) -> Result<String, Problem> {
    let host = host(parts);
    if !is_own_host(&host, &access.door.hosts) {
        let words =
            format!("{host:?} is not known as a name of this node: use its IP address, or add the name to node.hosts");
        return Err(Problem::new(StatusCode::FORBIDDEN, words));
    }
    if is_foreign(&parts.headers, &host, is_tls(parts)) {
        let words = "a page of another origin asks to sign in: open the console at the node's own address";
        return Err(Problem::new(StatusCode::FORBIDDEN, words));
    }
    Ok(host)
}

fn set_cookie(name: &str, value: &str, seconds: u64, secure: bool) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("")) // it is plain ASCII
}

/// By its key, or else, of an owner alone, by its contract: nobody else has the chain asked.
async fn has_signed(access: &Access, challenge: &Challenge, signature: &[u8], is_owner: bool) -> Result<bool, Problem> {
    let hash = eip191_hash_message(&challenge.text);
    let recovered = Signature::try_from(signature).ok().and_then(|signature| {
        let low = signature.normalize_s().is_none();
        signature.recover_address_from_prehash(&hash).ok().filter(|_| low)
    });
    if recovered == Some(challenge.address) {
        return Ok(true);
    }
    if !is_owner || signature.len() > MOST_SIGNATURE {
        return Ok(false);
    }
    within(access.authority.signed_by_contract(challenge.address, hash, signature.to_vec())).await
}
