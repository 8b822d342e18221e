//! A payer whose cold key holds the money while a node's hot key signs: on QUIC, with databases, against the real contract.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "a test, with a support module that each test uses in part"
)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod common;

use alloy::primitives::{Address, U256};
use common::*;
use millrace_hop::purse::PurseError;
use millrace_hop::redeem::{Policy, Redeemer};
use millrace_hop::serve::{Arrival, ServeError, Settled, arrive};
use millrace_hop::{Assigner, unix_now};
use std::time::Duration;
use tokio::time::timeout;

const DAY: u64 = 24 * 3600;
/// Winners that the session key's daily cap allows.
const CAP: u64 = 3;

/// A payer, its node with the hot key, and the worker that is paid.
struct Scene {
    net: Net,
    cold: Node,
    hot: Node,
    worker: Node,
    line: Line,
}

impl Scene {
    async fn new() -> Self {
        let net = Net::start().await;
        let (cold, mut hot, worker) = (net.node(5).await, net.node(1).await, net.node(2).await);
        let (payer, key, them) = (cold.account.address(), hot.account.address(), worker.account.address());
        hot.account.purse.spend_for(payer);
        cold.account.chain.fund(them, U256::from(LOCK)).await.unwrap();
        let cap = U256::from(CERTAIN.face_value) * U256::from(CAP);
        cold.account.chain.set_session_key(key, unix_now() + 30 * DAY, cap).await.unwrap();
        let line = hot.connect(&worker).await;
        let commits = worker.account.till.commits(payer, 16).await.unwrap();
        hot.account.purse.open(them, CERTAIN, commits).await.unwrap();
        Self { net, cold, hot, worker, line }
    }

    fn assigner(&self) -> Assigner {
        Assigner { address: self.hot.account.address(), payer: self.cold.account.address() }
    }

    /// One segment, from the offer to what the worker says of its payment.
    async fn segment(&self, seq: u64) -> Result<Settled, ServeError> {
        let (source, offer, account) = (source(), offer(CERTAIN), &self.worker.account);
        let assigning = async {
            let (delivered, _) = self.line.attempt(&self.hot.account, open(seq, 0), &source, &offer).await;
            let delivered = delivered.unwrap();
            assert_eq!(delivered.assignment.body.payer, self.hot.account.address(), "who assigns signs, and disputes");
            let _ = delivered.pay(&self.hot.account.pen, &self.hot.account.purse).await; // the worker says how it went
        };
        let serving = async {
            let channel = timeout(LIMIT, self.line.down.accept()).await.unwrap().unwrap();
            let Arrival::Segment(mut job) = arrive(channel, self.assigner(), |_| Ok(FRAMES)).await? else {
                panic!("tickets came where a segment was expected")
            };
            job.take_on(&account.credits, &TERMS, 8, 0).await.unwrap();
            let work = work(&mut job, account, &CERTAIN).await?;
            job.deliver(work.made(), &CERTAIN, &account.pen, &account.till).await
        };
        tokio::join!(assigning, serving).1
    }
}

