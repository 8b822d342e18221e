//! The two ends of a pair with their rows: state machine and database in the one order that survives a crash at any
//! point. Keep each behind one async lock: calls of a pair follow one another.

use alloy::primitives::{Address, B256, U256};
use alloy::signers::local::PrivateKeySigner;
use millrace_tickets::{
    Accepted, Backing, Domain, Due, Payee, PayeeState, Payer, PayerError, RejectReason, SignatureError, Signed, Ticket,
};

use crate::{Acceptance, Once, Store, StoreError};

/// The paying end.
#[derive(Debug)]
pub struct PayerPair {
    store: Store,
    domain: Domain,
    signer: PrivateKeySigner,
    pays: Address,
    payee: Address,
    payer: Payer,
}

impl PayerPair {
    /// The pair as the database knows it, of a payer that signs its own tickets.
    pub async fn open(
        store: Store,
        domain: Domain,
        signer: PrivateKeySigner,
        payee: Address,
    ) -> Result<Self, StoreError> {
        let payer = signer.address();
        Self::open_for(store, domain, signer, payer, payee).await
    }

    /// The same with tickets of `payer` that `signer`, a session key of it, signs.
    pub async fn open_for(
        store: Store,
        domain: Domain,
        signer: PrivateKeySigner,
        payer: Address,
        payee: Address,
    ) -> Result<Self, StoreError> {
        let (last_nonce, issued) = store.payer_state(payer, payee).await?;
        Ok(Self { store, domain, signer, pays: payer, payee, payer: Payer::restore(payer, payee, last_nonce, issued) })
    }

    /// Queues commits that the payee sent.
    pub fn offer_commits(&mut self, commits: Vec<B256>) {
        self.payer.offer_commits(commits);
    }

    /// The tickets that can be issued before the payee sends more commits.
    pub fn commits_left(&self) -> usize {
        self.payer.commits_left()
    }

    /// The signed ticket that pays `due`, on disk. The same work hash gives the same bytes, also after a crash.
    /// `payer_rand`: 32 random bytes, fresh for each call.
    pub async fn issue(&mut self, now_ms: u64, due: &Due, payer_rand: B256) -> Result<Signed<Ticket>, IssueError> {
        let ticket = self.payer.issue(now_ms / 1000, due, payer_rand)?;
        let recorded = self.store.record_ticket(now_ms, &ticket).await;
        // What the store did not take was never signed; on a disk error the ticket stays, for the next try.
        if matches!(&recorded, Err(StoreError::Taken(_))) || matches!(&recorded, Ok(stored) if *stored != ticket) {
            self.payer.forget(due.work_hash);
        }
        let signed = Signed::sign(recorded?, &self.domain, &self.signer)?;
        let Ticket { payee, nonce, payeeCommit: commit, workHash: work, .. } = &signed.body;
        tracing::debug!(kind = "ticket", %payee, nonce, %commit, %work, digest = %signed.digest(&self.domain), "signed");
        Ok(signed)
    }

    /// Notes that the payee acknowledged the ticket for this work.
    pub async fn acked(&self, work_hash: B256) -> Result<(), StoreError> {
        self.store.mark_acked(self.pays, self.payee, work_hash).await
    }

    /// Notes why the payee will never take the ticket for this work. False when that is known, or it was acknowledged.
    pub async fn refused(&self, work_hash: B256, reason: &str) -> Result<bool, StoreError> {
        self.store.mark_refused(self.pays, self.payee, work_hash, reason).await
    }

    /// The tickets to send again after a restart or a lost connection, oldest first.
    pub async fn unacked(&self, now_ms: u64) -> Result<Vec<Signed<Ticket>>, IssueError> {
        let tickets = self.store.unacked(self.pays, self.payee, now_ms / 1000).await?;
        tickets.into_iter().map(|ticket| Ok(Signed::sign(ticket, &self.domain, &self.signer)?)).collect()
    }
}

/// The paid end.
#[derive(Debug)]
pub struct PayeePair {
    store: Store,
    domain: Domain,
    payer: Address,
    me: Address,
    payee: Payee,
    /// Whether a write was begun whose end this object did not see: all is then read again, once that write is through.
    unsure: bool,
}

impl PayeePair {
    /// The pair as the database knows it. `seed`: see [`Store::payee_seed`].
    pub async fn open(
        store: Store,
        domain: Domain,
        payer: Address,
        me: Address,
        seed: B256,
    ) -> Result<Self, StoreError> {
        store.settle().await?; // an end of this pair that was put away may have left a write behind
        let spent = store.spent_by_keys(&domain, payer, me).await?;
        let state = PayeeState { spent, ..store.payee_state(payer, me).await? };
        let payee = Payee::restore(domain, payer, me, seed, state);
        Ok(Self { store, domain, payer, me, payee, unsure: false })
    }

    /// `n` new commits, at most 16, to send to the payer when it connects.
    pub async fn commits(&mut self, n: usize) -> Result<Vec<B256>, StoreError> {
        let commits = self.payee.next_commits(n);
        self.store.save_next_index(self.payer, self.me, self.payee.next_index()).await?;
        Ok(commits)
    }

    /// Checks, draws and writes a ticket. On `Ok` it is on disk: acknowledge it with the commit that is returned. A
    /// ticket that was accepted before is answered the same. `backing`: what stands behind the pair on the chain.
    pub async fn accept(
        &mut self,
        now_ms: u64,
        signed: &Signed<Ticket>,
        due: &Due,
        backing: impl Into<Backing>,
    ) -> Result<(Accepted, Vec<B256>), AcceptError> {
        if self.unsure {
            self.store.settle().await?; // a write whose caller went away may still be under way
        }
        let (outstanding, redeemed_nonce) = self.store.outstanding(self.payer, self.me).await?;
        self.payee.sync(outstanding, redeemed_nonce);
        if self.unsure {
            self.payee.set_spent(self.store.spent_by_keys(&self.domain, self.payer, self.me).await?);
        }
        let accepted = self.payee.accept(now_ms / 1000, signed, due, backing)?;
        if accepted.again {
            return Ok((accepted, self.commits(1).await?));
        }
        let commits = self.payee.next_commits(1);
        self.unsure = true;
        let written = match self.store.accept_ticket(now_ms, signed, &accepted, self.payee.next_index()).await {
            Ok(written) => written,
            Err(StoreError::Taken(once)) => return Err(AcceptError::Taken(once)),
            Err(error) => return Err(AcceptError::Store(error)),
        };
        self.payee.confirm(&signed.body, accepted);
        self.unsure = written == Acceptance::Same; // what was read may hold it already
        Ok((accepted, commits))
    }

    /// Raises the nonce below which tickets are refused to the pair's `lastNonce` on chain.
    pub fn saw_nonce_on_chain(&mut self, last_nonce: u64) {
        self.payee.sync(U256::ZERO, last_nonce);
    }
}

/// Why no ticket was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The pair cannot issue one.
    #[error(transparent)]
    Payer(#[from] PayerError),
    /// It could not be written, so it was not signed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key could not sign.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

/// Why a ticket was not accepted. All but [`AcceptError::Store`] are the payer's fault and may be told to it.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// A check failed.
    #[error(transparent)]
    Rejected(#[from] RejectReason),
    /// The database knows another ticket for the same thing.
    #[error("ticket refused: {0} has served another ticket")]
    Taken(Once),
    /// It could not be written: do not acknowledge, the payer may send it again.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for AcceptError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
