//! The operator's own program that is asked for each publisher, by one signed POST.
//!
//! The question is JSON: `event` ("publish"), `protocol`, `address` of the publisher, `key_sha256`, and either the `name` that this
//! node knows the key by, or, where the program alone decides, the `key` itself: it may be a token that only the program can read. A
//! key that the node knows never leaves it.
//!
//! `Millrace-Timestamp` has the unix time in seconds, `Millrace-Signature` has `sha256=` and the HMAC-SHA-256, in hex, of the
//! timestamp, a full stop and the body.
//!
//! The answer is 200 with JSON: `allow`, and where it allows `name` and `ladder` if they are to be others and
//! `record` if the stream is to be recorded or is not to be, where it does not, `reason`;
//! 403 refuses too. Anything else is a failure of the program, not its word: whether it lets anybody in is said by the configuration.

use super::gate::Attempt;
use crate::config::{Rung, check_ladder};
use crate::origin::check_name;
use alloy::hex;
use alloy::primitives::B256;
use hmac::{Hmac, Mac};
use millrace_hop::unix_now;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode, Url, redirect};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

/// Questions at once. More wait, within the time that an answer may take.
const QUESTIONS: usize = 32;
/// The longest answer, bytes: the largest ladder and a reason have a tenth of it.
const MOST_ANSWER: usize = 16 << 10;
/// The longest reason that a publisher is told, characters.
const MOST_REASON: usize = 200;
/// The shortest secret, bytes.
const LEAST_SECRET: usize = 16;
/// The longest time for an answer: publishers give up by then, and a node that stops waits for it.
const MOST_TIME: Duration = Duration::from_secs(8);
/// What a publisher is told without a reason.
const NO_REASON: &str = "the server's operator does not allow this stream";

/// Why there is no webhook.
#[derive(Debug, thiserror::Error)]
pub enum WebhookConfigError {
    /// Its URL.
    #[error("it is not an http or https URL")]
    Url,
    /// Its secret.
    #[error("auth_webhook_secret has {0} characters, and needs {LEAST_SECRET}: openssl rand -hex 32 makes one")]
    Secret(usize),
    /// Its time.
    #[error("auth_webhook_ms is {0}, and must be 1 to {most}", most = MOST_TIME.as_millis())]
    Time(u128),
    /// The client.
    #[error("no HTTP client: {0}")]
    Client(String),
}

/// Why the webhook gave no verdict. The words are for the operator.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// Too slow, be it to connect or to answer.
    #[error("it gave no answer within {} ms (auth_webhook_ms)", .0.as_millis())]
    TimedOut(Duration),
    /// No connection, or a broken one.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It is elsewhere.
    #[error("it answers {0}, and redirects are not followed: set auth_webhook to where it is")]
    Redirect(u16),
    /// Neither 200 nor 403.
    #[error("it answers {0}: an answer is 200 with JSON, or 403")]
    Status(u16),
    /// It says too much.
    #[error("its answer has over {MOST_ANSWER} bytes, the limit")]
    TooLarge,
    /// It says something else.
    #[error("its answer is not as the documentation has it: {0}")]
    Malformed(String),
    /// A name that no stream can have.
    #[error("its answer names the stream wrongly: {0}")]
    Name(String),
    /// A ladder that cannot be made.
    #[error("the ladder in its answer cannot be made: {0}")]
    Ladder(String),
}

/// What is asked.
#[derive(Debug, Serialize)]
pub struct Question<'a> {
    event: &'static str,
    protocol: &'static str,
    address: SocketAddr,
    key_sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

impl<'a> Question<'a> {
    /// Whether `attempt` is allowed, whose key has this hash, and this name if the node knows it.
    pub fn new(attempt: Attempt<'a>, hash: B256, name: Option<&'a str>) -> Self {
        let peer = SocketAddr::new(attempt.peer.ip().to_canonical(), attempt.peer.port());
        Self {
            event: "publish",
            protocol: attempt.protocol.name(),
            address: peer,
            key_sha256: hex::encode(hash),
            key: name.is_none().then_some(attempt.key),
            name,
        }
    }
}

