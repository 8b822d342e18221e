//! Whether a contract that is there is the one that a deployment would have made: a run that goes on where another one stopped finds
//! contracts that it did not see being made, and must not take somebody else's, or those of other settings, for its own.

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, keccak256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::{SolCall, eip712_domain};

use super::ChainError;
use super::book::AddressBook;
use super::deploy::{Creation, DeployError};
use super::sender::{Sender, timed};
use crate::bindings::{Disputes, MillraceToken, Parameters, TimelockController};

/// Refuses what is at the address of `creation` and is something else. Settings that a contract keeps in its storage are asked for, since
/// its code does not tell them.
pub(super) async fn check(sender: &Sender, creation: &Creation, book: &AddressBook) -> Result<(), DeployError> {
    let Creation { name, address, .. } = *creation;
    let differ = |what, there: &dyn ToString, run: &dyn ToString| {
        let (there, run) = (there.to_string(), run.to_string());
        if there == run { Ok(()) } else { Err(DeployError::Foreign { name, address, what, there, run }) }
    };
    let there = timed("code", sender.provider.get_code_at(address)).await?;
    differ("code of hash", &keccak256(there), &keccak256(expected(sender, creation).await?))?;
    match name {
        "token" => {
            let held = ask(sender, address, &MillraceToken::balanceOfCall { account: book.treasury }).await?;
            differ("tokens of the treasury", &(if held.is_zero() { "none" } else { "some" }), &"some")
        }
        "timelock" => {
            let delay = ask(sender, address, &TimelockController::getMinDelayCall {}).await?;
            differ("--timelock of seconds", &delay, &book.timelock_s)?;
            let role = ask(sender, address, &TimelockController::PROPOSER_ROLECall {}).await?;
            let call = TimelockController::hasRoleCall { role, account: book.governor };
            let proposer =
                if ask(sender, address, &call).await? { book.governor.to_string() } else { "another".into() };
            differ("--governor", &proposer, &book.governor)
        }
        "parameters" => {
            differ("--guardian", &ask(sender, address, &Parameters::guardianCall {}).await?, &book.guardian)?;
            differ("--treasury", &ask(sender, address, &Parameters::treasuryCall {}).await?, &book.treasury)
        }
        "disputes" => differ("--checker", &ask(sender, address, &Disputes::checkerCall {}).await?, &book.checker),
        _ => Ok(()),
    }
}

/// The code that the creation leaves behind. It is run for an account that has never sent anything, so that where the run believes the
/// contract to be is known; the contract keeps that address and its signing domain in its code, and they are put right after.
async fn expected(sender: &Sender, creation: &Creation) -> Result<Vec<u8>, ChainError> {
    let from = Address::from_word(keccak256("the account of a creation that is only simulated"));
    let there = from.create(0);
    let request = TransactionRequest::default().with_from(from).with_deploy_code(creation.code.clone());
    let code = timed("simulated creation", sender.provider.call(request)).await?;
    let domain = |verifying_contract: Address| {
        let domain = eip712_domain! { name: "Millrace", version: "1", chain_id: sender.chain_id, verifying_contract: verifying_contract, };
        domain.separator()
    };
    let code = replaced(&code, there.as_slice(), creation.address.as_slice());
    Ok(replaced(&code, domain(there).as_slice(), domain(creation.address).as_slice()))
}

/// `code` with every `old` made `new`, which is as long.
fn replaced(code: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(code.len()), code);
    while let Some((first, tail)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(old) {
            out.extend_from_slice(new);
            rest = after;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

async fn ask<C: SolCall>(sender: &Sender, to: Address, call: &C) -> Result<C::Return, ChainError> {
    let request = TransactionRequest::default().with_to(to).with_input(call.abi_encode());
    let answer = timed("settings", sender.provider.call(request)).await?;
    C::abi_decode_returns(&answer).map_err(|_| ChainError::Rpc {
        what: "settings",
        reason: format!("the contract at {to} answers something else"),
    })
}
