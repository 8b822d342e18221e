//! The world: parties, pairs, the chain, and the clock.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::time::Duration;

use alloy::primitives::{B256, U256, keccak256};
use alloy::signers::local::PrivateKeySigner;
use millrace_contracts::devnet::{Devnet, Genesis};
use millrace_contracts::{Addresses, Chain, ChainError, deploy};
use millrace_orchestrator::pool::{COOL_OFF, RECORD, SUSPEND_AT};
use millrace_tickets::credit::Outcome;
use millrace_tickets::hashes::PREPAID_SEGMENTS;
use millrace_tickets::{Due, SegmentReceipt, Signed, prepay_work_hash, work_hash};
use millrace_verify::{FULL_RATE, sampled};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

use crate::pair::{FACE, LOCK, Pair, TERMS};
use crate::party::{Id, ORCHESTRATORS, PAYERS, Party, Role, WORKERS, Way};

const BROADCASTERS: usize = 100;
const ORCHESTRATORS_IN_ALL: usize = 20;
const TRANSCODERS: usize = 300;

/// A segment's price on the first hop and on the second, wei: one ticket in 20 and one in 25 wins.
const PRICES: (u128, u128) = (FACE / 20, FACE / 25);
/// Seconds of a segment.
const SEGMENT: u64 = 2;
/// Segments of one stream under way: at the orchestrator, at the transcoder.
const UNDER_WAY: (u64, u64) = (4, 3);
/// Attempts at a segment.
const ATTEMPTS: usize = 3;
/// Suspension after [`SUSPEND_AT`] failed samples, seconds.
const SUSPENSION: u64 = 86_400;
/// Winners in one transaction.
const BATCH: usize = 16;

/// What somebody earned, in face values: expected by its tickets, won, and the variance.
#[derive(Debug, Clone, Copy, Default)]
pub struct Income {
    pub expected: f64,
    pub won: f64,
    pub variance: f64,
}

impl Income {
    fn add(&mut self, pair: &Pair) {
        self.expected += pair.expected;
        self.variance += pair.variance;
        self.won += f64::from(u32::try_from(pair.won / U256::from(FACE)).unwrap());
    }

    /// How far chance took it from what was expected, in standard deviations.
    pub fn sigmas(&self) -> f64 {
        if self.variance == 0.0 { 0.0 } else { (self.won - self.expected) / self.variance.sqrt() }
    }

    /// Whether chance takes a sum this far to its side less often than once in `runs`: Chernoff's bound on a sum of
    /// tickets, each of which wins by itself. It holds for two expected winners as for a thousand; standard deviations do
    /// not, as few and rare winners have a longer tail than a bell.
    pub fn is_rarer_than(&self, runs: f64) -> bool {
        let winners = if self.won == 0.0 { 0.0 } else { self.won * (self.won / self.expected).ln() };
        winners - self.won + self.expected > runs.ln()
    }
}

pub struct World {
    pub parties: Vec<Party>,
    pub pairs: BTreeMap<(Id, Id), Pair>,
    /// Tries to take a lock back before its time, each refused by the contract.
    pub early_withdrawals: u64,
    redeemed_nonces: HashMap<(Id, Id), u64>,
    refusals: BTreeMap<String, u64>,
    transactions: u64,
    now: u64,
    rng: StdRng,
    devnet: Devnet,
    contracts: Addresses,
    chains: HashMap<Id, Chain>,
}

