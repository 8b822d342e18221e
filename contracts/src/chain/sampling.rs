//! The secrets by which a node samples, as `Sampling.sol` has them: one hash chain for each key, an epoch to a link.

use alloy::primitives::{Address, B256, aliases::U40, keccak256};

use super::{Chain, ChainError, Mined, Step, StepError};
use crate::bindings::Sampling;

/// Seconds of an epoch of sampling, as in Sampling.sol.
pub const EPOCH: u64 = 86_400;

/// The most epochs that one secret reveals, as in Sampling.sol.
pub const MAX_STEPS: u64 = 64;

/// The epoch that begins at 2100-01-01: the chain of sampling secrets ends there.
pub const LAST_EPOCH: u64 = 47_482;

/// Links that are hashed to compare a commitment with a tip: a node that has not revealed for so long has been slashed.
const MAX_LINKS: u64 = 400;

/// A node's chain of secrets, as far as the contract has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretChain {
    /// The secret that was revealed last, or what the first one hashes to.
    pub tip: B256,
    /// The tip's epoch.
    pub epoch: u64,
    /// The last epoch whose secret is owed, when the chain's end is announced.
    pub last_epoch: Option<u64>,
}

impl SecretChain {
    /// Whether `commit` is the commitment to the secret of `epoch`. Each secret is the commitment to the one after it, so the
    /// tip follows from the commitment of a later epoch, and that of an earlier one from the tip.
    pub fn binds(&self, epoch: u64, commit: B256) -> bool {
        let (from, to, links) = match epoch.checked_sub(self.epoch + 1) {
            Some(ahead) => (commit, self.tip, ahead),
            None => (self.tip, commit, self.epoch + 1 - epoch),
        };
        links <= MAX_LINKS && links_down(from, links) == to
    }
}

/// The secret `links` epochs before the one of `secret`.
pub fn links_down(secret: B256, links: u64) -> B256 {
    (0..links).fold(secret, |secret, _| keccak256(secret))
}

impl Chain {
    /// The signer's secret of a sampling epoch. The secrets are one hash chain, from the last epoch back, that begins with a
    /// signature that is used for nothing else: whoever has the key has them all, and no file can be lost.
    pub fn sampling_secret(&self, epoch: u64) -> Result<B256, ChainError> {
        let links = LAST_EPOCH.checked_sub(epoch).ok_or_else(|| {
            ChainError::Input(format!("epoch {epoch} lies after {LAST_EPOCH}, the last that has a secret"))
        })?;
        Ok(links_down(self.derived("sampling secrets", self.contracts.sampling, 0)?, links))
    }

    /// A node's chain of secrets; `None` when it has committed to none.
    pub async fn secret_chain(&self, node: Address) -> Result<Option<SecretChain>, StepError> {
        let call = Sampling::chainCall { node };
        let chain = self.view("sampling chain", self.contracts.sampling, &call).await?;
        let (epoch, last): (u64, u64) = (chain.epoch.to(), chain.lastEpoch.to());
        let last_epoch = (last != 0).then_some(last);
        Ok((epoch != 0).then_some(SecretChain { tip: chain.tip, epoch, last_epoch }))
    }

    /// Commits to the secrets of which the first, that of the epoch after this, hashes to `tip`. Waits until it is mined.
    pub async fn commit_secrets(&self, tip: B256) -> Result<Mined, StepError> {
        self.make(&Step::call("commit to sampling secrets", self.contracts.sampling, &Sampling::commitCall { tip }))
            .await
    }

    /// Reveals the secret of an epoch that is over, and so all before it. Waits until it is mined.
    pub async fn reveal_secret(&self, epoch: u64, secret: B256) -> Result<Mined, StepError> {
        let call = Sampling::revealCall { epoch: U40::saturating_from(epoch), secret };
        self.make(&Step::call("reveal a sampling secret", self.contracts.sampling, &call)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tip_binds_the_commitments_of_all_epochs_and_no_others() {
        let secret = |epoch: u64| links_down(B256::repeat_byte(9), 1_000 - epoch);
        let chain = SecretChain { tip: secret(500), epoch: 500, last_epoch: None };
        for epoch in [499, 500, 501, 502, 570, 901] {
            assert!(chain.binds(epoch, keccak256(secret(epoch))), "{epoch}");
            assert!(!chain.binds(epoch, keccak256(secret(epoch + 1))), "{epoch}");
            assert!(!chain.binds(epoch, B256::repeat_byte(9)), "{epoch}");
        }
        assert!(!chain.binds(902, keccak256(secret(902))), "longer than anybody lives without revealing");
    }
}
