//! Winners on their way to the chain, on a chain that delays, drops, reverts and reorganises, with endpoints that lie, and a
//! process that is killed at each step. Whatever happens: nothing is lost, and nothing is redeemed twice.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "a test, with a support module that each test uses in part"
)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "../../../contracts/tests/support/chaos.rs"]
mod chaos;
mod common;

use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, U256, aliases::U40, aliases::U96, hex, keccak256};
use chaos::{Chaos, Weather};
use common::{ETHER, Net, Node, key, until};
use millrace_contracts::devnet::DEFAULT_BASE_FEE;
use millrace_contracts::{Chain, ChainOptions, Redemption};
use millrace_hop::redeem::{Policy, RedeemError, Redeemer};
use millrace_store::{Winner, WinnerState};
use millrace_tickets::{Signed, Terms, Ticket};
use serde_json::{Value, json};

/// Blocks after which these nodes hold a transaction to be final.
const DEEP: u64 = 3;
/// A transaction that has waited so long is replaced.
const STUCK_AFTER: Duration = Duration::from_millis(100);
/// Face value of a winner, wei.
const FACE: u128 = ETHER / 1000;
/// The worker's key, and its payers'.
const WORKER: u8 = 1;
const PAYERS: [u8; 2] = [2, 3];

/// A node that sends at once and loses patience when the test says so.
fn at(url: &String) -> ChainOptions {
    ChainOptions { confirmations: DEEP, stuck_after: STUCK_AFTER, ..ChainOptions::from(url) }
}

fn redeemer(node: &Node) -> Redeemer {
    let policy = Policy { batch: 1, after: Duration::ZERO, retry: Duration::ZERO };
    let account = &node.account;
    Redeemer::new(account.store.clone(), account.chain.clone(), account.till.clone(), policy)
}

/// A chain, a worker, and payers that have locked money for it.
struct Scene {
    net: Net,
    worker: Node,
    payers: Vec<Node>,
    redeemer: Redeemer,
    /// Winners made so far.
    won: u64,
}

impl Scene {
    async fn new() -> Self {
        let net = Net::start().await;
        let url = net.devnet.rpc_url();
        Self::by(net, &url).await
    }

    /// The worker reaches the chain by `url`.
    async fn by(net: Net, url: &String) -> Self {
        let worker = net.open_at(WORKER, tempfile::tempdir().unwrap(), at(url)).await;
        let mut payers = Vec::new();
        for n in PAYERS {
            let payer = net.node(n).await;
            payer.account.chain.fund(worker.account.address(), U256::from(ETHER)).await.unwrap();
            payers.push(payer);
        }
        let redeemer = redeemer(&worker);
        Self { net, worker, payers, redeemer, won: 0 }
    }

    /// A ticket of a payer that wins this face value.
    async fn win_face(&mut self, payer: usize, face_value: u128) {
        let (payer, worker) = (&self.payers[payer].account, &self.worker.account);
        let (from, to) = (payer.address(), worker.address());
        let terms = Terms { price_per_megapixel: 1, face_value, win_prob: u64::MAX };
        let work = keccak256(self.won.to_be_bytes());
        let price = U256::from(face_value - 1); // it wins, but for one time in `face_value`
        let commits = worker.till.commits(from, 1).await.unwrap();
        payer.purse.open(to, terms, commits).await.unwrap();
        let ticket = payer.purse.pay(to, work, price).await.unwrap();
        let accepted = worker.till.accept(&ticket, from, &terms, work, price).await.unwrap();
        assert!(accepted.winner);
        payer.purse.acknowledged(to, work, accepted.commits).await.unwrap();
        self.won += 1;
    }

    async fn win(&mut self, n: u64) {
        for _ in 0..n {
            self.win_face(0, FACE).await;
        }
    }

    async fn step(&mut self) {
        self.redeemer.step().await.unwrap();
    }

    /// The worker's process is killed and starts again.
    async fn restart(self) -> Self {
        let url = self.net.devnet.rpc_url();
        self.restart_by(&url).await
    }

    async fn restart_by(self, url: &String) -> Self {
        let Self { net, worker, payers, won, .. } = self;
        let worker = net.open_at(WORKER, worker.killed(), at(url)).await;
        let redeemer = redeemer(&worker);
        Self { net, worker, payers, redeemer, won }
    }

    async fn winners(&self) -> Vec<Winner> {
        self.worker.account.store.replay().await.unwrap()
    }