impl World {
    pub async fn new() -> Self {
        let key = |n: usize| PrivateKeySigner::from_bytes(&keccak256((n as u64 + 1).to_be_bytes())).unwrap();
        let honest = |of: usize, n: usize, ways: &[Way]| if n < of / 10 { ways[n % ways.len()] } else { Way::Honest };
        let mut parties = Vec::new();
        for n in 0..BROADCASTERS {
            parties.push(Party::new(Role::Broadcaster, honest(BROADCASTERS, n, &PAYERS), 0, key(n)));
        }
        for n in 0..ORCHESTRATORS_IN_ALL {
            let id = parties.len();
            parties.push(Party::new(Role::Orchestrator, honest(ORCHESTRATORS_IN_ALL, n, &ORCHESTRATORS), id, key(id)));
        }
        for n in 0..TRANSCODERS {
            // Neighbours work for different orchestrators, so that each has its share of the dishonest.
            let home = BROADCASTERS + n % ORCHESTRATORS_IN_ALL;
            let key = key(parties.len());
            parties.push(Party::new(Role::Transcoder, honest(TRANSCODERS, n, &WORKERS), home, key));
        }
        let coin = U256::from(10).pow(U256::from(18));
        let deployer = key(1_000_000);
        let accounts = parties.iter().map(|p| &p.key).chain([&deployer]).map(|k| (k.address(), coin * U256::from(100)));
        let genesis = Genesis { accounts: accounts.collect(), ..Genesis::default() };
        let devnet = Devnet::start(([127, 0, 0, 1], 0).into(), genesis).await.unwrap();
        let contracts = deploy(&devnet.rpc_url(), deployer).await.unwrap();
        Self {
            parties,
            pairs: BTreeMap::new(),
            early_withdrawals: 0,
            redeemed_nonces: HashMap::new(),
            refusals: BTreeMap::new(),
            transactions: 0,
            now: std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(),
            rng: StdRng::seed_from_u64(20),
            devnet,
            contracts,
            chains: HashMap::new(),
        }
    }

    pub fn party(&self, id: Id) -> &Party {
        &self.parties[id]
    }

    fn bytes(&mut self) -> B256 {
        let mut bytes = B256::ZERO;
        self.rng.fill_bytes(&mut bytes.0);
        bytes
    }

    /// Lets every broadcaster stream so many segments.
    pub async fn play(&mut self, segments: u64) {
        for _ in 0..segments {
            for broadcaster in 0..BROADCASTERS {
                self.segment(broadcaster).await;
            }
            self.now += SEGMENT;
            self.devnet.advance(Duration::from_secs(SEGMENT));
        }
    }

    /// The end of the day: everybody redeems what is left, three days pass, and whoever announced it takes its lock back.
    pub async fn settle(&mut self) {
        let pairs: Vec<_> = self.pairs.keys().copied().collect();
        for &(from, to) in &pairs {
            self.redeem(from, to).await;
        }
        self.devnet.advance(Duration::from_secs(73 * 3600));
        for (from, to) in pairs {
            if self.party(from).way == Way::Drains {
                let (chain, payee) = (self.chain(from).await, self.party(to).key.address());
                chain.withdraw(payee).await.unwrap();
                assert_eq!(chain.pair(chain.address(), payee).await.unwrap().locked, U256::ZERO);
            }
        }
    }

    /// A party's client of the chain, connected when it is first used.
    async fn chain(&mut self, who: Id) -> Chain {
        if !self.chains.contains_key(&who) {
            let key = self.party(who).key.clone();
            self.chains.insert(who, Chain::connect(&self.devnet.rpc_url(), self.contracts, key).await.unwrap());
        }
        self.chains[&who].clone()
    }