/// What is answered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    allow: bool,
    reason: Option<String>,
    name: Option<String>,
    ladder: Option<Vec<Rung>>,
    record: Option<bool>,
}

/// The webhook's word.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Come in.
    Allow {
        /// Under another name.
        name: Option<String>,
        /// With a ladder of its own, highest first.
        ladder: Option<Vec<Rung>>,
        /// Recorded, or not, whatever the configuration says.
        record: Option<bool>,
    },
    /// No, with a reason for the publisher.
    Refuse(String),
}

/// The program that is asked.
pub struct Webhook {
    client: Client,
    url: Url,
    secret: Vec<u8>,
    limit: Duration,
    questions: Semaphore,
}

impl Webhook {
    /// The program at `url`, which may take `limit`, asked under `secret`. The process must have its TLS provider by now.
    pub fn new(url: &str, secret: &str, limit: Duration) -> Result<Self, WebhookConfigError> {
        let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url = url.ok_or(WebhookConfigError::Url)?;
        if secret.len() < LEAST_SECRET {
            return Err(WebhookConfigError::Secret(secret.len()));
        }
        if limit.is_zero() || limit > MOST_TIME {
            return Err(WebhookConfigError::Time(limit.as_millis()));
        }
        // No proxy either: what the environment says of proxies is not meant for keys.
        let client = Client::builder().redirect(redirect::Policy::none()).no_proxy().build();
        let client = client.map_err(|error| WebhookConfigError::Client(causes(&error)))?;
        if url.scheme() == "http" && !is_loopback(&url) {
            warn!(
                host = url.host_str(),
                "the auth webhook is asked without TLS: whoever is on the way sees keys and may allow them"
            );
        }
        Ok(Self { client, url, secret: secret.into(), limit, questions: Semaphore::new(QUESTIONS) })
    }

    /// Asks, and waits for the whole answer no longer than the limit.
    pub async fn ask(&self, question: &Question<'_>) -> Result<Verdict, WebhookError> {
        let body = serde_json::to_vec(question).map_err(|error| WebhookError::Malformed(error.to_string()))?;
        timeout(self.limit, self.exchange(body)).await.map_err(|_| WebhookError::TimedOut(self.limit))?
    }

    async fn exchange(&self, body: Vec<u8>) -> Result<Verdict, WebhookError> {
        let unreachable = |error: reqwest::Error| WebhookError::Unreachable(causes(&error.without_url()));
        let closed = |_| WebhookError::Unreachable("this node is stopping".into());
        let _place = self.questions.acquire().await.map_err(closed)?;
        let timestamp = unix_now().to_string();
        let signature = sign(&self.secret, &timestamp, &body);
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("millrace-timestamp", timestamp)
            .header("millrace-signature", signature)
            .body(body);
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        match status {
            StatusCode::OK | StatusCode::FORBIDDEN => {}
            status if status.is_redirection() => return Err(WebhookError::Redirect(status.as_u16())),
            status => return Err(WebhookError::Status(status.as_u16())),
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if answer.len() + chunk.len() > MOST_ANSWER {
                return Err(WebhookError::TooLarge);
            }
            answer.extend_from_slice(&chunk);
        }
        read(status == StatusCode::FORBIDDEN, &answer)
    }
}

/// What an answer comes to. One that refuses by its status needs no sense in its body.
fn read(forbidden: bool, body: &[u8]) -> Result<Verdict, WebhookError> {
    let answer: Answer = match serde_json::from_slice(body) {
        Ok(answer) => answer,
        Err(_) if forbidden => return Ok(Verdict::Refuse(NO_REASON.into())),
        Err(error) => return Err(WebhookError::Malformed(error.to_string())),
    };
    if forbidden || !answer.allow {
        return Ok(Verdict::Refuse(answer.reason.map(plain).unwrap_or_else(|| NO_REASON.into())));
    }
    if let Some(name) = &answer.name {
        check_name(name).map_err(|error| WebhookError::Name(error.to_string()))?;
    }
    let ladder = answer.ladder.map(check_ladder).transpose().map_err(WebhookError::Ladder)?;
    Ok(Verdict::Allow { name: answer.name, ladder, record: answer.record })
}

