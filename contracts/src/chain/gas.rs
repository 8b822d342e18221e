//! What gas costs, from the fee history, and how much of it a redemption takes, from the chain's own estimate. No figure of
//! either is in the code.

use alloy::primitives::{U256, aliases::U40, aliases::U96, keccak256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::PrivateKeySigner;
use millrace_tickets::{Signed, Ticket};

use super::sender::{Sender, timed};
use super::{Chain, ChainError, Redemption};

/// Prices of the next block, wei per gas.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fees {
    /// What to offer at most: twice the base fee and the tip, so that it survives six full blocks.
    pub(super) max: u128,
    /// The tip.
    pub(super) tip: u128,
    /// What to expect: the base fee and the tip.
    pub(super) expected: u128,
}

impl Sender {
    pub(super) async fn fees(&self) -> Result<Fees, ChainError> {
        let fees = timed("fee history", self.provider.estimate_eip1559_fees()).await?;
        let (max, tip) = (fees.max_fee_per_gas, fees.max_priority_fee_per_gas);
        Ok(Fees { max, tip, expected: max.saturating_sub(tip) / 2 + tip })
    }
}

impl Chain {
    /// What redeeming `winners` of one payer in one transaction costs now, wei. The chain is asked to estimate a redemption
    /// of as many tickets of no value by a payer that was made up: they pass every check, so the figure is the real one, and
    /// that of a pair's first redemption, its dearest.
    pub async fn redemption_cost(&self, winners: u64) -> Result<U256, ChainError> {
        let payer = PrivateKeySigner::random();
        let probes: Vec<_> = (0..winners).map(|n| self.probe(&payer, n)).collect::<Result<_, _>>()?;
        let request = TransactionRequest {
            from: Some(self.address()),
            to: Some(self.contracts().broker.into()),
            input: super::redeem_input(&probes)?.into(),
            ..Default::default()
        };
        let gas = timed("redemption's gas", self.sender.provider.estimate_gas(request)).await?;
        Ok(U256::from(gas) * U256::from(self.sender.fees().await?.expected))
    }

    fn probe(&self, payer: &PrivateKeySigner, n: u64) -> Result<Redemption, ChainError> {
        let payee_rand = keccak256(n.to_be_bytes());
        let issued = 1; // long ago by any chain's clock: a nonce lies in the past
        let ticket = Ticket {
            payer: payer.address(),
            payee: self.address(),
            faceValue: U96::ZERO,
            winProb: u64::MAX,
            nonce: issued << 24 | (n + 1),
            expiry: U40::MAX,
            payeeCommit: keccak256(payee_rand),
            payerRand: keccak256(payer.address()),
            workHash: keccak256(payee_rand),
        };
        let Signed { body, signature } =
            Signed::sign(ticket, &self.domain(), payer).map_err(|error| ChainError::Signer(error.to_string()))?;
        Ok(Redemption { ticket: body, payee_rand, signature })
    }
}