    /// The states of all that is under way, those of one kind once.
    async fn states(&self) -> Vec<WinnerState> {
        let mut states: Vec<_> = self.winners().await.iter().map(|w| w.state).collect();
        states.dedup();
        states
    }

    /// Steps, with a block for each, until nothing is under way.
    async fn finish(&mut self) {
        for _ in 0..500 {
            // A step that an endpoint spoils is made up for by the next.
            let _: Result<(), RedeemError> = self.redeemer.step().await;
            self.net.devnet.mine(1);
            let on_their_way = self.worker.account.store.transactions(self.worker.account.address()).await.unwrap();
            if self.winners().await.is_empty() && on_their_way.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("still under way: {:?}", self.winners().await);
    }

    /// What left a payer's lock, wei.
    async fn paid(&self, payer: usize) -> u128 {
        let (from, to) = (self.payers[payer].account.address(), self.worker.account.address());
        let locked = self.payers[payer].account.chain.pair(from, to).await.unwrap().locked;
        (U256::from(ETHER) - locked).to()
    }

    /// The worker's transactions in blocks so far.
    async fn sent(&self) -> u64 {
        let count = self.rpc("eth_getTransactionCount", json!([self.worker.account.address(), "latest"])).await;
        u64::from_str_radix(&count.as_str().unwrap()[2..], 16).unwrap()
    }

    /// Asks the chain itself, past any proxy.
    async fn rpc(&self, method: &str, params: Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let url = self.net.devnet.rpc_url();
        let answer = reqwest::Client::new().post(url).json(&request).send().await.unwrap();
        let mut answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["error"], Value::Null, "{method}");
        answer["result"].take()
    }

    /// The client of a machine that the worker named as its carrier.
    async fn carrier(&self) -> Chain {
        let carrier = Chain::connect(&self.net.devnet.rpc_url(), self.net.contracts, key(8)).await.unwrap();
        self.worker.account.chain.set_carrier(carrier.address(), true).await.unwrap();
        carrier
    }

    /// Everything was redeemed, in so many transactions, and the books say so.
    async fn all_redeemed(&self, transactions: u64) {
        let totals = self.worker.account.store.totals().await.unwrap();
        let paid = self.paid(0).await + self.paid(1).await;
        assert_eq!((totals.redeemed, totals.dropped), (U256::from(paid), 0));
        assert_eq!(paid, FACE * u128::from(self.won));
        assert_eq!(self.sent().await, transactions);
    }
}

#[tokio::test]
async fn a_winner_is_sent_mined_and_final_when_enough_blocks_follow() {
    let mut scene = Scene::new().await;
    scene.win(20).await;
    assert_eq!(scene.states().await, [WinnerState::Queued]);
    scene.step().await;
    assert_eq!(scene.states().await, [WinnerState::Sent, WinnerState::Queued], "sixteen in one, the rest wait");
    scene.step().await;
    assert_eq!(scene.states().await, [WinnerState::Mined, WinnerState::Queued]);
    scene.net.devnet.mine(DEEP - 1);
    scene.step().await;
    assert_eq!(scene.states().await, [WinnerState::Mined, WinnerState::Queued]);
    scene.net.devnet.mine(1);
    scene.step().await;
    assert_eq!(scene.states().await, [WinnerState::Sent], "the first are final, and the rest goes out");
    assert_eq!(scene.winners().await.len(), 4);
    scene.finish().await;
    scene.all_redeemed(2).await;
}

/// The process is killed at each step of the life cycle, and the next one takes up what it finds.
#[tokio::test]
async fn a_restart_at_any_step_redeems_everything_once() {
    // Queued.
    let mut scene = Scene::new().await;
    scene.win(2).await;
    let mut scene = scene.restart().await;
    // Sent and held back: the same bytes are sent again, and the chain knows them.
    scene.net.devnet.hold();
    scene.step().await;
    let before = scene.winners().await;
    let mut scene = scene.restart().await;
    scene.step().await;
    assert_eq!(scene.winners().await, before);
    // Sent and dropped: the new process sends it at once.
    assert_eq!(scene.net.devnet.drop_waiting(), 1);
    let mut scene = scene.restart().await;
    scene.net.devnet.release();
    scene.step().await;
    assert_eq!(scene.sent().await, 1);
    // Mined, and not known to be.
    assert_eq!(scene.states().await, [WinnerState::Sent]);
    let mut scene = scene.restart().await;
    scene.step().await;
    assert_eq!(scene.states().await, [WinnerState::Mined]);
    // Deep, and not known to be.
    scene.net.devnet.mine(DEEP);
    let scene = scene.restart().await;
    // Final in the books, and still in the outbox.
    let store = &scene.worker.account.store;
    let digests: Vec<B256> = scene.winners().await.iter().map(|w| w.digest).collect();
    store.mark_final(0, &digests).await.unwrap();
    let mut scene = scene.restart().await;
    scene.finish().await;
    scene.all_redeemed(1).await;
}

