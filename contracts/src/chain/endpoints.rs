//! The transport below everything: several endpoints of one chain, of which any may hang, lie or fall behind.
//!
//! A call goes to the first endpoint that is well, and on to the next when it fails; a signed transaction goes to all that
//! are well. One that fails is set aside with its fault and is looked at again after a while. alloy's own fallback layer
//! asks its endpoints at the same time and takes the first answer, whatever it says: it bounds no time and looks at neither
//! chain id nor height, so it is not used here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use alloy::primitives::U64;
use alloy::rpc::json_rpc::{RequestPacket, ResponsePacket};
use alloy::transports::{TransportError, TransportErrorKind, TransportFut, TransportResult};
use reqwest::{Client, Url};
use serde_json::json;
use tokio::task::JoinSet;

use super::{ChainError, ChainOptions};

/// Bytes of an answer: a block of full transactions or ten thousand logs are a tenth of it.
const MAX_ANSWER: usize = 32 << 20;

/// Characters of a wrong answer that an error shows.
const SHOWN: usize = 80;

/// Why an endpoint is not asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointFault {
    /// It took a request and did not answer.
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// No connection, or one that broke.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// An HTTP status that is no success, such as 429.
    #[error("answers HTTP {0}")]
    Status(u16),
    /// An answer that is not of JSON-RPC.
    #[error("answers what is no JSON-RPC: {0:?}")]
    Garbage(String),
    /// It belongs to another chain.
    #[error("is on chain {found}, not on {expected}")]
    WrongChain {
        /// Its chain id.
        found: u64,
        /// The one that it should have.
        expected: u64,
    },
    /// It is too far behind the others.
    #[error("is {0} blocks behind")]
    Lags(u64),
}

/// How an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointStatus {
    /// Host and port: the rest of its URL may hold a key.
    pub name: String,
    /// Why it is set aside, if it is.
    pub fault: Option<EndpointFault>,
}

/// Endpoints of one chain. Cheap to clone.
#[derive(Clone)]
pub(super) struct Endpoints(Arc<Shared>);

struct Shared {
    client: Client,
    all: Vec<Endpoint>,
    options: ChainOptions,
    chain_id: u64,
    probed: Mutex<Instant>,
    probing: AtomicBool,
}

struct Endpoint {
    name: String,
    url: Url,
    /// With the time until which it is not even looked at.
    fault: Mutex<Option<(EndpointFault, Instant)>>,
}

/// What a look at an endpoint found: its chain id and its newest block.
type Probed = Result<(u64, u64), EndpointFault>;

impl Endpoints {
    /// Looks at every endpoint. At least one must be right.
    pub(super) async fn connect(options: ChainOptions) -> Result<Self, ChainError> {
        // The HTTP client wants the process's TLS provider even for plain HTTP. Whoever was first stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().build().map_err(|error| ChainError::Input(reason(&error)))?;
        let all = options.rpc_urls.iter().map(|url| Endpoint::new(url)).collect::<Result<Vec<_>, _>>()?;
        let mut shared =
            Shared { client, all, options, chain_id: 0, probed: Mutex::new(Instant::now()), probing: false.into() };
        let seen = shared.look(shared.all.iter()).await;
        let first = seen.iter().find_map(|seen| seen.as_ref().ok()).map(|(id, _)| *id);
        shared.chain_id = shared.options.chain_id.or(first).unwrap_or_default();
        shared.judge(shared.all.iter(), seen);
        let this = Self(Arc::new(shared));
        let status = this.status();
        if status.iter().all(|endpoint| endpoint.fault.is_some()) {
            return Err(ChainError::NoEndpoint(listed(&status)));
        }
        Ok(this)
    }

    pub(super) fn chain_id(&self) -> u64 {
        self.0.chain_id
    }

    pub(super) fn status(&self) -> Vec<EndpointStatus> {
        self.0
            .all
            .iter()
            .map(|endpoint| EndpointStatus { name: endpoint.name.clone(), fault: endpoint.fault() })
            .collect()
    }

