//! The paid end of one pair: hands out commits, checks tickets, draws.
//!
//! Order for the caller, under one lock per pair: [`Payee::accept`] (changes nothing), write the ticket to the store,
//! [`Payee::confirm`], acknowledge. A crash or a cancelled task between any two of these leaves either nothing or a row
//! that answers the resent ticket.
//!
//! Tickets of one pair travel on several QUIC streams and may overtake each other, so a nonce need not exceed the last
//! one: it must be new, inside a window of the last [`NONCE_WINDOW`], and above every nonce already handed to
//! redemption. That is what the chain's strictly rising nonce needs, and no honest payer is refused for a race.

use std::collections::{BTreeMap, VecDeque};

use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::sol_types::SolValue;

use crate::hashes::PAYEE_RAND;
use crate::money::{Due, draw, win_prob_for};
use crate::objects::{Domain, Ticket};
use crate::payer::{NONCE_AHEAD, NONCE_COUNTER_BITS, TICKET_TTL};
use crate::signed::Signed;

/// Commits handed out at once: as many tickets as can be in flight before the first is acknowledged.
pub const COMMITS_AHEAD: usize = 16;

/// Commits that stay good without being used. Each connection brings [`COMMITS_AHEAD`] new ones, and a ticket that was held up
/// by a crash has to find its own after as many connections as a bad quarter of an hour has.
pub const COMMITS_KEPT: usize = 256;

/// Nonces remembered to tell a resent ticket from a second one, and how far tickets may overtake each other.
pub const NONCE_WINDOW: usize = 64;

/// A face value may be at most the lock divided by this: at least two winners can always be paid.
pub const LOCK_PER_FACE_VALUE: u64 = 2;

/// The life that a ticket must have left, seconds: half of [`TICKET_TTL`], six times the longest wait for redemption.
pub const LEAST_LIFE: u64 = TICKET_TTL / 2;

/// The payee's state towards one payer.
#[derive(Debug, Clone)]
pub struct Payee {
    domain: Domain,
    payer: Address,
    payee: Address,
    seed: B256,
    next_index: u64,
    open: VecDeque<(u64, B256)>,
    recent: BTreeMap<u64, Recent>,
    floor: u64,
    outstanding: U256,
    /// Face values of the winners of each day of issue and session key, wei, whether redeemed or not.
    spent: BTreeMap<(u64, Address), U256>,
}

/// What stands behind a pair's tickets on the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backing {
    /// The pair's lock less what its payer is unlocking, wei.
    pub locked: U256,
    /// A key other than the payer's by which its tickets may be signed.
    pub session: Option<SessionKey>,
}

impl From<U256> for Backing {
    /// A lock, and no session key.
    fn from(locked: U256) -> Self {
        Self { locked, session: None }
    }
}

/// A key that may sign a payer's tickets, by the terms that the broker has for it. They never change, but for an earlier expiry that
/// is always more than a ticket's life away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionKey {
    /// The key's address.
    pub key: Address,
    /// The last unix second at which a ticket of the key can expire.
    pub expiry: u64,
    /// Wei of winners that one payee can redeem from the key for each day (UTC) of issue.
    pub daily_cap: U256,
}

#[derive(Debug, Clone)]
struct Recent {
    work_hash: B256,
    accepted: Accepted,
}

/// The answer to a ticket that is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The ticket's EIP-712 digest: its key in the store.
    pub digest: B256,
    /// The index of the commit that it used.
    pub index: u64,
    /// The payee's 32 bytes behind that commit: secret until redemption.
    pub payee_rand: B256,
    /// Whether it won.
    pub winner: bool,
    /// The session key that signed it; `None` when the payer did.
    pub session: Option<Address>,
    /// Whether this very ticket was accepted before: acknowledge it again, there is nothing to write.
    pub again: bool,
}

/// What the store keeps of a pair, for [`Payee::restore`].
#[derive(Debug, Clone, Default)]
pub struct PayeeState {
    /// The index of the next commit to hand out; at least one above any that was sent.
    pub next_index: u64,
    /// The highest nonce handed to redemption, or evicted from the window.
    pub floor: u64,
    /// Face values of winners that are not redeemed, wei.
    pub outstanding: U256,
    /// The last [`NONCE_WINDOW`] tickets by nonce: digest, commit index, whether it won.
    pub recent: Vec<(Ticket, B256, u64, bool)>,
    /// See [`Payee::set_spent`].
    pub spent: Vec<(u64, Address, U256)>,
}