/// The process dies after it wrote the transaction and before anyone took it.
#[tokio::test]
async fn what_was_written_and_never_left_is_sent_by_the_next_process() {
    let net = Net::start().await;
    let proxy = Chaos::before(&net.devnet.rpc_url()).await;
    let mut scene = Scene::by(net, &proxy.url).await;
    scene.win(3).await;
    proxy.set(Weather::Swallow);
    scene.step().await;
    let before = scene.winners().await;
    assert_eq!((scene.states().await, scene.sent().await), (vec![WinnerState::Sent], 0));
    let mut scene = scene.restart().await;
    scene.step().await;
    assert_eq!((scene.winners().await, scene.sent().await), (before, 1), "the same bytes");
    scene.finish().await;
    scene.all_redeemed(1).await;
}

#[tokio::test]
async fn a_stuck_redemption_is_replaced_and_whichever_version_is_mined_counts() {
    for newest in [true, false] {
        let mut scene = Scene::new().await;
        scene.win(2).await;
        scene.net.devnet.hold();
        scene.step().await;
        let first = scene.winners().await[0].tx.unwrap();
        let store = scene.worker.account.store.clone();
        let me = scene.worker.account.address();
        let (began, mut tries) = (Instant::now(), 0);
        until("three versions", async || {
            tries += 1;
            scene.redeemer.step().await.unwrap();
            store.transactions(me).await.unwrap().len() == 3
        })
        .await;
        assert!(began.elapsed() >= 2 * STUCK_AFTER, "not at once: after {tries} looks");
        let versions = store.transactions(me).await.unwrap();
        assert!(versions.iter().all(|v| v.nonce == versions[0].nonce) && versions[0].hash == first);
        if !newest {
            assert_eq!(scene.net.devnet.drop_waiting(), 1);
            scene.rpc("eth_sendRawTransaction", json!([hex::encode_prefixed(&versions[0].raw)])).await;
        }
        scene.net.devnet.release();
        scene.step().await;
        let mined = scene.winners().await[0].tx.unwrap();
        assert_eq!(mined, if newest { versions[2].hash } else { first });
        scene.finish().await;
        scene.all_redeemed(1).await;
    }
}

