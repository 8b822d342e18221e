//! The secrets by which an assigner samples what it is delivered: which one is in force, their way to the chain, and whether an
//! assigner names the one that the chain binds it to.
//!
//! Each day (UTC) has a secret of its own; each is the keccak256 of the next day's (`Sampling.sol`). An assignment names the
//! commitment to its day's secret, the samples follow from that secret and the signed receipt (`millrace_verify::sample`), and once
//! the day is over the secret is revealed on the chain: then anyone can compute again what had to be looked at.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, keccak256};
use millrace_contracts::{Chain, ChainError, EPOCH, LAST_EPOCH, MAX_STEPS, SecretChain, StepError, links_down};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// The chain is looked at this often: a reveal has days (REVEAL_WINDOW), and two reads cost nothing.
const LOOK: Duration = Duration::from_secs(300);
/// After a failure, sooner: this, and twice as long each time up to [`LOOK`].
const RETRY: Duration = Duration::from_secs(5);
/// Epochs that are derived from one secret kept in memory: ten years, so that no node outlives them.
const AHEAD: u64 = 3_650;
/// A commitment that was mined so many epochs after it was signed is still found again.
const MAX_SHIFT: u64 = 7;
/// What an assigner has on the chain is believed this long: it changes once a day.
const BELIEVED: Duration = Duration::from_secs(600);
/// A commitment that does not fit is compared with the chain anew, unless it was read so lately.
const LATELY: Duration = Duration::from_secs(5);
/// Assigners that are remembered at once.
const MAX_ASSIGNERS: usize = 64;
/// Clocks may differ by so much, seconds: about midnight an assignment of either day is good.
const SKEW: u64 = 60;

/// What people are told of a node's sampling.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SamplingStatus {
    /// The epoch that the chain was in when it was looked at: a day (UTC) since 1970.
    pub epoch: u64,
    /// The last epoch whose secret is public; none without a chain of secrets at the contract.
    pub revealed: Option<u64>,
    /// When the next secret can be revealed, unix seconds.
    pub next_reveal_at: Option<u64>,
    /// When the node can be slashed for not having revealed it, unix seconds.
    pub overdue_at: Option<u64>,
    /// Why the last look came to nothing.
    pub problem: Option<String>,
}

/// Why a look at the chain of secrets came to nothing. The next one begins anew.
#[derive(Debug, thiserror::Error)]
pub enum SamplingError {
    /// The chain, or the contract.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The key's secrets end.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Somebody committed to other secrets than this key's.
    #[error(
        "the contract has a chain of secrets, with tip {tip} of epoch {epoch}, that this key did not make: reveal it where it \
         was made, or end it with `millrace stake sampling stop`"
    )]
    NotOurs {
        /// The contract's tip.
        tip: B256,
        /// Its epoch.
        epoch: u64,
    },
}

/// What a look at the chain led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// Nothing was due.
    Idle,
    /// The node has committed to its secrets.
    Committed,
    /// The secrets up to this epoch are revealed.
    Revealed(u64),
    /// The contract has no chain of this node any more: it was stopped, or punished.
    Ended,
}