impl Payee {
    /// A pair as the store knows it; [`PayeeState::default`] for one that never exchanged a ticket. `seed` is the
    /// node's secret from which all commits follow, so that none needs to be stored.
    pub fn restore(domain: Domain, payer: Address, payee: Address, seed: B256, state: PayeeState) -> Self {
        let PayeeState { next_index, floor, outstanding, recent, spent } = state;
        let used: Vec<u64> = recent.iter().map(|(_, _, index, _)| *index).collect();
        let mut pair = Self {
            domain,
            payer,
            payee,
            seed,
            next_index,
            open: VecDeque::new(),
            recent: BTreeMap::new(),
            floor,
            outstanding,
            spent: BTreeMap::new(),
        };
        pair.set_spent(spent);
        pair.open = (next_index.saturating_sub(COMMITS_KEPT as u64)..next_index)
            .filter(|index| !used.contains(index))
            .map(|index| (index, pair.commit(index)))
            .collect();
        for (ticket, digest, index, winner) in recent {
            let payee_rand = pair.rand(index);
            pair.remember(&ticket, Accepted { digest, index, payee_rand, winner, session: None, again: true });
        }
        pair
    }

    /// `n` new commits, at most [`COMMITS_AHEAD`], to send in this order: 16 when a payer connects, one with each
    /// acknowledgement. [`Payee::next_index`] must be in the store before they are sent. Of those sent, the last
    /// [`COMMITS_KEPT`] unused ones stay good.
    pub fn next_commits(&mut self, n: usize) -> Vec<B256> {
        (0..n.min(COMMITS_AHEAD))
            .map(|_| {
                let commit = self.commit(self.next_index);
                if self.open.len() == COMMITS_KEPT {
                    self.open.pop_front();
                }
                self.open.push_back((self.next_index, commit));
                self.next_index += 1;
                commit
            })
            .collect()
    }

    /// The index of the next commit to hand out.
    pub fn next_index(&self) -> u64 {
        self.next_index
    }

    /// Sets what redemption changes: the face values of winners not yet redeemed (wei), and the highest nonce handed to
    /// redemption or seen on chain, below which no winner can be redeemed any more.
    pub fn sync(&mut self, outstanding: U256, redeemed_nonce: u64) {
        self.outstanding = outstanding;
        self.floor = self.floor.max(redeemed_nonce);
    }

    /// Sets the winners of session keys, redeemed or not: day of issue ([`issue_day`]), key, and the sum of their face values, wei.
    /// Those of the last three days before the newest are enough.
    pub fn set_spent(&mut self, spent: impl IntoIterator<Item = (u64, Address, U256)>) {
        self.spent = spent.into_iter().map(|(day, key, wei)| ((day, key), wei)).collect();
    }

    /// Checks a ticket against what is due and what stands behind it on the chain, and draws. Changes nothing: see the module's
    /// head for what follows. The ticket that was accepted before is accepted again, with the same answer.
    pub fn accept(
        &self,
        now: u64,
        signed: &Signed<Ticket>,
        due: &Due,
        backing: impl Into<Backing>,
    ) -> Result<Accepted, RejectReason> {
        let Backing { locked, session } = backing.into();
        let ticket = &signed.body;
        if ticket.payer != self.payer || ticket.payee != self.payee {
            return Err(RejectReason::Pair { payer: ticket.payer, payee: ticket.payee });
        }
        let digest = signed.digest(&self.domain);
        let signer = signed.signature.recover(&digest).map_err(RejectReason::Signature)?;
        let session = session.filter(|session| session.key == signer && signer != self.payer);
        if signer != self.payer && session.is_none() {
            return Err(RejectReason::Signer { signer, payer: self.payer });
        }
        if let Some(same) = self.recent.get(&ticket.nonce).filter(|r| r.accepted.digest == digest) {
            return Ok(same.accepted);
        }
        if ticket.workHash != due.work_hash {
            return Err(RejectReason::Work { expected: due.work_hash, got: ticket.workHash });
        }
        if self.recent.values().any(|r| r.work_hash == ticket.workHash) {
            return Err(RejectReason::WorkPaid(ticket.workHash));
        }
        self.check_value(ticket, due)?;
        self.check_time(now, ticket)?;
        if let Some(session) = &session {
            self.check_session(now, ticket, session)?;
        }
        let index = self.open.iter().find(|(_, commit)| *commit == ticket.payeeCommit).map(|(index, _)| *index);
        let index = index.ok_or(RejectReason::Commit(ticket.payeeCommit))?;
        let face_value = U256::from(ticket.faceValue);
        if face_value > locked / U256::from(LOCK_PER_FACE_VALUE) || self.outstanding.saturating_add(face_value) > locked
        {
            return Err(RejectReason::Lock { locked, outstanding: self.outstanding, face_value });
        }
        let payee_rand = self.rand(index);
        let (winner, session) = (draw(ticket, payee_rand), session.map(|session| session.key));
        Ok(Accepted { digest, index, payee_rand, winner, session, again: false })
    }