/// Winners of 0.001 ether carry no more than that of gas.
#[tokio::test]
async fn fees_never_exceed_what_the_winners_are_worth() {
    let mut scene = Scene::new().await;
    scene.win(1).await;
    let gas_price = u64::try_from(FACE / 50_000).unwrap(); // a redemption takes more than 50,000 gas, spare included
    // Prices come from the history, so each wants a block.
    let price = |of: &Scene, wei| {
        of.net.devnet.set_base_fee(wei);
        of.net.devnet.mine(1);
    };
    price(&scene, gas_price);
    scene.step().await;
    assert_eq!((scene.states().await, scene.sent().await), (vec![WinnerState::Queued], 0), "too dear: it waits");
    price(&scene, gas_price / 4);
    scene.net.devnet.hold();
    scene.step().await;
    price(&scene, gas_price * 4);
    let store = scene.worker.account.store.clone();
    for _ in 0..30 {
        scene.step().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let versions = store.transactions(scene.worker.account.address()).await.unwrap();
    assert!(versions.len() > 1 && versions.len() < 10, "it rose until the cap: {}", versions.len());
    assert!(versions.iter().all(|v| v.fee_cap * U256::from(40_000) <= U256::from(FACE)));
    price(&scene, DEFAULT_BASE_FEE);
    scene.net.devnet.release();
    scene.finish().await;
    scene.all_redeemed(1).await;
}

#[tokio::test]
async fn a_reorganisation_after_mined_sends_the_same_again() {
    let mut scene = Scene::new().await;
    scene.win(2).await;
    scene.step().await;
    scene.step().await;
    assert_eq!(scene.states().await, [WinnerState::Mined]);
    let before = scene.winners().await[0].tx;
    let devnet = &scene.net.devnet;
    devnet.mine(1);
    devnet.hold();
    assert!(devnet.reorg(2));
    assert_eq!(devnet.drop_waiting(), 1, "as a node that never heard of it");
    devnet.release();
    scene.step().await;
    let after = &scene.winners().await[0];
    assert_eq!((after.state, after.tx, after.block), (WinnerState::Sent, before, None));
    scene.step().await;
    assert_eq!(scene.states().await, [WinnerState::Mined]);
    scene.finish().await;
    scene.all_redeemed(1).await;
}

/// A reorganisation takes a redemption's block, and on the new branch it reverts. A later one of the pair, had it been sent,
/// would succeed there and void all winners of the first.
#[tokio::test]
async fn the_next_batch_of_a_pair_waits_until_the_last_cannot_leave_the_chain() {
    let mut scene = Scene::new().await;
    scene.win(1).await;
    scene.finish().await; // the first redemption of all takes more gas than the next: that alone would make one revert
    scene.win(2).await;
    scene.step().await;
    scene.win(2).await;
    scene.step().await;
    scene.step().await;
    let devnet = &scene.net.devnet;
    devnet.fail_next(1);
    assert!(devnet.reorg(2));
    scene.finish().await;
    let totals = scene.worker.account.store.totals().await.unwrap();
    assert_eq!((totals.redeemed, totals.dropped), (U256::from(5 * FACE), 0));
    assert_eq!(scene.paid(0).await, 5 * FACE);
}

#[tokio::test]
async fn one_that_reverted_in_its_block_goes_back_to_the_queue_and_the_reason_is_found() {
    let mut scene = Scene::new().await;
    scene.win(2).await;
    scene.net.devnet.hold();
    scene.step().await;
    // By the chain's clock the tickets have expired when the transaction comes into its block.
    scene.net.devnet.advance(Duration::from_secs(25 * 3600));
    scene.net.devnet.release();
    scene.step().await;
    assert_eq!(scene.states().await, [WinnerState::Sent], "nothing is concluded from a block that may vanish");
    scene.finish().await;
    let totals = scene.worker.account.store.totals().await.unwrap();
    assert_eq!((totals.dropped, totals.redeemed, scene.paid(0).await), (2, U256::ZERO, 0));
    assert_eq!(scene.sent().await, 1);
}

/// A machine that the worker named as its carrier was faster.
#[tokio::test]
async fn winners_that_a_carrier_redeemed_count_as_redeemed() {
    let mut scene = Scene::new().await;
    let carrier = scene.carrier().await;
    scene.win(2).await;
    let winners = scene.winners().await;
    let redemption =
        |w: &Winner| Redemption { ticket: w.ticket.clone(), payee_rand: w.payee_rand, signature: w.signature };
    carrier.redeem(&winners.iter().map(redemption).collect::<Vec<_>>()).await.unwrap();
    scene.finish().await;
    let totals = scene.worker.account.store.totals().await.unwrap();
    // The pair's nonce shows the last one as redeemed; the one below it was passed by, as far as the chain tells.
    assert_eq!((totals.dropped, totals.redeemed), (1, U256::from(FACE)));
    assert_eq!(scene.paid(0).await, 2 * FACE);
}

#[tokio::test]
async fn a_nonce_that_another_program_took_is_noticed_and_the_winners_go_out_anew() {
    let mut scene = Scene::new().await;
    scene.win(2).await;
    scene.net.devnet.hold();
    scene.step().await;
    assert_eq!(scene.net.devnet.drop_waiting(), 1);
    scene.net.devnet.release();
    let other = Chain::connect(&scene.net.devnet.rpc_url(), scene.net.contracts, key(WORKER)).await.unwrap();
    other.transfer(Address::repeat_byte(9), U256::from(1)).await.unwrap();
    scene.step().await;
    assert_eq!(scene.states().await, [WinnerState::Sent], "it may yet be ours, if that block vanishes");
    scene.finish().await;
    scene.all_redeemed(2).await; // the other program's, and ours
}

#[tokio::test]
async fn a_lock_that_is_too_small_holds_up_neither_the_next_winner_nor_the_next_payer() {
    let mut scene = Scene::new().await;
    scene.win_face(0, 2 * FACE).await;
    scene.win_face(0, FACE).await;
    scene.win_face(0, 2 * FACE).await;
    scene.win_face(1, FACE).await;
    // All but the small one's worth goes for a ticket that this database never saw.
    let (payer, carrier) = (&scene.payers[0].account, scene.carrier().await);
    let payee_rand = B256::repeat_byte(7);
    let now = millrace_hop::unix_now();
    let ticket = Ticket {
        payer: payer.address(),
        payee: scene.worker.account.address(),
        faceValue: U96::from(ETHER - FACE),
        winProb: u64::MAX,
        nonce: (now - 60) << 24,
        expiry: U40::from(now + 3600),
        payeeCommit: keccak256(payee_rand),
        payerRand: B256::ZERO,
        workHash: B256::ZERO,
    };
    let Signed { body, signature } = Signed::sign(ticket, &payer.chain.domain(), &key(PAYERS[0])).unwrap();
    carrier.redeem(&[Redemption { ticket: body, payee_rand, signature }]).await.unwrap();

    for _ in 0..3 {
        scene.step().await;
        scene.net.devnet.mine(DEEP);
    }
    let left = scene.winners().await;
    assert_eq!((left.len(), left[0].state), (1, WinnerState::Queued), "the last waits for more money");
    assert!(left[0].reason.as_ref().unwrap().contains("LockTooSmall"));
    assert_eq!((scene.paid(0).await, scene.paid(1).await), (ETHER, FACE));
    let totals = scene.worker.account.store.totals().await.unwrap();
    assert_eq!((totals.dropped, totals.redeemed), (1, U256::from(2 * FACE)), "the first was passed over");

    scene.payers[0].account.chain.fund(scene.worker.account.address(), U256::from(2 * FACE)).await.unwrap();
    scene.finish().await;
    assert_eq!(scene.worker.account.store.totals().await.unwrap().redeemed, U256::from(4 * FACE));
}

#[tokio::test]
async fn the_credit_is_claimed_when_it_is_worth_fifty_claims() {
    let mut scene = Scene::new().await;
    let chain = scene.worker.account.chain.clone();
    scene.redeemer.claim().await.unwrap();
    assert_eq!(scene.sent().await, 0, "there is none");
    scene.win(1).await;
    scene.finish().await;
    assert_eq!(chain.credit(chain.address()).await.unwrap(), U256::from(FACE));
    let cost: u128 = chain.claim_cost(chain.address()).await.unwrap().to();
    let dear = u64::try_from(u128::from(DEFAULT_BASE_FEE) * FACE / cost / 40).unwrap();
    scene.net.devnet.set_base_fee(dear);
    scene.net.devnet.mine(1);
    scene.redeemer.claim().await.unwrap();
    assert_eq!(scene.sent().await, 1, "forty times is too little");
    scene.net.devnet.set_base_fee(DEFAULT_BASE_FEE);
    scene.net.devnet.mine(1);
    let before = chain.balance(chain.address()).await.unwrap();
    scene.redeemer.claim().await.unwrap();
    assert!(chain.balance(chain.address()).await.unwrap() > before);
    assert_eq!(chain.credit(chain.address()).await.unwrap(), U256::ZERO);
    scene.finish().await;
    scene.all_redeemed(2).await;
}

/// `CHAOS_SEED=7` makes another storm.
#[tokio::test]
async fn endpoints_in_a_storm_lose_nothing_and_redeem_nothing_twice() {
    let net = Net::start().await;
    let proxies = [Chaos::before(&net.devnet.rpc_url()).await, Chaos::before(&net.devnet.rpc_url()).await];
    let url = net.devnet.rpc_url();
    let mut scene = Scene::by(net, &url).await;
    scene.win(24).await;
    for _ in 0..9 {
        scene.win_face(1, FACE).await;
    }
    let Scene { net, worker, payers, won, .. } = scene;
    let mut stormy = at(&proxies[0].url);
    stormy.rpc_urls.push(proxies[1].url.clone());
    (stormy.call_timeout, stormy.set_aside) = (Duration::from_millis(100), Duration::from_millis(50));
    let worker = net.open_at(WORKER, worker.killed(), stormy).await;
    let seed = std::env::var("CHAOS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    for (seed, proxy) in (seed..).zip(&proxies) {
        proxy.set(Weather::Storm(seed));
    }
    let redeemer = redeemer(&worker);
    let mut scene = Scene { net, worker, payers, redeemer, won };
    scene.finish().await;
    scene.all_redeemed(3).await;
}