/// A node's secrets, and their way to the chain.
pub struct Sampling {
    chain: Chain,
    /// A far epoch and its secret, from which all nearer ones follow.
    far: (u64, B256),
    near: Mutex<(u64, B256)>,
    /// By how many epochs the commitment was mined late: the contract counts from the block that has it.
    shift: AtomicU64,
    status: Mutex<SamplingStatus>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sampling {
    /// The secrets of the chain client's key, at `now` (unix seconds).
    pub(crate) fn new(chain: Chain, now: u64) -> Result<Self, ChainError> {
        let epoch = (now / EPOCH + AHEAD).min(LAST_EPOCH);
        let far = (epoch, chain.sampling_secret(epoch)?);
        let (shift, status) = (AtomicU64::new(0), Mutex::default());
        Ok(Self { chain, far, near: Mutex::new(far), shift, status })
    }

    /// The secret of an epoch.
    pub fn secret(&self, epoch: u64) -> B256 {
        let epoch = epoch.saturating_sub(self.shift.load(Ordering::Relaxed));
        let mut near = locked(&self.near);
        if epoch != near.0 {
            // Past the last there is none; the last stands for it then.
            *near = (epoch, links_down(self.far.1, self.far.0.saturating_sub(epoch)));
        }
        near.1
    }

    /// The commitment that an assignment of `now` (unix seconds) names.
    pub fn commit(&self, now: u64) -> B256 {
        keccak256(self.secret(now / EPOCH))
    }

    /// The secret behind the commitment of an assignment of the last hours before `now`.
    pub fn behind(&self, commit: B256, now: u64) -> Option<B256> {
        let today = now / EPOCH;
        [today, today.saturating_sub(1)].map(|epoch| self.secret(epoch)).into_iter().find(|s| keccak256(s) == commit)
    }

    /// What people are told.
    pub fn status(&self) -> SamplingStatus {
        locked(&self.status).clone()
    }

    /// Commits at the start, and reveals every epoch once it is over, until `stop`. Whatever fails is tried again.
    pub async fn run(&self, stop: CancellationToken) {
        let (mut may_commit, mut failed) = (true, RETRY);
        loop {
            let looked = tokio::select! {
                looked = self.look(may_commit) => looked,
                () = stop.cancelled() => return, // what it has sent is in the outbox
            };
            let pause = match looked {
                Ok(Looked::Idle) => LOOK,
                Ok(Looked::Committed | Looked::Revealed(_)) => Duration::ZERO, // more may be due
                Ok(Looked::Ended) => {
                    return error!(
                        "this node's chain of sampling secrets is over: its next start commits to a new one"
                    );
                }
                Err(error) => {
                    let until = self.status().overdue_at;
                    warn!(%error, overdue_at = until, "the sampling secrets wait: they must be revealed before they are overdue");
                    locked(&self.status).problem = Some(error.to_string());
                    failed = (failed * 2).min(LOOK);
                    failed / 2
                }
            };
            // Committed once, this process leaves it: whoever stops the chain means it.
            may_commit &= self.status().revealed.is_none();
            if pause == LOOK {
                failed = RETRY;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Looks once: commits when there is no chain and it `may_commit`, reveals when an epoch is over. By the chain's clock. Doing it
    /// again changes nothing, and a transaction of a killed process that is still in the outbox is waited for.
    pub async fn look(&self, may_commit: bool) -> Result<Looked, SamplingError> {
        let now = self.chain.time().await?;
        let today = now / EPOCH;
        let Some(bound) = self.chain.secret_chain(self.chain.address()).await? else {
            *locked(&self.status) = SamplingStatus { epoch: today, ..SamplingStatus::default() };
            if !may_commit {
                return Ok(Looked::Ended);
            }
            self.chain.commit_secrets(self.secret(today)).await?;
            info!(from = today + 1, "committed to the secrets by which this node samples");
            return Ok(Looked::Committed);
        };
        self.recognise(&bound)?;
        let window: u64 = self.chain.parameter("REVEAL_WINDOW").await?.saturating_to();
        let end = (bound.epoch + 2) * EPOCH;
        *locked(&self.status) = SamplingStatus {
            epoch: today,
            revealed: Some(bound.epoch),
            next_reveal_at: Some(end),
            overdue_at: Some(end.saturating_add(window)),
            problem: None,
        };
        let over = today.saturating_sub(1).min(bound.epoch + MAX_STEPS).min(bound.last_epoch.unwrap_or(u64::MAX));
        if over <= bound.epoch {
            return Ok(Looked::Idle);
        }
        self.chain.reveal_secret(over, self.secret(over)).await?;
        info!(from = bound.epoch + 1, to = over, "revealed the secrets of the epochs that are over");
        Ok(Looked::Revealed(over))
    }

    /// Finds this key's secret behind the contract's tip.
    fn recognise(&self, bound: &SecretChain) -> Result<(), SamplingError> {
        let is_tip = |shift: &u64| {
            let epoch = bound.epoch.saturating_sub(*shift);
            links_down(self.far.1, self.far.0.saturating_sub(epoch)) == bound.tip
        };
        let shift = (0..=MAX_SHIFT).find(is_tip);
        let shift = shift.ok_or(SamplingError::NotOurs { tip: bound.tip, epoch: bound.epoch })?;
        self.shift.store(shift, Ordering::Relaxed);
        Ok(())
    }
}

/// What the chain binds assigners to, as a worker sees it.
pub struct Commitments {
    chain: Chain,
    known: Mutex<HashMap<Address, (Instant, Option<SecretChain>)>>,
}

impl Commitments {
    pub(crate) fn new(chain: Chain) -> Self {
        Self { chain, known: Mutex::default() }
    }

    /// Whether an assignment of `now` (unix seconds) may name `commit`; if not, why. One that has no chain of secrets is bound to
    /// nothing.
    pub async fn check(&self, assigner: Address, commit: B256, now: u64) -> Result<(), String> {
        let fits = |bound: &Option<SecretChain>| bound.is_none_or(|bound| may_name(&bound, commit, now));
        let known = locked(&self.known).get(&assigner).copied();
        if let Some((read, bound)) = known
            && (read.elapsed() < LATELY || (fits(&bound) && read.elapsed() < BELIEVED))
        {
            return if fits(&bound) { Ok(()) } else { Err(refusal(assigner, commit, bound, now)) };
        }
        let bound = match (self.chain.secret_chain(assigner).await, known) {
            (Ok(bound), _) => bound,
            // What bound it then binds it still.
            (Err(_), Some((_, bound))) if fits(&bound) => return Ok(()),
            (Err(error), _) => return Err(format!("what {assigner} has committed to sample by is not known: {error}")),
        };
        {
            let mut known = locked(&self.known);
            if known.len() >= MAX_ASSIGNERS {
                known.clear();
            }
            known.insert(assigner, (Instant::now(), bound));
        }
        if fits(&bound) { Ok(()) } else { Err(refusal(assigner, commit, bound, now)) }
    }
}

/// In its first epoch a chain binds nothing yet: its tip need not be a secret.
fn may_name(bound: &SecretChain, commit: B256, now: u64) -> bool {
    let days = [now.saturating_sub(SKEW) / EPOCH, now / EPOCH, (now + SKEW) / EPOCH];
    bound.epoch == now / EPOCH || days.into_iter().any(|epoch| bound.binds(epoch, commit))
}

fn refusal(assigner: Address, commit: B256, bound: Option<SecretChain>, now: u64) -> String {
    let tip = bound.map_or_else(String::new, |b| format!(" (tip {} of epoch {})", b.tip, b.epoch));
    format!(
        "the assignment names {commit} as the commitment to the sampling secret of epoch {}, but the chain binds {assigner} to \
         another{tip}: name the commitment that hashes to that tip, a hash for each epoch",
        now / EPOCH
    )
}