    /// Takes in a ticket that [`Payee::accept`] passed and the store has written. A second time changes nothing.
    pub fn confirm(&mut self, ticket: &Ticket, accepted: Accepted) {
        if accepted.again || self.recent.contains_key(&ticket.nonce) {
            return;
        }
        self.open.retain(|(index, _)| *index != accepted.index);
        if accepted.winner {
            let face_value = U256::from(ticket.faceValue);
            self.outstanding = self.outstanding.saturating_add(face_value);
            if let Some(key) = accepted.session {
                let day = issue_day(ticket.nonce);
                // What is two days older can be issued no more, whatever the clocks: see `check_session`.
                self.spent = self.spent.split_off(&(day.saturating_sub(2), Address::ZERO));
                let spent = self.spent.entry((day, key)).or_default();
                *spent = spent.saturating_add(face_value);
            }
        }
        self.remember(ticket, Accepted { again: true, ..accepted });
    }

    fn check_value(&self, ticket: &Ticket, due: &Due) -> Result<(), RejectReason> {
        if U256::from(ticket.faceValue) != U256::from(due.terms.face_value) {
            let got = ticket.faceValue.to();
            return Err(RejectReason::FaceValue { quoted: due.terms.face_value, got });
        }
        match win_prob_for(due.price, due.terms.face_value) {
            Some(least) if ticket.winProb >= least && ticket.winProb <= due.terms.win_prob => Ok(()),
            least => Err(RejectReason::WinProb { got: ticket.winProb, least, most: due.terms.win_prob }),
        }
    }

    fn check_time(&self, now: u64, ticket: &Ticket) -> Result<(), RejectReason> {
        let nonce = ticket.nonce;
        if nonce >> NONCE_COUNTER_BITS > now + NONCE_AHEAD {
            return Err(RejectReason::NonceAhead { nonce, now });
        }
        if nonce <= self.floor || self.recent.contains_key(&nonce) {
            return Err(RejectReason::NonceUsed { nonce, floor: self.floor });
        }
        let expiry: u64 = ticket.expiry.to();
        // The upper bound lets the store drop losers a day later.
        if expiry < now + LEAST_LIFE || expiry > now + TICKET_TTL + NONCE_AHEAD {
            return Err(RejectReason::Expiry { expiry, now });
        }
        Ok(())
    }

    /// What the broker asks of a session key's winners, as it counts: any ticket may win.
    fn check_session(&self, now: u64, ticket: &Ticket, session: &SessionKey) -> Result<(), RejectReason> {
        let &SessionKey { key, expiry: key_expiry, daily_cap: cap } = session;
        let expiry: u64 = ticket.expiry.to();
        if expiry > key_expiry {
            return Err(RejectReason::SessionExpiry { key, expiry, key_expiry });
        }
        // An honest one is half as old at most (see `LEAST_LIFE`), and the sums of older days are forgotten.
        let issued = ticket.nonce >> NONCE_COUNTER_BITS;
        if issued + DAY < now {
            return Err(RejectReason::Issued { issued, now });
        }
        let spent = self.spent.get(&(issue_day(ticket.nonce), key)).copied().unwrap_or_default();
        let face_value = U256::from(ticket.faceValue);
        if spent.saturating_add(face_value) > cap {
            return Err(RejectReason::DailyCap { key, cap, spent });
        }
        Ok(())
    }

    fn remember(&mut self, ticket: &Ticket, accepted: Accepted) {
        self.recent.insert(ticket.nonce, Recent { work_hash: ticket.workHash, accepted });
        if self.recent.len() > NONCE_WINDOW
            && let Some((evicted, _)) = self.recent.pop_first()
        {
            self.floor = self.floor.max(evicted);
        }
    }

    /// The 32 bytes behind commit `index`: a hash of the secret seed and everything that the commit is for.
    fn rand(&self, index: u64) -> B256 {
        let Domain { chain_id, broker } = self.domain;
        keccak256((PAYEE_RAND, self.seed, chain_id, broker, self.payer, self.payee, index).abi_encode())
    }