    /// One segment of a broadcaster's stream, from its orchestrator to its settlement.
    async fn segment(&mut self, broadcaster: Id) {
        let Some((orchestrator, stream, seq)) = self.session(broadcaster).await else {
            self.parties[broadcaster].gaps += 1;
            return;
        };
        self.parties[broadcaster].session = Some((orchestrator, stream, seq + 1));
        let now = self.now;
        let pair = self.pairs.get_mut(&(broadcaster, orchestrator)).unwrap();
        let served = match pair.credit.take(now, stream, UNDER_WAY.0) {
            Ok(()) => self.work(orchestrator, stream, seq).await,
            Err(reason) => {
                self.refuse(&reason.to_string());
                None
            }
        };
        let Some((receipt, good)) = served else {
            let party = &mut self.parties[broadcaster];
            party.gaps += 1;
            if party.is_honest() {
                // It goes to another one for the rest of its stream.
                party.session = None;
                party.shunned.insert(orchestrator);
            }
            self.end(broadcaster, orchestrator, stream, Outcome::Void);
            return;
        };
        let party = &mut self.parties[broadcaster];
        party.delivered += 1;
        party.passed_bad += u64::from(!good);
        let (way, price) = (party.way, PRICES.0);
        let paid = way != Way::NeverPays && self.pay(broadcaster, orchestrator, way, receipt, price).await;
        if paid {
            self.parties[orchestrator].delivered += 1;
        }
        self.end(broadcaster, orchestrator, stream, if paid { Outcome::Paid } else { Outcome::Unpaid });
    }

    fn end(&mut self, from: Id, to: Id, stream: B256, outcome: Outcome) {
        let pair = self.pairs.get_mut(&(from, to)).unwrap();
        pair.unpaid += u64::from(outcome == Outcome::Unpaid);
        let price = if from < BROADCASTERS { PRICES.0 } else { PRICES.1 };
        pair.credit.end(self.now, stream, outcome, U256::from(price));
    }

    fn refuse(&mut self, reason: &str) {
        // Without the figures, so that like is counted with like.
        let words: Vec<&str> =
            reason.split_whitespace().filter(|w| !w.contains(|c: char| c.is_ascii_digit())).collect();
        *self.refusals.entry(words.join(" ")).or_default() += 1;
    }

    /// The broadcaster's session; a new one is prepaid.
    async fn session(&mut self, broadcaster: Id) -> Option<(Id, B256, u64)> {
        if let Some(session) = self.parties[broadcaster].session {
            return Some(session);
        }
        let party = &self.parties[broadcaster];
        let open: Vec<Id> =
            (BROADCASTERS..BROADCASTERS + ORCHESTRATORS_IN_ALL).filter(|id| !party.shunned.contains(id)).collect();
        if open.is_empty() {
            return None;
        }
        let orchestrator = open[self.rng.random_range(0..open.len())];
        let stream = self.bytes();
        let way = self.party(broadcaster).way;
        self.open(broadcaster, orchestrator).await;
        let (payer, payee) = (self.party(broadcaster).key.address(), self.party(orchestrator).key.address());
        let cheat = if matches!(way, Way::Grinds | Way::SignsElsewhere) { way } else { Way::Honest };
        let mut taken = 0;
        for index in 0..PREPAID_SEGMENTS {
            let work = prepay_work_hash(stream, payer, payee, index);
            taken += u64::from(self.pay(broadcaster, orchestrator, cheat, work, PRICES.0).await);
        }
        if self.party(orchestrator).way == Way::Vanishes {
            let party = &mut self.parties[broadcaster];
            party.prepaid_for_nothing += taken;
            party.shunned.insert(orchestrator);
            return None;
        }
        if taken < u64::from(PREPAID_SEGMENTS) {
            self.parties[broadcaster].shunned.insert(orchestrator);
            return None;
        }
        let pair = self.pairs.get_mut(&(broadcaster, orchestrator)).unwrap();
        pair.credit.paid_ahead(stream, taken, U256::from(PRICES.0));
        pair.ahead += taken;
        if way == Way::Drains {
            self.drain(broadcaster, orchestrator).await;
        }
        self.parties[broadcaster].session = Some((orchestrator, stream, 0));
        self.parties[broadcaster].session
    }

    /// Announces the whole lock, and tries to take it at once.
    async fn drain(&mut self, from: Id, to: Id) {
        let (chain, payee) = (self.chain(from).await, self.party(to).key.address());
        let locked = chain.pair(chain.address(), payee).await.unwrap().locked;
        chain.request_unlock(payee, locked).await.unwrap();
        match chain.withdraw(payee).await {
            Err(ChainError::Reverted { revert, .. }) if revert.name == "StillLocked" => self.early_withdrawals += 1,
            other => panic!("a lock was taken back at once: {other:?}"),
        }
        self.look(from, to).await;
    }

