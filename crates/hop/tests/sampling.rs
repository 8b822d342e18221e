//! Sampling secrets on their way to the chain, with its clock moved over days and the node killed on the way; and what a worker
//! makes of the commitment that an assignment names.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "a test, with a support module that each test uses in part"
)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod common;

use std::time::Duration;

use alloy::primitives::{B256, U256, keccak256};
use common::{Net, Node, until};
use millrace_contracts::bindings::{MillraceToken, Sampling};
use millrace_contracts::{ChainOptions, EPOCH, MAX_STEPS, ORCHESTRATOR, Stage, Step};
use millrace_hop::account::Place;
use millrace_hop::sampling::Looked;
use tokio_util::sync::CancellationToken;

const DAY: Duration = Duration::from_secs(EPOCH);

fn at(net: &Net) -> ChainOptions {
    let url = net.devnet.rpc_url();
    ChainOptions { confirmations: 2, stuck_after: Duration::from_millis(100), ..ChainOptions::from(&url) }
}

fn place(bond: U256) -> Place {
    Place { roles: ORCHESTRATOR, uri: "quic://127.0.0.1:1".into(), fingerprint: B256::repeat_byte(1), bond }
}

/// A registered orchestrator.
async fn orchestrator(net: &Net) -> Node {
    let (rich, node) = (net.node(9).await, net.open_at(1, tempfile::tempdir().unwrap(), at(net)).await);
    let bond = node.account.chain.min_bond().await.unwrap() * U256::from(100);
    let send = MillraceToken::transferCall { to: node.account.address(), value: bond };
    rich.account.chain.make(&Step::call("send MILL", net.contracts.token, &send)).await.unwrap();
    let stop = CancellationToken::new();
    assert!(node.account.register(&place(bond), &stop).await);
    node
}

async fn look(node: &Node, may_commit: bool) -> Looked {
    node.account.sampling.look(may_commit).await.unwrap()
}

/// A look that ends, as a killed process does, when what it sends has reached a chain that makes no blocks.
async fn killed_when_sent(net: &Net, node: &Node, may_commit: bool) {
    tokio::select! {
        () = until("it is sent", async || net.devnet.waiting() > 0) => {}
        looked = node.account.sampling.look(may_commit) => panic!("{looked:?}"),
    }
}

async fn today(node: &Node) -> u64 {
    node.account.chain.time().await.unwrap() / EPOCH
}

async fn revealed(net: &Net, node: &Node) -> Vec<Sampling::Revealed> {
    let me = Some(node.account.address());
    node.account.chain.events::<Sampling::Revealed>(net.contracts.sampling, [me, None], 0).await.unwrap()
}

#[tokio::test]
async fn a_node_whose_registration_a_reorganisation_takes_registers_again() {
    let net = Net::start().await;
    let node = orchestrator(&net).await;
    let (chain, me) = (&node.account.chain, node.account.address());
    let place = place(chain.node(me).await.unwrap().unwrap().bond);
    net.devnet.fail_next(1); // the next branch has the transaction, which reverts in it
    assert!(net.devnet.reorg(1));
    net.devnet.mine(1);
    net.devnet.fail_next(0);
    assert_eq!(chain.node(me).await.unwrap(), None);
    let stop = CancellationToken::new();
    let registered = until("it is registered again", async || chain.node(me).await.unwrap().is_some());
    tokio::select! {
        () = registered => {}
        () = node.account.keep_registered(&place, Duration::from_millis(50), &stop) => panic!("nothing stops it"),
    }
}

#[tokio::test]
async fn a_node_commits_at_its_start_and_reveals_each_day_that_is_over() {
    let net = Net::start().await;
    let node = orchestrator(&net).await;
    let first = today(&node).await;
    assert_eq!(look(&node, true).await, Looked::Committed);
    assert_eq!(look(&node, true).await, Looked::Idle, "the running day is not over");
    for day in 1..4 {
        net.devnet.advance(DAY);
        let due = if day == 1 { Looked::Idle } else { Looked::Revealed(first + day - 1) };
        assert_eq!(look(&node, false).await, due, "the first secret is that of the day after the commitment");
        assert_eq!(look(&node, false).await, Looked::Idle);
    }
    let status = node.account.sampling.status();
    assert_eq!((status.epoch, status.revealed), (first + 3, Some(first + 2)));
    assert_eq!(status.next_reveal_at, Some((first + 4) * EPOCH));
    assert_eq!(status.overdue_at, Some((first + 4) * EPOCH + 3 * EPOCH));
    // What was named on each of those days is what the revealed secrets hash to.
    for event in revealed(&net, &node).await {
        let epoch: u64 = event.epoch.to();
        assert_eq!(node.account.sampling.commit(epoch * EPOCH), keccak256(event.secret));
    }
}