/// A reason as it can stand in a log line and in every protocol.
fn plain(reason: String) -> String {
    let plain: String = reason.chars().filter(|c| !c.is_control()).take(MOST_REASON).collect();
    if plain.trim().is_empty() { NO_REASON.into() } else { plain }
}

/// The value of `Millrace-Signature`.
fn sign(secret: &[u8], timestamp: &str, body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        return String::new(); // HMAC takes secrets of any length
    };
    for part in [timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// An error with all that is behind it: what reqwest itself says names none of it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_strictly() {
        let allow =
            |name: Option<&str>, ladder| Ok(Verdict::Allow { name: name.map(Into::into), ladder, record: None });
        let refuse = |reason: &str| Ok(Verdict::Refuse(reason.into()));
        let yes = |body: &str| read(false, body.as_bytes());
        assert_eq!(yes(r#"{"allow":true}"#), allow(None, None));
        assert_eq!(yes(r#"{"allow":true,"name":"show","ladder":[]}"#), allow(Some("show"), Some(Vec::new())));
        let ladder = vec![Rung { height: 720, bitrate: 2_000_000 }, Rung { height: 360, bitrate: 600_000 }];
        let said = r#"{"allow":true,"ladder":[{"height":360,"bitrate":600000},{"height":720,"bitrate":2000000}]}"#;
        assert_eq!(yes(said), allow(None, Some(ladder)));
        let record = Verdict::Allow { name: None, ladder: None, record: Some(false) };
        assert_eq!(yes(r#"{"allow":true,"record":false}"#), Ok(record));
        assert_eq!(yes(r#"{"allow":false,"reason":"not\n paid"}"#), refuse("not paid"));
        assert_eq!(yes(r#"{"allow":false,"reason":" "}"#), refuse(NO_REASON));
        assert_eq!(yes(r#"{"allow":false}"#), refuse(NO_REASON));
        assert_eq!(read(true, b"<html>"), refuse(NO_REASON));
        assert_eq!(read(true, br#"{"allow":true,"reason":"no"}"#), refuse("no"));
        assert_eq!(plain("x".repeat(1_000)).len(), MOST_REASON);
        for (body, words) in [
            ("", "EOF"),
            ("{}", "allow"),
            (r#"{"allow":"yes"}"#, "boolean"),
            (r#"{"allow":true,"record":"yes"}"#, "boolean"),
            (r#"{"allow":true,"recorded":true}"#, "recorded"),
            (r#"{"allow":true,"name":"../x"}"#, "../x"),
            (r#"{"allow":true,"ladder":[{"height":9,"bitrate":600000}]}"#, "pixels"),
            (r#"{"allow":true,"ladder":[{"height":360}]}"#, "bitrate"),
        ] {
            let error = yes(body).unwrap_err().to_string();
            assert!(error.contains(words), "{body}: {error}");
        }
    }

    #[test]
    fn what_a_signature_covers() {
        // printf %s '1800000000.{}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let signature = sign(b"0123456789abcdef", "1800000000", b"{}");
        assert_eq!(signature, "sha256=1313ae9c874eb1a0868ad0b65f841c4243c23fdcfad69a3ada227726fad9960e");
    }

    #[test]
    fn a_key_that_the_node_knows_is_not_told() {
        let attempt = Attempt {
            protocol: super::super::Protocol::Rtmp,
            key: "the-key",
            peer: "[::ffff:192.0.2.1]:7".parse().unwrap(),
        };
        let asked = |name| serde_json::to_value(Question::new(attempt, B256::repeat_byte(1), name)).unwrap();
        let known = asked(Some("show"));
        assert_eq!((known["name"].as_str(), known.get("key")), (Some("show"), None));
        assert_eq!((known["address"].as_str(), known["protocol"].as_str()), (Some("192.0.2.1:7"), Some("rtmp")));
        let unknown = asked(None);
        assert_eq!((unknown["key"].as_str(), unknown.get("name")), (Some("the-key"), None));
        assert_eq!(unknown["key_sha256"].as_str().map(str::len), Some(64));
    }
}