    /// Looks again at what is well, and at what was set aside long enough ago: now and then, beside the calls.
    fn look_again(&self) {
        let due = lock(&self.0.probed).elapsed() >= self.0.options.set_aside / 2;
        if !due || self.0.probing.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = self.clone();
        // Ends by itself: every request in it is bounded.
        tokio::spawn(async move {
            let shared = &this.0;
            let due = || shared.all.iter().filter(|endpoint| endpoint.rested());
            let seen = shared.look(due()).await;
            shared.judge(due(), seen);
            *lock(&shared.probed) = Instant::now();
            shared.probing.store(false, Ordering::Release);
        });
    }

    /// The endpoints to ask, best first. When all are set aside, those that may have come back.
    fn candidates(&self) -> Vec<usize> {
        let those = |of: fn(Option<EndpointFault>) -> bool| {
            (0..self.0.all.len()).filter(|&at| of(self.0.all[at].fault())).collect::<Vec<_>>()
        };
        let well = those(|fault| fault.is_none());
        if well.is_empty() { those(|fault| !matches!(fault, Some(EndpointFault::WrongChain { .. }))) } else { well }
    }

    async fn ask(&self, at: usize, request: &RequestPacket) -> Result<ResponsePacket, EndpointFault> {
        let (shared, endpoint) = (&self.0, &self.0.all[at]);
        let answer = shared.post(endpoint, request).await;
        match &answer {
            Ok(_) => endpoint.answered(),
            Err(fault) => endpoint.set_aside(fault.clone(), shared.options.set_aside),
        }
        answer
    }

    /// Asks one endpoint after the other until one answers. A refusal that is not a contract's may be that endpoint's own
    /// (a limit, a method that it lacks): the next is asked too, and the first refusal stands if none does better.
    async fn call_one(&self, request: RequestPacket) -> TransportResult<ResponsePacket> {
        let mut refusal = None;
        for at in self.candidates() {
            if let Ok(answer) = self.ask(at, &request).await {
                if answer.as_error().is_none_or(|error| error.code == 3 || error.as_revert_data().is_some()) {
                    return Ok(answer);
                }
                refusal.get_or_insert(answer);
            }
        }
        refusal.ok_or_else(|| self.nobody())
    }

    /// Sends a transaction to all; returns as soon as one has taken it, while the others go on within their bound.
    async fn call_all(&self, request: RequestPacket) -> TransportResult<ResponsePacket> {
        let mut asked = JoinSet::new();
        for at in self.candidates() {
            let (this, request) = (self.clone(), request.clone());
            asked.spawn(async move { this.ask(at, &request).await });
        }
        let mut refusal = None;
        while let Some(answer) = asked.join_next().await {
            if let Ok(Ok(answer)) = answer {
                if answer.is_success() {
                    asked.detach_all();
                    return Ok(answer);
                }
                refusal.get_or_insert(answer);
            }
        }
        refusal.ok_or_else(|| self.nobody())
    }

    fn nobody(&self) -> TransportError {
        TransportErrorKind::custom_str(&format!("no endpoint answers: {}", listed(&self.status())))
    }
}

impl tower::Service<RequestPacket> for Endpoints {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            this.look_again();
            if request.method_names().any(|name| name == "eth_sendRawTransaction") {
                this.call_all(request).await
            } else {
                this.call_one(request).await
            }
        })
    }
}

impl Shared {
    /// Chain id and height of several endpoints, all at once.
    async fn look(&self, endpoints: impl Iterator<Item = &Endpoint>) -> Vec<Probed> {
        let number = async |endpoint: &Endpoint, method: &str| {
            let request = json!({ "jsonrpc": "2.0", "id": 0, "method": method, "params": [] });
            let answer = self.post(endpoint, &request).await?;
            let number = answer.first_payload().and_then(|payload| payload.try_success_as::<U64>());
            let number = number.and_then(Result::ok).ok_or_else(|| garbage(format!("{answer:?}").as_bytes()))?;
            Ok::<u64, EndpointFault>(number.to())
        };
        let looks = endpoints.map(async |endpoint| {
            Ok((number(endpoint, "eth_chainId").await?, number(endpoint, "eth_blockNumber").await?))
        });
        futures::future::join_all(looks).await
    }