#[tokio::test]
async fn a_running_node_commits_and_reveals_by_itself() {
    let net = Net::start().await;
    let node = orchestrator(&net).await;
    net.devnet.advance(Duration::ZERO);
    let first = today(&node).await;
    assert_eq!(look(&node, true).await, Looked::Committed);
    net.devnet.advance(DAY * 3);
    let stop = CancellationToken::new();
    let sampling = node.account.sampling.clone();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { sampling.run(stop).await }
    });
    until("all days that are over are revealed", async || node.account.sampling.status().revealed == Some(first + 2))
        .await;
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_node_killed_after_it_has_sent_a_reveal_reveals_once() {
    let net = Net::start().await;
    let mut node = orchestrator(&net).await;
    assert_eq!(look(&node, true).await, Looked::Committed);
    net.devnet.advance(DAY * 2);
    for lost in [false, true] {
        // The transaction is sent, and nothing of it is in a block or noted when the process dies.
        net.devnet.hold();
        killed_when_sent(&net, &node, false).await;
        node = net.open_at(1, node.killed(), at(&net)).await;
        if lost {
            assert_eq!(net.devnet.drop_waiting(), 1, "the chain forgets it, too");
        }
        net.devnet.release();
        if lost {
            let over = today(&node).await - 1;
            assert_eq!(look(&node, false).await, Looked::Revealed(over), "the same bytes go out again");
        }
        assert_eq!(look(&node, false).await, Looked::Idle);
        net.devnet.mine(3);
        for fate in node.account.chain.tend().await.unwrap() {
            assert!(matches!(fate.stage, Stage::Final(mined) if mined.success), "{fate:?}");
            node.account.chain.settle(fate.nonce).await.unwrap();
        }
        net.devnet.advance(DAY);
    }
    let epochs: Vec<u64> = revealed(&net, &node).await.iter().map(|event| event.epoch.to()).collect();
    assert_eq!(epochs.len(), 2, "{epochs:?}");
    assert_eq!(epochs[1], epochs[0] + 1);
}

#[tokio::test]
async fn a_node_that_was_away_for_seventy_days_catches_up_in_two_steps() {
    let net = Net::start().await;
    let node = orchestrator(&net).await;
    let first = today(&node).await;
    assert_eq!(look(&node, true).await, Looked::Committed);
    net.devnet.advance(DAY * 71);
    let node = net.open_at(1, node.killed(), at(&net)).await;
    assert_eq!(look(&node, true).await, Looked::Revealed(first + MAX_STEPS));
    assert_eq!(look(&node, true).await, Looked::Revealed(first + 70));
    assert_eq!(look(&node, true).await, Looked::Idle);
}

#[tokio::test]
async fn a_chain_that_was_stopped_is_left_until_the_next_start() {
    let net = Net::start().await;
    let node = orchestrator(&net).await;
    assert_eq!(look(&node, true).await, Looked::Committed);
    let stop = Step::call("stop", net.contracts.sampling, &Sampling::stopCall {});
    node.account.chain.make(&stop).await.unwrap();
    assert_eq!(look(&node, false).await, Looked::Ended);
    assert_eq!(look(&node, true).await, Looked::Committed);
}

#[tokio::test]
async fn a_commitment_that_was_mined_days_late_costs_no_secret() {
    let net = Net::start().await;
    let node = orchestrator(&net).await;
    let first = today(&node).await;
    net.devnet.hold();
    killed_when_sent(&net, &node, true).await;
    net.devnet.advance(DAY * 2);
    net.devnet.release();
    net.devnet.advance(DAY * 2);
    let bound = node.account.chain.secret_chain(node.account.address()).await.unwrap().unwrap();
    assert!(bound.epoch > first, "the contract counts from the block");
    let over = today(&node).await - 1;
    assert_eq!(look(&node, true).await, Looked::Revealed(over));
    let commit = node.account.sampling.commit((over + 1) * EPOCH);
    let bound = node.account.chain.secret_chain(node.account.address()).await.unwrap().unwrap();
    assert!(bound.binds(over + 1, commit), "and it names what the contract then has");
}

#[tokio::test]
async fn a_worker_refuses_a_commitment_that_the_chain_does_not_bind_its_assigner_to() {
    let net = Net::start().await;
    let node = orchestrator(&net).await;
    let worker = net.node(2).await;
    let (me, sampling) = (node.account.address(), &node.account.sampling);
    let liars = B256::repeat_byte(0xbd);
    let now = node.account.chain.time().await.unwrap();
    worker.account.commitments.check(me, liars, now).await.unwrap();
    assert_eq!(look(&node, true).await, Looked::Committed);
    let worker = net.node(3).await; // one that has read nothing yet
    worker.account.commitments.check(me, liars, now).await.expect("in its first epoch a chain binds nothing");

    net.devnet.advance(DAY);
    let now = now + EPOCH;
    let worker = net.node(4).await;
    worker.account.commitments.check(me, sampling.commit(now), now).await.unwrap();
    let refused = worker.account.commitments.check(me, liars, now).await.unwrap_err();
    assert!(refused.contains("the chain binds") && refused.contains(&liars.to_string()), "{refused}");
    let tomorrows = sampling.commit(now + EPOCH);
    worker.account.commitments.check(me, tomorrows, now).await.expect_err("nor another day's");

    // About midnight either day is good.
    let midnight = (now / EPOCH + 1) * EPOCH;
    for clock in [midnight - 30, midnight + 30] {
        worker.account.commitments.check(me, sampling.commit(now), clock).await.unwrap();
        worker.account.commitments.check(me, sampling.commit(now + EPOCH), clock).await.unwrap();
    }

    // A chain that is down changes nothing for what was read.
    net.devnet.stop().await;
    worker.account.commitments.check(me, sampling.commit(now), now).await.unwrap();
    let blind = worker.account.commitments.check(worker.account.address(), liars, now).await.unwrap_err();
    assert!(blind.contains("is not known"), "{blind}");
}