    fn commit(&self, index: u64) -> B256 {
        keccak256(self.rand(index))
    }
}

/// Seconds of a day.
const DAY: u64 = 24 * 3600;

/// The day (UTC, counted from 1970-01-01) on which a ticket was issued, as the broker reads it from the nonce.
pub fn issue_day(nonce: u64) -> u64 {
    (nonce >> NONCE_COUNTER_BITS) / DAY
}

/// Redeem when this many winners of a pair wait: by then a batch costs a fifth of singles.
pub const REDEEM_COUNT: u64 = 8;
/// Redeem when the oldest winner waits this long, seconds: far from its expiry.
pub const REDEEM_AGE: u64 = 2 * 3600;

/// The winners of one pair that wait for redemption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// How many.
    pub count: u64,
    /// When the oldest was accepted, unix seconds.
    pub oldest: u64,
    /// Their face values, wei.
    pub outstanding: U256,
}

impl Waiting {
    /// Whether to redeem now, given the pair's lock in wei: enough wait, one waits long, or they fill half the lock
    /// and would soon make the payee refuse tickets.
    pub fn due(&self, now: u64, locked: U256) -> bool {
        self.count > 0
            && (self.count >= REDEEM_COUNT
                || now.saturating_sub(self.oldest) > REDEEM_AGE
                || self.outstanding > locked / U256::from(2))
    }
}

impl RejectReason {
    /// Whether the same ticket may be good later: winners are redeemed and locks filled, and clocks run.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Lock { .. } | Self::NonceAhead { .. })
    }
}

/// Why a ticket was refused; its text goes to the payer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message explains its fields")]
pub enum RejectReason {
    #[error("ticket is from {payer} to {payee}: not this pair")]
    Pair { payer: Address, payee: Address },
    #[error("ticket's {0}")]
    Signature(crate::signed::SignatureError),
    #[error(
        "ticket is signed by {signer}, neither its payer {payer} nor a session key of it, for this chain and broker"
    )]
    Signer { signer: Address, payer: Address },
    #[error("ticket pays work {got}, but {expected} is due")]
    Work { expected: B256, got: B256 },
    #[error("work {0} is not on record here as unpaid: it was never delivered or begun, or longer than a day ago")]
    Unknown(B256),
    #[error("work {0} is paid by another ticket: resend that one")]
    WorkPaid(B256),
    #[error("ticket's face value is {got} wei, but {quoted} was quoted")]
    FaceValue { quoted: u128, got: u128 },
    #[error("ticket's win probability is {got}/2^64: at least {least:?} pays the price, at most {most} was quoted")]
    WinProb { got: u64, least: Option<u64>, most: u64 },
    #[error("ticket's nonce {nonce} is more than 60 s ahead of {now}: set the payer's clock")]
    NonceAhead { nonce: u64, now: u64 },
    #[error("ticket's nonce {nonce} was used, or is not above {floor}: tickets up to there are redeemed or forgotten")]
    NonceUsed { nonce: u64, floor: u64 },
    #[error("ticket expires at {expiry}, now is {now}: it must live for 12 to 24 hours")]
    Expiry { expiry: u64, now: u64 },
    #[error(
        "ticket expires at {expiry}, after session key {key} that signed it, at {key_expiry}: the payer has to allow another key \
         (`millrace wallet session-key add`)"
    )]
    SessionExpiry { key: Address, expiry: u64, key_expiry: u64 },
    #[error("ticket of a session key was issued at {issued}, more than a day before {now}: issue a new one")]
    Issued { issued: u64, now: u64 },
    #[error(
        "session key {key} has a daily cap of {cap} wei for each payee, and with this ticket the winners of its day, at {spent} wei \
         so far, could come to more: wait for the next day (UTC), or have the payer allow another key with a \
         higher cap (`millrace wallet session-key add KEY --for 30d --daily-cap AMOUNT`)"
    )]
    DailyCap { key: Address, cap: U256, spent: U256 },
    #[error("commit {0} was used, or is not one of the last {COMMITS_KEPT} handed out")]
    Commit(B256),
    #[error(
        "face value {face_value} wei over a lock of {locked} wei with {outstanding} wei of winners outstanding: the \
         payer has to lock more (at least twice the face value)"
    )]
    Lock { locked: U256, outstanding: U256, face_value: U256 },
}