    /// Sets aside what was found wrong, and takes back what was not.
    fn judge<'a>(&self, endpoints: impl Iterator<Item = &'a Endpoint>, seen: Vec<Probed>) {
        let right = |id: u64| id == self.chain_id;
        let mut heads: Vec<u64> = seen.iter().flatten().filter(|(id, _)| right(*id)).map(|(_, head)| *head).collect();
        heads.sort_unstable_by(|a, b| b.cmp(a));
        // Of three or more the second: one that makes blocks up must not put all the others aside.
        let best = heads.get(usize::from(heads.len() > 2)).copied().unwrap_or_default();
        for (endpoint, seen) in endpoints.zip(seen) {
            match seen {
                Ok((id, head)) if right(id) && head.saturating_add(self.options.max_lag) >= best => endpoint.well(),
                Ok((id, head)) if right(id) => {
                    endpoint.set_aside(EndpointFault::Lags(best - head), self.options.set_aside);
                }
                Ok((found, _)) => {
                    let fault = EndpointFault::WrongChain { found, expected: self.chain_id };
                    endpoint.set_aside(fault, self.options.set_aside);
                }
                Err(fault) => endpoint.set_aside(fault, self.options.set_aside),
            }
        }
    }

    async fn post(&self, endpoint: &Endpoint, body: &impl serde::Serialize) -> Result<ResponsePacket, EndpointFault> {
        let limit = self.options.call_timeout;
        let exchange = async {
            let broken = |error: reqwest::Error| EndpointFault::Unreachable(reason(&error));
            let mut answer = self.client.post(endpoint.url.clone()).json(body).send().await.map_err(broken)?;
            let mut bytes = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(broken)? {
                if bytes.len() + chunk.len() > MAX_ANSWER {
                    return Err(EndpointFault::Garbage(format!("more than {MAX_ANSWER} bytes")));
                }
                bytes.extend_from_slice(&chunk);
            }
            match serde_json::from_slice(&bytes) {
                Ok(packet) => Ok(packet), // also with a status of failure: some say 400 beside a proper refusal
                Err(_) if !answer.status().is_success() => Err(EndpointFault::Status(answer.status().as_u16())),
                Err(_) => Err(garbage(&bytes)),
            }
        };
        tokio::time::timeout(limit, exchange).await.unwrap_or(Err(EndpointFault::Silent(limit)))
    }
}

impl Endpoint {
    fn new(url: &str) -> Result<Self, ChainError> {
        let wrong = |reason: String| ChainError::Url { url: url.to_owned(), reason };
        let parsed: Url =
            url.parse().map_err(|error| wrong(format!("{error}; expected such as http://127.0.0.1:8545")))?;
        let host = parsed.host_str().filter(|_| matches!(parsed.scheme(), "http" | "https"));
        let host = host.ok_or_else(|| wrong("expected such as http://127.0.0.1:8545".into()))?;
        let name = parsed.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Ok(Self { name, url: parsed, fault: Mutex::default() })
    }

    fn fault(&self) -> Option<EndpointFault> {
        lock(&self.fault).as_ref().map(|(fault, _)| fault.clone())
    }

    fn rested(&self) -> bool {
        lock(&self.fault).as_ref().is_none_or(|(_, until)| *until <= Instant::now())
    }

    fn well(&self) {
        if let Some((fault, _)) = lock(&self.fault).take() {
            tracing::info!(endpoint = self.name, was = %fault, "chain endpoint is well again");
        }
    }

    /// It was asked although it is set aside, since nothing else was left, and answered: not what a look must find out.
    fn answered(&self) {
        if !matches!(self.fault(), Some(EndpointFault::WrongChain { .. } | EndpointFault::Lags(_))) {
            self.well();
        }
    }

    fn set_aside(&self, fault: EndpointFault, during: Duration) {
        let before = lock(&self.fault).replace((fault.clone(), Instant::now() + during));
        if before.is_none_or(|(before, _)| before != fault) {
            tracing::warn!(endpoint = self.name, %fault, "chain endpoint is set aside");
        }
    }
}

fn listed(endpoints: &[EndpointStatus]) -> String {
    let line = |endpoint: &EndpointStatus| match &endpoint.fault {
        Some(fault) => format!("{} {fault}", endpoint.name),
        None => format!("{} failed just now", endpoint.name),
    };
    endpoints.iter().map(line).collect::<Vec<_>>().join("; ")
}

fn garbage(bytes: &[u8]) -> EndpointFault {
    EndpointFault::Garbage(String::from_utf8_lossy(bytes).chars().take(SHOWN).collect())
}

/// The last cause says what happened; what is above it repeats the URL, which may hold a key.
fn reason(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
