//! The keys of a node: those of its configuration, those that `millrace key` puts into its database, and the webhook that has a say
//! besides.

use super::gate::{Attempt, Gate, Grant, Keys};
use super::refusal::Refusal;
use super::webhook::{Question, Verdict, Webhook};
use alloy::primitives::B256;
use futures::future::BoxFuture;
use millrace_hop::unix_now_ms;
use millrace_store::{Store, StoreError};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often the keys of live streams are looked up again: a stream whose key was revoked ends within this, and a little.
const REVOKED_INTERVAL: Duration = Duration::from_secs(1);
/// For the database to answer. Nothing else of the node's waits for a publisher.
const STORE_TIMEOUT: Duration = Duration::from_secs(3);

/// The SHA-256 of a key, by which it is kept and found.
///
/// A plain hash is enough for keys that [`new_key`] makes: of 128 random bits none is found by trying, with however fast a hash, so that
/// salt and slowness, which guessable passwords need, would only cost time. Looking a key up by its hash also tells nothing by the time
/// that it takes: which hashes are near to a kept one cannot be chosen from outside. A key that a person thought up and put into the
/// configuration has no such protection against trying.
pub fn hash(key: &str) -> B256 {
    B256::from(<[u8; 32]>::from(Sha256::digest(key)))
}

/// A new key: 128 random bits as 32 hex digits, which every protocol and every shell takes as they are.
pub fn new_key() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// The keys of a node.
pub struct Keyring {
    configured: HashMap<B256, String>,
    store: Store,
    webhook: Option<Webhook>,
    fail_open: bool,
}

impl Keyring {
    /// The keys in `configured`, by their hashes with their names, and those in `store`; `webhook` has a say, and `fail_open` tells what
    /// goes while it fails.
    pub fn new(configured: HashMap<B256, String>, store: Store, webhook: Option<Webhook>, fail_open: bool) -> Self {
        Self { configured, store, webhook, fail_open }
    }

    /// What this node itself knows of a key, or `None` where it leaves that to the webhook alone: when it has no keys at all, and never
    /// made one. A key that was revoked counts as one that it has.
    async fn own(&self, hash: B256) -> Result<Option<Grant>, Refusal> {
        if let Some(name) = self.configured.get(&hash) {
            return Ok(Some(Grant { name: name.clone(), ..Grant::default() }));
        }
        match self.stored(self.store.stream_key(hash)).await? {
            Some(row) if row.revoked_ms.is_some() => Err(Refusal::Revoked),
            Some(row) => Ok(Some(Grant { name: row.name, key: Some(hash), ..Grant::default() })),
            None => {
                let alone = self.webhook.is_some()
                    && self.configured.is_empty()
                    && !self.stored(self.store.has_stream_keys()).await?;
                if alone { Ok(None) } else { Err(Refusal::UnknownKey) }
            }
        }
    }

    async fn stored<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, Refusal> {
        in_time(call).await.map_err(|error| {
            warn!(error, "stream keys cannot be looked up: publishers are refused");
            Refusal::Unavailable
        })
    }

    /// What the webhook makes of `own`.
    async fn asked(
        &self,
        webhook: &Webhook,
        attempt: Attempt<'_>,
        hash: B256,
        own: Option<Grant>,
    ) -> Result<Grant, Refusal> {
        let question = Question::new(attempt, hash, own.as_ref().map(|grant| grant.name.as_str()));
        match (webhook.ask(&question).await, own) {
            (Ok(Verdict::Refuse(reason)), own) => {
                let known = own.is_some();
                info!(peer = %attempt.peer, protocol = attempt.protocol.name(), %reason, "the auth webhook refuses a publisher");
                Err(Refusal::Denied { reason, known })
            }
            (Ok(Verdict::Allow { name, ladder, record }), own) => match (name, own) {
                (Some(name), own) => Ok(Grant { name, ladder, record, key: own.and_then(|own| own.key) }),
                (None, Some(own)) => Ok(Grant { ladder, record, ..own }),
                (None, None) => {
                    warn!(
                        "the auth webhook allows a key that this node does not know, and names no stream: it must answer a name"
                    );
                    Err(Refusal::Unavailable)
                }
            },
            (Err(error), Some(own)) if self.fail_open => {
                warn!(%error, stream = own.name, peer = %attempt.peer, "the auth webhook failed: the key alone lets the publisher in");
                Ok(own)
            }
            (Err(error), _) => {
                warn!(%error, peer = %attempt.peer, "the auth webhook failed: the publisher is refused");
                Err(Refusal::Unavailable)
            }
        }
    }
}

impl Keys for Keyring {
    fn judge<'a>(&'a self, attempt: Attempt<'a>) -> BoxFuture<'a, Result<Grant, Refusal>> {
        Box::pin(async move {
            let hash = hash(attempt.key);
            let own = self.own(hash).await?;
            let grant = match (&self.webhook, own) {
                (Some(webhook), own) => self.asked(webhook, attempt, hash, own).await?,
                (None, own) => own.ok_or(Refusal::UnknownKey)?,
            };
            if let Some(key) = grant.key
                && let Err(error) = in_time(self.store.use_stream_key(key, unix_now_ms())).await
            {
                warn!(error, stream = grant.name, "the use of a stream key is not noted"); // only people read it
            }
            Ok(grant)
        })
    }
}

/// Ends live streams whose key was revoked, until `stop`.
pub async fn end_revoked(gate: Arc<Gate>, store: Store, stop: CancellationToken) {
    let mut look = interval(REVOKED_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = stop.cancelled() => return,
        }
        for key in gate.live_keys() {
            match in_time(store.stream_key(key)).await {
                Ok(Some(row)) if row.revoked_ms.is_none() => {}
                Ok(_) => gate.end_revoked(key),
                Err(error) => {
                    warn!(error, "cannot look for revoked stream keys: streams go on");
                    break;
                }
            }
        }
    }
}

/// What the database says, or why it says nothing.
async fn in_time<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, String> {
    match timeout(STORE_TIMEOUT, call).await {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the database did not answer within {} s", STORE_TIMEOUT.as_secs())),
    }
}
