//! The database by behaviour: on real files, opened again where a process would start again.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test, in helpers too")]

mod killed;
mod records;
mod restart;
mod together;
mod winners;

use std::path::Path;

use alloy::primitives::{Address, B256, U256, address, keccak256};
use alloy::signers::local::PrivateKeySigner;
use millrace_store::{PayeePair, PayerPair, Store};
use millrace_tickets::{Domain, Due, Signed, Terms, Ticket};
use tempfile::TempDir;

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const NOW_MS: u64 = NOW * 1000;
pub(crate) const DOMAIN: Domain =
    Domain { chain_id: 31_337, broker: address!("00000000000000000000000000000000000b40ce") };
pub(crate) const PAYEE: Address = address!("00000000000000000000000000000000000000ee");
pub(crate) const TERMS: Terms =
    Terms { price_per_megapixel: 10_000_000, face_value: 1_000_000_000_000_000, win_prob: u64::MAX };
pub(crate) const SEED: B256 = B256::repeat_byte(9);

pub(crate) fn key() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(1)).unwrap()
}

pub(crate) fn random(n: u64) -> B256 {
    keccak256(n.to_be_bytes())
}

/// A tenth of the face value is due.
pub(crate) fn due(n: u64) -> Due {
    Due { work_hash: random(n ^ 0xd0e), price: U256::from(TERMS.face_value / 10), terms: TERMS }
}

/// All but one wei of the face value is due: the ticket wins, but for one time in 10^15.
pub(crate) fn sure(n: u64) -> Due {
    Due { price: U256::from(TERMS.face_value - 1), ..due(n) }
}

/// Both ends of one pair, each with a database of its own that can be opened again.
pub(crate) struct Ends {
    pub(crate) dir: TempDir,
    pub(crate) payer: PayerPair,
    pub(crate) payee: PayeePair,
    pub(crate) payer_store: Store,
    pub(crate) payee_store: Store,
}

impl Ends {
    pub(crate) async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let (payer_store, payer) = open_payer(dir.path()).await;
        let (payee_store, payee) = open_payee(dir.path()).await;
        let mut ends = Self { dir, payer, payee, payer_store, payee_store };
        ends.connect().await;
        ends
    }

    /// What happens when the two meet: sixteen commits cross.
    pub(crate) async fn connect(&mut self) {
        let commits = self.payee.commits(16).await.unwrap();
        self.payer.offer_commits(commits);
    }

    /// The payer's process dies and starts again: nothing is closed, only what is on disk remains.
    pub(crate) async fn crash_payer(&mut self) {
        (self.payer_store, self.payer) = open_payer(self.dir.path()).await;
    }

    /// The same for the payee's.
    pub(crate) async fn crash_payee(&mut self) {
        (self.payee_store, self.payee) = open_payee(self.dir.path()).await;
    }

    /// Pays `due`: issue, accept, acknowledge.
    pub(crate) async fn pay(&mut self, due: &Due) -> Signed<Ticket> {
        let ticket = self.payer.issue(NOW_MS, due, random(7)).await.unwrap();
        let (_, commits) = self.payee.accept(NOW_MS, &ticket, due, U256::MAX).await.unwrap();
        self.payer.offer_commits(commits);
        self.payer.acked(due.work_hash).await.unwrap();
        ticket
    }
}

pub(crate) async fn open_payer(dir: &Path) -> (Store, PayerPair) {
    let store = Store::open(dir.join("payer.sqlite").to_str().unwrap()).await.unwrap();
    (store.clone(), PayerPair::open(store, DOMAIN, key(), PAYEE).await.unwrap())
}

pub(crate) async fn open_payee(dir: &Path) -> (Store, PayeePair) {
    let store = Store::open(dir.join("payee.sqlite").to_str().unwrap()).await.unwrap();
    (store.clone(), PayeePair::open(store, DOMAIN, key().address(), PAYEE, SEED).await.unwrap())
}
