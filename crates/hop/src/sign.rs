//! The node's pen. What it signs is in the database first (`millrace_store::signing`), so that after a crash the same bytes
//! go out again: two different signatures under one scope would look like equivocation, and are slashable.

use alloy::primitives::{Address, B256};
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolStruct;
use millrace_store::{SignedOnce, Store};
use millrace_tickets::{Domain, Signed};

use crate::unix_now_ms;

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The database or the key refused.
    #[error("nothing was signed: {0}")]
    Once(#[from] millrace_store::signing::SignError),
    /// Something else was signed for the same scope before, perhaps ahead of a crash.
    #[error("another {0} was signed for the same work before: it stands, and this one is not signed")]
    Different(&'static str),
}

/// The node's key, the domain it signs under, and the log that comes first. Cheap to clone.
#[derive(Clone)]
pub struct Pen {
    signer: PrivateKeySigner,
    domain: Domain,
    store: Store,
}

impl Pen {
    /// A pen for `signer` under `domain` that writes to `store` first.
    pub fn new(signer: PrivateKeySigner, domain: Domain, store: Store) -> Self {
        Self { signer, domain, store }
    }

    /// The node's address.
    pub fn address(&self) -> Address {
        self.signer.address()
    }

    /// The EIP-712 domain that everything is signed under.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The node's key, for the pairs that issue tickets.
    pub(crate) fn signer(&self) -> &PrivateKeySigner {
        &self.signer
    }

    /// The EIP-712 hash of an object under the node's domain.
    pub fn digest(&self, body: &impl SolStruct) -> B256 {
        body.eip712_signing_hash(&self.domain.eip712())
    }

    /// Signs an assignment, a receipt or a verdict: each once for its scope.
    pub async fn sign<T: SignedOnce + Clone + PartialEq>(&self, body: T) -> Result<Signed<T>, SignError> {
        let signed = self.store.sign_once(unix_now_ms(), body.clone(), &self.domain, &self.signer).await?;
        if signed.body == body { Ok(signed) } else { Err(SignError::Different(T::KIND)) }
    }
}
