//! What gas costs, from the fee history, and how much of it a redemption takes, from the chain's own estimate. No figure of
//! either is in the code. Not counted: what some second layers take beside gas for their data on the first.

use alloy::primitives::{Address, Bytes, U256, aliases::U40, aliases::U96, keccak256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolCall;
use millrace_tickets::{Signed, Ticket};

use super::sender::{Sender, timed};
use super::{Chain, ChainError, Redemption};
use crate::bindings::TicketBroker;

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
    /// of as many tickets of no value by a payer that was made up: they pass every check, so the figure is the real one, but
    /// for the one slot of a pair that was never funded (17,100 gas too much): it errs on the payee's side.
    pub async fn redemption_cost(&self, winners: u64) -> Result<U256, ChainError> {
        let payer = PrivateKeySigner::random();
        let probes: Vec<_> = (0..winners).map(|n| self.probe(&payer, n)).collect::<Result<_, _>>()?;
        self.cost("redemption's gas", super::redeem_input(&probes)?).await
    }

    /// What having `payee`'s credit paid out costs now, wei. Refused when there is none.
    pub async fn claim_cost(&self, payee: Address) -> Result<U256, ChainError> {
        self.cost("claim's gas", TicketBroker::claimCall { payee }.abi_encode().into()).await
    }

    async fn cost(&self, what: &'static str, input: Bytes) -> Result<U256, ChainError> {
        let request = TransactionRequest {
            from: Some(self.address()),
            to: Some(self.contracts().broker.into()),
            input: input.into(),
            ..Default::default()
        };
        let gas = timed(what, self.sender.provider.estimate_gas(request)).await?;
        Ok(U256::from(gas) * U256::from(self.sender.fees().await?.expected))
    }

    fn probe(&self, payer: &PrivateKeySigner, n: u64) -> Result<Redemption, ChainError> {
        let payee_rand = keccak256(n.to_be_bytes());
        let issued = 1; // by any chain's clock in the past, and with the longest life in force until 2106
        let ticket = Ticket {
            payer: payer.address(),
            payee: self.address(),
            faceValue: U96::ZERO,
            winProb: u64::MAX,
            nonce: issued << 24 | (n + 1),
            expiry: U40::from(issued + u64::from(u32::MAX)),
            payeeCommit: keccak256(payee_rand),
            payerRand: keccak256(payer.address()),
            workHash: keccak256(payee_rand),
        };
        let Signed { body, signature } =
            Signed::sign(ticket, &self.domain(), payer).map_err(|error| ChainError::Signer(error.to_string()))?;
        Ok(Redemption { ticket: body, payee_rand, signature })
    }
}
