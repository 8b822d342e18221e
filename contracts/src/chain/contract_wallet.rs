//! Accounts that are contracts, and sign by saying so (ERC-1271).

use alloy::primitives::{Address, B256, Bytes, FixedBytes};
use alloy::providers::Provider;
use alloy::sol;
use alloy::sol_types::SolCall;

use super::sender::timed;
use super::{Chain, ChainError, Step, StepError};

/// What a contract answers to a signature that is its own.
const MAGIC: FixedBytes<4> = FixedBytes([0x16, 0x26, 0xba, 0x7e]);

sol! {
    function isValidSignature(bytes32 hash, bytes signature) external view returns (bytes4);
}

impl Chain {
    /// Whether the contract at `account` holds `signature` over `hash` for its own. False where there is no contract, and of one that
    /// refuses or answers something else.
    pub async fn signed_by_contract(&self, account: Address, hash: B256, signature: Bytes) -> Result<bool, ChainError> {
        if timed("code", self.sender.provider.get_code_at(account)).await?.is_empty() {
            return Ok(false);
        }
        let step = Step::call("isValidSignature", account, &isValidSignatureCall { hash, signature });
        let answer = self.sender.provider.call(self.request(&step));
        match self.refusing(&step, answer.await).await {
            Ok(answer) => Ok(isValidSignatureCall::abi_decode_returns(&answer).is_ok_and(|answer| answer == MAGIC)),
            Err(StepError::Refused { .. }) => Ok(false),
            Err(StepError::Chain(error)) => Err(error),
        }
    }
}