    /// Opens a pair with its lock, if there is none yet.
    async fn open(&mut self, from: Id, to: Id) {
        if self.pairs.contains_key(&(from, to)) {
            return;
        }
        let chain = self.chain(from).await;
        let (key, payee) = (self.party(from).key.clone(), self.party(to).key.clone());
        chain.fund(payee.address(), LOCK).await.unwrap();
        self.transactions += 1;
        self.pairs.insert((from, to), Pair::new(from, to, key, &payee, chain.domain()));
        self.look(from, to).await;
    }

    /// Reads a pair's lock from the chain.
    async fn look(&mut self, from: Id, to: Id) {
        let chain = self.chain(to).await;
        let pair = chain.pair(self.party(from).key.address(), chain.address()).await.unwrap();
        self.pairs.get_mut(&(from, to)).unwrap().locked = pair.locked - pair.pending_unlock;
    }

    /// Pays, and redeems and locks anew when that is due. Whether the ticket was taken.
    async fn pay(&mut self, from: Id, to: Id, way: Way, work_hash: B256, price: u128) -> bool {
        let due = Due { work_hash, price: U256::from(price), terms: TERMS };
        let (random, now) = (self.bytes(), self.now);
        let redeemed = self.redeemed_nonces.get(&(from, to)).copied().unwrap_or_default();
        let pair = self.pairs.get_mut(&(from, to)).unwrap();
        let outcome = pair.pay(now, way, &due, random, redeemed);
        let redeem = pair.due(now);
        if redeem {
            self.redeem(from, to).await;
        }
        outcome.inspect_err(|reason| self.refuse(&reason.to_string())).is_ok()
    }

    /// Takes a pair's winners to the chain, and lets an honest payer lock what is missing.
    async fn redeem(&mut self, from: Id, to: Id) {
        let chain = self.chain(to).await;
        let payer = self.party(from).key.address();
        let winners = std::mem::take(&mut self.pairs.get_mut(&(from, to)).unwrap().waiting);
        for batch in winners.chunks(BATCH) {
            let before = chain.pair(payer, chain.address()).await.unwrap();
            let tx = chain.redeem(batch).await.expect("every winner is redeemed in full");
            let mined = chain.wait(tx, Duration::from_secs(10)).await.unwrap();
            assert!(mined.success);
            let after = chain.pair(payer, chain.address()).await.unwrap();
            self.pairs.get_mut(&(from, to)).unwrap().redeemed += before.locked - after.locked;
            self.redeemed_nonces.insert((from, to), after.last_nonce);
            self.transactions += 1;
        }
        self.look(from, to).await;
        let locked = self.pairs[&(from, to)].locked;
        if self.party(from).way != Way::Drains && locked < LOCK / U256::from(2) {
            let payee = chain.address();
            self.chain(from).await.fund(payee, LOCK - locked).await.unwrap();
            self.transactions += 1;
            self.look(from, to).await;
        }
    }

    /// The orchestrator's part: a transcoder makes the segment, it is verified and paid. The receipt's hash for the
    /// broadcaster, and whether the segment is good.
    async fn work(&mut self, orchestrator: Id, stream: B256, seq: u64) -> Option<(B256, bool)> {
        let mut excluded = Vec::new();
        for _ in 0..ATTEMPTS {
            let worker = self.recruit(orchestrator, stream, &excluded)?;
            excluded.push(worker);
            self.open(orchestrator, worker).await;
            let now = self.now;
            let pair = self.pairs.get_mut(&(orchestrator, worker)).unwrap();
            if let Err(reason) = pair.credit.take(now, stream, UNDER_WAY.1) {
                self.refuse(&reason.to_string());
                continue;
            }
            let Some((receipt, good)) = self.make(worker, stream, seq) else {
                self.end(orchestrator, worker, stream, Outcome::Void);
                continue;
            };
            let passes = self.verify(worker, receipt, good);
            if !passes {
                self.end(orchestrator, worker, stream, Outcome::Void);
                continue;
            }
            let way = self.party(orchestrator).way;
            let paid = way != Way::NeverPays && self.pay(orchestrator, worker, way, receipt, PRICES.1).await;
            self.end(orchestrator, worker, stream, if paid { Outcome::Paid } else { Outcome::Unpaid });
            self.parties[worker].delivered += 1;
            self.parties[worker].passed_bad += u64::from(!good);
            return Some((receipt, good));
        }
        None
    }

