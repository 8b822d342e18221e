//! A payer and a payee: the two state machines, and the sums that are compared in the end.

use alloy::primitives::{B256, U256};
use alloy::signers::local::PrivateKeySigner;
use millrace_contracts::Redemption;
use millrace_tickets::credit::Credit;
use millrace_tickets::{Domain, Due, Payee, PayeeState, Payer, RejectReason, Signed, Terms, Ticket, Waiting};

use crate::party::{Id, Way};

/// What a winner pays: a thousandth of a coin.
pub const FACE: u128 = 1_000_000_000_000_000;
pub const TERMS: Terms = Terms { price_per_megapixel: 1, face_value: FACE, win_prob: u64::MAX };
/// What a payer locks for one payee.
pub const LOCK: U256 = U256::from_limbs([20 * FACE as u64, 0, 0, 0]);

pub struct Pair {
    pub from: Id,
    pub to: Id,
    payer: Payer,
    payee: Payee,
    key: PrivateKeySigner,
    domain: Domain,
    /// What the payee may count on, wei: the lock less what is being unlocked.
    pub locked: U256,
    pub credit: Credit,
    /// Tickets taken.
    pub tickets: u64,
    /// Tickets refused.
    pub refused: u64,
    /// Segments delivered and never paid.
    pub unpaid: u64,
    /// Face values won and redeemed, wei.
    pub won: U256,
    pub redeemed: U256,
    pub waiting: Vec<Redemption>,
    since: u64,
    /// Tickets that came ahead of any work, and stand for as many segments that were not paid.
    pub ahead: u64,
    /// Sum of the tickets' win probabilities, and of their variances, in face values.
    pub expected: f64,
    pub variance: f64,
    last: Option<Signed<Ticket>>,
}

impl Pair {
    pub fn new(from: Id, to: Id, key: PrivateKeySigner, payee: &PrivateKeySigner, domain: Domain) -> Self {
        let (payer, me) = (key.address(), payee.address());
        let mut pair = Self {
            from,
            to,
            payer: Payer::new(payer, me),
            payee: Payee::restore(domain, payer, me, payee.to_bytes(), PayeeState::default()),
            key,
            domain,
            locked: U256::ZERO,
            credit: Credit::default(),
            tickets: 0,
            refused: 0,
            unpaid: 0,
            won: U256::ZERO,
            redeemed: U256::ZERO,
            waiting: Vec::new(),
            since: 0,
            ahead: 0,
            expected: 0.0,
            variance: 0.0,
            last: None,
        };
        pair.payer.offer_commits(pair.payee.next_commits(16));
        pair
    }

    /// Whether the payee redeems now.
    pub fn due(&self, now: u64) -> bool {
        let outstanding = self.waiting.iter().map(|w| U256::from(w.ticket.faceValue)).sum();
        Waiting { count: self.waiting.len() as u64, oldest: self.since, outstanding }.due(now, self.locked)
    }

    /// Pays as `way` does, before a payee that checks everything.
    pub fn pay(
        &mut self,
        now: u64,
        way: Way,
        due: &Due,
        random: B256,
        redeemed_nonce: u64,
    ) -> Result<(), RejectReason> {
        let outstanding = self.waiting.iter().map(|w| U256::from(w.ticket.faceValue)).sum();
        self.payee.sync(outstanding, redeemed_nonce);
        let signed = self.ticket(now, way, due, random);
        match self.payee.accept(now, &signed, due, self.locked) {
            Ok(accepted) => {
                self.payee.confirm(&signed.body, accepted);
                self.payer.offer_commits(self.payee.next_commits(1));
                let chance = signed.body.winProb as f64 / 2f64.powi(64);
                self.tickets += 1;
                self.expected += chance;
                self.variance += chance * (1.0 - chance);
                if accepted.winner {
                    if self.waiting.is_empty() {
                        self.since = now;
                    }
                    self.won += U256::from(FACE);
                    let Signed { body: ticket, signature } = signed.clone();
                    self.waiting.push(Redemption { ticket, payee_rand: accepted.payee_rand, signature });
                }
                self.last = Some(signed);
                Ok(())
            }
            Err(reason) => {
                self.refused += 1;
                // The commit of a refused ticket stays used at the payer's end, so the payee hands out another.
                self.payer.offer_commits(self.payee.next_commits(1));
                Err(reason)
            }
        }
    }

    fn ticket(&mut self, now: u64, way: Way, due: &Due, random: B256) -> Signed<Ticket> {
        let mut ticket = self.payer.issue(now, due, random).unwrap();
        match (way, &self.last) {
            (Way::Underpays, _) => ticket.winProb -= 1,
            (Way::Reissues, Some(last)) => ticket.workHash = last.body.workHash,
            (Way::Grinds, _) => {
                let candidates = (0u8..16).map(|n| alloy::primitives::keccak256([random.as_slice(), &[n]].concat()));
                ticket.payerRand = candidates.min_by_key(|c| *c ^ ticket.payeeCommit).unwrap();
            }
            _ => {}
        }
        let elsewhere = Domain { chain_id: self.domain.chain_id + 1, ..self.domain };
        let domain = if way == Way::SignsElsewhere { elsewhere } else { self.domain };
        Signed::sign(ticket, &domain, &self.key).unwrap()
    }
}
