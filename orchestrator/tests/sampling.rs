//! Whether anyone can compute again what an orchestrator had to look at, from what it signed and what the chain reveals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use alloy::primitives::{B256, U256, keccak256};
use alloy::signers::local::PrivateKeySigner;
use millrace_contracts::bindings::Sampling;
use millrace_contracts::devnet::{Devnet, Genesis};
use millrace_contracts::{EPOCH, ORCHESTRATOR, deploy, links_down};
use millrace_hop::Account;
use millrace_hop::sampling::Looked;
use millrace_orchestrator::verification::draw;
use millrace_tickets::{Assignment, SegmentReceipt};

/// Receipts of a day: of so many some are drawn.
const RECEIPTS: u64 = 400;

#[tokio::test]
async fn with_a_revealed_secret_anyone_computes_again_what_had_to_be_sampled() {
    let key = PrivateKeySigner::random();
    let accounts = vec![(key.address(), U256::from(10).pow(U256::from(20)))];
    let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let devnet = Devnet::start(bind, Genesis { accounts, ..Genesis::default() }).await.unwrap();
    let contracts = deploy(&devnet.rpc_url(), key.clone()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let node = Account::open("o", dir.path(), &devnet.rpc_url(), contracts, key).await.unwrap();
    let bond = node.chain.min_bond().await.unwrap() * U256::from(100);
    node.chain.register(ORCHESTRATOR, "quic://127.0.0.1:1", B256::repeat_byte(1), bond).await.unwrap();
    assert_eq!(node.sampling.look(true).await.unwrap(), Looked::Committed);
    devnet.advance(Duration::from_secs(EPOCH));

    // The orchestrator's day: what it assigns, what it is delivered, and what it draws of it.
    let now = node.chain.time().await.unwrap();
    let (mut public, mut drawn) = (Vec::new(), Vec::new());
    for seq in 0..RECEIPTS {
        let assignment = Assignment { seq, sampleCommit: node.sampling.commit(now), ..Assignment::default() };
        let receipt = SegmentReceipt { assignmentHash: node.pen.digest(&assignment), ..SegmentReceipt::default() };
        let secret = node.sampling.behind(assignment.sampleCommit, now).unwrap();
        drawn.push(draw(secret, node.pen.digest(&receipt), 3, 60));
        public.push((assignment, receipt));
    }
    assert!(drawn.iter().any(|draw| draw.full.is_some()));

    // It is away for two days; the one secret that it then reveals gives those before.
    devnet.advance(Duration::from_secs(3 * EPOCH));
    assert!(matches!(node.sampling.look(false).await.unwrap(), Looked::Revealed(_)));
    let events = node.chain.events::<Sampling::Revealed>(contracts.sampling, [None, None], 0).await.unwrap();
    let revealed = &events[0];

    // Anyone, with nothing but the chain and what was signed.
    let domain = node.pen.domain().eip712();
    let secret = links_down(revealed.secret, revealed.epoch.to::<u64>() - now / EPOCH);
    for ((assignment, receipt), drawn) in public.iter().zip(&drawn) {
        use alloy::sol_types::SolStruct;
        assert_eq!(keccak256(secret), assignment.sampleCommit);
        assert_eq!(draw(secret, receipt.eip712_signing_hash(&domain), 3, 60), *drawn);
    }
}