    /// A transcoder that is not suspended, the same for a stream as long as it can be.
    fn recruit(&self, orchestrator: Id, stream: B256, excluded: &[Id]) -> Option<Id> {
        let first = BROADCASTERS + ORCHESTRATORS_IN_ALL;
        let pool = (first..self.parties.len()).filter(|id| {
            let party = &self.parties[*id];
            party.home == orchestrator && party.suspended_until <= self.now && !excluded.contains(id)
        });
        pool.min_by_key(|id| {
            let flags = self.parties[*id].samples.iter().filter(|good| !**good).count();
            (flags, keccak256([stream.as_slice(), &id.to_be_bytes()].concat()))
        })
    }

    /// The transcoder's part: the hash of its receipt, and whether the segment is what was asked for; `None` when nothing comes.
    fn make(&mut self, worker: Id, stream: B256, seq: u64) -> Option<(B256, bool)> {
        let way = self.party(worker).way;
        let bad = match way {
            Way::Stalls if self.rng.random_ratio(1, 3) => return None,
            Way::Blacks => true,
            Way::Skimps => self.rng.random_ratio(1, 5),
            _ => false,
        };
        let domain = millrace_tickets::Domain { chain_id: 31_337, broker: self.contracts.broker };
        let assignment = keccak256([stream.as_slice(), &seq.to_be_bytes(), &worker.to_be_bytes()].concat());
        let receipt = SegmentReceipt { assignmentHash: assignment, pixels: 60_000_000, ..SegmentReceipt::default() };
        if way == Way::Equivocates {
            let key = &self.party(worker).key;
            let other = SegmentReceipt { pixels: 90_000_000, ..receipt.clone() };
            let (a, b) =
                (Signed::sign(receipt.clone(), &domain, key).unwrap(), Signed::sign(other, &domain, key).unwrap());
            let signers = (a.recover(&domain).unwrap(), b.recover(&domain).unwrap());
            let proof = a.body.assignmentHash == b.body.assignmentHash && a != b && signers.0 == signers.1;
            let party = &mut self.parties[worker];
            party.proofs += u64::from(proof);
            party.suspended_until = u64::MAX; // its bond goes, and with it its place
        }
        Some((work_hash(&receipt, &domain), !bad))
    }

    /// The orchestrator's check: what key frames show is always seen, what only a full sample shows in the samples that
    /// its secret chooses. A transcoder that fails rests, and after three of twenty is out for a day.
    fn verify(&mut self, worker: Id, receipt: B256, good: bool) -> bool {
        let secret = keccak256(self.party(worker).home.to_be_bytes());
        let seen = match self.party(worker).way {
            Way::Skimps => sampled(&secret.0, &receipt.0, FULL_RATE),
            _ => true,
        };
        let passes = good || !seen;
        let now = self.now;
        let party = &mut self.parties[worker];
        party.samples.push_back(passes);
        if party.samples.len() > RECORD {
            party.samples.pop_front();
        }
        if !passes {
            let failed = party.samples.iter().filter(|good| !**good).count();
            let rest = if failed >= SUSPEND_AT { SUSPENSION } else { COOL_OFF.as_secs() };
            party.suspended_until = party.suspended_until.max(now + rest);
        }
        passes
    }