#[tokio::test]
async fn a_session_key_spends_its_payers_lock_to_the_wei_and_no_more_than_its_cap() {
    let mut scene = Scene::new().await;
    let (payer, them) = (scene.cold.account.address(), scene.worker.account.address());
    scene.worker.account.till.vouch(scene.assigner()).await.unwrap();
    let chain = scene.cold.account.chain.clone();
    let before = (chain.balance(payer).await.unwrap(), chain.balance(scene.hot.account.address()).await.unwrap());
    for seq in 0..CAP {
        let settled = scene.segment(seq).await;
        assert!(matches!(&settled, Ok(Settled::Paid { accepted, .. }) if accepted.winner), "{settled:?}");
    }
    let refused = scene.segment(CAP).await.unwrap_err().to_string();
    let cap = U256::from(CERTAIN.face_value) * U256::from(CAP);
    assert!(refused.contains(&format!("daily cap of {cap} wei")) && refused.contains("session-key add"), "{refused}");

    // A worker that was killed counts what it took before.
    let Scene { net, cold, hot, worker, .. } = scene;
    let worker = net.again(worker).await;
    let line = hot.connect(&worker).await;
    hot.account.purse.open(them, CERTAIN, worker.account.till.commits(payer, 16).await.unwrap()).await.unwrap();
    scene = Scene { net, cold, hot, worker, line };
    let refused = scene.segment(CAP + 1).await.unwrap_err().to_string();
    assert!(refused.contains("daily cap"), "{refused}");

    // P14: each winner that was taken redeems, in one batch and to the wei.
    let account = &scene.worker.account;
    let policy = Policy { batch: 1, after: Duration::ZERO, retry: Duration::ZERO };
    let mut redeemer = Redeemer::new(account.store.clone(), account.chain.clone(), account.till.clone(), policy);
    until("every winner is final", async || {
        redeemer.step().await.unwrap();
        scene.net.devnet.mine(1);
        account.store.totals().await.unwrap().redeemed == cap
    })
    .await;
    let totals = account.store.totals().await.unwrap();
    assert_eq!((totals.queued, totals.dropped), (0, 0));
    assert_eq!(chain.pair(payer, them).await.unwrap().locked, U256::from(LOCK) - cap);
    assert_eq!(chain.credit(them).await.unwrap(), cap);
    let after = (chain.balance(payer).await.unwrap(), chain.balance(scene.hot.account.address()).await.unwrap());
    assert_eq!(after, before, "the lock pays, and the worker the gas");
    let refused = scene.segment(CAP + 2).await.unwrap_err().to_string();
    assert!(refused.contains("daily cap"), "redeemed winners count: {refused}");
}

#[tokio::test]
async fn only_a_key_that_the_chain_knows_spends_for_a_payer() {
    let scene = Scene::new().await;
    let (payer, till) = (scene.cold.account.address(), &scene.worker.account.till);
    let stranger: Address = scene.net.node(6).await.account.address();
    let refused = till.vouch(Assigner { address: stranger, payer }).await.unwrap_err();
    assert!(refused.contains("is no session key of") && refused.contains("session-key add"), "{refused}");
    // Its key for one payer is none for another, and one that has locked nothing has nothing to spend.
    let key = scene.hot.account.address();
    till.vouch(Assigner { address: key, payer: stranger }).await.unwrap_err();
    let refused = till.vouch(Assigner { address: stranger, payer: stranger }).await.unwrap_err();
    assert!(refused.contains("has locked no money"), "{refused}");
}

#[tokio::test]
async fn a_revoked_key_pays_for_two_days_and_its_node_says_when_it_is_over() {
    let mut scene = Scene::new().await;
    let (payer, them) = (scene.cold.account.address(), scene.worker.account.address());
    scene.cold.account.chain.revoke_session_key(scene.hot.account.address()).await.unwrap();
    let settled = scene.segment(0).await;
    assert!(
        matches!(settled, Ok(Settled::Paid { .. })),
        "its tickets live for a day, and the key for three: {settled:?}"
    );

    let (purse, chain) = (&scene.hot.account.purse, &scene.hot.account.chain);
    purse.keep_funded(chain, them, U256::from(LOCK)).await.unwrap();
    let locked = chain.pair(payer, them).await.unwrap().locked;
    purse.keep_funded(chain, them, U256::from(LOCK * 4)).await.expect("it only says that the lock runs low");
    assert_eq!(chain.pair(payer, them).await.unwrap().locked, locked, "a session key locks nothing");
    let error = purse.keep_funded(chain, payer, U256::from(LOCK)).await.unwrap_err();
    assert!(matches!(error, PurseError::NoLock { .. }), "{error}");
    assert!(error.to_string().contains(&format!("millrace wallet fund {payer} {LOCK}wei")), "{error}");
    scene.hot.account.purse.spend_for(them);
    let (purse, chain) = (&scene.hot.account.purse, &scene.hot.account.chain);
    let error = purse.keep_funded(chain, them, U256::from(LOCK)).await.unwrap_err();
    assert!(matches!(error, PurseError::NoSession { until: 0, .. }), "{error}");
}