    /// What the honest of each role earned in all, what each of them did, and what each grinder cost.
    pub fn income(&self) -> Vec<(String, Income)> {
        let mut sums: BTreeMap<String, Income> = BTreeMap::new();
        for pair in self.pairs.values() {
            let (from, to) = (self.party(pair.from), self.party(pair.to));
            sums.entry(format!("{:?} {}", to.role, pair.to)).or_default().add(pair);
            if to.is_honest() {
                sums.entry(format!("honest {:?}s", to.role)).or_default().add(pair);
            }
            if from.way == Way::Grinds {
                sums.entry("paid by grinders".into()).or_default().add(pair);
            }
        }
        sums.into_iter().collect()
    }

    /// The tables of docs/economy.md.
    pub fn report(&self) -> String {
        let mut text = String::new();
        let out = &mut text;
        let _ = writeln!(out, "| who | expected, face values | won | 95 % interval | sigmas |");
        let _ = writeln!(out, "| --- | ---: | ---: | --- | ---: |");
        for (who, sum) in self.income().iter().filter(|(who, _)| !who.contains(|c: char| c.is_ascii_digit())) {
            let half = 1.96 * sum.variance.sqrt();
            let (low, high) = (sum.expected - half, sum.expected + half);
            let _ = writeln!(
                out,
                "| {who} | {:.1} | {} | {low:.1} to {high:.1} | {:.2} |",
                sum.expected,
                sum.won,
                sum.sigmas()
            );
        }
        let worst = self.income().into_iter().map(|(_, sum)| sum.sigmas().abs()).fold(0.0, f64::max);
        let _ = writeln!(out, "\nThe furthest that chance took any single party: {worst:.2} sigmas.\n");

        let _ = writeln!(
            out,
            "| cheats | how many | segments got or delivered | of them bad and unnoticed | proofs | most unpaid to one payee | tickets refused |"
        );
        let _ = writeln!(out, "| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
        let mut ways: BTreeMap<(Role, Way), Vec<Id>> = BTreeMap::new();
        for (id, party) in self.parties.iter().enumerate() {
            ways.entry((party.role, party.way)).or_default().push(id);
        }
        for ((role, way), ids) in ways {
            let sum = |of: &dyn Fn(&Party) -> u64| ids.iter().map(|id| of(self.party(*id))).sum::<u64>();
            let theirs = || self.pairs.values().filter(|pair| ids.contains(&pair.from));
            let _ = writeln!(
                out,
                "| {role:?}: {way:?} | {} | {} | {} | {} | {} | {} |",
                ids.len(),
                sum(&|p| p.delivered),
                sum(&|p| p.passed_bad),
                sum(&|p| p.proofs),
                theirs().map(|pair| pair.unpaid).max().unwrap_or_default(),
                theirs().map(|pair| pair.refused).sum::<u64>(),
            );
        }
        let honest = || self.parties.iter().filter(|p| p.is_honest());
        let most = |of: &dyn Fn(&Party) -> u64| honest().map(of).max().unwrap_or_default();
        let _ = writeln!(
            out,
            "\nMost that an honest broadcaster prepaid for nothing: {} segments; most gaps in a stream: {}.",
            most(&|p| p.prepaid_for_nothing),
            most(&|p| p.gaps)
        );
        let tickets: u64 = self.pairs.values().map(|pair| pair.tickets).sum();
        let redeemed: U256 = self.pairs.values().map(|pair| pair.redeemed).sum();
        let _ = writeln!(
            out,
            "{} pairs, {tickets} tickets, {} winners redeemed in full, {} transactions, {} locks that could not be taken back early.\n",
            self.pairs.len(),
            redeemed / U256::from(FACE),
            self.transactions,
            self.early_withdrawals,
        );
        let _ = writeln!(out, "| refused because | times |\n| --- | ---: |");
        for (reason, times) in &self.refusals {
            let _ = writeln!(out, "| {reason} | {times} |");
        }
        text
    }
}
